"""A case against itself under other conditions: with its cache, from its saved state, against golden references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pytest_modelcheck.accuracy import Tolerances
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.calling import module_inputs
from pytest_modelcheck.check.measurements import Measurements
from pytest_modelcheck.golden import Golden, GoldenReport, check_golden
from pytest_modelcheck.runtimes import open_session
from pytest_modelcheck.torch_checks.cache import CacheParity, CacheProtocol, cache_parity
from pytest_modelcheck.torch_checks.state import StateRoundtrip, load_state, save_state, state_roundtrip


class ParityChecks(Measurements):
    """What must give the same outputs."""

    def cache_parity(
        self, protocol: CacheProtocol, *, chunks: Sequence[int], atol: Any = None, rtol: Any = None, seeds: int = 1
    ) -> CacheParity:
        """Step by step with the key/value cache against one full pass, for the seeds 0 to `seeds` - 1."""
        module = self.module
        with self._step("cache parity"):
            report = cache_parity(
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                protocol=protocol,
                chunks=chunks,
                atol=atol,
                rtol=rtol,
                seeds=range(seeds),
            )
        self._parity["cache"] = report.text
        return report

    def state_roundtrip(
        self,
        *,
        seeds: int = 3,
        older: Sequence[Path] = (),
        save: Callable[[torch.nn.Module, Path], Any] | None = None,
        load: Callable[[torch.nn.Module, Path], Any] | None = None,
    ) -> StateRoundtrip:
        """The module's state saved, loaded, damaged and compared."""
        module = self.module
        with self._step("state round trip"):
            report = state_roundtrip(
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                seeds=seeds,
                older=older,
                save=save or save_state,
                load=load or load_state,
            )
        self._parity["state"] = report.text
        return report

    def golden(self, golden: Golden, *, stage: str = "torch", atol: Any = None, rtol: Any = None) -> GoldenReport:
        """The ``torch`` module, the ``exported`` or the ``optimized`` graph against a golden reference."""
        module = self.module
        model = None if stage == "torch" else self.exported.path if stage == "exported" else self.optimized
        with self._step("golden"):
            session = None if model is None else open_session(model, name=stage)
            report = check_golden(
                golden,
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                candidate=None if session is None else lambda inputs: session.run(feeds_for(session, inputs)),
                stage=stage,
                versions=self.versions,
                tolerances=Tolerances(atol, rtol),
            )
        self._parity["golden"] = report.text
        return report
