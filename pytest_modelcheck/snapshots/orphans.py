"""Snapshots whose test file is gone.

syrupy finds them only where pytest gets no path: beside a path it looks for test files in the snapshot directory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_FIRST_LINE = b"# pytest-modelcheck "
_RECORDED_OUTPUTS = ".golden.npz"


@dataclass(frozen=True, slots=True)
class Orphans:
    """The files of one test file.

    Attributes:
        folder: Where they lie.
        test_file: The test file that is not there, without its suffix.
        files: All of them.
    """

    folder: Path
    test_file: Path
    files: tuple[Path, ...]

    def __str__(self) -> str:
        count = f"{len(self.files)} file{'' if len(self.files) == 1 else 's'}"
        return f"{self.folder}: {count} of {self.test_file}.py, which does not exist"


def orphans(root: Path, snapshots: Path, used: Collection[Path] = ()) -> Iterator[Orphans]:
    """Folders of `snapshots`, which mirrors the test files below `root`, without a test file.

    Args:
        root: The root directory of the run.
        snapshots: The snapshot directory.
        used: Test files of the run; those outside `root` lie in the snapshot directory by their name alone.
    """
    outside = {path.stem for path in used if not path.is_relative_to(root)}
    folders = sorted({file.parent for file in snapshots.rglob("*") if file.suffix in (".txt", ".npz")})
    for folder in folders:
        place = folder.relative_to(snapshots)
        test_file = root / place
        if folder == snapshots or place.name in outside or any(test_file.parent.glob(f"{_literal(place.name)}.*")):
            continue
        if files := tuple(sorted(file for file in folder.iterdir() if _is_ours(file))):
            yield Orphans(folder, test_file, files)


def remove(found: Orphans) -> None:
    """Delete the files, and the folders that are empty then."""
    for file in found.files:
        file.unlink(missing_ok=True)
    for folder in (found.folder, *found.folder.parents):
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _is_ours(file: Path) -> bool:
    if file.suffix != ".txt" or not file.is_file():
        return file.name.endswith(_RECORDED_OUTPUTS)
    with file.open("rb") as stream:
        return stream.read(len(_FIRST_LINE)) == _FIRST_LINE


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
