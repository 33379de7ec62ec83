"""Measure models of the zoo: every part once per content of export and code, one row per model and exporter.

``python -m examples.experiments.measure [--parts attribution,fusion] [bert-base resnet50:dynamo ...]``
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

import pytest_modelcheck
from examples.experiments.rows import MEASUREMENTS, Row, arguments, read_rows, write_rows
from examples.zoo.declaring import EXPORTERS
from examples.zoo.registry import MODELS, case
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.export import ExportFailure
from pytest_modelcheck.gates.accuracy import measure_accuracy
from pytest_modelcheck.result import FindingError

SEEDS = 20
TOLERANCE = 1e-5
OWN_INPUTS = {"efficientnet-b0"}
"""Models whose inputs are not varied; the test of each in `examples/` says why."""


def attribution(check: ModelCheck) -> Row:
    """Every pass isolated, in order and left out, with operators, bytes and refusals."""
    from pytest_modelcheck.attribution import attribute

    measured = attribute(check.graphs.exported_model, target=check.settings.target, leave_one_out=True)
    fields = ("name", "isolated", "in_order", "leave_one_out", "error", "ops", "constants", "bytes_before")
    return {
        "nodes": [measured.nodes_before, measured.nodes_after],
        "constants": [measured.constants_before, measured.constants_after],
        "ops": [measured.ops_before, measured.ops_after],
        "bytes": [measured.bytes_before, measured.bytes_after],
        "passes": [
            {field: getattr(row, field) for field in fields}
            | {"bytes_after": row.bytes_after, "status": str(row.status), "reasons": [list(r) for r in row.reasons]}
            for row in measured.passes
        ],
    }


def hierarchy(check: ModelCheck) -> Row:
    """Coverage before and after the pipeline."""
    before, after = check.hierarchy, check.graphs.optimized_hierarchy
    return {
        "coverage": round(before.coverage, 4),
        "coverage_optimized": round(after.coverage, 4),
        "kinds": dict(before.kinds),
        "modules_ran": len(before.modules_ran),
        "modules_covered": len(before.modules_covered),
    }


def fusion(check: ModelCheck) -> Row:
    """The captured graph as fused subgraphs."""
    report = check.fusion
    return {
        "nodes": report.nodes,
        "subgraphs": len(report.subgraphs),
        "attention_layers": report.attention_layers,
        "qkv": report.qkv,
        "ungrouped": [list(entry) for entry in sorted(set(report.unfused))],
    }


def accuracy(check: ModelCheck) -> Row:
    """The scaled difference of each pair of stages, per seed."""
    report = measure_accuracy(
        check, atol=TOLERANCE, rtol=TOLERANCE, seeds=SEEDS, varied=check.case.name not in OWN_INPUTS
    )
    pairs = [
        {
            "reference": pair.reference,
            "candidate": pair.candidate,
            "scaled": [_significant(result.scaled) for result in pair.seeds],
        }
        for pair in report.pairs
    ]
    return {"passed": report.passed, "pairs": pairs, "findings": [str(finding.found) for finding in report.findings]}


def latency(check: ModelCheck) -> Row:
    """Exported over optimized in onnxruntime at its default level, one thread."""
    from pytest_modelcheck.bounds import parse_bound
    from pytest_modelcheck.gates.latency_measures import measure_speedup
    from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL

    measured = measure_speedup(check, parse_bound(">=1.02"), AT_DEFAULT_LEVEL)
    if not measured.pairs:
        return {"error": measured.reason}
    return {
        "ratio": _significant(measured.ratio, 4),
        "interval": [_significant(end, 4) for end in measured.interval],
        "noise": [_significant(end, 4) for end in measured.noise],
        "pairs": measured.pairs,
        "exported_ms": _significant(measured.a_ms),
        "optimized_ms": _significant(measured.b_ms),
        "reason": measured.reason,
    }


PARTS: dict[str, Callable[[ModelCheck], Row]] = {
    "attribution": attribution,
    "hierarchy": hierarchy,
    "fusion": fusion,
    "accuracy": accuracy,
    "latency": latency,
}
_PIPELINE = ("graph", "passes", "pipeline", "rewriting", "shapes")
_ROOMS = {
    "attribution": (*_PIPELINE, "attribution.py"),
    "hierarchy": (*_PIPELINE, "hierarchy"),
    "fusion": ("capture", "fusion", "hierarchy"),
    "accuracy": (*_PIPELINE, "accuracy", "runtimes"),
    "latency": (*_PIPELINE, "latency", "runtimes"),
}
"""What a part's figures depend on, besides the export."""


