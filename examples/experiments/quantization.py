"""Does the optimizer help a quantizer? Each family, by both exporters, each variant of the float file, by each tool.

    python -m examples.experiments.quantization              # every family; results are kept, it can be stopped
    python -m examples.experiments.quantization bert vit     # some
    python -m examples.experiments.quantization --table      # what was measured so far, as Markdown

Variants are those of `conversions`: as exported (``raw``), after onnxslim, and optimized for ``portable``. The tools
are onnxruntime's ``static`` and ``dynamic`` and OpenVINO's ``nncf``, calibrated on 16 seeds. Each quantized file is
compared with the float file as exported, in onnxruntime, over 8 other seeds: the lowest SQNR of an output, operators
with weights that are float32 still, and the bytes of the file in percent.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from examples.experiments.conversions import family_case, first_line, variant_file
from examples.experiments.rows import RESULTS, Row, add_missing, table
from examples.zoo.declaring import EXPORTERS
from pytest_modelcheck.model_case import Exporter

FAMILIES = ("bert", "distilbert", "gpt2", "vit", "swin", "resnet", "mobilenet-block", "cross-attention")
VARIANTS = ("raw", "onnxslim", "portable")
TOOLS = ("static", "dynamic", "nncf")
SEEDS, CALIBRATION = 8, 16


def measure(family: str, exporter: Exporter) -> Iterator[Row]:
    """A row for each variant and tool."""
    from pytest_modelcheck.check import ModelCheck

    with tempfile.TemporaryDirectory() as folder:
        check = ModelCheck(family_case(family, exporter), cache=Path(folder))
        for variant in VARIANTS:
            path = variant_file(variant, check, Path(folder))
            for tool in TOOLS:
                named = {"model": family, "exporter": exporter, "variant": variant, "tool": tool}
                try:
                    yield {**named, **_figures(check, path, tool)}
                except Exception as error:  # whatever a tool raises: the row says it
                    yield {**named, "why": first_line(error)}


def _figures(check: Any, path: Path, tool: str) -> Row:
    import onnx_ir as ir

    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.quantization import compare_quantized, quantizer_named
    from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, signature_of

    exported, quantize = check.exported.path, quantizer_named(tool)
    signature = signature_of(exported)
    feeds = [feeds_for(signature, check.graphs.inputs(seed)) for seed in range(SEEDS + CALIBRATION)]
    found = compare_quantized(
        exported,
        ir.load(exported),
        lambda _, target, calibration: quantize(path, target, calibration),
        calibration=feeds[SEEDS:],
        feeds=feeds[:SEEDS],
        how=AT_DEFAULT_LEVEL,
        inside=lambda outputs: False,
    )
    return {
        "sqnr": min(noise.decibels for noise in found.outputs.values() if noise.signal),
        "in_float": sum(found.in_float.values()),
        "size": found.size,
    }


def summary(rows: Sequence[Row]) -> str:
    """The median of each figure by tool and variant, over the files that every variant and tool made; what failed."""
    made = {(row["model"], row["exporter"], row["variant"], row["tool"]): row for row in rows if "sqnr" in row}
    body = []
    for tool in TOOLS:
        files = {
            (row["model"], row["exporter"])
            for row in rows
            if all((row["model"], row["exporter"], variant, tool) in made for variant in VARIANTS)
        }
        for variant in VARIANTS if files else ():
            of = [made[(*file, variant, tool)] for file in files]
            figures = (statistics.median(row[name] for row in of) for name in ("sqnr", "in_float", "size"))
            failed = sum(1 for row in rows if (row["variant"], row["tool"]) == (variant, tool) and "why" in row)
            body.append([tool, variant, str(len(of)), str(failed), *(f"{figure:.1f}" for figure in figures)])
    head = ["tool", "variant", "files", "failed", "SQNR, dB", "in float32", "bytes, %"]
    failures = [
        [*(row[name] for name in ("tool", "variant", "model", "exporter", "why"))] for row in rows if "why" in row
    ]
    return "\n\n".join((table(head, body), table(["tool", "variant", "model", "exporter", "why"], failures)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=[*FAMILIES], metavar="FAMILY")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    families = () if given.table else given.families
    files = [(family, exporter) for family in families for exporter in EXPORTERS]
    rows = add_missing(RESULTS / "quantization.jsonl", files, measure)
    print(summary(rows))


if __name__ == "__main__":
    main()
