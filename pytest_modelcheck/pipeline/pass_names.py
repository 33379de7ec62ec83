"""Passes by name: those of this package, known optimizers of others, and ``module:attribute`` of anybody's."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.foreign import FOREIGN_PASSES
from pytest_modelcheck.passes import PASSES, TARGET_PASSES, Target, passes_for

AnyPass = ir.passes.PassBase | Callable[[onnx.ModelProto], onnx.ModelProto]
"""One of ours (`passes.Pass`), any of onnx_ir's, or any function over protos."""


def pass_name(pass_: AnyPass) -> str:
    """The column name of a pass: its `name`, else its function or class name."""
    name = getattr(pass_, "name", None) or getattr(pass_, "__name__", None) or type(pass_).__name__
    return str(name)


def known_pass_names(names: Sequence[str] = ()) -> tuple[str, ...]:
    """Every name an expectation may use: all passes of this package, and those that the pipeline names besides."""
    own = tuple(pass_.name for pass_ in (*PASSES, *TARGET_PASSES))
    return own + tuple(pass_name(pass_) for pass_ in resolve_passes(names) or () if pass_name(pass_) not in own)


def resolve_passes(names: Sequence[str]) -> tuple[AnyPass, ...] | None:
    """The pipeline that these names make: of this package, of `FOREIGN_PASSES`, or ``module:attribute`` of anybody's.

    Returns:
        None for no names: the default pipeline.

    Raises:
        OptionError: naming the pass that does not exist, with the close match, or the package that is not installed.
    """
    return tuple(_resolve(name.strip()) for name in names if name.strip()) or None


def as_passes(passes: Sequence[AnyPass | str] | None, target: Target = "portable") -> tuple[AnyPass, ...]:
    """Passes, or their names, as passes; None is the default pipeline of `target`.

    Raises:
        OptionError: as `resolve_passes`.
    """
    if passes is None:
        return tuple(passes_for(target))
    return tuple(_resolve(pass_) if isinstance(pass_, str) else pass_ for pass_ in passes)


def _resolve(name: str) -> AnyPass:
    foreign = {pass_.name: pass_ for pass_ in FOREIGN_PASSES}
    own: dict[str, AnyPass] = {**{pass_.name: pass_ for pass_ in (*PASSES, *TARGET_PASSES)}, **foreign}
    if name in foreign:
        foreign[name].require()
    if name in own:
        return own[name]
    if ":" not in name:
        close = difflib.get_close_matches(name, own, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(own)}; or write module:attribute"
        raise OptionError(f"pass {name!r} is unknown; {hint}")
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        made = found() if isinstance(found, type) else found
    except Exception as error:  # anybody's module and class: whatever they raise, the option names them
        raise OptionError(f"pass {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, ir.passes.PassBase) and not callable(made):
        raise OptionError(f"pass {name!r} is a {type(made).__name__}: neither an onnx_ir pass nor a function")
    resolved: AnyPass = made
    return resolved
