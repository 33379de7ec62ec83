"""`ExportKey`: everything that could change what an export gives. When in doubt, export again."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

import torch
from torch.onnx import _flags
from torch.onnx._internal.torchscript_exporter import registration

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.export.describe import Describer
from pytest_modelcheck.export.describe_code import functions_digest, visit_replaced
from pytest_modelcheck.export.sources import OWN_FILES, conftests, file_digests, is_library, with_imports
from pytest_modelcheck.model_case import ModelCase

_LIBRARIES = ("torch", "onnx", "onnx_ir", "onnxscript", "numpy")
_SHOWN_PER_SECTION = 5
_CODE_ENTRIES = ("class ", "build", "inputs", "replaced ", "environment variable ")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExportKey:
    """What an exported file depends on, as texts that are equal in two runs exactly when the things are.

    Attributes:
        options: Exporter, opset, dynamic axes, output names, export options, and torch's global switches.
        versions: Python and every distribution that takes part -> version.
        sources: Source file -> digest of its content.
        model: Path inside the module -> type, attribute or content of a parameter or buffer.
        code: Path inside `build` and `inputs` -> bytecode, constants, what they close over; the methods of all classes;
            environment variables that the code reads; functions of torch that were replaced.
        inputs: Example input -> dtype, shape and content.
        uncacheable: Why this key cannot be trusted to be equal only for equal models; empty where it can.
    """

    options: Mapping[str, str]
    versions: Mapping[str, str]
    sources: Mapping[str, str]
    model: Mapping[str, str]
    code: Mapping[str, str]
    inputs: Mapping[str, str]
    uncacheable: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ExportKey({self.digest})"

    @property
    def digest(self) -> str:
        """A name for the key: equal for equal keys in any process."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:32]

    def as_json(self) -> dict[str, object]:
        """The key as plain JSON types; `from_json` reads it back."""
        return {
            item.name: list(value) if isinstance(value := getattr(self, item.name), tuple) else dict(value)
            for item in fields(self)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> ExportKey:
        """Read what `as_json` wrote.

        Raises:
            TypeError: if parts are missing or of another kind.
        """
        parts = {name: tuple(part) if isinstance(part, list) else part for name, part in data.items()}
        return cls(**parts)  # type: ignore[arg-type]

    def difference(self, other: ExportKey) -> tuple[str, ...]:
        """What differs from this key (recorded earlier) to `other` (now), in words; empty for equal keys."""
        found: list[str] = []
        for section, say in _WORDS.items():
            before, after = getattr(self, section), getattr(other, section)
            changed = [name for name in (*before, *after) if before.get(name) != after.get(name)]
            changed = list(dict.fromkeys(changed))
            found += [say(name, before.get(name), after.get(name)) for name in changed[:_SHOWN_PER_SECTION]]
            if len(changed) > _SHOWN_PER_SECTION:
                found.append(f"{len(changed) - _SHOWN_PER_SECTION} more differences in {section}")
        found += [f"cannot be compared: {reason}" for reason in other.uncacheable]
        return tuple(found)


def _from_to(name: str, before: str | None, after: str | None) -> str:
    return f"{name} {before or '(none)'} -> {after or '(none)'}"


def _source(name: str, before: str | None, after: str | None) -> str:
    return f"source of {name} " + ("is new" if before is None else "is gone" if after is None else "changed")


def _content(name: str, before: str | None, after: str | None) -> str:
    """A tensor by its name, with dtype and shape where they differ; anything else with its two texts."""
    (kind, digest), (other_kind, other_digest) = _split(before), _split(after)
    if digest and other_digest:
        return f"weight {name} changed" + ("" if kind == other_kind else f" ({kind} -> {other_kind})")
    return _from_to(name, before, after)


def _split(text: str | None) -> tuple[str, str]:
    head, _, digest = (text or "").rpartition(" ")
    return (head, digest) if len(digest) == 32 and head.endswith("]") else (text or "", "")


def _code(name: str, before: str | None, after: str | None) -> str:
    if before is not None and after is not None and len(before) == len(after) == 32:
        return f"{name} changed" if name.startswith("the functions") else f"code of {name} changed"
    return _from_to(name, before, after)


_WORDS: dict[str, Callable[[str, str | None, str | None], str]] = {
    "versions": _from_to,
    "options": _from_to,
    "sources": _source,
    "model": _content,
    "code": _code,
    "inputs": lambda name, before, after: _content(name, before, after).replace("weight ", "example input ", 1),
}


def export_key(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> ExportKey:
    """The key of exporting `module`, built of `case`, with these example inputs."""
    describer = Describer()
    for path, value in (
        ("model", module),
        ("example", {**inputs.as_dict(), "<arguments>": dict(inputs.arguments or {})}),
        ("options", {**_torch_switches(), **_options(case)}),
        ("build", case.build),
        ("inputs", case.inputs),
    ):
        describer.describe(path, value)
    visit_replaced(describer)
    files, unknown_imports = with_imports([*OWN_FILES, *describer.files])
    uncacheable = {**describer.undescribed, **unknown_imports}
    return ExportKey(
        options=_below("options", describer.entries),
        versions=library_versions(*describer.classes),
        sources=file_digests(files | conftests(files)),
        model=_below("model", describer.entries),
        code={
            **{path: text for path, text in describer.entries.items() if path.startswith(_CODE_ENTRIES)},
            **_functions(describer.classes, files),
        },
        inputs=_below("example", describer.entries),
        uncacheable=tuple(f"{path}: {why}" for path, why in uncacheable.items()),
    )


def _below(root: str, entries: Mapping[str, str]) -> dict[str, str]:
    """The entries below `root`, without that prefix; the model's own type stays under ``"model"``."""
    return {
        path.removeprefix(f"{root}."): text
        for path, text in entries.items()
        if path.startswith(f"{root}.") or path == root == "model"
    }


def _functions(classes: Iterable[type], files: Iterable[Path]) -> dict[str, str]:
    """Module -> digest of its functions: where the model's classes come from, and every file of the user's."""
    user_files = {str(file) for file in files if not is_library(str(file))}
    names = {"torch.nn.functional", *(kind.__module__ for kind in classes)}
    names |= {
        name
        for name, module in list(sys.modules.items())
        if name != "__main__" and str(getattr(module, "__file__", None)) in user_files
    }
    modules = {name: sys.modules[name] for name in sorted(names) if name in sys.modules}
    return {f"the functions of {name}": functions_digest(module) for name, module in modules.items()}


def _options(case: ModelCase) -> dict[str, object]:
    return {
        "exporter": case.exporter,
        "opset": case.opset,
        "dynamic_axes": {name: dict(axes) for name, axes in (case.dynamic_axes or {}).items()},
        "output_names": None if case.output_names is None else list(case.output_names),
        **(_custom_symbolics() if case.exporter == "torchscript" else {}),
        **{f"export_options.{name}": value for name, value in case.export_options.items()},
    }


def _custom_symbolics() -> dict[str, object]:
    """What the user registered for the torchscript exporter by `torch.onnx.register_custom_op_symbolic`."""
    groups = registration.registry._registry
    return {
        f"custom symbolic {name} {opset}": function
        for name, group in sorted(groups.items())
        for opset, function in sorted(group._functions._overrides.items())
    }


def _torch_switches() -> dict[str, object]:
    """Global state of torch that a trace or a translation reads."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "mha fastpath": torch.backends.mha.get_fastpath_enabled(),
        **{name.lower(): value for name, value in vars(_flags).items() if name.isupper()},
    }


def library_versions(*classes: type) -> dict[str, str]:
    """Python, the exporting libraries, and every distribution that owns one of `classes` -> version."""
    owners = {name for kind in classes for name in _distributions().get(kind.__module__.split(".")[0], ())}
    versions = {"python": platform.python_version()}
    for name in sorted({*_LIBRARIES, *owners}):
        versions[name] = _version(name)
    return versions


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
