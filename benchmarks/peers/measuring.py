"""Measuring one file: export it, run every optimizer that has no result yet, compare what they made."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.cases import PeerCase
from benchmarks.peers.results import EXPORTS, PEERS, ROOT, content_hash, read, versions, write
from benchmarks.peers.worker import OURS

PEER_SEEDS = 3
OUR_SEEDS = 20


def measure(case: PeerCase, *, again: bool = False, limit: float = 600) -> dict[str, Any]:
    """Results of one file, stored as they come. What fails is a result too; nothing is raised.

    Args:
        case: The file.
        again: Forget what is stored, and export anew.
        limit: Seconds that one optimizer may take.
    """
    results = {} if again else read(case.label)
    exported: Path | str = ROOT / results.get("path", "")
    if "content" not in results or not Path(exported).is_file() or content_hash(Path(exported)) != results["content"]:
        exported = _export(case)
    if isinstance(exported, str):
        results["failure"] = exported
        write(case.label, results)
        return results
    results.pop("failure", None)
    content = content_hash(exported)
    if results.get("content") != content:
        results = {"content": content, "optimizers": {}}
    results |= {
        "label": case.label,
        "path": str(exported.relative_to(ROOT)),
        "model": case.model,
        "exporter": case.case.exporter,
        "transformer": case.transformer,
        "exported": _counts(exported),
        "weights": _weights(exported),
    }
    now = versions()
    stale = [name for name in (OURS, *PEERS) if results["optimizers"].get(name, {}).get("version") != now[name]]
    with tempfile.TemporaryDirectory(prefix="modelcheck-peers-") as folder:
        made = {name: Path(folder) / name / "model.onnx" for name in stale}
        for name, path in made.items():
            path.parent.mkdir()
            result = worker(["optimize", name, str(exported), str(path)], limit)
            results["optimizers"][name] = {"version": now[name], **result}
        right = [name for name in stale if "error" not in results["optimizers"][name]]
        seeds = {name: OUR_SEEDS if name == OURS else PEER_SEEDS for name in right}
        if right:
            wanted = [f"{name}={seeds[name]}={made[name]}" for name in right]
            checked = worker(["check", case.label, str(exported), *wanted], 3 * limit)
            for name in right:
                verdict = checked.get(name) or {"right": False, "scaled": None, "why": checked.get("error")}
                results["optimizers"][name] |= verdict
    write(case.label, results)
    return results


def worker(arguments: list[str], limit: float) -> dict[str, Any]:
    """Run one step in a process of its own: its JSON, or ``{"error": why}``."""
    command = [sys.executable, "-m", "benchmarks.peers.worker", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} s"}
    try:
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"exit status {done.returncode}: {last[:300]}"}
    return result


def _export(case: PeerCase) -> Path | str:
    """The exported file, from the cache where it is there; or why there is none."""
    # In a process of its own: torch and the model's weights would stay in this one.
    result = worker(["export", case.label, str(EXPORTS)], 1800)
    return str(result["error"]) if "error" in result else Path(result["path"])


def _counts(path: Path) -> dict[str, int]:
    import onnx_ir as ir

    from pytest_modelcheck.graph.counts import count_nodes

    model = ir.load(path)
    nodes = count_nodes(model)
    return {"nodes": nodes, "constants": count_nodes(model, constants=True) - nodes}


def _weights(path: Path) -> int:
    """Bytes of the file's weights: large ones lie beside it, else the file is about as large as its weights."""
    data = path.with_name(f"{path.name}.data")
    return (data if data.is_file() else path).stat().st_size
