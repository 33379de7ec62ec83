"""What `init` is asked to test: a function that builds a module, an .onnx file, or a model of a library by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from pytest_modelcheck.scaffold.target import Target, TargetError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def read_target(text: str, *, inputs: str | None = None, tiny: bool = False) -> Target:
    """What `text` names: ``package.module:build``, ``model.onnx``, ``hf:bert-base-uncased``,
    ``timm:convnext_tiny``, ``torchvision:resnet50``.

    Args:
        text: As it was typed.
        inputs: ``package.module:function``; default: a function ``inputs`` beside ``build``.
        tiny: The same architecture with small sizes, for a model by name.

    Raises:
        TargetError: if there is no such model, or it cannot be called without arguments.
    """
    library, colon, name = text.partition(":")
    if colon and library in ("hf", "timm", "torchvision"):
        from pytest_modelcheck.scaffold import named_models

        if library == "hf":
            return named_models.hugging_face(name, tiny=tiny)
        return named_models.timm(name) if library == "timm" else named_models.torchvision(name)
    if text.endswith(".onnx"):
        if not Path(text).is_file():
            raise TargetError(f"{text}: there is no such file")
        path = Path(text)
        return Target(name=path.stem, source="", arguments=(), file=path)
    if not colon:
        raise TargetError(
            f"{text!r} is not a model; write package.module:build, model.onnx, hf:NAME, timm:NAME or torchvision:NAME"
        )
    build, given = _function(text), inputs or f"{library}:inputs"
    parameters = [each for each in inspect.signature(build).parameters.values() if each.kind not in _VARIADIC]
    needed = [each.name for each in parameters if each.default is each.empty]
    if needed:
        raise TargetError(f"{text}: needs {', '.join(needed)}; write a function without arguments that calls it")
    try:
        _function(given)
    except TargetError as error:
        raise TargetError(
            f"{error}\nwrite `def inputs(seed): ...` beside {name}, which returns the inputs of forward(), "
            f"or name such a function: --inputs=package.module:function"
        ) from None
    if given == f"{library}:inputs":
        source = f"from {library} import {name if name == 'build' else f'{name} as build'}, inputs"
    else:
        source = f"{_import(text, 'build')}\n{_import(given, 'inputs')}"
    return Target(name=library.rpartition(".")[2], source=source, arguments=("build", "inputs"))


def _function(address: str) -> Callable[..., object]:
    module, _, name = address.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise TargetError(f"{address}: cannot be imported: {error}") from None
    except AttributeError:
        raise TargetError(f"{address}: {module} has no {name}") from None
    if not callable(function):
        raise TargetError(f"{address}: is not callable, but {type(function).__name__}")
    made: Callable[..., object] = function
    return made


def _import(address: str, name: str) -> str:
    module, _, function = address.partition(":")
    return f"from {module} import {function}" + ("" if function == name else f" as {name}")
