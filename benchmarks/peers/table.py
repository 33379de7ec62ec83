"""The tables: stored results in, markdown out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.peers.results import PEERS
from benchmarks.peers.worker import BAR, OURS

Results = dict[str, Any]
NAMED_PASSES = (
    "fold_constants",
    "fuse_matmul_add",
    "simplify_shape_chains",
    "fuse_conv_batchnorm",
    "eliminate_redundant_transposes",
    "cleanup_attention",
)


def nodes_of(results: Results, name: str) -> int | None:
    """What an optimizer leaves, right or wrong; None where it failed or was not run."""
    nodes: int | None = results["optimizers"].get(name, {}).get("nodes")
    return nodes


def best_right_peer(results: Results) -> tuple[str, int] | None:
    """The peer that leaves the fewest nodes with a right result; None where no peer's is right."""
    right = [name for name in PEERS if results["optimizers"].get(name, {}).get("right")]
    counts = [(name, nodes) for name in right if (nodes := nodes_of(results, name)) is not None]
    return min(counts, key=lambda item: item[1], default=None)


def best_without_optimizing(results: Results) -> int:
    """What a user is left with at best without us: the best right peer's, or the exported graph itself."""
    best = best_right_peer(results)
    exported: int = results["exported"]["nodes"]
    return exported if best is None else min(best[1], exported)


def complete(results: Results) -> bool:
    """Whether every optimizer was run: nothing can be said of the best peer before."""
    return set(results["optimizers"]) >= {*PEERS, OURS}


def one_line(label: str, results: Results) -> str:
    """A line of progress."""
    if "exported" not in results:
        return f"{label}: {results.get('failure', 'not measured').splitlines()[0]}"
    cells = " ".join(f"{name} {_cell(results, name)}" for name in (*PEERS, OURS))
    return f"{label}: exported {results['exported']['nodes']} {cells} diff {_scaled(results)}"


def full(stored: Sequence[Results], failures: dict[str, str], growth: dict[str, Any], *, files: int) -> str:
    """Everything that was measured, of so many files, as a page."""
    parts = [
        "# Our passes beside other optimizers",
        "",
        "```console",
        "python -m benchmarks.passes_against_peers --write          # measures and writes this page",
        "python -m pytest_modelcheck optimize model.onnx out.onnx   # a file of your own",
        "```",
        "",
        "Nodes left, Constants not counted, target `portable`; models of `examples/zoo` at full size, weights",
        "jittered. **x**: the result is wrong (it does not",
        f"load, has NaN, or differs by more than {BAR:g} of the largest value); **failed**: no result. Best: the right",
        "peer that leaves the fewest nodes. Difference: ours to the exported file, largest over 20 seeds, floats from",
        "N(0,1), N(-2,1) and U(0,1), masks with and without padding, onnxruntime's own optimizer off.",
        "",
        f"Measured: {len(stored)} of {files} files.",
        "",
        *_nodes_table(stored),
        "",
        "## Sums",
        "",
        *_sums_table(stored),
        "",
        "## Seconds and memory, BERT-base",
        "",
        "Load, optimize and save, each in its own process, imports not counted: wall seconds, processor seconds, and",
        "peak memory above that process after its imports, in copies of the weights.",
        "",
        *_cost_table(stored),
        "",
        "## cleanup_attention in its place in the pipeline, BERT-base",
        "",
        *_attention_table(stored),
        "",
        "## Which models each pass fires on",
        "",
        *_firing_table(stored),
        "",
        "## Processor seconds over the number of nodes",
        "",
        *_growth_lines(growth),
        "",
        "## What is wrong with the peers' wrong results",
        "",
        *_wrong_lines(stored),
    ]
    if failures:
        parts += ["", "## Exports that fail", ""]
        parts += [f"- {label}: {reason.splitlines()[0]}" for label, reason in failures.items()]
    return "\n".join(parts) + "\n"


def compact(stored: Sequence[Results], growth: dict[str, Any], *, files: int) -> str:
    """What docs/zoo.md shows: BERT-base, sums, and where every number is."""
    chosen = [results for results in stored if results["model"].startswith("bert-base")]
    worst = max((value for results in stored if (value := _own(results).get("scaled")) is not None), default=None)
    lines = [
        *_nodes_table(chosen),
        "",
        *_sums_table(stored),
        "",
        *_cost_table(stored),
        "",
        *_firing_table(stored, only=NAMED_PASSES),
        "",
        f"Measured: {len(stored)} of {files} files. Largest difference of ours over them: "
        f"{'not measured' if worst is None else f'{worst:.1e}'}. {' '.join(_growth_lines(growth))}",
        "Every file and peer: [the whole table](passes_against_peers.md).",
    ]
    return "\n".join(lines) + "\n"


def _nodes_table(stored: Sequence[Results]) -> Iterator[str]:
    yield from _header("model", "exporter", "exported", "Constants", *PEERS, "best", "**ours**", "ratio", "difference")
    for results in stored:
        best, ours = best_without_optimizing(results) if complete(results) else None, nodes_of(results, OURS)
        yield _row(
            results["model"],
            results["exporter"],
            results["exported"]["nodes"],
            results["exported"]["constants"],
            *(_cell(results, peer) for peer in PEERS),
            "-" if best is None else best,
            f"**{_cell(results, OURS)}**",
            "-" if ours is None or best is None else f"{ours / best:.2f}",
            _scaled(results),
        )


