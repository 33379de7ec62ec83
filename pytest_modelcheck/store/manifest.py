"""`Manifest`: everything that a result was made from, recorded while it was made, verified before it is used again.

As ccache and ninja do it: not what the code might read, but what it did read. A look-up asks whether all of that is
unchanged, not whether the two processes are the same: what one of them loads in addition (xdist, a debugger, another
test file) makes no difference. When in doubt, measure again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import importlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_modelcheck.recorder import reads as recorded
from pytest_modelcheck.recorder.owners import located, named
from pytest_modelcheck.recorder.windows import Recording, recording_of
from pytest_modelcheck.store.bindings import bindings, named_modules, names_in, switches
from pytest_modelcheck.store.describe import Describer
from pytest_modelcheck.store.digests import digest
from pytest_modelcheck.store.folder import file_digest
from pytest_modelcheck.store.installed import can_be_found, canonical, content, edited, is_library, owners
from pytest_modelcheck.store.reached import CORE, EXPORTING, reached

_NOISE = """PYTEST_* COV_* COLUMNS LINES TERM TERM_* COLORTERM PWD OLDPWD SHLVL _ PYTHONHASHSEED PYTHONPATH PATH SHELL
NO_COLOR FORCE_COLOR PY_COLORS HOME USER LOGNAME HOSTNAME TMPDIR TEMP TMP XDG_* CI GITHUB_* VIRTUAL_ENV
*TOKEN* *SECRET* *PASSWORD* *CREDENTIAL* OAUTH_*"""
_IS_NOISE = re.compile("|".join(map(fnmatch.translate, _NOISE.split())))
"""Variables that differ between two runs of the same thing, and secrets, of which not even a digest is kept."""
_UNLISTED = re.compile(r"__pycache__|\..*|.*\.pyc")
_SHOWN = 5
_TENSORS = re.compile(r"(\w+\[.*\].*) \w{32} -> (\w+\[.*\].*) \w{32}")
"""Dtype and shape of a tensor, and a digest of its content, before and now."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Manifest:
    """What a result was made from, as texts that are equal in two runs exactly when the things are.

    Attributes:
        values: Path -> text of what was handed in: options, the model with its weights, its example inputs.
        versions: Distribution -> its version and a digest of its records; ``python``; edited files of distributions.
        reads: ``kind name`` of what was read -> digest. Kinds: ``source`` (module and file of the user's), ``env`` (its
            value when it was first read, and when it was looked up), and those of `Recording.reads`.
        modules: Modules whose state may have been read: the user's, and those of libraries that code named.
        names: All names that the code that ran may have read.
        state: What those were, and torch's switches; several texts where making the result changes one.
        uncacheable: Why a result may differ although all of this is the same; empty where it may not.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    modules: Sequence[str] = ()
    names: Sequence[str] = ()
    state: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    uncacheable: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """A name for the manifest: equal for equal ones in any process."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:32]


