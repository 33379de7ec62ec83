"""Exports kept on disk: an entry is whole, unaltered and made under the same key, or it is not used.

    <directory>/<case>-<exporter>/<digest of the key>/model.onnx, model.onnx.data, entry.json

An entry is written in a scratch folder beside its place and renamed into it, under a lock per case and exporter: two
processes that want the same export make it once, and neither sees half of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.export.exported import Exported
from pytest_modelcheck.export.key import ExportKey
from pytest_modelcheck.export.locking import locked
from pytest_modelcheck.model_case import ModelCase

MODEL_FILE = "model.onnx"
_ENTRY_FILE = "entry.json"
_IN_USE_SECONDS = 3600
"""An entry used in the last hour may be in use by another process still."""


@dataclass(frozen=True, slots=True)
class ExportCache:
    """A folder of exports.

    Attributes:
        directory: Made when it is first needed.
        keep: How many entries to keep per case and exporter, the most recently used ones; older ones are removed when
            a new one is stored, unless they were used within the last hour.
    """

    directory: Path
    keep: int = 4

    @contextlib.contextmanager
    def locked(self, case: ModelCase) -> Iterator[None]:
        """Only one process at a time finds or makes the export of one case by one exporter.

        Raises:
            OptionError: if the folder cannot be made or written to.
        """
        folder = self._folder(case)
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (self.directory / ".gitignore").write_text("*\n")
                stack.enter_context(locked(folder / ".lock"))
            except OSError as error:
                raise OptionError(
                    f"the export cache cannot use {folder}: {error.strerror or error}; remove what is in the way, make"
                    " it writable, or choose another folder for the cache"
                ) from error
            yield

    @contextlib.contextmanager
    def scratch(self, case: ModelCase) -> Iterator[Path]:
        """A folder to export into; what `store` has not taken out of it is removed."""
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=self._folder(case)) as folder:
            yield Path(folder)

    def find(self, case: ModelCase, key: ExportKey) -> Exported | tuple[str, ...]:
        """The export that was made under `key`, or in words why there is none that may be used."""
        if key.uncacheable:
            return tuple(f"cannot be compared between runs: {reason}" for reason in key.uncacheable)
        folder = self._folder(case) / key.digest
        if not os.path.lexists(folder):
            return self._why_missing(case, key)
        try:
            entry = _read_entry(folder)
            _verify_files(folder, entry["files"])
            if ExportKey.from_json(entry["key"]).digest != key.digest:
                raise ValueError("its recorded key differs")
            exported = Exported(
                case=case,
                exporter=case.exporter,
                path=folder / MODEL_FILE,
                key=key,
                seconds=float(entry["seconds"]),
                cached=True,
                versions=dict(key.versions),
                warnings=tuple(entry["warnings"]),
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            return (f"the cached export is damaged: {error} ({folder})",)
        os.utime(folder / _ENTRY_FILE)
        return exported

    def store(self, exported: Exported) -> Exported:
        """Move a finished export out of its scratch folder into the cache, replacing what is there."""
        scratch = exported.path.parent
        entry = {
            "key": exported.key.as_json(),
            "files": {file.name: _file_digest(file) for file in sorted(scratch.iterdir())},
            "seconds": exported.seconds,
            "warnings": list(exported.warnings),
        }
        (scratch / _ENTRY_FILE).write_text(json.dumps(entry))
        place = self._folder(exported.case) / exported.key.digest
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.exists():
            shutil.rmtree(place)
        kept = place.with_name(f".new-{exported.key.digest}-{os.getpid()}")
        kept.mkdir()
        for file in list(scratch.iterdir()):
            os.replace(file, kept / file.name)
        os.replace(kept, place)
        self._prune(exported.case)
        return dataclasses.replace(exported, path=place / exported.path.name)

    def _folder(self, case: ModelCase) -> Path:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", case.name).strip("-.")[:60]
        suffix = "" if name == case.name else f"-{hashlib.sha256(case.name.encode()).hexdigest()[:6]}"
        return self.directory / f"{name}{suffix}-{case.exporter}"

    def _entries(self, case: ModelCase) -> list[tuple[float, Path]]:
        """When each entry was last used, and its folder; the most recent one first."""
        found = [(file.stat().st_mtime, file.parent) for file in self._folder(case).glob(f"[!.]*/{_ENTRY_FILE}")]
        return sorted(found, reverse=True)

    def _why_missing(self, case: ModelCase, key: ExportKey) -> tuple[str, ...]:
        for _, folder in self._entries(case):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                return ExportKey.from_json(_read_entry(folder)["key"]).difference(key)
        return ("no earlier export of this case is in the cache",)

    def _prune(self, case: ModelCase) -> None:
        for used, folder in self._entries(case)[self.keep :]:
            if time.time() - used > _IN_USE_SECONDS:
                shutil.rmtree(folder)
        for folder in [*self._folder(case).glob(".scratch-*"), *self._folder(case).glob(".new-*")]:
            if time.time() - folder.stat().st_mtime > _IN_USE_SECONDS:  # of a process that was killed
                shutil.rmtree(folder)


def _read_entry(folder: Path) -> dict[str, Any]:
    entry = json.loads((folder / _ENTRY_FILE).read_text())
    if not isinstance(entry, dict):
        raise ValueError(f"{_ENTRY_FILE} holds no object")
    return entry


def _verify_files(folder: Path, digests: dict[str, str]) -> None:
    if MODEL_FILE not in digests:
        raise ValueError(f"{_ENTRY_FILE} does not list {MODEL_FILE}")
    for name, digest in digests.items():
        if _file_digest(folder / name) != digest:
            raise ValueError(f"{name} was altered")


def _file_digest(file: Path) -> str:
    stat = file.stat()
    return _content_digest(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=256)
def _content_digest(file: Path, size: int, mtime_ns: int, inode: int) -> str:
    """The digest of a file's content: read once per process while size, time and inode stay the same."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
