"""The networks with one edit in their source."""

import types
from functools import lru_cache
from pathlib import Path

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.numbers import numbers_of, text, weights, weights_of

SOURCE = Path(__file__).with_name("networks.py").read_text(encoding="utf-8")


def edited(network, *edits, **case):
    """The case of a network whose source has each (old, new) text exchanged.

    Args:
        network: ``encoder``, ``segmenter`` or ``decoder``.
        edits: Texts in turn: old, new, old, new.
        case: Further arguments of the case.
    """
    source = SOURCE
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source, f"{old!r} is not in networks.py"
        source = source.replace(old, new)
    module = types.ModuleType("networks")
    exec(compile(source, "networks.py", "exec"), module.__dict__)
    return ModelCase(network, getattr(module, network), getattr(module, f"{network}_inputs"), **case)


def numbers(case):
    return numbers_of(case, build_module(case))


@lru_cache
def recorded(network):
    """What is recorded of a network as it is."""
    return text.render(numbers(edited(network)))


@lru_cache
def recorded_weights(network):
    return weights.render(own_weights(edited(network)))


def own_weights(case):
    return weights_of(case, build_module(case), numbers(case))
