"""The syrupy extension: a text file per test and kind below the snapshot directory, whose header is not compared."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from syrupy.data import Snapshot, SnapshotCollection
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from pytest_modelcheck.snapshots.text import split

_KIND = re.compile(r"\.([a-z_]+(?:\.\d+)?)$")
"""The end of a file's stem: the kind, and a number where a test locks two results of one kind."""

_LONGEST = 150  # characters of a test's name in a file name; file systems end at 255 bytes


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """Where the snapshots of a run lie: `snapshots` mirrors the test files below `root`."""

    root: Path
    snapshots: Path


class ModelCheckExtension(SingleFileSnapshotExtension):
    """``<snapshot directory>/<folder of the test file>/<test file>/<test>.<kind>.txt``.

    `place` is set for the length of a run: syrupy asks the class, not an instance, where files lie, and its xdist
    controller knows the class by its import path only.
    """

    _write_mode = WriteMode.TEXT
    file_extension = "txt"
    place: ClassVar[SnapshotPlace | None] = None

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        if cls.place is None:
            raise RuntimeError("modelcheck snapshots are used outside a pytest run")
        test_file = Path(test_location.filepath)
        inside = test_file.is_relative_to(cls.place.root)
        folder = test_file.parent.relative_to(cls.place.root) if inside else Path()
        return str(cls.place.snapshots / folder / test_file.stem)

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """``test[kind]``: syrupy takes what precedes the bracket for the test."""
        name = cls._test_name(test_location)
        return f"{name}[{index}]" if index else name

    @classmethod
    def _test_name(cls, test_location: PyTestLocation) -> str:
        """The test's name as a file name; with a hash where characters had to go: ``a/b`` and ``a:b`` are two tests."""
        raw = test_location.snapshot_name
        clean = super().get_snapshot_name(test_location=test_location, index=0)
        if clean == raw:
            return clean
        digest = hashlib.blake2b(raw.encode(), digest_size=4).hexdigest()
        return f"{clean[:_LONGEST]}-{digest}"

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        name = cls._test_name(test_location)
        return f"{name}.{index}" if index else name

    def read_snapshot_collection(self, *, snapshot_location: str) -> SnapshotCollection:
        collection = SnapshotCollection(location=snapshot_location)
        collection.add(Snapshot(name=_KIND.sub(r"[\1]", Path(snapshot_location).stem)))
        return collection

    def matches(self, *, serialized_data: Any, snapshot_data: Any) -> bool:
        now, recorded = split(serialized_data), split(snapshot_data)
        return (now.format, now.body) == (recorded.format, recorded.body)


def shown(path: str | Path) -> Path:
    """`path` as messages give it: relative to the root folder of the run where it lies below it."""
    root = None if ModelCheckExtension.place is None else ModelCheckExtension.place.root
    return Path(path).relative_to(root) if root is not None and Path(path).is_relative_to(root) else Path(path)
