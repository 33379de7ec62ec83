"""Another implementation that a module offers of its own, where an exporter refuses the one it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from pytest_modelcheck.export.time_limit import TimeLimitError

_SWITCHES = (("experts_implementation", "batched_mm"), ("attn_implementation", "eager"))
"""``set_X(name)`` of a module whose ``config`` has ``_X``, and the name to try. transformers' mixtures of experts use
``grouped_mm``, for which neither exporter has an operator (``eager`` loops over the experts that the data hit); its
attention uses torch's function, whose grouped queries torchscript does not take."""


def working_alternative(module: torch.nn.Module, write: Callable[[], None]) -> str:
    """The call that makes `write` succeed, empty for none: each is tried, and the module is left as it was found."""
    for switch, choice in _SWITCHES:
        for owner in module.modules():
            set_to, before = getattr(owner, f"set_{switch}", None), _chosen(owner, switch)
            if set_to is None or set(before.values()) <= {choice}:
                continue
            if _works(partial(set_to, choice)):
                works = _works(write)
                set_to(before)
                if works:
                    return f'set_{switch}("{choice}") on the {type(owner).__name__}'
            break
    return ""


def _chosen(owner: torch.nn.Module, switch: str) -> dict[str, str]:
    """What the module's configuration (``""``) and the parts of it choose, as ``set_X`` takes it; empty for nothing."""
    whole = getattr(owner, "config", None)
    parts = {"": whole, **{name: getattr(whole, name, None) for name in getattr(whole, "sub_configs", ())}}
    return {name: chosen for name, part in parts.items() if (chosen := getattr(part, f"_{switch}", None)) is not None}


def _works(call: Callable[[], None]) -> bool:
    try:
        call()
    except (Exception, SystemExit, TimeLimitError):
        return False
    return True
