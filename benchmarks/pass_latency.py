"""What the passes do to latency: exported over optimized time, in onnxruntime at its default level and with its own
optimizer off.

    python -m benchmarks.pass_latency                          # BERT-base and Whisper-tiny, about 20 minutes
    python -m benchmarks.pass_latency --only gpt2 --only t5    # files whose label holds one of these
    python -m benchmarks.pass_latency --level off              # one level only
    python -m benchmarks.pass_latency --budget 20              # seconds for each ratio; 60 unless said otherwise

Both files are opened again and again in one process and timed side by side, one thread (`measure_paired`). A ratio over
1 says that the optimized file is faster; its interval is one of 99.9 %. Bars: at the default level no model below 0.98,
and BERT-base or Whisper-tiny at 1.03; without onnxruntime's optimizer 2 for BERT-base by torchscript as that exporter
writes it without its constant folding (``unfolded``: 72 weights are transposed in every run).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.peers.cases import PeerCase, peer_cases
from examples.zoo.declaring import EXPORTERS
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.export import ExportFailure
from pytest_modelcheck.latency import FreshSession, measure_paired
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.runtimes import How, open_session

MODELS = ("bert-base", "bert-base (unfolded)", "whisper-tiny-encoder", "whisper-tiny-decoder")
CACHE = Path(".modelcheck")
LEVELS = {"default": True, "off": False}


def fresh(path: Path, feeds: Any, optimizer: bool) -> FreshSession:
    """A file in a session with one thread that is opened whenever one is asked for."""

    def opened() -> Callable[[], object]:
        session = open_session(path, How(optimizer=optimizer))
        return session.bind(feeds_for(session, feeds))

    return FreshSession(opened)


def measured(peer: PeerCase, levels: Iterable[str], budget: float) -> list[str]:
    """One row of the table for each level."""
    name, exporter = peer.model, peer.case.exporter
    check = ModelCheck(dataclasses.replace(peer.case, name=peer.label.removesuffix(f"-{exporter}")), cache=CACHE)
    exported = check.graphs.export
    if isinstance(exported, ExportFailure):
        return [f"| {name} | {exporter} | | {exported.render().splitlines()[0]} | | | |"]
    feeds = check.graphs.inputs(EXAMPLE_SEED)
    rows = []
    for level in levels:
        sides = (fresh(path, feeds, LEVELS[level]) for path in (exported.path, check.graphs.optimized_path))
        latency = measure_paired(*sides, budget_s=budget)
        low, high = latency.interval
        times = f"{latency.a_ms:.2f} | {latency.b_ms:.2f} | **{latency.ratio:.3f}** [{low:.3f}, {high:.3f}]"
        rows.append(f"| {name} | {exporter} | {level} | {times} | {latency.rounds} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="files whose label holds this; repeatable")
    parser.add_argument("--exporter", action="append", choices=EXPORTERS, help="one of the exporters")
    parser.add_argument("--level", choices=LEVELS, help="onnxruntime's optimizer: one of the two")
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="for each ratio")
    arguments = parser.parse_args()
    print("| model | exporter | onnxruntime's optimizer | exported, ms | optimized, ms | ratio | rounds |")
    print("|---|---|---|---|---|---|---|")
    for peer in peer_cases():
        asked = any(part in peer.label for part in arguments.only) if arguments.only else peer.model in MODELS
        if asked and peer.case.exporter in (arguments.exporter or EXPORTERS):
            for row in measured(peer, [arguments.level] if arguments.level else LEVELS, arguments.budget):
                print(row, flush=True)


if __name__ == "__main__":
    main()