class Watch:
    """What one result depends on, followed from before it is made until it is finished.

    Args:
        build: The case's `build`, whose windows were recorded.
        values: What is handed in, by name; "model" and what lies below it may be large.

    Attributes:
        values: What was handed in, as texts.

    Example:
        >>> watch = Watch(case.build, {"model": module, "example": inputs, "build": case.build})
        >>> reasons = watch.changes(kept)          # () where the kept result may be used
        >>> watch.look(); make(); manifest = watch.manifest()
    """

    def __init__(self, build: Any, values: Mapping[str, Any]) -> None:
        self._recording = Recording() if build is None else recording_of(build)
        self._given = Describer()
        self.values = self._given.texts
        for name, value in values.items():
            self._given.describe(name, value)
        self._seen: list[tuple[set[str], dict[str, str]]] = []
        self._at_lookup = dict(os.environ._data)  # type: ignore[attr-defined]  # past the recorder

    def changes(self, kept: Manifest) -> tuple[str, ...]:
        """What differs from what was recorded, in words; empty where the result may be used."""
        for name in sorted({path.partition(":")[0] for path in kept.state} - {""}):
            if name not in sys.modules and not name.endswith("conftest"):  # a forward may import more than is loaded
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        distributions = [name for name in kept.versions if name != "python" and "/" not in name]
        state, _ = self._state(kept.modules, kept.names)
        changed = {
            path: state.get(path)
            for path in {*kept.state, *state}
            if state.get(path) not in kept.state.get(path, (None,))
        }
        compared: tuple[tuple[str, Mapping[str, str], Mapping[str, str | None]], ...] = (
            ("values", kept.values, self.values),
            ("versions", kept.versions, _versions(distributions)),
            ("reads", kept.reads, {key: self._now(key) for key in kept.reads}),
            ("state", {path: str((kept.state.get(path) or [None])[0] or "") for path in changed}, changed),
        )
        return tuple(word for kind, before, now in compared for word in _differences(kind, before, now))

    def look(self) -> None:
        """Note the state of all that may be read: before the result is made, and once its code has run."""
        users, names = self._reached()[0].values(), self._names()
        self._seen.append(({"", *users}, self._state(self._modules(users, names), names, all_of_users=True)[0]))

    def manifest(self) -> Manifest:
        """Everything that was recorded."""
        (files, distributions), names = self._reached(), self._names()
        modules, of_users = self._modules(files.values(), names), {"", *files.values()}
        state, unknown = self._state(modules, names)
        seen = [*self._seen, (of_users, state)]
        earlier = (path for _, texts in self._seen for path in texts if path.partition(":")[0] in of_users)
        paths = {*state, *(path for path in earlier if _may_be_read(path, names))}
        # Of a module of the user's, everything was looked at: what has no text was not there.
        texts = {
            path: list(dict.fromkeys(now.get(path) for of, now in seen if path in now or path.partition(":")[0] in of))
            for path in sorted(paths)
        }
        reads, altered = self._reads(files, distributions)
        reasons = [f"{path}: {why}" for path, why in {**self._given.unknown, **unknown}.items()]
        return Manifest(
            values=self.values,
            versions=_versions(sorted(distributions)),
            reads=reads,
            modules=sorted(modules),
            names=sorted(names),
            state=texts,
            uncacheable=[*reasons, *altered, *self._recording.unrepeatable],
        )

    def _reached(self) -> tuple[dict[str, str], set[str]]:
        return reached([*self._given.modules, *self._recording.ran.values()])

    def _names(self) -> set[str]:
        return set[str]().union(*map(names_in, self._recording.ran))

    def _modules(self, users: Iterable[str], names: set[str]) -> set[str]:
        return {*users, *named_modules(self._recording.ran.values(), names)}

    def _state(
        self, modules: Iterable[str], names: Iterable[str], *, all_of_users: bool = False
    ) -> tuple[dict[str, str], dict[str, str]]:
        texts, unknown = bindings(modules, names, self._given.classes, all_of_users=all_of_users)
        switched, unknown_switches = switches()
        return texts | switched, unknown | unknown_switches

    def _reads(self, files: Mapping[str, str], distributions: set[str]) -> tuple[dict[str, str], list[str]]:
        """What was read by the case, and what of that was altered meanwhile."""
        sources = [f"source {'' if m.endswith('conftest') else m} {named(f)}" for f, m in files.items()]
        reads, altered = {key: self._now(key) for key in sources}, []
        ran = {os.path.abspath(code.co_filename) for code in self._recording.ran if not is_library(code.co_filename)}
        for file in ran - files.keys():  # of a module that is in no table, or that another one has replaced
            reads[f"file {named(file)}"] = self._now(f"file {named(file)}")
        for (kind, name), read in list(recorded.seen.items()):
            loaded = kind == "module" and name in sys.modules  # by a finder that came later
            if not loaded and any(self._counts(kind, name, owner, files, distributions) for owner in read.owners):
                key = f"{kind} {named(name)}"
                reads[key] = read.first if kind == "exists" else self._now(key)
                if kind == "file" and read.first != recorded.file_state(name):
                    altered.append(f"{named(name)} was changed while it was in use")
        return reads, altered

    def _counts(self, kind: str, name: str, owner: str, files: Mapping[str, str], distributions: set[str]) -> bool:
        """Whether a read belongs to the case: made by a file that it reaches, or in one of its windows."""
        in_window, of = (kind, name, owner) in self._recording.reads, owners(owner)
        by_user = owner in files or (in_window and not is_library(owner))
        if not by_user and distributions.isdisjoint(of):
            return False  # first: so are nearly all reads of a long run
        if kind == "env":
            return (by_user or name != "*") and not _IS_NOISE.fullmatch(name)
        path, by_core = os.path.abspath(name), {part.replace("-", "_") for part in of} <= CORE
        inside = is_library(path) or path in files or path in recorded.written
        return not inside and (by_user or not by_core or (kind == "file" and in_window))

    def _now(self, key: str) -> str:
        """The state of what was read, by its ``kind name``."""
        kind, _, name = key.partition(" ")
        if kind == "env":
            return self._variable(name)
        if kind == "distribution":
            return content(canonical(name))
        if kind == "module":
            return "found" if can_be_found(name) else "missing"
        if kind == "source":  # of the module that is loaded, wherever this checkout lies
            module, _, name = name.partition(" ")
            name = getattr(sys.modules.get(module), "__file__", None) or name
        path = Path(located(name))
        try:
            if kind == "folder":
                return digest(repr(sorted(item for item in os.listdir(path) if not _UNLISTED.fullmatch(item))).encode())
            if kind != "exists":
                return file_digest(_nearest(path))[:32]
        except OSError:
            return "missing"
        return recorded.kind_of_path(str(path))

    def _variable(self, name: str) -> str:
        """A variable at its first read and now: libraries set some themselves once they have read them."""
        if name == "*":
            whole = {os.fsdecode(key): value for key, value in self._at_lookup.items()}
            return digest(repr(sorted(item for item in whole.items() if not _IS_NOISE.fullmatch(item[0]))).encode())
        now = recorded.environment_text(self._at_lookup.get(os.environ.encodekey(name)))
        first = now if (read := recorded.seen.get(("env", name))) is None else read.first
        return first if first == now or name in recorded.set_by_torch else f"{first}, then {now}"


