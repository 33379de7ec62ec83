"""Are YOLO exports full of needless Transposes? Counted under every export setting; needs the extra `zoo`.

``python -m examples.experiments.yolo_transposes``
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from examples.experiments.rows import Row, arguments, table, write_result
from examples.zoo.declaring import ZooModel
from examples.zoo.detectors import YOLOS
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.export import ExportFailure, export
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.pipeline import resolve_passes, run_pipeline
from pytest_modelcheck.store import Store

PASS = "eliminate_redundant_transposes"


def settings() -> Iterator[tuple[str, dict[str, Any]]]:
    """(label, fields of the model case)."""
    for opset in (11, 13, 17, 18):
        for folding in (True, False):
            options = {"do_constant_folding": folding}
            label = f"torchscript, opset {opset}, constant folding {'on' if folding else 'off'}"
            yield label, {"exporter": "torchscript", "opset": opset, "export_options": options}
    for opset in (18, 20):
        for optimizer in (True, False):
            label = f"dynamo, opset {opset}, optimizer {'on' if optimizer else 'off'}"
            yield label, {"exporter": "dynamo", "opset": opset, "export_options": {"optimize": optimizer}}


def adjacent(model: ir.Model) -> tuple[int, int]:
    """(cancelling, composable): Transposes of a Transpose's result that give back its input, or could be one."""
    cancelling = composable = 0
    for node in model.graph:
        if node.op_type != "Transpose" or (source := node.inputs[0]) is None:
            continue
        if (before := source.producer()) is not None and before.op_type == "Transpose":
            inner, outer = (list(each.attributes["perm"].as_ints()) for each in (before, node))
            cancels = [inner[axis] for axis in outer] == sorted(outer)
            cancelling, composable = cancelling + cancels, composable + (not cancels)
    return cancelling, composable


def measure(name: str, label: str, exported: ir.Model) -> Row:
    cancelling, composable = adjacent(exported)
    alone, (record,) = run_pipeline(exported, resolve_passes([PASS]))
    whole, _ = run_pipeline(exported)
    return {
        "model": name,
        "setting": label,
        "transposes": op_counts(exported).get("Transpose", 0),
        "cancelling": cancelling,
        "composable": composable,
        "nodes_removed": -record.delta,
        "surviving_alone": op_counts(alone).get("Transpose", 0),
        "surviving": op_counts(whole).get("Transpose", 0),
    }


def rows(zoo_model: ZooModel, cache: Path) -> Iterator[Row]:
    module = build_module(zoo_model.case("dynamo"))
    for label, changes in settings():
        case = dataclasses.replace(zoo_model.case("dynamo"), **changes)
        exported = export(case, module=module, cache=Store(cache))
        if isinstance(exported, ExportFailure):
            yield {"model": zoo_model.name, "setting": label, "failure": f"{exported.kind}: {exported.reason}"}
        else:
            yield measure(zoo_model.name, label, exported.model)


def statement(found: list[Row]) -> str:
    """What the figures say of the premise, per model."""
    lines = []
    for name in dict.fromkeys(row["model"] for row in found):
        measured = [row for row in found if row["model"] == name and "failure" not in row]
        removed = max((row["nodes_removed"] for row in measured), default=0)
        most = max((row["transposes"] for row in measured), default=0)
        verdict = (
            f"up to {removed} nodes can go" if removed else "the premise is false: no Transpose cancels or composes"
        )
        lines.append(f"- {name}: at most {most} Transposes over {len(measured)} export settings; {verdict}.")
    return "\n".join(lines)


def main() -> None:
    given = arguments(__doc__).parse_args()
    found = [row for zoo_model in YOLOS for row in rows(zoo_model, given.cache)]
    header = ["model", "export", "Transposes", "cancelling", "composable", "nodes removed", "left alone", "left by all"]
    columns = ("transposes", "cancelling", "composable", "nodes_removed", "surviving_alone", "surviving")
    lines = [
        [row["model"], row["setting"], *(row.get(column, row.get("failure")) for column in columns)] for row in found
    ]
    text = ["# Transposes of YOLO exports", statement(found), table(header, lines)]
    text.append(f"`nodes removed` and `left alone` are {PASS} by itself; `left by all` is the whole pipeline.")
    write_result("yolo_transposes", "\n\n".join(text))


if __name__ == "__main__":
    main()
