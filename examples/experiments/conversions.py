"""Does the optimizer make conversions succeed? Each family, by both exporters, each variant of the file, in a runtime.

    python -m examples.experiments.conversions litert              # every family; results are kept, it can be stopped
    python -m examples.experiments.conversions litert bert lstm    # some
    python -m examples.experiments.conversions litert --table      # what was measured so far, as Markdown

Variants: the file as exported (``raw``), after onnxslim, and optimized for the targets ``portable`` and ``tflite``;
each tool, the converter among them, is given the example's sizes. A runtime that converts the module itself has the one
variant ``module``. A file is right if the runtime converts and loads it
and agrees with torch to 1e-4, scaled, over three seeds. Models are the library's architectures with random weights,
small where their sizes are free, and some of the zoo.

``coreml`` is no runtime here: coremltools builds and checks the MIL program of the module, and predicts on macOS alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from examples.experiments.rows import RESULTS, Row, add_missing, table
from examples.zoo.declaring import EXPORTERS
from examples.zoo.random_inputs import normal
from pytest_modelcheck import ModelCase
from pytest_modelcheck.model_case import Exporter

HUGGING_FACE = (
    *("bert", "distilbert", "roberta", "albert", "electra", "gpt2", "opt", "llama", "qwen2", "t5"),
    *("vit", "deit", "dinov2", "swin", "convnext", "resnet", "segformer", "regnet", "wav2vec2"),
)
RECURRENT = ("LSTM", "GRU")
ZOO = ("mobilenet-v2", "mobilenet-block", "cross-attention")
"""Jittered: activations of a MobileNetV2 with fresh weights vanish, and nothing could be compared."""
FAMILIES = (*HUGGING_FACE, *(kind.lower() for kind in RECURRENT), *ZOO)
VARIANTS = ("raw", "onnxslim", "portable", "tflite")
MODULE = "module"
COREML = "coreml"
SEEDS = 3
TOLERANCE = 1e-4


def family_case(family: str, exporter: Exporter) -> ModelCase:
    """The case of a family by an exporter."""
    if family in ZOO:
        from examples.zoo import registry

        return registry.case(family, exporter)
    if family.upper() in RECURRENT:
        return ModelCase(
            family,
            partial(_recurrent, family.upper()),
            lambda seed: (normal(seed, 2, 7, 12),),
            output_names=["hidden"],
            exporter=exporter,
        )
    from pytest_modelcheck.scaffold.targets import read_target

    return read_target(f"hf:{family}", tiny=True).case(exporter)


def _recurrent(kind: str) -> Any:
    import torch

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = getattr(torch.nn, kind)(12, 16, num_layers=2, batch_first=True, bidirectional=True)

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.layers(frames)[0]
            return hidden

    return Recurrent()


def measure(family: str, exporter: Exporter, runtime: str) -> Iterator[Row]:
    """A row for each variant of a file; one row where there is no export."""
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.export import ExportFailure

    named = {"model": family, "exporter": exporter, "runtime": runtime}
    with tempfile.TemporaryDirectory() as folder:
        try:
            check = ModelCheck(family_case(family, exporter), cache=Path(folder))
            exported = check.graphs.export
        except Exception as error:  # whatever a library raises: the row says it
            yield {**named, "variant": "raw", "outcome": "no model", "why": first_line(error)}
            return
        if isinstance(exported, ExportFailure):
            yield {**named, "variant": "raw", "outcome": "no export", "why": first_line(exported.reason)}
            return
        for variant in _variants(runtime):
            try:
                if runtime == COREML:
                    outcome, why = _in_mil(check)
                else:
                    outcome, why = _converted(check, variant_file(variant, check, Path(folder)), runtime)
            except Exception as error:  # a variant that its optimizer cannot make is a row, too
                outcome, why = "not made", first_line(error)
            yield {**named, "variant": variant, "outcome": outcome, "why": why}


def _variants(runtime: str) -> tuple[str, ...]:
    from pytest_modelcheck.runtimes import runtime_named

    return (MODULE,) if runtime == COREML or runtime_named(runtime).of_module else VARIANTS


def variant_file(variant: str, check: Any, folder: Path) -> Path:
    """The file of a variant, at the sizes of the example."""
    from pytest_modelcheck.accuracy.stages import flat_arrays
    from pytest_modelcheck.pipeline import optimize
    from pytest_modelcheck.runtimes import signature_of

    raw: Path = check.exported.path
    made = folder / f"{variant}.onnx"
    shapes = {name: array.shape for name, array in flat_arrays(check.graphs.inputs(0)).items()}
    inputs = [port for port in signature_of(raw).inputs if port.name in shapes]
    if variant == "raw":
        return raw
    if variant == MODULE:
        saved: Path = check.torch.save_program(folder / "model.pt2")
        return saved
    if variant == "onnxslim":
        import onnxslim

        sized = [f"{port.name}:{','.join(map(str, shapes[port.name]))}" for port in inputs]
        with contextlib.redirect_stdout(io.StringIO()):
            onnxslim.slim(str(raw), str(made), input_shapes=sized)
    else:
        axes = [pair for port in inputs for pair in zip(port.shape, shapes[port.name], strict=True)]
        sizes = {axis: size for axis, size in axes if isinstance(axis, str)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a ConversionWarning; the conversion says it by itself
            optimize(raw, target="tflite" if variant == "tflite" else "portable", sizes=sizes or None, output=made)
    return made


_GOOD = ("right", "converted, not run")


def _in_mil(check: Any) -> tuple[str, str]:
    import coremltools

    program = check.torch.captured.program
    try:
        made = coremltools.convert(program, convert_to="mlprogram", skip_model_load=True)
    except Exception as error:  # whatever the converter raises
        return "not converted", first_line(f"{type(error).__name__}: {error}")
    return "converted, not run", f"{len(made._mil_program.functions['main'].operations)} operations"


def _converted(check: Any, path: Path, runtime: str) -> tuple[str, str]:
    """(right, wrong or not converted; why)."""
    import onnx_ir as ir

    from pytest_modelcheck.accuracy import Subject, Tolerances, check_in_runtime
    from pytest_modelcheck.runtimes import How

    subject = Subject(
        case=check.case,
        module=check.source.torch.lent,
        exported=check.exported.model if path.suffix == ".pt2" else ir.load(path),
        optimized=None,
        how=How(runtime=runtime, optimizer=True),
    )
    report = check_in_runtime(
        {"exported": path},
        check.graphs.inputs,
        subject,
        seeds=range(SEEDS),
        varied=False,
        tolerances=Tolerances(TOLERANCE, TOLERANCE),
    )
    if not report.findings:
        return "right", f"{report.pairs[0].scaled_max:.1e}"
    finding = report.findings[0]
    return ("wrong" if report.pairs else "not converted"), first_line(finding.found)


def first_line(error: object) -> str:
    """Without what differs between files for one cause, such as the number of the node."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"an error at seed \d+: |exported in \w+: |\s*Node number \d+.*", "", lines[0])[:160]


