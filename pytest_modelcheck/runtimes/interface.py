"""The one interface behind which every runtime lies: how a model is run, what a runtime can do, an open session."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes.environments import Environment
from pytest_modelcheck.runtimes.models import Model, SessionError, reason
from pytest_modelcheck.runtimes.ports import Array, Port, Signature


class RuntimeMissingError(ModelCheckError):
    """A runtime that is not installed; the message is the command that installs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a model is run.

    Attributes:
        runtime: Name of an entry of `RUNTIMES`.
        provider: What computes, by its short name: ``"CPU"``, ``"CUDA"``.
        optimizer: False runs the graph as it is written, True after the runtime's own graph optimizer, at its default
            level. A runtime that cannot leave it out always runs it.
        threads: Fixed, because the order of additions depends on it.
        left_out: Rewrites of the runtime's own optimizer to leave out, by exact name.
        spare_memory: For one run of a large model, not for many: map the weights that lie in a file instead of
            copying them, and give every value back as soon as nothing reads it. The file must still be the one that
            the model was read from. With `optimizer` off, onnxruntime packs no weights for its kernels then, which
            rounds differently: compare such a session with one of its kind.
        custom_ops: Files of custom operator libraries to register; onnxruntime only, as `config`.
        config: Entries of the session's configuration.
        shapes: Input -> its sizes, for a runtime that fixes them (`Runtime.freezes`).
    """

    runtime: str = "onnxruntime"
    provider: str = "CPU"
    optimizer: bool = False
    threads: int = 1
    left_out: tuple[str, ...] = ()
    spare_memory: bool = False
    custom_ops: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def of(self, case: ModelCase) -> How:
        """The same with what the sessions of this case need."""
        libraries = tuple(str(Path(library).absolute()) for library in case.custom_ops)
        return replace(self, custom_ops=libraries, config=tuple(sorted(case.session_options.items())))


AS_WRITTEN = How()
"""onnxruntime on the CPU, one thread, its own optimizer off."""

AT_DEFAULT_LEVEL = How(optimizer=True)
"""onnxruntime on the CPU, one thread, as its users get it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """A model that is loaded into a runtime; checks what it is fed.

    Attributes:
        signature: What it takes and gives.
        how: How it was opened.
        start: Checked arrays by name -> a function that only runs, whose result is the runtime's own.
        as_array: One of those results as an array.
        label: What messages call the runtime.
        held: Memory that the runtime reads and does not own.
        weights: Name -> content of each constant of the graph as it was converted; None where there is no conversion.
        fixed: Why it has fixed sizes where dynamic ones were asked for.
    """

    signature: Signature
    how: How
    start: Callable[[Mapping[str, Array]], Callable[[], Sequence[Any]]]
    as_array: Callable[[Any, Port], Array] = lambda value, port: np.asarray(value)
    label: str = ""
    held: tuple[Any, ...] = ()
    weights: Callable[[], Mapping[str, Array]] | None = None
    fixed: str = ""

    @property
    def name(self) -> str:
        """What findings call it, e.g. ``"exported"``."""
        return self.signature.name

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.signature.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.signature.outputs

    @property
    def overridable(self) -> tuple[Port, ...]:
        return self.signature.overridable

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """One inference: output name -> array, in graph order. A sequence output gives ``name.0``, ``name.1``, ...

        Raises:
            FeedError: if `feeds` does not fit the inputs; the message names each misfit.
            SessionError: if the runtime fails, or an output has a type that has no array form.
        """
        collected: dict[str, Array] = {}
        for port, value in zip(self.outputs, self.bind(feeds)(), strict=True):
            if isinstance(value, list):
                collected |= {f"{port.name}.{index}": self._array(item, port) for index, item in enumerate(value)}
            else:
                collected[port.name] = self._array(value, port)
        return collected

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], Sequence[Any]]:
        """Check `feeds` once and return a function that only runs: what is timed. Its result is the runtime's own.

        Raises:
            FeedError: as `run`.
        """
        return partial(_run, self, self.start(self.signature.checked(feeds)))

    def _array(self, value: Any, port: Port) -> Array:
        try:
            return self.as_array(value, port)
        except TypeError:
            raise SessionError(f"{self.name}: output {port.name!r} is {port.type}, which has no array form") from None


