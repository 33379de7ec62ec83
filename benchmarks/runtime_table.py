"""The zoo in another runtime: loaded or why not, how far from torch, and what the gate costs beside plain runs.

    python -m benchmarks.runtime_table openvino                          # every model, both exporters
    python -m benchmarks.runtime_table openvino bert-base --exporter dynamo --seeds 20

One row for each graph. `cost` is the processor time of the whole check over that of the same runs of torch and of the
runtime, compiling counted on both sides; on small graphs it is noise. Exports are kept in `--cache`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

HEADER = f"{'model':24} {'exporter':11} {'graph':10} {'scaled max':>10} {'weights':>8} {'cost':>6}  what is wrong"


def rows(name: str, exporter: str, runtime: str, seeds: int, cache: Path, tolerance: float) -> list[str]:
    """The rows of one case."""
    from examples.zoo.registry import case, model
    from pytest_modelcheck.accuracy import Subject, Tolerances, check_in_runtime
    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.check.settings import own_cores
    from pytest_modelcheck.export import ExportFailure
    from pytest_modelcheck.runtimes import How, SessionError, open_session

    check = ModelCheck(case(name, exporter), cache=cache)
    if missing := model(name).missing:
        return [f"{name:24} {exporter:11} not installed: {', '.join(missing)}"]
    if isinstance(check.graphs.export, ExportFailure):
        return [f"{name:24} {exporter:11} no export: {check.graphs.export.reason}"]
    torch_side = check.source.torch
    assert torch_side is not None
    how = How(runtime=runtime, optimizer=True, threads=own_cores())
    drawn = [check.graphs.inputs(seed) for seed in range(seeds)]
    made = []
    for stage, path in (("exported", check.exported.path), ("optimized", check.graphs.optimized_path)):
        subject = Subject(
            case=check.case,
            module=torch_side.lent,
            exported=check.graphs.exported_model,
            optimized=check.graphs.optimized,
            how=how,
        )

        def plain(path: Path = path) -> None:
            session = open_session(path, how)
            for inputs in drawn:
                session.run(feeds_for(session, inputs))

        def eager() -> None:
            import torch

            with torch.no_grad():
                for inputs in drawn:
                    torch_side.module(**inputs.forward_arguments())  # type: ignore[union-attr]

        torch_side.module  # noqa: B018 - built, so that building is in neither figure
        try:
            runs = spent(plain) + spent(eager)
        except SessionError:
            runs = float("nan")
        reports: list[Any] = []
        torch_side.module  # noqa: B018
        whole = spent(
            lambda stage=stage, path=path, subject=subject, reports=reports: reports.append(  # type: ignore[misc]
                check_in_runtime(
                    {stage: path},
                    check.graphs.inputs,
                    subject,
                    seeds=range(seeds),
                    varied=False,
                    tolerances=Tolerances(tolerance, tolerance),
                )
            )
        )
        (report,) = reports
        scaled = f"{report.pairs[0].scaled_max:.1e}" if report.pairs else "-"
        wrong = "; ".join(f"{finding.subject}: {finding.found}" for finding in report.findings)[:160] or "right"
        weights = "-" if report.weights is None else report.weights
        made.append(f"{name:24} {exporter:11} {stage:10} {scaled:>10} {weights:>8} {whole / runs:>6.2f}  {wrong}")
    return made


def spent(run: Callable[[], object]) -> float:
    """Seconds of all processors."""
    began = time.process_time()
    run()
    return time.process_time() - began


def main() -> None:
    from examples.zoo.declaring import EXPORTERS
    from examples.zoo.registry import ALL_CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime")
    parser.add_argument("models", nargs="*", default=[*ALL_CASES])
    parser.add_argument("--exporter", choices=EXPORTERS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--cache", type=Path, default=ROOT / ".modelcheck")
    given = parser.parse_args()
    print(HEADER)
    for name in given.models:
        for exporter in given.exporter or EXPORTERS:
            for row in rows(name, exporter, given.runtime, given.seeds, given.cache, given.tolerance):
                print(row, flush=True)


if __name__ == "__main__":
    main()
