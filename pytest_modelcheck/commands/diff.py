"""``python -m pytest_modelcheck diff FILE OTHER``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_modelcheck.commands.output import add_json, show

if TYPE_CHECKING:
    import onnx_ir as ir

    from pytest_modelcheck.numbers import Numbers

_ALIKE = 5  # names that are shown of weights with the same fate
_WIRED = "the same operators, wired differently"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two files."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("other", metavar="OTHER")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what differs between two files: interface, modules, weights, wiring; exit status 1 if anything does."""
    from pytest_modelcheck.graph.files import load_model

    figures = differences(load_model(arguments.file), load_model(arguments.other))
    lines = [line for part, found in figures.items() if found for line in (part, *(f"  {each}" for each in found))]
    show(arguments, figures, lines or ["no difference"])
    return 1 if lines else 0


def differences(before: ir.Model, after: ir.Model) -> dict[str, list[str]]:
    """What differs, by part: ``interface``, ``modules``, ``weights``; ``wiring`` where the modules do not say it."""
    from pytest_modelcheck.hierarchy import diff_tables, hierarchy_of_model, module_table
    from pytest_modelcheck.interface import interface_differences, interface_of, interface_text
    from pytest_modelcheck.numbers import numbers_of_file

    pair = (before, after)
    numbers = [numbers_of_file(model) for model in pair]
    promises = [interface_text(interface_of(model)) for model in pair]
    found = {
        "interface": list(interface_differences(promises[0], promises[1])),
        "modules": list(diff_tables(*(module_table(model, hierarchy_of_model(model)) for model in pair))),
        "weights": list(_weights(*(each.files for each in numbers))),
    }
    return {**found, "wiring": [] if found["modules"] else list(_wiring(pair, numbers, any(found.values())))}


def _wiring(models: tuple[ir.Model, ir.Model], numbers: Sequence[Numbers], others: bool) -> Iterator[str]:
    """Outputs that are computed in another way; of graphs that no other part tells apart, the first difference."""
    from pytest_modelcheck.graph.compare import first_difference

    before, after = (each.wiring for each in numbers)
    names = [
        {*each.files, *(value.name for value in model.graph.inputs)}
        for each, model in zip(numbers, models, strict=True)
    ]
    if names[0] == names[1]:  # else the digests, which hold names, say nothing
        for name, digest in before.items():
            if after.get(name, digest) != digest:
                yield f"output `{name}`: {_WIRED}"
                others = True
    if not others and (first := first_difference(*models)):
        yield first


_Digests = Mapping[str, tuple[str, tuple[int, ...], str]]


def _weights(before: _Digests, after: _Digests) -> Iterator[str]:
    """Initializers by name and digest: renamed, gone, new, with a different shape or other values."""
    gone = {name: each for name, each in before.items() if name not in after}
    new = {each: name for name, each in after.items() if name not in before}
    renamed = {name: new[each] for name, each in gone.items() if each in new}
    yield from _several("renamed", [f"{old} -> {now}" for old, now in renamed.items()])
    yield from _several("gone", [name for name in gone if name not in renamed])
    yield from _several("new", [name for name in new.values() if name not in renamed.values()])
    both = [(name, before[name], after[name]) for name in before if name in after and before[name] != after[name]]
    shapes = [f"{name} {_port(was)} -> {_port(now)}" for name, was, now in both if was[:2] != now[:2]]
    yield from _several("of a different type or shape", shapes)
    yield from _several("with different values", [name for name, was, now in both if was[:2] == now[:2]])


def _port(entry: tuple[str, tuple[int, ...], str]) -> str:
    return f"{entry[0]}{list(entry[1])}"


def _several(what: str, names: list[str]) -> Iterator[str]:
    from pytest_modelcheck.result import listed

    if names:
        yield f"{len(names)} {what}: {listed(names, _ALIKE)}"
