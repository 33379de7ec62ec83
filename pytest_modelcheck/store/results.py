"""A folder of results, each under the digest of everything that it depends on.

    <folder>/<kind>-<digest of the key>.json       the key, the digests of files that belong to it, the result

A result is whole, its files unaltered and its key the same, or it is not used and computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.store.codec import decode, encode

Key = Mapping[str, object]
"""Name -> what the result depends on, as JSON types."""

_IN_USE_SECONDS = 3600
"""A result used in the last hour may be in use by another process still."""


@dataclass(frozen=True, slots=True)
class KeptResults:
    """Results in one folder.

    Attributes:
        folder: Made when it is first needed.
        keep_per_kind: How many of one kind stay, the most recently used ones.
    """

    folder: Path
    keep_per_kind: int = 8

    def name(self, kind: str, key: Key) -> str:
        """The name of a result without ending; files that belong to it start with it."""
        text = json.dumps(dict(key), sort_keys=True)
        return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def find(self, kind: str, key: Key) -> Any | None:
        """The result that was kept under `key`; None where there is none that may be used."""
        file = self.folder / f"{self.name(kind, key)}.json"
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            if entry["key"] != json.loads(json.dumps(dict(key))):
                return None
            if any(file_digest(self.folder / name) != digest for name, digest in entry["files"].items()):
                return None
            value = decode(entry["value"])
            os.utime(file)
        except (OSError, ValueError, KeyError, TypeError, ModelCheckError):
            return None  # missing or damaged: it is computed again
        return value

    def keep(self, kind: str, key: Key, value: Any, files: Sequence[Path] = ()) -> None:
        """Keep a result and what it needs of `files`, which lie in the folder.

        Raises:
            NotKeepableError: if `value` has no faithful form in JSON.
            OSError: if the folder cannot be written to.
        """
        entry = {
            "key": dict(key),
            "files": {file.name: file_digest(file) for file in files},
            "value": encode(value),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{self.name(kind, key)}.json"
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".new-") as scratch:
            written = Path(scratch) / target.name
            written.write_text(json.dumps(entry), encoding="utf-8")
            os.replace(written, target)
        self._prune(kind)

    def _prune(self, kind: str) -> None:
        files = sorted(self.folder.glob(f"{kind}-*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[self.keep_per_kind :]:
            if time.time() - file.stat().st_mtime > _IN_USE_SECONDS:
                for part in self.folder.glob(f"{file.stem}*"):
                    part.unlink(missing_ok=True)


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
