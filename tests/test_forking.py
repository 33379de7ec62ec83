"""The forked Python does what Python does, with torch loaded and nothing of ours."""

import os
import subprocess
import sys

import pytest

from tests.forking import client

PRINTS = "import os, sys; print(sys.argv, os.getcwd(), sys.path[0], __name__, os.environ['ASKED'], sys.stdin.read())"
PROGRAMS = {
    "code": ["-c", PRINTS, "a", "-b"],
    "unbuffered": ["-u", "-c", PRINTS],
    "module": ["-m", "program", "a"],
    "module without a space": ["-mprogram"],
    "file": ["program.py", "a"],
    "another flag": ["-V"],
    "exit status": ["-c", "import sys; sys.exit(7)"],
    "exit text": ["-c", "import sys; sys.exit('wrong')"],
    "exception": ["-c", "import atexit; atexit.register(print, 'end'); raise ValueError('wrong')"],
    "no such module": ["-m", "there_is_no_such_module"],
    "signal": ["-c", "import os; os.abort()"],
    "imports from PYTHONPATH": ["-c", "import beside"],
}


@pytest.mark.parametrize("arguments", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_ends_as_in_python(arguments, tmp_path):
    (tmp_path / "program.py").write_text(PRINTS)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "beside.py").write_text("print('imported')")
    environment = {**os.environ, "ASKED": "yes", "PYTHONPATH": str(tmp_path / "elsewhere")}

    def ran(python):
        options = {"cwd": tmp_path, "env": environment, "input": "given", "capture_output": True, "text": True}
        done = subprocess.run([python, *arguments], check=False, **options)
        said = done.stderr.strip().splitlines()[-1:]  # above it are frames of the forking
        return done.returncode, done.stdout, [line.rpartition(": ")[2] for line in said]

    assert ran(client()) == ran(sys.executable)


def test_libraries_are_loaded_and_nothing_of_ours():
    program = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([client(), "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "onnx", "onnx_ir", "transformers"} <= {*loaded}
    assert not {"pytest_modelcheck", "pytest", "syrupy", "xdist", "anyio", "tests"} & {*loaded}


def test_a_program_whose_client_is_killed_ends():
    program = "import time; print('runs', flush=True); time.sleep(600)"
    with subprocess.Popen([client(), "-c", program], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "runs\n"
        started.kill()
        assert started.stdout.read() == ""  # which ends with the last process that could write


def test_a_process_that_it_starts_is_forked_too():
    program = "import subprocess, sys; print(sys.executable, flush=True); subprocess.run([sys.executable, '-c', {!r}])"
    inner = "import sys; print(sys.executable, 'torch' in sys.modules)"
    done = subprocess.run([client(), "-c", program.format(inner)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [client(), f"{client()} True"]
