"""Does removing nodes make files smaller? Size against node count, per pass, fusions and eliminations apart.

``python -m examples.experiments.size_and_nodes``
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from examples.experiments.rows import Row, arguments, table, write_result, zoo_rows


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's r; None where one side does not vary."""
    if len(pairs) < 3:
        return None
    xs, ys = zip(*pairs, strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread_x = math.fsum((x - mean_x) ** 2 for x in xs)
    spread_y = math.fsum((y - mean_y) ** 2 for y in ys)
    if not spread_x or not spread_y:
        return None
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs) / math.sqrt(spread_x * spread_y)


def changes(rows: Sequence[Row]) -> dict[str, list[tuple[int, int]]]:
    """Pass -> (nodes, bytes of initializers) that it changed, one pair per model where it changed either."""
    found: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        for entry in row.get("attribution", {}).get("passes", ()):
            pair = (entry["in_order"] or 0, entry["bytes_after"] - entry["bytes_before"])
            found.setdefault(entry["name"], []).extend([pair] if any(pair) else [])
    return found


def report(rows: Sequence[Row]) -> str:
    """One line per pass, then fusions and all others."""
    by_pass = changes(rows)
    groups = {
        "all fusions": [pair for name, pairs in by_pass.items() if name.startswith("fuse_") for pair in pairs],
        "all others": [pair for name, pairs in by_pass.items() if not name.startswith("fuse_") for pair in pairs],
    }
    data = [_figures(name, pairs) for name, pairs in {**by_pass, **groups}.items()]
    header = ["pass", "models", "nodes", "bytes", "r(nodes, bytes)"]
    lines = [
        [d["pass"], d["models"], f"{d['nodes']:+d}", f"{d['bytes']:+d}", "-" if d["r"] is None else f"{d['r']:+.2f}"]
        for d in data
    ]
    text = (
        "# Size against node count\n\nSums over all exports in which the pass, in its place, changed nodes or bytes of "
        "initializers. r is Pearson's; `-` where fewer than three exports changed or one side does not vary.\n\n"
    )
    return text + table(header, lines)


def _figures(name: str, pairs: Sequence[tuple[int, int]]) -> Row:
    r = correlation(pairs)
    return {
        "pass": name,
        "models": len(pairs),
        "nodes": sum(nodes for nodes, _ in pairs),
        "bytes": sum(size for _, size in pairs),
        "r": None if r is None else round(r, 3),
    }


def main() -> None:
    given = arguments(__doc__).parse_args()
    write_result("size_and_nodes", report(zoo_rows(given, "attribution")))


if __name__ == "__main__":
    main()