def code_digest(part: str) -> str:
    """A name for the code that measures a part."""
    return rooms_digest(_ROOMS[part])


def rooms_digest(rooms: Sequence[str]) -> str:
    """A digest of these folders and files of the package.

    Raises:
        FileNotFoundError: if one of them is not there.
    """
    root = Path(pytest_modelcheck.__file__).parent
    content = hashlib.sha256()
    for room in rooms:
        for file in sorted((root / room).rglob("*.py")) or [root / room]:
            content.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:16]


def measure(name: str, exporter: str, parts: tuple[str, ...], row: Row, cache: Path, budget: float) -> Row:
    """`row` with those parts that are new, or whose export or code changed."""
    check = ModelCheck(case(name, exporter), cache=cache, latency_budget=budget)
    export = check.graphs.export
    if isinstance(export, ExportFailure):
        return {"model": name, "exporter": exporter, "failure": {"kind": str(export.kind), "reason": export.reason}}
    key = export.key.digest
    made: Row = {
        "model": name,
        "exporter": exporter,
        "export_seconds": round(export.seconds, 1),
        "file_bytes": sum(file.stat().st_size for file in export.path.parent.glob(f"{export.path.name}*")),
        "parameters": sum(parameter.numel() for parameter in check.torch.module.parameters()),
        "keys": dict(row.get("keys", {})),
    }
    for part, measured in PARTS.items():
        wanted = f"{key} {code_digest(part)}"
        if part == "fusion" and exporter != "dynamo":
            continue  # the torch graph is the same
        if part in row and (part not in parts or row["keys"].get(part) == wanted):
            made[part] = row[part]
        elif part in parts:
            try:
                made[part] = measured(check)
            except FindingError as error:
                made[part] = {"error": str(error.finding.found)}
            made["keys"][part] = wanted
    return made


def _significant(value: float, digits: int = 3) -> float | str:
    """A figure for a table; JSON has no NaN, so such a one is text."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else str(value)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--latency-budget", type=float, default=30.0, help="seconds per latency (default: 30)")
    parser.add_argument("cases", nargs="*", help="model or model:exporter (default: the whole zoo)")
    given = parser.parse_args()
    parts = tuple(given.parts.split(","))
    MEASUREMENTS.parent.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if part not in PARTS:
            parser.error(f"part {part!r} is unknown; choose of {', '.join(PARTS)}")
    for zoo_model in MODELS:
        for exporter in EXPORTERS:
            if given.cases and not {zoo_model.name, f"{zoo_model.name}:{exporter}"} & set(given.cases):
                continue
            if zoo_model.missing:
                print(f"{zoo_model.name}: {', '.join(zoo_model.missing)} not installed")
                continue
            key = (zoo_model.name, exporter)
            row = measure(*key, parts, read_rows().get(key, {}), given.cache, given.latency_budget)
            with FileLock(MEASUREMENTS.with_name(".measurements.lock")):  # another process may write other rows
                write_rows(read_rows() | {key: row})
            print(
                f"{zoo_model.name} {exporter}: {row.get('failure') or row.get('attribution', {}).get('nodes', 'done')}"
            )
            gc.collect()


if __name__ == "__main__":
    main()
