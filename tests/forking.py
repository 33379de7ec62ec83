"""A Python whose processes are forked from one that has loaded torch, onnx and transformers: seconds each are saved.

Such a process has everything of its own but the modules that it finds loaded already: none of ours is, and none of
pytest's plugins. What looks at which modules a run loads starts `sys.executable` itself.

    client()                        a script that takes Python's arguments and stands for `sys.executable`
    server, one per test process    imports the libraries, forks for every client, and ends with the test process
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.metadata
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any

# Not onnxruntime: it starts a thread, which a fork does not have, and whose end its destructor waits for.
LIBRARIES = (
    "torch.export, torch.onnx, torch.onnx._internal.exporter._core, onnx, onnx.checker, onnx.shape_inference, "
    "onnx_ir, onnxscript, numpy, sympy, jinja2, filelock, transformers.modeling_utils"
)

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
plain = [argument for argument in arguments if argument != "-u"]
if not plain or (plain[0][0] == "-" and plain[0][:2] not in ("-c", "-m")):
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = dict(arguments=plain, folder=os.getcwd(), environment=dict(os.environ), executable=sys.argv[0])
text = json.dumps(asked).encode()
socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
server.sendall(text)
code = int(server.recv(16) or b"-9")
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def client() -> str:
    """The path of the script; its server runs from now on."""
    folder = Path(tempfile.mkdtemp(prefix="forking-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = str(folder / "socket")
    # By `env`: what is read here is read by every case of the tests, whose conftest imports this file.
    command = ["env", "-u", "PYTHONPATH", sys.executable, "-P", __file__, address]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # which ends it
    with server.stdout as ready:
        ready.readline()
    script = folder / "python"
    script.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    script.chmod(0o755)
    return str(script)


def serve(address: str) -> dict[str, Any]:
    """Fork for every client until standard input ends; in a fork, what its client asked for."""
    for name in LIBRARIES.split(", "):
        with contextlib.suppress(ImportError):
            exec(f"import {name}")  # a computed import would make a case of the tests reach every module of theirs
    plugins = {entry.value.partition(".")[0] for entry in importlib.metadata.entry_points(group="pytest11")}
    for name in [name for name in sys.modules if name.partition(".")[0] in plugins]:
        del sys.modules[name]  # anyio, which transformers loads: pytest warns that it cannot rewrite its assertions
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    events = selectors.DefaultSelector()
    events.register(0, selectors.EVENT_READ)
    events.register(listening, selectors.EVENT_READ)
    os.write(1, b"ready\n")
    while True:
        for key, _ in events.select():
            if key.fd == 0:
                os._exit(0)
            elif key.fileobj is listening:
                asked, files = _asked(connection := listening.accept()[0])
                if (child := os.fork()) == 0:
                    events.close()
                    listening.close()
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                    return asked
                for file in files:
                    os.close(file)
                ended = os.pidfd_open(child)
                events.register(ended, selectors.EVENT_READ, (child, connection))
                events.register(connection, selectors.EVENT_READ, (child, None))
            elif key.data[1] is None:  # the client was killed
                with contextlib.suppress(KeyError, ProcessLookupError):  # it has just ended by itself
                    events.unregister(key.fileobj)
                    os.kill(key.data[0], signal.SIGKILL)
            else:
                child, connection = key.data
                events.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with contextlib.suppress(OSError):
                    connection.sendall(str(code).encode())
                with contextlib.suppress(KeyError):
                    events.unregister(connection)
                connection.close()


def _asked(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += connection.recv(1 << 16)
    return json.loads(text), files


def run(asked: dict[str, Any]) -> None:
    """What `python ARGUMENTS` does, in this process."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = asked["executable"]
    # They stay open until the process ends, as Python's own do.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    first, *arguments = asked["arguments"]
    here = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    if first[:2] in ("-c", "-m"):
        what, *arguments = [*([first[2:]] if first[2:] else []), *arguments]
        sys.path[:0] = ["" if first[:2] == "-c" else os.getcwd(), *here]
        sys.argv = ["-c" if first[:2] == "-c" else "-m", *arguments]
        if first[:2] == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), vars(main))
    else:
        sys.path[:0] = [str(Path(first).resolve().parent), *here]
        sys.argv = [first, *arguments]
        runpy.run_path(first, run_name="__main__")


def ended(asked: dict[str, Any]) -> int:
    """Run what was asked for to its end; its exit code."""
    code: Any = None
    try:
        run(asked)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # what Python itself calls at its end; os._exit skips it
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    # Threads of native libraries are not in a fork: their destructors would wait for them.
    os._exit(ended(serve(sys.argv[1])))