def _run(session: Session, run: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    try:
        return run()
    except SessionError:
        raise
    except Exception as error:  # the errors of runtimes share no base class but Exception
        raise SessionError(f"{session.name}: {session.label} failed to run the model: {reason(error)}") from error


@dataclass(frozen=True, slots=True)
class NodeTime:
    """Milliseconds of each run of one node, by the runtime's own profile."""

    name: str
    op: str
    ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Optimized:
    """What a runtime's own optimizer makes of a model.

    Attributes:
        model: The graph as the runtime runs it.
        rewrites: Name of each rewrite that ran, in order, and whether it changed the graph; () where it does not say.
    """

    model: onnx.ModelProto
    rewrites: tuple[tuple[str, bool], ...]


Quantizer = Callable[[Path, Path, Sequence[Mapping[str, Any]]], None]
"""(float file, file to write, feeds for calibration); raises what its tool raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs a graph. Loading its file imports nothing of the runtime: its functions do, when they are called.

    Attributes:
        name: What `How` calls it.
        package: The module it is imported as; empty where it lies in an environment of its own.
        install: The one command that installs it.
        open: (model, how, name) -> session. `name` is what messages call the model. Raises `SessionError` if the model
            cannot be read or run, with the runtime's own reason.
        label: What messages call it; default: `name`.
        providers: Short names of what can compute here, e.g. ``("CPU", "CUDA")``.
        dtypes: Element types of inputs and outputs that it takes, as in `Port.element`.
        domains: Domains beyond the standard that it has operators in, known without it.
        operators: Domain -> operators that it has beyond the standard.
        levels: Levels of its own graph optimizer; () where it has none that can be turned off.
        optimize: (model, how, level, whether with weights) -> the graph as it runs it; None where it does not give it.
        rewrites: A model -> the rewrites of its optimizer that change it, in order, as `How.left_out` takes them. A
            group is followed by nothing: its members are in `members`.
        members: Group of rewrites -> its members.
        profile: (file, feeds, how, runs) -> time of each node; None where it does not tell.
        executed: (file, how) -> operator of the graph as it runs it -> how often; None where it does not tell.
        quantizers: Name -> its tool that makes a graph of less precision.
        environment: Where it is installed if it cannot be imported here. It is asked for no second opinion then.
        freezes: Whether it fixes the sizes of the inputs when it loads a model.
        of_module: Whether it loads what torch.export makes of the module, instead of an ONNX graph.
    """

    name: str
    package: str
    install: str
    open: Callable[[Model, How, str], Session]
    label: str = ""
    providers: Callable[[], tuple[str, ...]] = lambda: ("CPU",)
    dtypes: frozenset[str] = frozenset()
    domains: tuple[str, ...] = ()
    operators: Callable[[], Mapping[str, frozenset[str]]] = dict
    levels: tuple[str, ...] = ()
    optimize: Callable[[Path | onnx.ModelProto, How, str, bool], Optimized] | None = None
    rewrites: Callable[[ir.Model], tuple[str, ...]] | None = None
    members: Mapping[str, tuple[str, ...]] | None = None
    profile: Callable[[Path, Mapping[str, Any], How, int], tuple[NodeTime, ...]] | None = None
    executed: Callable[[Path, How], Mapping[str, int]] | None = None
    quantizers: Mapping[str, Quantizer] = field(default_factory=dict)
    environment: Environment | None = None
    freezes: bool = False
    of_module: bool = False

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.label or self.name

    @property
    def installed(self) -> bool:
        if self.environment is not None:
            return self.environment.installed
        return importlib.util.find_spec(self.package) is not None

    def require(self) -> None:
        """Raises RuntimeMissingError if it is not installed."""
        if not self.installed:
            raise RuntimeMissingError(f"{self.title} is not installed: {self.install}")

    def version(self) -> str:
        """The version that is installed.

        Raises:
            RuntimeMissingError: if it is not.
        """
        self.require()
        if self.environment is not None:
            return self.environment.version
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:  # a distribution of another name: onnxruntime-gpu
            return str(importlib.import_module(self.package).__version__)