def _nearest(path: Path) -> Path:
    """`path`, or the archive that it lies in."""
    return next((file for file in (path, *path.parents) if file.is_file()), path)


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    names = list(distributions)
    return {"python": platform.python_version(), **{name: content(name) for name in names}, **dict(edited(names))}


def library_versions() -> dict[str, str]:
    """Python and the libraries that export -> version."""
    return {"python": platform.python_version(), **{name: content(name).split()[0] for name in EXPORTING}}


def _may_be_read(path: str, names: set[str]) -> bool:
    return path.startswith(":") or bool(names.intersection(re.split(r"[.\[]", path.partition(":")[2])[:2]))


def _differences(kind: str, before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    """What differs in one part, in words."""
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    said = [_said(kind, name, before.get(name), now.get(name)) for name in changed[:_SHOWN]]
    return said + ([f"{len(changed) - _SHOWN} more differences in {kind}"] if len(changed) > _SHOWN else [])


def _said(kind: str, name: str, before: str | None, now: str | None) -> str:
    absent = ("missing", "not installed")
    what = "appeared" if before in absent else "is gone" if now in absent else "changed"
    step = f"{before or '(none)'} -> {now or '(none)'}"
    if kind == "reads":
        word, _, path = name.partition(" ")
        path = (path.partition(" ")[2] if word == "source" else path).replace("{root}/", "")
        if word == "env":
            return f"environment variable {path} {step}"
        return f"source of {path} {what}" if word == "source" else f"{path} {what}"
    name = name.removeprefix("options.").removeprefix("model.").lstrip(":")
    tensors = _TENSORS.fullmatch(step)
    if tensors is None:
        return f"{name} {what}" if kind == "versions" and "/" in name else f"{name} {step}"
    name = name.replace("example.", "example input ", 1) if name.startswith("example.") else f"weight {name}"
    return f"{name} changed" + ("" if tensors[1] == tensors[2] else f" ({tensors[1]} -> {tensors[2]})")
