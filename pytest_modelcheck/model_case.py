"""`ModelCase`: what is tested. Torch-free, so that a conftest can declare cases without loading anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.dimensions import check_axes
from pytest_modelcheck.errors import ModelCaseError

if TYPE_CHECKING:
    import torch

Exporter = Literal["dynamo", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")

Provider = Literal["CPU", "CUDA"]
PROVIDERS: tuple[Provider, ...] = ("CPU", "CUDA")
"""Execution providers of onnxruntime that a case or a marker can name."""

BUILD_SEED = 0
"""The torch seed under which `build` is called: the same weights in every run and every process."""

EXAMPLE_SEED = 0
"""The seed whose inputs are the export's example inputs."""


@dataclass(frozen=True, eq=False)
class ModelCase:
    """A model, its example inputs and its export options.

    Args:
        name: Short and unique, e.g. ``"bert-base"``; it appears in every report.
        build: ``() -> torch.nn.Module``. Called under a fixed seed, put in eval mode by us.
        inputs: ``(seed: int) -> dict[str, Tensor] | tuple[Tensor, ...]``: the forward's keyword or positional inputs,
            nested where it takes them so, a `DynamicCache` among them. With a second parameter ``sizes`` (dimension ->
            size, empty for the author's own) it is asked for other sizes of dynamic axes, instead of cutting and
            repeating what it drew.
        exporter: ``"dynamo"`` (torch.export based) or ``"torchscript"`` (the legacy tracer).
        opset: ONNX opset version; None takes the exporter's default.
        dynamic_axes: input name -> {axis: dimension name}, e.g. ``{"input_ids": {0: "batch", 1: "sequence"}}``.
            Equal names are one dimension; a size that follows from others is an expression of their names,
            ``{"attention_mask": {1: "past + sequence"}}`` (`dimensions`). An argument that holds several tensors
            stands for all of them, ``{"past_key_values": {0: "batch", 2: "past"}}``.
        dynamic_shapes: Instead of `dynamic_axes`, as ``torch.export`` takes it: by argument, nested as the inputs are.
        output_names: Which outputs to export, and their names. For a dict or dataclass output they pick by key
            or field; for a tuple they name the elements in order.
        export_options: Further keyword arguments for ``torch.onnx.export``.
        custom_ops: Shared libraries with custom operators, which every onnxruntime session of the case registers.
        session_options: onnxruntime's session configuration, ``{"session.disable_prepacking": "1"}``.
        provider: What computes the graphs in onnxruntime where a marker names nothing: ``"CPU"`` or ``"CUDA"``.
        onnx_path, input_names: Set by `from_onnx` only.

    Example:
        ``ModelCase("bert", build, inputs, dynamic_axes={"input_ids": {0: "batch", 1: "sequence"}})``, where
        ``inputs(seed)`` gives ``{"input_ids": ids}``, ids (2, 16) int64.
    """

    name: str
    build: Callable[[], torch.nn.Module] | None
    inputs: Callable[[int], Any] | None
    exporter: Exporter = field(default="dynamo", kw_only=True)
    opset: int | None = field(default=None, kw_only=True)
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = field(default=None, kw_only=True)
    dynamic_shapes: Any = field(default=None, kw_only=True)
    output_names: Sequence[str] | None = field(default=None, kw_only=True)
    export_options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    custom_ops: Sequence[str | Path] = field(default=(), kw_only=True)
    session_options: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    provider: Provider = field(default="CPU", kw_only=True)
    onnx_path: Path | None = field(default=None, kw_only=True)
    input_names: Sequence[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ModelCaseError(f"ModelCase name must be a non-empty string, got {self.name!r}")
        if self.exporter not in EXPORTERS:
            raise ModelCaseError(
                f"ModelCase {self.name!r}: exporter {self.exporter!r} is unknown; choose one of {', '.join(EXPORTERS)}"
            )
        try:
            check_axes(self.dynamic_axes or {})
        except ModelCaseError as error:
            raise ModelCaseError(f"ModelCase {self.name!r}: {error}") from None
        self._check_shapes()
        self._check_session()
        if self.onnx_path is None:
            for label, value in (("build", self.build), ("inputs", self.inputs)):
                if not callable(value):
                    raise ModelCaseError(
                        f"ModelCase {self.name!r}: {label} must be callable, got {type(value).__name__}; "
                        f"wrap it in a function, or use ModelCase.from_onnx for a file"
                    )
        elif self.build is not None and not _builds(self.build):
            raise ModelCaseError(
                f"ModelCase {self.name!r}: module must be a function that builds the torch module, "
                f"got {type(self.build).__name__}; write module=lambda: ..."
            )

    def _check_shapes(self) -> None:
        if self.dynamic_shapes is None:
            return
        if self.dynamic_axes is not None:
            raise ModelCaseError(f"ModelCase {self.name!r}: give dynamic_axes or dynamic_shapes, not both")
        if not isinstance(self.dynamic_shapes, Mapping | list | tuple):
            raise ModelCaseError(
                f"ModelCase {self.name!r}: dynamic_shapes must be a dict by argument, or a tuple in their order, as "
                f"torch.export takes it, got {self.dynamic_shapes!r}"
            )

    def _check_session(self) -> None:
        if self.provider not in PROVIDERS:
            raise ModelCaseError(
                f"ModelCase {self.name!r}: provider {self.provider!r} is unknown; choose one of {', '.join(PROVIDERS)}"
            )
        if isinstance(self.custom_ops, str | Path):
            raise ModelCaseError(
                f"ModelCase {self.name!r}: custom_ops must be a list of files, got {self.custom_ops!r}"
            )
        for library in self.custom_ops:
            if not Path(library).is_file():
                raise ModelCaseError(f"ModelCase {self.name!r}: custom_ops: there is no file {str(library)!r}")
        for key, value in self.session_options.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ModelCaseError(
                    f"ModelCase {self.name!r}: session_options[{key!r}] must be text, got {value!r}: onnxruntime's "
                    "configuration entries are pairs of strings"
                )

    @classmethod
    def from_onnx(
        cls,
        path: str | Path,
        inputs: Callable[[int], Any] | None = None,
        *,
        module: Callable[[], torch.nn.Module] | None = None,
        name: str | None = None,
        custom_ops: Sequence[str | Path] = (),
        session_options: Mapping[str, str] | None = None,
        provider: Provider = "CPU",
    ) -> ModelCase:
        """A model that is an .onnx file, alone or beside the torch module that it was made of.

        ```python
        ModelCase.from_onnx("shipped.onnx")
        ModelCase.from_onnx("shipped.onnx", module=build)   # accuracy, module table and numbers as for an export
        ```

        Args:
            path: The file. It is read later, when something about it is asked for.
            inputs: ``seed -> {input name: array}``; with a `module` what its forward takes, as for any case. None
                draws them from the file's signature.
            module: ``() -> torch.nn.Module`` with the weights that the file should have. Its inputs and outputs are
                matched with the file's by name, and where names differ in order (`calling.file_names`).
            name: Defaults to the file's stem.
            custom_ops, session_options, provider: See `ModelCase`.

        Raises:
            ModelCaseError: if `module` is a module, not a function that builds it.
        """
        path = Path(path)
        return cls(
            name or path.stem,
            module,
            inputs,
            onnx_path=path,
            custom_ops=custom_ops,
            session_options=session_options or {},
            provider=provider,
        )


def _builds(value: object) -> bool:
    """Whether `value` is called to get a module. A module itself is callable, too: it would run its forward."""
    return callable(value) and (isinstance(value, type) or not hasattr(value, "named_parameters"))
