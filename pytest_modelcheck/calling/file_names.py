"""A module that a shipped .onnx file was made of, called by the file's names.

Names of inputs and outputs that both have are kept. The rest is matched in order, as exporters name it: the file says
``images`` and ``logits`` where the forward takes ``x`` and returns a tensor.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase


def fits(forward: inspect.Signature, names: Sequence[str]) -> bool:
    """Whether `forward` takes arguments of these names."""
    parameters = forward.parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return takes_any or set(names) <= forward.parameters.keys()


def file_names(case: ModelCase, what: str, own: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Own name -> the file's name, for everything that the file has.

    ```
    file_names(case, "input", ("x", "mask"), ("images", "mask"))   # {"x": "images", "mask": "mask"}
    ```

    Args:
        case: Named in the error.
        what: ``"input"`` or ``"output"``, for the error.
        own: Names of the module's tensors, in its order.
        wanted: Names in the file, in its order.

    Raises:
        ModelCaseError: if names differ, and not as many are left of the module as of the file.
    """
    rest = [name for name in own if name not in wanted]
    unnamed = [name for name in wanted if name not in own]
    if unnamed and len(rest) != len(unnamed):
        raise ModelCaseError(
            f"{case.name}: the file's {what}s are {', '.join(wanted)}; the module's are {', '.join(own)}: "
            f"give them the same names, or as many in the same order"
        )
    found = {name: name for name in own if name in wanted} | dict(zip(rest, unnamed, strict=False))
    return {name: found[name] for name in own if name in found}


def named_after_file(case: ModelCase, what: str, own: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The tensors of a module under the file's names, in the file's order."""
    back = {name: mine for mine, name in file_names(case, what, tuple(own), wanted).items()}
    return {name: own[back[name]] for name in wanted}
