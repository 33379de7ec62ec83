"""What the accuracy checks catch, name, cost and spare: the figures of docs/reading_a_failure.md.

    python benchmarks/accuracy_table.py faults      # planted faults, in BERT-base, Whisper-tiny's decoder and ResNet-50
                                                    # (--write: their table into the page; a stopped run goes on)
    python benchmarks/accuracy_table.py alarms      # 100 green assessments of small models: how many findings
    python benchmarks/accuracy_table.py cost        # 20 seeds of BERT-base against 20 plain runs of each side
    python benchmarks/accuracy_table.py divergence  # the first diverging node of BERT-large: seconds and memory
    python benchmarks/accuracy_table.py             # all of them, each in a process of its own

Every figure is measured now, on this machine. `--cache DIR` keeps the exports.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from pytest_modelcheck.result import Finding

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "accuracy")]

FAULTY = ("bert-base", "whisper-tiny-decoder", "resnet50")
RUNS = 100
SEEDS = 20


def faults(cache: Path, models: tuple[str, ...] = FAULTY, *, again: bool = False, write: bool = False) -> None:
    """Plant every fault into every model that has a place for it."""
    from benchmarks import fault_table

    folder = cache / "faults"
    for name in models:
        for entry in fault_table.measure(name, folder, cache, again=again):
            if line := fault_table.described(entry):
                print(f"  {line}", flush=True)
        print(fault_table.summary(name, fault_table.read(name, folder)), flush=True)
    if write:
        page = ROOT / "docs" / "reading_a_failure.md"
        fault_table.write_into(page, fault_table.table({name: fault_table.read(name, folder) for name in FAULTY}))


def alarms(cache: Path) -> None:
    """Green assessments, each with other seeds: every finding is a false alarm."""
    import dataclasses

    from pytest_modelcheck.accuracy import Subject, assess, standard_stages
    from pytest_modelcheck.calling import build_module, module_inputs
    from pytest_modelcheck.export import Exported, export
    from pytest_modelcheck.pipeline import optimize
    from tests.accuracy.faulty_models import SMALL

    subjects = []
    for case in SMALL.values():
        axes = {0: "batch", 1: "sequence"}
        dynamic = {"input_ids": axes, "attention_mask": axes}
        for exporter in ("dynamo", "torchscript"):
            made = dataclasses.replace(case, exporter=exporter, dynamic_axes=dynamic if case.name == "bert" else None)
            module = build_module(made)
            artifact = export(made, module=module)
            assert isinstance(artifact, Exported), artifact
            subjects.append((made, module, artifact, optimize(artifact.model)))
    found: list[Finding] = []
    compared, variants = 0, 0
    for run in range(RUNS):
        case, module, artifact, optimized = subjects[run % len(subjects)]
        subject = Subject(
            case=case,
            module=partial(_lent, module),
            exported=artifact.model,
            optimized=optimized,
        )

        def inputs(seed: int, case: Any = case, module: Any = module) -> Any:
            return module_inputs(case, module, seed)

        seeds = range(SEEDS * run, SEEDS * (run + 1))
        report = assess(standard_stages(case, module, artifact.path, optimized), inputs, subject, seeds=seeds)
        found += report.findings
        compared += sum(len(pair.seeds) for pair in report.pairs)
        variants += len(report.variants)
    print(f"{RUNS} green runs, {compared} comparisons, {variants} varied inputs: {len(found)} false alarms")
    for finding in found[:5]:
        print(finding.render())


def _lent(module: torch.nn.Module) -> contextlib.AbstractContextManager[torch.nn.Module]:
    return contextlib.nullcontext(module)


def cost(cache: Path, rounds: int = 3) -> None:
    """Twenty seeds of BERT-base, checked, against the twenty plain runs of torch and of onnxruntime.

    Two figures: `sweep` of the export against torch, whose runs are those of the plain side; and the whole of
    `expect_accuracy`, which runs the optimized graph, onnxruntime's optimizer, other inputs and the weights besides.
    """
    from examples.zoo.registry import model
    from pytest_modelcheck.accuracy import sweep
    from pytest_modelcheck.accuracy.stages import standard_stages
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.check.settings import own_cores
    from pytest_modelcheck.gates.accuracy import measure_accuracy
    from pytest_modelcheck.runtimes import How

    check = ModelCheck(model("bert-base").case("dynamo"), cache=cache)
    drawn = [check.graphs.inputs(seed) for seed in range(SEEDS)]
    path = check.exported.path
    check.graphs.reuse.active = False
    check.graphs.optimized_path  # noqa: B018  # the passes are not part of what is measured
    ratios: dict[str, list[tuple[float, float]]] = {"sweep, torch -> exported": [], "expect_accuracy": []}
    for _ in range(rounds):
        torch_spent, runtime_spent = (
            _spent(_plain_torch, check.torch.module, drawn),
            _spent(_plain_runtime, path, drawn),
        )
        plain = [a + b for a, b in zip(torch_spent, runtime_spent, strict=True)]
        print(f"BERT-base, {SEEDS} seeds: plain torch {_shown(torch_spent)}, plain onnxruntime {_shown(runtime_spent)}")
        pair = standard_stages(check.case, check.torch.module, path, how=How(threads=own_cores()))[:2]
        for name, run in (
            ("sweep, torch -> exported", lambda pair=pair: sweep(pair, check.graphs.inputs, seeds=range(SEEDS))),
            ("expect_accuracy", lambda: measure_accuracy(check, seeds=SEEDS)),
        ):
            reports: list[Any] = []
            spent = _spent(lambda run=run, reports=reports: reports.append(run()))
            ratio = (spent[0] / plain[0], spent[1] / plain[1])
            ratios[name].append(ratio)
            print(f"  {name}: {_shown(spent)}: x{ratio[0]:.2f} wall, x{ratio[1]:.2f} processor", flush=True)
        (report,) = reports
        check.graphs.results.forget(("accuracy", "None", "None", SEEDS, True, "CPU"))  # so that the next round measures
        print("    " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.seconds.items()))
        for finding in report.findings:
            print(finding.render(), flush=True)
    for name, pairs in ratios.items():
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name}: x{wall:.2f} wall, x{processor:.2f} processor time (medians of {rounds})")


def _plain_runtime(path: Path, drawn: list[Any]) -> None:
    """onnxruntime at its default level, as most people run it: a session and one run per seed."""
    import onnxruntime
    import torch

    from pytest_modelcheck.accuracy.stages import flat_arrays

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as in the sweep: waiting is no work
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    needed = {port.name for port in session.get_inputs()}
    for inputs in drawn:
        session.run(None, {name: array for name, array in flat_arrays(inputs).items() if name in needed})


def _plain_torch(module: Any, drawn: list[Any]) -> None:
    import torch

    with torch.no_grad():
        for inputs in drawn:
            module(**inputs.forward_arguments())


def _spent(run: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Seconds on the wall and of all processors; the second is what a busy machine leaves comparable."""
    wall, processor = time.perf_counter(), time.process_time()
    run(*arguments)
    return time.perf_counter() - wall, time.process_time() - processor


