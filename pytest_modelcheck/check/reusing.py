"""What a check takes from an earlier run instead of computing it again, and on what that depends.

Only results of a cached export are kept, beside it, under its key and everything else that decides them; of the
accuracy only a sweep that passed, of the latency only a ratio that met its bound: a failure is always measured again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_modelcheck.accuracy import SweepReport
from pytest_modelcheck.attribution import Attribution
from pytest_modelcheck.export import Exported
from pytest_modelcheck.fusion import FusionReport
from pytest_modelcheck.graph.files import load_model, save_beside
from pytest_modelcheck.hierarchy import PipelineHierarchy
from pytest_modelcheck.latency import PairedLatency
from pytest_modelcheck.pipeline import AnyPass, as_passes
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.store import KeptResults, file_digest, numeric_environment, own_code
from pytest_modelcheck.targets import Target

_OWN_PASSES = f"{__name__.partition('.')[0]}.passes."

_T = TypeVar("_T")


@dataclass(slots=True)
class Reuse:
    """The kept results of one export.

    Attributes:
        exported: The export.
        active: Whether anything is looked for and kept; without it everything is computed.
        folder: Where an optimized graph is written.
        taken: What was taken from an earlier run, in words.
    """

    exported: Exported
    active: bool
    folder: Path
    taken: list[str] = field(default_factory=list)

    @property
    def _kept(self) -> KeptResults:
        return KeptResults(self.exported.path.parent)

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
        key = self._key(target=target, passes=[repr(pass_) for pass_ in chosen])
        path = self.folder / f"{self._kept.name('passes', key)}.onnx"
        own = all(type(pass_).__module__.startswith(_OWN_PASSES) for pass_ in chosen)
        if self.active and own:
            found = self._find("passes", key, tuple)
            if found is not None:
                return dataclasses.replace(found[0], optimized=load_model(path)), found[1], path
        made, owners = make()
        save_beside(made.optimized, path)
        if self.active and own and not made.errors:
            without_graph = dataclasses.replace(made, optimized=None)  # type: ignore[arg-type]
            self._kept.keep("passes", key, (without_graph, owners), _files_of(path))
        return made, owners, path

    def fusion(self, make: Callable[[], FusionReport]) -> FusionReport:
        """The fusion report of the default rules."""
        return self._reused("fusion", self._key(), FusionReport, make, lambda report: True)

    def accuracy(self, make: Callable[[], SweepReport], graph: Path, **settings: object) -> SweepReport:
        """The sweep over the export and `graph`, a file of `attribution`, under these settings."""
        key = self._key(graph=self._content(graph), **settings)
        return self._reused("accuracy", key, SweepReport, make, lambda report: report.passed)

    def latency(self, make: Callable[[], PairedLatency], graph: Path, **settings: object) -> PairedLatency:
        """The time of the export over that of `graph`, a file of `attribution`, under these settings.

        Both files are the same, byte for byte, and so are onnxruntime, the processor and the code that measures: their
        ratio, unlike their times, is a fact about them that a second measurement only repeats.
        """
        key = self._key(graph=self._content(graph), **settings)
        return self._reused("latency", key, PairedLatency, make, lambda latency: latency.verdict is Verdict.PASS)

    def _content(self, graph: Path) -> dict[str, str]:
        """Name -> digest of a graph's files."""
        return {file.name: file_digest(file) for file in _files_of(graph)} if self.active else {}

    def _key(self, **parts: object) -> dict[str, object]:
        return {"export": self.exported.key.digest, "code": own_code(), "environment": numeric_environment(), **parts}

    def _find(self, kind: str, key: dict[str, object], expected: type[_T]) -> _T | None:
        found = self._kept.find(kind, key)
        if not isinstance(found, expected):
            return None
        self.taken.append(kind)
        return found

    def _reused(
        self,
        kind: str,
        key: dict[str, Any],
        expected: type[_T],
        make: Callable[[], _T],
        worth_keeping: Callable[[_T], bool],
    ) -> _T:
        found = self._find(kind, key, expected) if self.active else None
        if found is not None:
            return found
        made = make()
        if self.active and worth_keeping(made):
            self._kept.keep(kind, key, made)
        return made


def _files_of(graph: Path) -> list[Path]:
    """A file that `save_beside` wrote, and the weights that it added to those of the export."""
    return [file for file in (graph, graph.with_name(f"{graph.name}.data")) if file.exists()]
