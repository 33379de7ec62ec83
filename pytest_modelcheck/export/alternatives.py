"""Another implementation that a module offers of its own, where an exporter refuses the one it has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from pytest_modelcheck.export.time_limit import TimeLimitError

_SWITCHES = (("experts_implementation", ("batched_mm",)),)
"""``get_X()`` and ``set_X(name)`` of a module, and the names to try. transformers' mixtures of experts choose
``grouped_mm``, for which neither exporter has an operator; ``eager`` loops over the experts that the data hit."""


def working_alternative(module: torch.nn.Module, write: Callable[[], None]) -> str:
    """The call that makes `write` succeed, empty for none: each is tried, and the module is left as it was found."""
    for switch, choices in _SWITCHES:
        for owner in module.modules():
            get, set_to = (getattr(owner, f"{verb}_{switch}", None) for verb in ("get", "set"))
            if get is None or set_to is None:
                continue
            before = get()
            for choice in choices:
                if _works(partial(set_to, choice)):
                    works = _works(write)
                    set_to(before)
                    if works:
                        return f'set_{switch}("{choice}") on the {type(owner).__name__}'
            break
    return ""


def _works(call: Callable[[], None]) -> bool:
    try:
        call()
    except (Exception, SystemExit, TimeLimitError):
        return False
    return True