def summary(rows: Sequence[Row]) -> str:
    """Rates by variant, then each file that is not right, as Markdown."""
    files = {(row["model"], row["exporter"]) for row in rows if row["outcome"] not in ("no model", "no export")}
    head = ["variant", *EXPORTERS, "all"]
    body = []
    for variant in (*VARIANTS, MODULE):
        if not any(row["variant"] == variant for row in rows):
            continue
        counts = [
            (
                sum(
                    1 for row in rows if row["variant"] == variant and row["outcome"] in _GOOD and row["exporter"] in by
                ),
                sum(1 for _, exporter in files if exporter in by),
            )
            for by in (*((exporter,) for exporter in EXPORTERS), EXPORTERS)
        ]
        body.append([variant, *(f"{right} of {of}" for right, of in counts)])
    causes = Counter(
        (row["variant"], row["outcome"], row["why"]) for row in rows if row["outcome"] not in (*_GOOD, "no model")
    )
    where = {
        key: ", ".join(
            f"{row['model']} {row['exporter']}" for row in rows if (row["variant"], row["outcome"], row["why"]) == key
        )
        for key in causes
    }
    wrong = [[variant, outcome, why, where[variant, outcome, why]] for variant, outcome, why in sorted(causes)]
    return "\n\n".join((table(head, body), table(["variant", "outcome", "why", "files"], wrong)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime")
    parser.add_argument("families", nargs="*", default=[*FAMILIES], metavar="FAMILY")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    families = () if given.table else given.families
    exporters = EXPORTERS[:1] if MODULE in _variants(given.runtime) else EXPORTERS
    files = [(family, exporter) for family in families for exporter in exporters]
    rows = add_missing(RESULTS / f"conversions-{given.runtime}.jsonl", files, partial(measure, runtime=given.runtime))
    print(summary(rows))


if __name__ == "__main__":
    main()
