"""Who owns the nodes, on full-size models: coverage, precision, what is left after optimizers, and what it costs.

    python -m benchmarks.hierarchy_table                    # everything; about an hour on two cores, can be stopped
    python -m benchmarks.hierarchy_table --only bert-base   # models whose name holds this, then the table of all
    python -m benchmarks.hierarchy_table --table            # the table of what was measured so far

Every model runs in a process of its own, from the zoo, by both exporters. The columns:

- coverage: share of the compute nodes of the raw export whose owner is direct or inherited; the root never counts.
- modules: share of the modules that ran, and whose result is used, that own a node.
- precision: right / deduced, when the direct owners of 10 to 90 % of the nodes are hidden at random, five shares with
  three seeds each; the worst share stands in the table, with the share of the hidden owners that were found back.
- pipeline: coverage after the whole default pipeline.
- the other optimizers: coverage of their result, by re-attachment, for the three models of the bar.
- extra: processor seconds for the calls and the owners, over those of the export; wall time says little on a machine
  that does other things, too.

A figure below its bar is marked with "!". Exit status 1 if there is one, or a failure.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".modelcheck" / "hierarchy"

MODELS = (
    "resnet50",
    "efficientnet-b0",
    "mobilenet-v3-small",
    "vgg16",
    "vit-b-16",
    "deit-small",
    "bert-base",
    "distilbert",
    "cross-attention",
    "mobilenet-block",
    "efficientnet-block",
    "albert-base-v2",
)
EXPORTERS = ("dynamo", "torchscript")
AFTER_OPTIMIZERS = ("bert-base", "vit-b-16", "resnet50")
OPTIMIZERS = ("onnxslim", "onnxsim", "onnxoptimizer", "onnxscript", "onnxruntime_basic")
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
BARS = {"coverage": 0.99, "modules": 1.0, "precision": 0.98, "pipeline": 0.99, "extra": 0.05} | dict.fromkeys(
    OPTIMIZERS, 0.95
)


def measure(name: str, exporter: str) -> dict[str, Any]:
    """All figures of one case; in this process."""
    from examples.zoo.registry import ALL_CASES
    from pytest_modelcheck.calling import build_module, module_inputs
    from pytest_modelcheck.export import ExportFailure, export
    from pytest_modelcheck.hierarchy import hierarchy_of_model, stamp
    from pytest_modelcheck.hierarchy.recorded_calls import modules_that_ran
    from pytest_modelcheck.model_case import EXAMPLE_SEED
    from pytest_modelcheck.pipeline import run_pipeline

    case = next(case for case in ALL_CASES[name] if case.exporter == exporter)
    module = build_module(case)
    before = time.process_time()
    made = export(case, module=module)
    exported = time.process_time()
    if isinstance(made, ExportFailure):
        return {"failure": made.render()}
    model = made.model
    inputs = module_inputs(case, module, EXAMPLE_SEED)
    started = time.process_time()
    calls = modules_that_ran(case, module, inputs)
    ran = time.process_time()
    report = hierarchy_of_model(model, calls)
    stamp(model, report)
    done = time.process_time()
    optimized, _ = run_pipeline(model)
    after = hierarchy_of_model(optimized, calls)
    return {
        "nodes": report.compute_nodes,
        "kinds": dict(report.kinds),
        "strategy": report.strategy,
        "why": report.why,
        "coverage": report.coverage,
        "modules": report.module_coverage,
        "uncovered": list(report.modules_uncovered),
        "pipeline": after.coverage,
        "pipeline_modules": after.module_coverage,
        "export_seconds": exported - before,
        "calls_seconds": ran - started,
        "owners_seconds": done - ran,
        "extra": (done - started) / (exported - before),
        **_precision(made.model, calls),
        **(_optimizers(made.model, report) if name in AFTER_OPTIMIZERS else {}),
    }


def _precision(model: Any, calls: Any) -> dict[str, Any]:
    from benchmarks.precision import measure_precision

    shares = {share: measure_precision(model, calls, share=share) for share in SHARES}
    rules: dict[str, list[int]] = {}
    for measured in shares.values():
        for rule, counts in measured.rules.items():
            rules[rule] = [sum(pair) for pair in zip(rules.get(rule, [0, 0]), counts, strict=True)]
    return {
        "precision": min(measured.precision for measured in shares.values()),
        "recall": min(measured.recall for measured in shares.values()),
        "shares": {str(share): [m.hidden, m.deduced, m.right] for share, m in shares.items()},
        "rules": rules,
        "precise_deduced": measure_precision(model, calls, share=0.5, strategy="precise").deduced,
    }


def _optimizers(model: Any, before: Any) -> dict[str, Any]:
    """Coverage after each optimizer, and what the owners were read from; text for one that failed."""
    from pytest_modelcheck.foreign import FOREIGN_PASSES
    from pytest_modelcheck.hierarchy import hierarchy_of_model

    figures: dict[str, Any] = {}
    for name in OPTIMIZERS:
        optimizer = next(entry for entry in FOREIGN_PASSES if entry.name == name)
        try:
            optimized = optimizer(model.clone()).model
        except Exception as error:  # anybody's optimizer: whatever it raises is its row in the table
            figures[name] = f"{type(error).__name__}: {error}"
            continue
        after = hierarchy_of_model(optimized, before.calls, before=before)
        figures[name] = after.coverage
        figures[f"{name}_evidence"] = dict(after.evidence)
        figures[f"{name}_modules"] = after.module_coverage
    return figures


def stored() -> dict[tuple[str, str], dict[str, Any]]:
    """(model, exporter) -> figures, of everything measured so far."""
    found = {}
    for name in MODELS:
        for exporter in EXPORTERS:
            path = STORE / f"{name}-{exporter}.json"
            if path.is_file():
                found[name, exporter] = json.loads(path.read_text(encoding="utf-8"))
    return found


def row(figures: dict[str, Any]) -> tuple[list[str], bool]:
    """The cells of one case, and whether all figures meet their bars."""
    cells, good = [], True
    for column, bar in BARS.items():
        value = figures.get(column)
        if value is None:
            cells.append("")
            continue
        met = (
            isinstance(value, float) and not math.isnan(value) and (value <= bar if column == "extra" else value >= bar)
        )
        good = good and met
        text = f"{100 * value:.1f}%" if isinstance(value, float) else "failed"
        if column == "precision":
            text += f" ({100 * figures['recall']:.0f}% found)"
        cells.append(text if met else f"{text} !")
    return cells, good


def table(measured: dict[tuple[str, str], dict[str, Any]]) -> tuple[list[str], bool]:
    """The table's lines, and whether every figure of every case meets its bar."""
    rows = [["model", "exporter", "nodes", "strategy", *BARS]]
    good = True
    for (name, exporter), figures in measured.items():
        if "failure" in figures:
            rows.append([name, exporter, "", "", figures["failure"].splitlines()[0][:80]])
            good = False
            continue
        cells, met = row(figures)
        rows.append([name, exporter, str(figures["nodes"]), figures["strategy"], *cells])
        good = good and met
    widths = [max(len(line[i]) for line in rows if i < len(line) and len(line) > 5) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in rows]
    rules: dict[str, list[int]] = {}
    for figures in measured.values():
        for rule, counts in figures.get("rules", {}).items():
            rules[rule] = [sum(pair) for pair in zip(rules.get(rule, [0, 0]), counts, strict=True)]
    shown = ", ".join(f"{rule} {right}/{count} ({100 * right / count:.2f}%)" for rule, (count, right) in rules.items())
    lines += ["", f"precise: deduces nothing ({sum(f.get('precise_deduced', 0) for f in measured.values())} owners)"]
    lines += [f"broad, right/deduced by rule: {shown}"]
    return lines, good


def run(name: str, exporter: str, limit: float) -> dict[str, Any]:
    """Measure one case in a process of its own and keep the result."""
    command = [sys.executable, "-m", "benchmarks.hierarchy_table", "--case", name, exporter]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        said = "" if isinstance(error, subprocess.TimeoutExpired) else done.stderr.strip()[-300:]
        figures = {"failure": f"{type(error).__name__}: {said or error}"}
    STORE.mkdir(parents=True, exist_ok=True)
    (STORE / f"{name}-{exporter}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def main() -> int:
    """Measure what is asked for, then print the table of everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="models whose name holds this; repeatable")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="that one case may take")
    parser.add_argument("--case", nargs=2, metavar=("MODEL", "EXPORTER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(*arguments.case)))
        return 0
    for name in () if arguments.table else MODELS:
        if arguments.only is None or any(part in name for part in arguments.only):
            for exporter in EXPORTERS:
                started = time.perf_counter()
                run(name, exporter, arguments.limit)
                print(f"{name} {exporter}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    lines, good = table(stored())
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
