"""What a check takes from an earlier run instead of computing it again.

Only results of a kept export are kept, in its folder, under everything else that decides them; of the accuracy only a
sweep that passed, of the latency only a ratio that met its bound: a failure is always measured again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import onnx_ir as ir

from pytest_modelcheck.accuracy import SweepReport
from pytest_modelcheck.attribution import Attribution
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.export import Exported
from pytest_modelcheck.fusion import FusionReport
from pytest_modelcheck.graph.files import read_model, save_beside
from pytest_modelcheck.hierarchy import PipelineHierarchy
from pytest_modelcheck.latency import PairedLatency
from pytest_modelcheck.pipeline import AnyPass, as_passes
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.store import (
    Manifest,
    Store,
    Watch,
    file_digest,
    numeric_environment,
    own_code,
    temporary_folder,
    until_exit,
)
from pytest_modelcheck.targets import Target

_OWN_PASSES = f"{__name__.partition('.')[0]}.passes."
_ROOMS = {"passes": ("passes", "attribution.py")}
"""The rooms that make a result, and with them all that they import, where it is not the one of the same name."""

_shared: weakref.WeakKeyDictionary[Any, tuple[Manifest, FusionReport]] = weakref.WeakKeyDictionary()
"""The latest fusion report of the cases of each `build`, and what it was made from."""

_T = TypeVar("_T")


@dataclass(slots=True)
class Reuse:
    """The kept results of one export.

    Attributes:
        exported: The export.
        active: Whether anything is looked for and kept; without it everything is computed.
        taken: What was taken from an earlier run, in words.
        notes: Why something could not be kept.
    """

    exported: Exported
    active: bool
    taken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        folder = self.exported.path.parent
        return Store(folder, folder.parent, notes=self.notes)

    def attribution(
        self,
        passes: Sequence[AnyPass] | None,
        target: Target,
        make: Callable[[], tuple[Attribution, PipelineHierarchy]],
    ) -> tuple[Attribution, PipelineHierarchy, Path]:
        """The attribution, the owners through its passes, and the file of its optimized graph.

        The file shares the weights of the export.
        """
        chosen = as_passes(passes, target)
        own = all(type(pass_).__module__.startswith(_OWN_PASSES) for pass_ in chosen)
        key = self._key("passes", target=target, passes=[repr(pass_) for pass_ in chosen])
        path = self.store.place("passes", key).with_suffix(".onnx")
        if not (self.active and own):
            made, owners = make()
            return made, owners, self._for_this_run(made.optimized)
        graphs: list[ir.Model] = []

        def run(folder: Path) -> tuple[Attribution, PipelineHierarchy]:
            made, owners = make()
            graphs.append(made.optimized)
            return dataclasses.replace(made, optimized=None), owners  # type: ignore[arg-type]  # read from its file

        def saved(value: tuple[Attribution, PipelineHierarchy]) -> bool:
            with contextlib.suppress(OSError):  # a full disk: nothing is kept
                return not value[0].errors and save_beside(graphs[0], path).is_file()
            return False

        entry = self.store.get("passes", key, run, saved)
        self.taken += ["passes"] * entry.taken
        graph = graphs[0] if graphs else read_model(path)
        made = dataclasses.replace(entry.value[0], optimized=graph)
        return made, entry.value[1], path if entry.kept else self._for_this_run(graph)

    def _for_this_run(self, model: ir.Model) -> Path:
        """A file of a graph that is not kept, until the process ends: beside our export, whose weights it shares."""
        with contextlib.suppress(OSError):
            key = {"process": secrets.token_hex(8)}
            if self.active:
                until_exit(self.store.making("graph", key))
            if self.exported.case.onnx_path is None:
                return save_beside(model, self.store.place("graph", key).with_suffix(".onnx"))
        return save_beside(model, temporary_folder() / "model.onnx")

    def fusion(self, make: Callable[[], FusionReport], given: Callable[[], Mapping[str, object]]) -> FusionReport:
        """The fusion report of the default rules; the cases of one model, by several exporters, share it.

        Args:
            make: Captures and partitions.
            given: What the export was handed, by name: see `handed_in`.
        """
        return self._reused("fusion", {}, lambda: self._shared(make, given))

    def _shared(self, make: Callable[[], FusionReport], given: Callable[[], Mapping[str, object]]) -> FusionReport:
        case, key = self.exported.case, self.exported.key
        if case.build in _shared:
            kept, report = _shared[case.build]
            if report.name == case.name and not Watch(case.build, _of_torch(given())).changes(kept):
                return report
        report = make()
        _shared[case.build] = (dataclasses.replace(key, values=_of_torch(key.values)), report)
        return report

    def accuracy(
        self, make: Callable[[], SweepReport], graph: Path, drawn: Callable[[], Sequence[str]], **settings: object
    ) -> SweepReport:
        """The sweep over the export and `graph`, a file of `attribution`, under these settings.

        It depends on the inputs of every seed, whose digests `drawn` gives, and on what the forward read with them.
        """
        if not self.active:
            return make()
        case = self.exported.case
        try:
            digests = {f"inputs({seed})": digest for seed, digest in enumerate(drawn())}
            watch = Watch(case.build, {"inputs": case.inputs, **digests})
        except ModelCheckError:  # inputs that cannot be drawn: the sweep says it
            return make()
        return self._reused("accuracy", self._on(graph, settings), make, lambda report: report.passed, watch)

    def latency(self, make: Callable[[], PairedLatency], graph: Path, **settings: object) -> PairedLatency:
        """The time of the export over that of `graph`, a file of `attribution`, under these settings.

        Both files are the same, byte for byte, and so are onnxruntime, the processor and the code that measures: their
        ratio, unlike their times, is a fact about them that a second measurement only repeats.
        """
        return self._reused("latency", self._on(graph, settings), make, lambda latency: latency.verdict is Verdict.PASS)

    def _on(self, graph: Path, settings: dict[str, object]) -> dict[str, object]:
        """Settings, the session's included, and the content of a file that `save_beside` wrote, with its weights."""
        case = self.exported.case
        files = (graph, graph.with_name(f"{graph.name}.data")) if self.active else ()
        operators = [file_digest(Path(library)) for library in case.custom_ops if self.active]
        session = {"options": dict(case.session_options), "operators": operators}
        return {
            "graph": {file.name: file_digest(file) for file in files if file.exists()},
            "session": session,
            **settings,
        }

    def _key(self, kind: str, **parts: object) -> dict[str, object]:
        code = own_code(*_ROOMS.get(kind, (kind,)))
        return {"export": self.exported.key.digest, "code": code, "environment": numeric_environment(), **parts}

    def _reused(
        self,
        kind: str,
        parts: dict[str, object],
        make: Callable[[], _T],
        keep_if: Callable[[_T], bool] = lambda made: True,
        watch: Watch | None = None,
    ) -> _T:
        if not self.active:
            return make()
        entry = self.store.get(kind, self._key(kind, **parts), lambda folder: make(), keep_if, watch)
        if entry.taken:
            self.taken.append(kind)
        result: _T = entry.value
        return result


def _of_torch(given: Mapping[str, _T]) -> dict[str, _T]:
    """Of what an export is handed, what decides its torch graph, too."""
    return {name: value for name, value in given.items() if not name.startswith("options.") or "output_names" in name}
