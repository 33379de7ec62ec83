"""`ModelCheck`: what the fixture `modelcheck` hands out."""

from __future__ import annotations

from typing import Any

from pytest_modelcheck.check.parity_checks import ParityChecks
from pytest_modelcheck.report.figures import measured_figures


class ModelCheck(ParityChecks):
    """One model case under check: see the layers below for its parts, and `CaseCheck` for its arguments."""

    def summary(self) -> dict[str, Any]:
        """Everything measured so far, as plain data; what was not measured is not there."""
        made = self.__dict__  # a cached property stands here once it was computed
        figures = {"name": self.label, "exporter": self.exporter, "target": self.target, "versions": self.versions}
        figures |= {"parity": self._parity} if self._parity else {}
        return figures | measured_figures(
            export=made.get("export"),
            attribution=self.attribution if "_attributed" in made else None,
            hierarchy=made.get("hierarchy"),
            pipeline_hierarchy=self.pipeline_hierarchy if "_attributed" in made else None,
            fusion=made.get("fusion"),
            sweep=list(self._sweeps.values())[-1] if self._sweeps else None,
            latency=self._latency,
            regression=self._regression,
            throughput=self._throughput,
            seconds=self.seconds,
            reused=made["_reuse"].taken if "_reuse" in made else (),
        )
