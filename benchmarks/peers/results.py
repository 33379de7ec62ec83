"""What was measured, one JSON file per exported file, in `.modelcheck/peers/`: an interrupted run resumes there.

An entry is used as long as the exported file has the same content and the optimizer is the same version; for ours that
is the content of the rooms that optimize.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.worker import OURS
from examples.experiments.measure import rooms_digest

ROOT = Path(__file__).resolve().parent.parent.parent
EXPORTS = ROOT / ".modelcheck"
"""The zoo's own cache of exports."""
STORE = EXPORTS / "peers"

PEERS = ("onnxslim", "onnxsim", "onnxoptimizer", "onnxscript")
_OUR_ROOMS = ("graph", "passes", "pipeline", "rewriting", "shapes")


def content_hash(path: Path) -> str:
    """Of an .onnx file and the weights beside it."""
    digest = hashlib.sha256()
    for file in (path, path.with_name(f"{path.name}.data")):
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:24]


def versions() -> dict[str, str]:
    """Optimizer -> what its result depends on."""
    return {OURS: rooms_digest(_OUR_ROOMS), **{peer: version(peer) for peer in PEERS}}


def read(label: str) -> dict[str, Any]:
    """The stored results of one file; {} where there are none."""
    path = STORE / f"{label}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def write(label: str, results: dict[str, Any]) -> None:
    """Store the results of one file."""
    STORE.mkdir(parents=True, exist_ok=True)
    scratch = STORE / f".{label}.json"
    scratch.write_text(json.dumps(results, indent=1))
    scratch.replace(STORE / f"{label}.json")
