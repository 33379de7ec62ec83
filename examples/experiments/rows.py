"""The measured rows: one per model and exporter, kept in `.modelcheck/experiments/measurements.jsonl`. Torch-free."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.model_case import Exporter

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / ".modelcheck" / "experiments"
MEASUREMENTS = RESULTS / "measurements.jsonl"
Row = dict[str, Any]

NEEDED = ("attribution", "hierarchy", "accuracy")
"""Parts that a row must have to stand in a table of the whole zoo."""


class MissingRowError(Exception):
    """A table asks for a row or a figure that was not measured."""


def read_rows(path: Path = MEASUREMENTS) -> dict[tuple[str, str], Row]:
    """(model, exporter) -> row."""
    if not path.exists():
        return {}
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(row["model"], row["exporter"]): row for row in rows}


def write_rows(rows: Mapping[tuple[str, str], Row], path: Path = MEASUREMENTS) -> None:
    """All rows, one line each, in the order of the zoo."""
    from examples.zoo.registry import MODELS

    order = [(model.name, exporter) for exporter in ("dynamo", "torchscript") for model in MODELS]
    known = sorted(rows, key=lambda key: order.index(key) if key in order else len(order))
    text = "".join(json.dumps(rows[key], sort_keys=True, allow_nan=False) + "\n" for key in known)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def wanted_rows(rows: Mapping[tuple[str, str], Row], part: str, models: Iterable[str] = ()) -> list[Row]:
    """The rows of these models (default: all of the zoo), in the zoo's order; a failed export is a row, too.

    Raises:
        MissingRowError: if one was not measured.
    """
    from examples.zoo.registry import MODELS

    names = list(models) or [model.name for model in MODELS]
    keys = [(name, exporter) for name in names for exporter in ("dynamo", "torchscript")]
    absent = [f"{name}:{exporter}" for name, exporter in keys if (name, exporter) not in rows]
    absent += [":".join(key) for key in keys if key in rows and part not in rows[key] and "failure" not in rows[key]]
    if absent:
        command = f"python -m examples.experiments.measure --parts {part} {' '.join(absent)}"
        raise MissingRowError(f"not measured: {', '.join(absent)}; run {command}")
    return [rows[key] for key in keys]


def measured_rows(rows: Mapping[tuple[str, str], Row]) -> tuple[list[Row], list[str]]:
    """The rows of all models that were measured by both exporters, in the zoo's order, and the names of the others.

    A row with the parts of `NEEDED` is measured, and so is a failed export.
    """
    from examples.zoo.registry import MODELS

    keys = {model.name: [(model.name, exporter) for exporter in ("dynamo", "torchscript")] for model in MODELS}
    whole = [name for name, both in keys.items() if all(_is_measured(rows.get(key, {})) for key in both)]
    return [rows[key] for name in whole for key in keys[name]], [name for name in keys if name not in whole]


def _is_measured(row: Row) -> bool:
    return "failure" in row or all(part in row for part in NEEDED)


def zoo_rows(given: argparse.Namespace, part: str) -> list[Row]:
    """The rows of the whole zoo; with ``--measured`` those that there are, and the others are named.

    Raises:
        MissingRowError: without the flag, if one was not measured.
    """
    if not given.measured:
        return wanted_rows(read_rows(), part)
    rows, absent = measured_rows(read_rows())
    if absent:
        print(f"not measured, left out: {', '.join(absent)}")
    return rows


def add_missing(
    path: Path, files: Iterable[tuple[str, Exporter]], measure: Callable[[str, Exporter], Iterable[Row]]
) -> list[Row]:
    """The rows in `path`, one JSON object a line, with those of each model and exporter that is not there added."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    done = {(row["model"], row["exporter"]) for row in rows}
    for key in files:
        if key in done:
            continue
        made = [*measure(*key)]
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in made)
        rows += made
        for row in made:
            print(*row.values(), sep="  ", flush=True)
    return rows


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (header, rule, *rows)) + "\n"


def between(text: str, begin: str, end: str, content: str) -> str:
    """`text` with `content` between two marker comments, instead of what stands there.

    Raises:
        ValueError: if the markers are not there.
    """
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the text must hold {begin} and {end}")
    return f"{head}{begin}\n\n{content}\n{end}{tail}"


def signed(value: int | None) -> str:
    """+3, -72, 0; ``error`` for what failed."""
    return "error" if value is None else f"{value:+d}" if value else "0"


def write_result(name: str, markdown: str, folder: Path = RESULTS) -> None:
    """Write `<folder>/<name>.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(markdown.rstrip("\n") + "\n", encoding="utf-8")
    print(f"wrote {path}")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every command takes."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path(".modelcheck"), help="cached exports (default: .modelcheck)")
    parser.add_argument("--measured", action="store_true", help="models that were not measured are left out, and named")
    return parser