def _shown(spent: tuple[float, float]) -> str:
    return f"{spent[0]:.2f} s ({spent[1]:.2f} s of processor time)"


def divergence(cache: Path, name: str = "bert-large") -> None:
    """One weight of BERT-large doubled in the middle of the graph, looked for from both sides."""
    from examples.zoo.registry import model
    from pytest_modelcheck.accuracy import find_first_divergence
    from pytest_modelcheck.calling import build_module, module_inputs
    from pytest_modelcheck.export import Exported, export
    from pytest_modelcheck.graph.shape_inference import infer_shapes
    from pytest_modelcheck.store import Store
    from tests.accuracy.fault_list import FAULTS

    case = model(name).case("torchscript")
    module = build_module(case)
    artifact = export(case, module=module, cache=Store(cache))
    assert isinstance(artifact, Exported), artifact
    inputs = module_inputs(case, module, 0)
    reference = artifact.model
    infer_shapes(reference)
    faulty = reference.clone()
    fault = next(fault for fault in FAULTS if fault.name == "two rows of a weight exchanged")
    node = fault.plant(faulty)
    for label, side in (("exported graph", reference), ("torch module", module)):
        before = _reset_peak()
        started = time.perf_counter()
        found = find_first_divergence(side, faulty, inputs, case=case)
        seconds = time.perf_counter() - started
        named = found is not None and any(f"'{node.name}'" in place for place in found.nodes)
        looked = f"{found.rounds} rounds, {found.looked} values looked at" if found else "nothing"
        print(
            f"BERT-large against its {label}: {'found' if named else 'NOT FOUND'} in {seconds:.1f} s, {looked}; "
            f"peak memory +{(_status('VmHWM') - before) / 1e9:.2f} GB"
        )
        print("  " + "\n  ".join(found.describe() if found else ()), flush=True)


def _reset_peak() -> int:
    """Forget the peak so far; bytes resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(label: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(label))


PARTS = {"faults": faults, "alarms": alarms, "cost": cost, "divergence": divergence}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--cache", type=Path, default=ROOT / ".modelcheck")
    parser.add_argument("--models", default=",".join(FAULTY), help="for faults: names of the zoo")
    parser.add_argument("--again", action="store_true", help="for faults: forget what was planted before")
    parser.add_argument("--write", action="store_true", help="for faults: the table into docs/reading_a_failure.md")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: waiting is no work
    if arguments.part == "faults":
        models = tuple(arguments.models.split(","))
        faults(arguments.cache, models, again=arguments.again, write=arguments.write)
    elif arguments.part:
        PARTS[arguments.part](arguments.cache)
    else:
        command = [sys.executable, __file__, "--cache", str(arguments.cache)]
        return max(subprocess.run([*command, part], check=False).returncode for part in PARTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
