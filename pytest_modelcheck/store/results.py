"""The store: results on disk, each under the digest of its key, whole and unaltered or not used.

    <root>/<kind>-<digest>.json     key, what it depends on, the value, checksums of value and files
    <root>/<kind>-<digest>*         files and folders of the entry; a folder may hold the results that build on it
    <root>/.busy/<name>.lock, <name>/    what a process is making now

The .json is written last: files without one are what a killed process left. Whoever cleans up holds `gate.lock`, and so
does whoever moves a finished entry to its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.store.codec import decode, encode
from pytest_modelcheck.store.folder import (
    claimed,
    clean,
    file_digest,
    file_state,
    gate,
    lock_name,
    remove,
    temporary_folder,
)
from pytest_modelcheck.store.manifest import Manifest, Watch

Key = Mapping[str, object]
"""Name -> what the result depends on, as JSON types."""

LIMIT_BYTES = 8 * 2**30
"""What all results may take together; beyond it the ones that were not used for longest go."""

_FORMAT = 2
_IN_USE_SECONDS = 3600
"""A result used in the last hour may be in use by another process still."""


_SINCE_MEASURED: dict[Path, int] = {}
"""Folder of a store -> bytes kept in it by this process since it was measured: among thousands of entries, measuring
takes longer than making one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kept result.

    Attributes:
        path: Its .json file; files of the entry lie beside it, in `folder`.
        value: What was kept.
        depends: What it depends on besides its key, as it was recorded.
        kept: Whether it is kept; the files of one that is not live as long as the process.
        taken: Whether it was made before.
        why: Why what was kept under the key before was not taken, in words.
    """

    path: Path
    value: Any
    depends: Manifest
    kept: bool = True
    taken: bool = False
    why: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")


@dataclass(slots=True)
class Store:
    """Results in a folder.

    Attributes:
        folder: Where this part of the store lies; made when it is first needed.
        root: The whole store's folder: locks, cleaning up and the size limit are one for all parts.
        limit_bytes: See `LIMIT_BYTES`.
        notes: Why something could not be kept, one line each.
    """

    folder: Path
    root: Path = None  # type: ignore[assignment]
    limit_bytes: int = LIMIT_BYTES
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.root or self.folder

    def place(self, kind: str, key: Key) -> Path:
        """The name of a result without ending; files of the entry may be written under it, while it is made."""
        return self.folder / _stem(kind, key)

    def get(
        self,
        kind: str,
        key: Key,
        make: Callable[[Path], Any],
        keep_if: Callable[[Any], bool] = lambda value: True,
        watch: Watch | None = None,
    ) -> Entry:
        """The result that was kept under `key`, or a new one, which is kept if `keep_if` says so.

        A store that cannot be written to keeps nothing and says so in `notes`.

        Args:
            make: Gets an empty folder, whose files become those of the entry.
            watch: Of what the result depends on besides the key.

        Example:
            >>> store.get("fusion", {"export": key.digest}, lambda folder: analyse(captured)).value
        """
        before, why = self.candidates(kind, key), list[str]()
        if (found := self.find(kind, key, watch, why)) is not None:
            return found
        with self.making(kind, key) as scratch:
            if self.candidates(kind, key) != before and (found := self.find(kind, key, watch)) is not None:
                return found  # another process made it meanwhile
            if watch is not None:
                watch.look()
            folder = temporary_folder() if scratch is None else scratch
            value = make(folder)
            depends = None if watch is None else watch.manifest()
            files = folder if any(folder.iterdir()) else None
            entry = None
            if scratch is not None and keep_if(value) and not (depends and depends.uncacheable):
                entry = self.keep(kind, key, value, files=files, depends=depends)
            if entry is None:
                if files is not None and folder is scratch:  # which ends here
                    folder = Path(shutil.move(files, temporary_folder()))
                entry = Entry(folder.with_suffix(".json"), value, depends or Manifest(), kept=False)
        return dataclasses.replace(entry, why=tuple(dict.fromkeys(why)))

    def find(self, kind: str, key: Key, watch: Watch | None = None, why: list[str] | None = None) -> Entry | None:
        """The entry that was kept under `key`, whole and unaltered; None where there is none.

        Args:
            watch: Says what has changed of what the entry depends on; nothing must have.
            why: Gets the reasons why the entries that exist are not used, those of the latest one.
        """
        clean(self.root)
        reasons: list[str] = []
        for path in self.candidates(kind, key):
            try:
                found = read_entry(path, key)
                said = list(watch.changes(found.depends)) if watch is not None else []
            except (OSError, ValueError, KeyError, TypeError, ModelCheckError) as error:
                said = [f"the kept result is damaged: {error} ({path})"]
            if not said:
                with contextlib.suppress(OSError):  # a store that may only be read
                    os.utime(path)
                return dataclasses.replace(found, taken=True)
            reasons = reasons or said
        if why is not None:
            why += reasons
        return None

    def candidates(self, kind: str, key: Key) -> list[Path]:
        """The entries under `key`, whatever they depend on; the one that was used last comes first."""
        stem = _stem(kind, key)
        entries = [path for path in _named(self.folder, stem) if path.suffix == ".json"]
        return sorted(entries, key=_last_used, reverse=True)

    def keys(self, kind: str) -> Iterator[dict[str, Any]]:
        """The key of every entry of a kind that can be read."""
        for path in sorted(self.folder.glob(f"{kind}-*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                yield json.loads(path.read_bytes())["key"]

    @contextlib.contextmanager
    def making(self, kind: str, key: Key) -> Iterator[Path | None]:
        """Only one process at a time makes a result: a scratch folder for it, or None where nothing can be kept."""
        with contextlib.ExitStack() as stack:
            try:
                clean(self.root)
                scratch = stack.enter_context(claimed(self.root, lock_name(self.folder, _stem(kind, key))))
            except OSError as error:
                self._not_kept(error)
                yield None
            else:
                yield scratch

    def keep(
        self, kind: str, key: Key, value: Any, *, files: Path | None = None, depends: Manifest | None = None
    ) -> Entry | None:
        """Keep a result; None where that failed, with the reason in `notes`.

        Args:
            files: A folder whose content becomes that of the entry.
            depends: What it depends on besides the key; results of one key may depend on different things.
        """
        stem = _stem(kind, key) + (f"-{depends.digest[:16]}" if depends is not None else "")
        target = self.folder / f"{stem}.json"
        recorded = None if depends is None else dataclasses.asdict(depends)
        body = {"format": _FORMAT, "key": dict(key), "depends": recorded, "value": encode(value)}
        try:
            with gate(self.root) as busy:
                self.folder.mkdir(parents=True, exist_ok=True)
                remove(target)  # first: an entry of new files and an old .json would be neither
                if files is not None:
                    remove(target.with_suffix(""))
                    os.replace(files, target.with_suffix(""))
                beside = _named(self.folder, stem)
                body["files"] = {
                    file.relative_to(self.folder).as_posix(): [file_digest(file), file_state(file)]
                    for path in beside
                    for file in ([path] if path.is_file() else sorted(path.iterdir()))
                }
                written = busy / f"{stem}.new"
                with written.open("w", encoding="utf-8") as stream:
                    json.dump({**body, "checksum": _checksum(body)}, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(written, target)
                self._limit_size(sum(map(_size, [target, *beside])))
        except OSError as error:
            self._not_kept(error)
            return None
        return Entry(target, value, depends or Manifest())

    def _limit_size(self, new: int) -> None:
        """Remove what was not used for longest until the rest fits, if that may have changed. Called under the gate."""
        since = _SINCE_MEASURED.get(self.root, self.limit_bytes) + new
        _SINCE_MEASURED[self.root] = since
        if since < self.limit_bytes // 64:
            return
        _SINCE_MEASURED[self.root] = 0
        parts: dict[str, list[Path]] = {}
        for path in _named(self.root, ""):
            parts.setdefault(path.name.partition(".")[0], []).append(path)
        entries = sorted(
            (path for stem in parts if (path := self.root / f"{stem}.json") in parts[stem]), key=_last_used
        )
        sizes = {entry: sum(map(_size, parts[entry.stem])) for entry in entries}
        total = sum(sizes.values())
        for entry in entries:
            if total <= self.limit_bytes or time.time() - _last_used(entry) < _IN_USE_SECONDS:
                break
            total -= sizes[entry]
            for part in (entry, *parts[entry.stem]):
                remove(part)

    def _not_kept(self, error: OSError) -> None:
        way_out = "choose another folder with --modelcheck-cache=DIR, or run with --modelcheck-no-cache"
        note = f"results are not kept ({way_out}): {error.filename or self.root}: {error.strerror or error}"
        if note not in self.notes:
            self.notes.append(note)


def _stem(kind: str, key: Key) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:24]}"


def read_entry(path: Path, key: Key | None = None) -> Entry:
    """Read an entry, whole and unaltered.

    Raises:
        ValueError, KeyError, TypeError, OSError: if it is not, or was kept under another key.
        NotKeepableError: if its value cannot be read.
    """
    entry = json.loads(path.read_bytes())
    checksum, files = entry.pop("checksum"), entry.pop("files")
    if entry["format"] != _FORMAT or (key is not None and entry["key"] != json.loads(json.dumps(dict(key)))):
        raise ValueError("it was kept under a different key")
    if checksum != _checksum(entry):
        raise ValueError("its value was altered")
    for name, (digest, state) in files.items():
        file = path.parent / name
        if file_state(file) != state and file_digest(file) != digest:
            raise ValueError(f"{name} was altered")
    return Entry(path, decode(entry["value"]), Manifest(**entry["depends"] or {}))


def _checksum(body: Mapping[str, Any]) -> str:
    parts = {name: body[name] for name in ("format", "key", "depends", "value")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _named(folder: Path, stem: str) -> list[Path]:
    """What of `folder` has a name that begins so; `Path.glob` takes five times as long."""
    with contextlib.suppress(OSError):
        return [folder / name for name in _names(folder) if name.startswith(stem)]
    return []


_LISTED: dict[Path, tuple[int, list[str]]] = {}
"""Folder -> when it had changed, and what was in it."""

_SETTLED_NS = 2 * 10**9
"""A folder that changed a moment ago may change again within the resolution of its time."""


def _names(folder: Path) -> list[str]:
    """The names in a folder, read again only when it has changed: reading thousands takes milliseconds."""
    changed = folder.stat().st_mtime_ns
    if (listed := _LISTED.get(folder)) is not None and listed[0] == changed:
        return listed[1]
    names = os.listdir(folder)
    if abs(time.time_ns() - changed) > _SETTLED_NS:
        _LISTED[folder] = (changed, names)
    return names


def _last_used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    parts = path.rglob("*") if path.is_dir() else (path,)
    return sum(part.stat().st_size for part in parts if part.is_file())
