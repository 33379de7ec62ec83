"""The frame of every snapshot file: a header of comments, then canonical rows.

The header holds the counting rule and the versions that recorded the file. It never takes part in a comparison.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_KIND = "# pytest-modelcheck "
_FORMAT = re.compile(rf"{_KIND}\S+, format (\d+)")
_RECORDED = "# recorded with: "
_OPTIMIZED = "# optimized graph: "

REORDERED = "the same rows, in a different order or with different spaces"
"""What differs where no row does."""


@dataclass(frozen=True, slots=True)
class SnapshotText:
    """A snapshot file, taken apart.

    Attributes:
        versions: Library -> version at the time of recording; empty where the header is missing.
        body: Everything below the header; what is compared.
        format: Version of the kind's rows, from the first line; 1 where that says nothing.
        optimized: Digest of the optimized graph; empty where the header has none.
    """

    versions: dict[str, str]
    body: str
    format: int = 1
    optimized: str = ""


def compose(kind: str, rule: str, versions: Mapping[str, str], body: str, format: int = 1, optimized: str = "") -> str:
    """A whole snapshot file. Lines end in ``\\n``; the file ends in exactly one."""
    recorded = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    header = [f"{_KIND}{kind}{f', format {format}' if format > 1 else ''}", f"# {rule}", f"{_RECORDED}{recorded}"]
    header += [f"{_OPTIMIZED}{optimized}"] if optimized else []
    return "\n".join(header) + "\n\n" + body.strip("\n") + "\n"


def split(text: str) -> SnapshotText:
    """Take a snapshot file apart; a text without header is all body."""
    lines = text.replace("\r\n", "\n").split("\n")
    versions: dict[str, str] = {}
    known = _FORMAT.fullmatch(lines[0])
    optimized = ""
    index = 0
    while index < len(lines) and (lines[index].startswith("#") or not lines[index].strip()):
        if lines[index].startswith(_RECORDED):
            pairs = lines[index].removeprefix(_RECORDED).split(", ")
            versions = dict(pair.rsplit(" ", 1) for pair in pairs if " " in pair)
        elif lines[index].startswith(_OPTIMIZED):
            optimized = lines[index].removeprefix(_OPTIMIZED)
        index += 1
    body = "\n".join(lines[index:]).strip("\n") + "\n"
    return SnapshotText(versions, body, int(known[1]) if known else 1, optimized)


def differences_found(lines: Sequence[str]) -> str:
    """``"2 differences"``; empty for none."""
    return f"{len(lines)} difference{'s' if len(lines) > 1 else ''}" if lines else ""


def version_changes(recorded: Mapping[str, str], now: Mapping[str, str]) -> str:
    """``"recorded with torch 2.12, now 2.13"`` for every library that differs; empty where none does."""
    changed = [
        f"{name} {recorded[name]}, now {now[name]}"
        for name in sorted(recorded)
        if now.get(name, recorded[name]) != recorded[name]
    ]
    return f"recorded with {'; '.join(changed)}" if changed else ""