def _sums_table(stored: Sequence[Results]) -> Iterator[str]:
    yield from _header("files", "exported", *PEERS, "best right peer of each", "**ours**", "ratio", "more than best")
    for name, chosen in (
        ("transformers", [results for results in stored if results["transformer"]]),
        ("all", list(stored)),
    ):
        measured = [results for results in chosen if complete(results) and nodes_of(results, OURS) is not None]
        if not measured:
            continue
        ours = sum(nodes_of(results, OURS) or 0 for results in measured)
        best = sum(best_without_optimizing(results) for results in measured)
        worse = [r for r in measured if (nodes_of(r, OURS) or 0) > best_without_optimizing(r)]
        exported = sum(results["exported"]["nodes"] for results in measured)
        peers = [_peer_sum(measured, peer) for peer in PEERS]
        where = ", ".join(f"{r['model']} {r['exporter']}" for r in worse) or "nowhere"
        yield _row(f"{len(measured)} {name}", exported, *peers, best, f"**{ours}**", f"{ours / best:.3f}", where)


def _peer_sum(measured: Sequence[Results], peer: str) -> str:
    """Where a peer has no right result, its user is left with the exported graph."""
    total, without = 0, 0
    for results in measured:
        right = results["optimizers"].get(peer, {}).get("right")
        total += (nodes_of(results, peer) or 0) if right else results["exported"]["nodes"]
        without += not right
    return f"{total} ({without} without right result)" if without else str(total)


def _cost_table(stored: Sequence[Results]) -> Iterator[str]:
    chosen = [results for results in stored if results["model"].startswith("bert-base")]
    yield from _header("model", "exporter", *(f"{name}: s, CPU s, copies" for name in (*PEERS, f"**{OURS}**")))
    for results in chosen:
        cells = []
        for name in (*PEERS, OURS):
            found = results["optimizers"].get(name, {})
            if "seconds" in found:
                cells.append(
                    f"{found['seconds']:.1f}, {found['cpu_seconds']:.1f}, {found['peak'] / results['weights']:.1f} x"
                )
            else:
                cells.append("failed" if found else "not measured")
        yield _row(results["model"], results["exporter"], *cells)


def _attention_table(stored: Sequence[Results]) -> Iterator[str]:
    yield from _header("model", "exporter", "exported nodes", "delta", "share")
    for results in stored:
        if results["model"].startswith("bert-base") and "passes" in _own(results):
            delta, exported = _own(results)["passes"]["cleanup_attention"], results["exported"]["nodes"]
            yield _row(
                results["model"], results["exporter"], exported, f"{delta:+d}", f"{-100 * delta / exported:.1f} %"
            )


def _firing_table(stored: Sequence[Results], *, only: Sequence[str] | None = None) -> Iterator[str]:
    """The three files on which each pass removes most, and on how many it changes the count at all."""
    yield from _header("pass", "files whose count it changes", "most")
    names = list(dict.fromkeys(name for results in stored for name in _own(results).get("passes", {})))
    for name in only or [*NAMED_PASSES, *(name for name in names if name not in NAMED_PASSES)]:
        deltas = [(_own(r).get("passes", {}).get(name, 0), r["label"], r) for r in stored]
        fired = sorted((entry for entry in deltas if entry[0]), key=lambda entry: entry[:2])
        most = ", ".join(f"{r['model']} {r['exporter']} {delta:+d}" for delta, _, r in fired[:3])
        yield _row(f"`{name}`", len(fired), most or "none")


def _growth_lines(growth: dict[str, Any]) -> Iterator[str]:
    if "seconds" not in growth:
        yield growth.get("error", "Processor seconds over the number of nodes: not measured.")
        return
    listed = ", ".join(f"{int(nodes):,}: {seconds:.1f} s" for nodes, seconds in growth["seconds"].items())
    yield f"Nodes and processor seconds of our pipeline: {listed}; seconds grow like nodes^{growth['exponent']:.2f}."


def _wrong_lines(stored: Sequence[Results]) -> Iterator[str]:
    for results in stored:
        for name in (*PEERS, OURS):
            found = results["optimizers"].get(name, {})
            if found and not found.get("right"):
                scaled = found.get("scaled")
                why = f"differs by {scaled:.1e}" if scaled is not None else found.get("error") or found.get("why")
                yield f"- {results['model']}, {results['exporter']}: {name}: {why}"


def _own(results: Results) -> dict[str, Any]:
    found: dict[str, Any] = results["optimizers"].get(OURS, {})
    return found


def _cell(results: Results, name: str) -> str:
    found = results["optimizers"].get(name)
    if found is None:
        return "not run"
    if "nodes" not in found:
        return "failed"
    return str(found["nodes"]) if found.get("right") else f"{found['nodes']} **x**"


def _scaled(results: Results) -> str:
    scaled = _own(results).get("scaled")
    return "-" if scaled is None else f"{scaled:.1e}"


def _header(*names: str) -> tuple[str, str]:
    return _row(*names), "|" + "---|" * len(names)


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
