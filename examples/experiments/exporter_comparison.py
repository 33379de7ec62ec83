"""The two exporters side by side: time (median and spread), memory, and how precisely nodes know their modules.

``python -m examples.experiments.exporter_comparison [--runs 3]``
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from examples.experiments.rows import Row, arguments, read_rows, table, wanted_rows, write_result
from examples.zoo.declaring import EXPORTERS

MODELS = ("resnet50", "efficientnet-b0", "distilbert", "bert-base", "whisper-tiny-encoder", "whisper-tiny-decoder")


def export_once(name: str, exporter: str) -> Row:
    """One export in this process, without a cache: seconds, and by how many MB it is larger at most than before.

    Building the model takes more than it leaves behind, so the largest size is counted anew from there (Linux only).
    """
    from examples.zoo import registry
    from pytest_modelcheck.calling import build_module
    from pytest_modelcheck.export import ExportFailure, export

    case = registry.case(name, exporter)
    module = build_module(case)
    before = _begin_counting()
    started = time.process_time()
    exported = export(case, module=module)
    seconds = time.process_time() - started
    if isinstance(exported, ExportFailure):
        return {"failure": str(exported.kind)}
    return {"seconds": seconds, "megabytes": (_kilobytes("VmHWM") - before) / 1024}


def _begin_counting() -> int:
    """Forget the largest size of this process so far; its size now, in kB (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _kilobytes("VmRSS")


def _kilobytes(field: str) -> int:
    """A size of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def export_apart(name: str, exporter: str) -> Row:
    """`export_once` in a process of its own: memory and imports of one export do not reach the next."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.json"
        code = (
            "import json, sys; from examples.experiments.exporter_comparison import export_once; "
            "open(sys.argv[3], 'w').write(json.dumps(export_once(*sys.argv[1:3])))"
        )
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, name, exporter, str(output)], check=True)
        found: Row = json.loads(output.read_text())
    return found


def compare(name: str, exporter: str, runs: int, row: Row) -> Row:
    measured = [export_apart(name, exporter) for _ in range(runs)]
    failed = [run["failure"] for run in measured if "failure" in run]
    if failed:
        return {"model": name, "exporter": exporter, "failure": failed[0]}
    seconds = sorted(run["seconds"] for run in measured)
    kinds = row["hierarchy"]["kinds"]
    return {
        "model": name,
        "exporter": exporter,
        "runs": runs,
        "seconds": [round(value, 2) for value in seconds],
        "seconds_per_million": round(median(seconds) / row["parameters"] * 1e6, 3),
        "megabytes": round(median(run["megabytes"] for run in measured)),
        "direct": kinds.get("direct", 0),
        "inherited": kinds.get("inherited", 0),
        "nodes": sum(kinds.values()),
    }


def recommendation(rows: list[Row]) -> str:
    """Which exporter, as far as these figures go."""
    done = {key: [row for row in rows if row["exporter"] == key and "seconds" in row] for key in EXPORTERS}
    time_of = {key: median([median(row["seconds"]) for row in found]) for key, found in done.items()}
    share = {key: sum(r["direct"] for r in found) / sum(r["nodes"] for r in found) for key, found in done.items()}
    said = {key: f"{100 * value:.1f} %" for key, value in share.items()}
    return (
        f"Half of these exports take less than {time_of['dynamo']:.1f} s of processor time by dynamo, "
        f"{time_of['torchscript']:.1f} s by torchscript. dynamo names the module of {said['dynamo']} of all nodes, "
        f"torchscript of {said['torchscript']}; the others are deduced. Take dynamo, which "
        "torch develops; take torchscript where dynamo cannot export the model, or where the time to export counts "
        "more than the number of nodes."
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="exports of each model (default: 3)")
    given = parser.parse_args()
    measured = {(row["model"], row["exporter"]): row for row in wanted_rows(read_rows(), "hierarchy", MODELS)}
    rows = [compare(*key, given.runs, row) for key, row in measured.items() if "failure" not in row]
    lines = []
    for row in rows:
        if "failure" in row:
            lines.append([row["model"], row["exporter"], *[row["failure"]] * 6])
            continue
        seconds = row["seconds"]
        spread = f"{seconds[0]:.1f} to {seconds[-1]:.1f}"
        kinds = [f"{100 * row[kind] / row['nodes']:.1f}%" for kind in ("direct", "inherited")]
        figures = [f"{median(seconds):.1f}", spread, row["seconds_per_million"], row["megabytes"], *kinds]
        lines.append([row["model"], row["exporter"], *figures])
    header = ["model", "exporter", "seconds", "spread", "s / million parameters", "MB more", "direct", "inherited"]
    text = (
        f"# The two exporters\n\nMedian of {given.runs} exports, each in a process of its own; seconds are processor "
        "time, without building the model. `direct`: the exporter names the node's module; `inherited`: it was "
        "deduced.\n\n"
    )
    write_result("exporter_comparison", f"{text}{table(header, lines)}\n{recommendation(rows)}")


if __name__ == "__main__":
    main()
