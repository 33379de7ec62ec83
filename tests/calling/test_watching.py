"""A mode that watches operators: it sees each of them, and torch's compiler is not loaded for it."""

import subprocess
import sys

import pytest

MODE = """
import sys
import torch
from pytest_modelcheck.calling import WatchingMode

class Names(WatchingMode):
    supports_higher_order_operators = True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        print(func)
        return func(*args, **(kwargs or {}))

print("__wrapped__" in vars(Names.__torch_dispatch__))
with Names():
    torch.ones(2).sum()
print("torch._dynamo" in sys.modules)
"""

COND = """
with Names():
    print(torch.cond(torch.tensor(True), lambda x: x + 1, lambda x: x - 1, (torch.ones(2),)).tolist())
print("torch._dynamo" in sys.modules, "__wrapped__" in vars(Names.__torch_dispatch__))
"""

SEEN = ["False", "aten.ones.default", "aten.sum.default", "False"]


@pytest.mark.parametrize(
    ("program", "first", "last"),
    [
        (MODE, SEEN, "False"),
        # torch.cond compiles, within the mode: the guard is put on before.
        (MODE + COND, SEEN, "True True"),
        # In whatever compiles anyway, modes are guarded as torch does it.
        ("import torch._dynamo" + MODE, ["True", "aten.ones.default", "aten.sum.default", "True"], "True"),
    ],
)
def test_the_compiler_is_not_loaded_and_a_mode_is_guarded_where_it_is(program, first, last):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[: len(first)] == first
    assert lines[-1] == last
    if program.endswith(COND):
        assert "[2.0, 2.0]" in lines


def test_a_class_of_one_run_is_not_kept():
    program = f"{MODE}\nimport gc, weakref\nkept = weakref.ref(Names)\ndel Names\ngc.collect()\nprint(kept())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "None"
