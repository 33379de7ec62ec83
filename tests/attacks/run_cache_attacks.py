"""Runs the rows of `cache_attacks`: ``python run_cache_attacks.py RUN FOLDER SITE STORE``.

RUN is one of first, same, changed.

Rows run in forked children of one process that has loaded torch: a row that sets something in its process has a child
of its own, others share one, as the models of a test run do. Prints one JSON line per row: its number, whether the
export was taken from the store, and why not.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sqlite3
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from cache_attacks import ATTACKS, Attack, net_of  # type: ignore[import-not-found]

AT_ONCE = 2
TOGETHER = 16
"""Rows of one child: to fork one, and to touch what it shares with its parent, takes as long as an export."""


def children(run: str) -> Iterator[list[int]]:
    """The numbers of the rows that each child runs."""
    shared: list[int] = []
    for number, attack in enumerate(ATTACKS):
        of_its_own = all("PRE" in name for name in (*attack.env, *attack.env_before))
        if (run == "changed" and attack.run) or not of_its_own or "torch.library" in attack.header:
            yield [number]
        else:
            shared.append(number)
    yield from (shared[start : start + TOGETHER] for start in range(0, len(shared), TOGETHER))


def prefix(number: int) -> str:
    return f"r{number:03}_"


def row_files(number: int) -> dict[str, str | None]:
    attack = ATTACKS[number]
    parts = {part: getattr(attack, part) for part in ("header", "init", "body", "build")}
    return {"PREnet.py": net_of(**parts), **attack.files}


def write(folder: Path, number: int, files: dict[str, str | None]) -> None:
    """Write files of a row; a prefix of the text says what kind of file it is."""
    import torch

    for name, text in files.items():
        path = folder / prefix(number) / name.replace("PRE", prefix(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, _, rest = (text or "").replace("PRE", prefix(number)).partition(":")
        if text is None:
            path.unlink()
        elif kind == "sqlite" and name.endswith(".db"):
            path.unlink(missing_ok=True)
            with sqlite3.connect(path) as connection:
                connection.execute("create table t (k)")
                connection.execute("insert into t values (?)", (float(rest),))
            connection.close()
        elif kind == "torch" and name.endswith(".pt"):
            torch.save(torch.tensor(float(rest)), path)
        elif kind == "zip":
            module, _, source = rest.partition(":")
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(zipfile.ZipInfo(f"{module}.py"), source)
            path.write_bytes(buffer.getvalue())
        elif kind == "link":
            path.unlink(missing_ok=True)
            path.symlink_to(rest)
        else:
            path.unlink(missing_ok=True)
            path.write_text(text.replace("PRE", prefix(number)))


def main(run: str, folder: Path, site: Path, store: Path) -> None:
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(site))
    sys.path.insert(0, str(site.parent / "dev"))
    from pytest_modelcheck import recorder

    recorder.install(str(folder))
    import torch

    from pytest_modelcheck import ModelCase
    from pytest_modelcheck.export import export
    from pytest_modelcheck.store import Store

    torch.set_num_threads(1)
    warm = ModelCase("warm", lambda: torch.nn.ReLU(), lambda seed: (torch.ones(2),), exporter="torchscript")
    export(warm, cache=Store(store / "warm"))  # what is read of the installed packages is read once, for all rows
    running: list[int] = []
    sys.stdout.flush()
    for numbers in children(run):
        if len(running) >= AT_ONCE:
            os.waitpid(running.pop(0), 0)
        child = os.fork()
        if child:
            running.append(child)
            continue
        try:
            for number in numbers:
                row(run, number, ATTACKS[number], folder, store)
        finally:
            sys.stdout.flush()
            os._exit(0)
    for child in running:
        os.waitpid(child, 0)


def row(run: str, number: int, attack: Attack, folder: Path, store: Path) -> None:
    said: dict[str, object] = {"row": number, "name": attack.name}
    try:
        said |= export_row(run, number, attack, folder, store)
    except BaseException as error:  # the row's own: its test shows it
        said["error"] = f"{type(error).__name__}: {error}"
    os.write(1, (json.dumps(said) + "\n").encode())


def export_row(run: str, number: int, attack: Attack, folder: Path, store: Path) -> dict[str, object]:
    import torch

    from pytest_modelcheck import ModelCase
    from pytest_modelcheck.export import Exported, export
    from pytest_modelcheck.store import Store

    pre, changed = prefix(number), run == "changed"
    home = folder / pre
    sys.path.insert(0, str(home))
    for name, value in (attack.env if changed else attack.env_before).items():
        os.environ[name.replace("PRE", pre)] = value

    def load(name: str) -> None:
        spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), home / name)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])

    def enter_function_mode() -> None:
        class Doubled(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))

        Doubled().__enter__()

    def enter_dispatch_mode() -> None:
        from torch.utils._python_dispatch import TorchDispatchMode

        class Passed(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))

        Passed().__enter__()

    given = {"changed": changed, "load": load, "torch": torch, "enter_function_mode": enter_function_mode}
    given |= {"enter_dispatch_mode": enter_dispatch_mode}
    exec(attack.always.replace("PRE", pre), given)
    net = importlib.import_module(f"{pre}net")
    if changed:
        exec(attack.run.replace("PRE", pre), {**given, "net": net})
    case = ModelCase(attack.name, net.build, net.inputs, exporter="torchscript")
    made = export(case, cache=Store(store))
    if not isinstance(made, Exported):
        return {"error": made.render()}
    return {"taken": made.cached, "why": list(made.why), "kept": not made.key.uncacheable}


if __name__ == "__main__":
    main(sys.argv[1], *(Path(argument) for argument in sys.argv[2:]))
