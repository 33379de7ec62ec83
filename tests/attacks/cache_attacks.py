# ruff: noqa: E501 - one row, one line
"""Ways to change an export, or not to change it, behind the back of the store: one row each.

`PRE` is replaced by a prefix of the row's own, so that all rows run in one process without sharing a module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NET = """
import torch
from torch import nn
HEADER

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        INIT

    def forward(self, x):
        x = self.linear(x)
        BODY

def build():
    BUILD
    return Net()

def inputs(seed):
    return {"x": torch.ones(2, 4)}
"""


def net_of(**parts: str) -> str:
    text = NET
    for name, part in parts.items():
        text = text.replace(name.upper(), part, 1)
    return text


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row.

    Attributes:
        name: What is changed.
        header, init, body, build: Parts of the module `PREnet`.
        files: Further files of the row's folder.
        always: Run in every process before the model is built.
        change: Files that are written before the third run; None removes one.
        env: Variables of the third run; `env_before` of the others.
        run: Run before the model is built, in the third process only.
        expected: What the third run must do: "made again", "taken", or "never kept".
    """

    name: str
    header: str = ""
    init: str = "pass"
    body: str = "return x"
    build: str = "pass"
    files: dict[str, str] = field(default_factory=dict)
    always: str = ""
    change: dict[str, str | None] = field(default_factory=dict)
    env_before: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    run: str = ""
    expected: str = "made again"


def source(name: str, **parts) -> Attack:
    return Attack(name=name, **parts)


def reads_file(name: str, body: str, header: str = "", **parts) -> Attack:
    """The forward (or what else) reads `w.txt` beside it, which is changed."""
    files = {"w.txt": "2\n", **parts.pop("files", {})}
    header = f"import pathlib\nHERE = pathlib.Path(__file__).parent\n{header}"
    return Attack(name=name, body=body, header=header, files=files, **{"change": {"w.txt": "3\n"}, **parts})


def reads_env(name: str, body: str = "return x.relu() if FLAG else x", header: str = "", **parts) -> Attack:
    """`PREVAR` is set."""
    return Attack(name=name, body=body, header=f"import os\n{header}", **{"env": {"PREVAR": "1"}, **parts})


def state(name: str, run: str, body: str, header: str = "", **parts) -> Attack:
    """Something is set at run time, by neither a file nor a variable."""
    return Attack(name=name, run=run, body=body, header=header, **parts)


REPLACED = """
from torch.onnx._internal.torchscript_exporter import utils
before = utils._optimize_graph
def optimize(graph, *args, **kwargs):
    return before(graph, *args, **kwargs)
utils._optimize_graph = optimize
"""
REPLACED_METHOD = """
import onnx_ir
def numpy(self):
    return self._raw
onnx_ir.Tensor.numpy = numpy
"""
HOOK = """
import importlib.abc, importlib.machinery, sys

class Maker(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "PREmade" else None

    def exec_module(self, module):
        exec(f"def act(x):\\n    return x.{'tanh' if sys.PRE_changed else 'relu'}()", vars(module))

sys.meta_path.insert(0, Maker())
"""
SETTINGS = {"PREsettings.py": "FLAG = False\nCFG = {'k': 1}\nUNREAD = 1\ndef act(x):\n    return x.relu()\n"}

SOURCES = (
    Attack(
        name="the forward's own line",
        body="return x.relu()",
        change={"PREnet.py": net_of(header="", init="pass", body="return x.tanh()", build="pass")},
    ),
    Attack(
        name="a helper module",
        header="from PREhelp import act",
        body="return act(x)",
        files={"PREhelp.py": "def act(x):\n    return x.relu()\n"},
        change={"PREhelp.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a constant two imports away",
        header="from PREpkg.scale import act",
        body="return act(x)",
        files={
            "PREpkg/__init__.py": "",
            "PREpkg/scale.py": "from .constants import K\ndef act(x):\n    return x * K\n",
            "PREpkg/constants.py": "K = 2.0\n",
        },
        change={"PREpkg/constants.py": "K = 3.0\n"},
    ),
    Attack(
        name="a package's __init__",
        header="import PREpkg.inner",
        body="return x * PREpkg.K",
        files={"PREpkg/__init__.py": "K = 2.0\n", "PREpkg/inner.py": ""},
        change={"PREpkg/__init__.py": "K = 3.0\n"},
    ),
    Attack(
        name="a module imported inside the forward",
        body="from PREhelp import act; return act(x)",
        files={"PREhelp.py": "def act(x):\n    return x.relu()\n"},
        change={"PREhelp.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a relative import inside the forward",
        header="from PREpkg.acts import act",
        body="return act(x)",
        files={
            "PREpkg/__init__.py": "",
            "PREpkg/acts.py": "def act(x):\n    from .late import K\n    return x * K\n",
            "PREpkg/late.py": "K = 2.0\n",
        },
        change={"PREpkg/late.py": "K = 3.0\n"},
    ),
    Attack(
        name="a module imported by a computed name",
        header="import importlib\nNAME = 'PREhelp'\nhelp = importlib.import_module(NAME)",
        body="return help.act(x)",
        files={"PREhelp.py": "def act(x):\n    return x.relu()\n"},
        change={"PREhelp.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a star import",
        header="from PREhelp import *",
        body="return act(x)",
        files={"PREhelp.py": "def act(x):\n    return x.relu()\n"},
        change={"PREhelp.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a module under another name",
        header="import PREhelp as h\nalias = h",
        body="return alias.act(x)",
        files={"PREhelp.py": "def act(x):\n    return x.relu()\n"},
        change={"PREhelp.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a decorator of another file",
        header="from PREhelp import double\n@double\ndef act(x):\n    return x",
        body="return act(x)",
        files={"PREhelp.py": "def double(f):\n    return lambda x: f(x) * 2\n"},
        change={"PREhelp.py": "def double(f):\n    return lambda x: f(x) * 3\n"},
    ),
    Attack(
        name="a mixin of another file",
        header="from PREhelp import Mixin\nclass Act(Mixin, nn.Module):\n    def forward(self, x):\n        return self.act(x)",
        init="self.a = Act()",
        body="return self.a(x)",
        files={"PREhelp.py": "class Mixin:\n    def act(self, x):\n        return x.relu()\n"},
        change={"PREhelp.py": "class Mixin:\n    def act(self, x):\n        return x.tanh()\n"},
    ),
    Attack(
        name="a module of a namespace package",
        header="from PREspace.help import act",
        body="return act(x)",
        files={"PREspace/help.py": "def act(x):\n    return x.relu()\n"},
        change={"PREspace/help.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a module in a zip archive",
        header="import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'PREmods.zip'))\nfrom PREzipped import act",
        body="return act(x)",
        files={"PREmods.zip": "zip:PREzipped:def act(x):\n    return x.relu()\n"},
        change={"PREmods.zip": "zip:PREzipped:def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="code run by exec",
        header="import pathlib\nexec(pathlib.Path(__file__).with_name('code.txt').read_text())",
        body="return act(x)",
        files={"code.txt": "def act(x):\n    return x.relu()\n"},
        change={"code.txt": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(
        name="a conftest above the model",
        body="return x",
        files={"conftest.py": "X = 1\n"},
        always="load('conftest.py')",
        change={"conftest.py": "X = 2\n"},
    ),
    Attack(
        name="a file that nothing imports",
        files={"PREother.py": "X = 1\n"},
        change={"PREother.py": "X = 2\n"},
        expected="taken",
    ),
    Attack(
        name="a loaded file that the model does not import",
        files={"PREother.py": "X = 1\n"},
        always="import PREother",
        change={"PREother.py": "X = 2\n"},
        expected="taken",
    ),
)

FILES = (
    reads_file("open in the forward", "return x * float(open(HERE / 'w.txt').read())"),
    reads_file("read_text in the forward", "return x * float((HERE / 'w.txt').read_text())"),
    reads_file("open at import", "return x * K", "K = float(open(HERE / 'w.txt').read())"),
    reads_file("open while building", "return x * self.k", init="self.k = float((HERE / 'w.txt').read_text())"),
    reads_file("a length only", "return x * len((HERE / 'w.txt').read_bytes())", change={"w.txt": "3\n\n"}),
    reads_file("a size", "return x * os.path.getsize(HERE / 'w.txt')", "import os", change={"w.txt": "33\n"}),
    reads_file("os.stat", "return x * os.stat(HERE / 'w.txt').st_size", "import os", change={"w.txt": "33\n"}),
    reads_file("Path.stat", "return x * (HERE / 'w.txt').stat().st_size", change={"w.txt": "33\n"}),
    reads_file("pkgutil.get_data", "return x * float(pkgutil.get_data(__name__, 'w.txt'))", "import pkgutil"),
    reads_file("a loader's get_data", "return x * K", "K = float(__loader__.get_data(str(HERE / 'w.txt')))"),
    reads_file("os.open", "return x * float(os.read(os.open(HERE / 'w.txt', os.O_RDONLY), 9))", "import os"),
    reads_file("numpy.loadtxt", "return x * float(np.loadtxt(HERE / 'w.txt'))", "import numpy as np"),
    reads_file("numpy.fromfile", "return x * int(np.fromfile(HERE / 'w.txt', np.uint8)[0])", "import numpy as np"),
    reads_file(
        "json",
        "return x * json.load(open(HERE / 'w.json'))['k']",
        "import json",
        files={"w.json": '{"k": 2}'},
        change={"w.json": '{"k": 3}'},
    ),
    reads_file(
        "configparser",
        "c = configparser.ConfigParser(); c.read(HERE / 'w.ini'); return x * c.getfloat('a', 'k')",
        "import configparser",
        files={"w.ini": "[a]\nk = 2\n"},
        change={"w.ini": "[a]\nk = 3\n"},
    ),
    reads_file(
        "tomllib",
        "return x * tomllib.loads((HERE / 'w.toml').read_text())['k']",
        "import tomllib",
        files={"w.toml": "k = 2\n"},
        change={"w.toml": "k = 3\n"},
    ),
    reads_file(
        "csv",
        "return x * float(next(csv.reader(open(HERE / 'w.txt')))[0])",
        "import csv",
    ),
    reads_file(
        "sqlite3",
        "return x * sqlite3.connect(HERE / 'w.db').execute('select k from t').fetchone()[0]",
        "import sqlite3",
        files={"w.db": "sqlite:2"},
        change={"w.db": "sqlite:3"},
    ),
    reads_file(
        "torch.load", "return x * torch.load(HERE / 'w.pt')", files={"w.pt": "torch:2"}, change={"w.pt": "torch:3"}
    ),
    reads_file(
        "mmap",
        "return x * mmap.mmap(os.open(HERE / 'w.txt', os.O_RDONLY), 0, access=mmap.ACCESS_READ)[0]",
        "import mmap, os",
    ),
    reads_file("linecache", "return x * float(linecache.getline(str(HERE / 'w.txt'), 1))", "import linecache"),
    reads_file(
        "os.path.exists", "return x.relu() if os.path.exists(HERE / 'flag') else x", "import os", change={"flag": ""}
    ),
    reads_file(
        "Path.is_file", "return x.relu() if (HERE / 'flag').is_file() else x", files={"flag": ""}, change={"flag": None}
    ),
    reads_file(
        "os.access", "return x.relu() if os.access(HERE / 'flag', os.R_OK) else x", "import os", change={"flag": ""}
    ),
    reads_file(
        "os.stat that fails",
        "return x.relu() if there() else x",
        "import os\ndef there():\n    try:\n        os.stat(HERE / 'flag')\n    except OSError:\n        return False\n    return True",
        change={"flag": ""},
    ),
    reads_file(
        "os.path.isdir", "return x.relu() if os.path.isdir(HERE / 'sub') else x", "import os", change={"sub/x": ""}
    ),
    reads_file(
        "os.listdir", "return x * len(os.listdir(HERE / 'd'))", "import os", files={"d/a": ""}, change={"d/b": ""}
    ),
    reads_file("glob", "return x * len(list(HERE.glob('d/*.w')))", files={"d/a.w": ""}, change={"d/b.w": ""}),
    reads_file(
        "os.scandir", "return x * len(list(os.scandir(HERE / 'd')))", "import os", files={"d/a": ""}, change={"d/b": ""}
    ),
    reads_file(
        "os.path.islink",
        "return x.relu() if os.path.islink(HERE / 'l') else x",
        "import os",
        files={"l": "2\n"},
        change={"l": "link:w.txt"},
    ),
    reads_file(
        "Path.is_symlink",
        "return x.relu() if (HERE / 'l').is_symlink() else x",
        files={"l": "link:w.txt"},
        change={"l": "2\n"},
    ),
    reads_file(
        "os.readlink",
        "return x * len(os.readlink(HERE / 'l'))",
        "import os",
        files={"l": "link:w.txt"},
        change={"l": "link:./w.txt"},
    ),
    reads_file(
        "os.lstat",
        "return x * os.lstat(HERE / 'l').st_size",
        "import os",
        files={"l": "link:w.txt"},
        change={"l": "link:./w.txt"},
    ),
    reads_file(
        "os.lstat of a file", "return x * os.lstat(HERE / 'w.txt').st_size", "import os", change={"w.txt": "33\n"}
    ),
    reads_file(
        "os.path.lexists", "return x.relu() if os.path.lexists(HERE / 'flag') else x", "import os", change={"flag": ""}
    ),
    reads_file(
        "Path.resolve",
        "return x * len((HERE / 'l').resolve().name)",
        files={"l": "link:w.txt", "longer.txt": "2\n"},
        change={"l": "link:longer.txt"},
    ),
    reads_file(
        "torch.from_file",
        "return x * int(torch.from_file(str(HERE / 'w.txt'), size=1, dtype=torch.uint8)[0])",
    ),
    reads_file(
        "UntypedStorage.from_file",
        "return x * torch.UntypedStorage.from_file(str(HERE / 'w.txt'), False, 1)[0]",
    ),
    reads_file("through an installed library", "return x * acme.read(HERE / 'w.txt')", "import acme"),
    reads_file("a file that is opened to be written, too", "return x * float(open(HERE / 'w.txt', 'r+').read())"),
    reads_file(
        "a file that is opened to be appended to",
        "return x * read()",
        "def read():\n    with open(HERE / 'w.txt', 'a+') as f:\n        f.seek(0); return float(f.read())",
    ),
    reads_file(
        "a file that is run as a module of no name",
        "return act()(x)",
        "import importlib.util\ndef act():\n    s = importlib.util.spec_from_file_location('q', HERE / 'q.py')\n    m = importlib.util.module_from_spec(s); s.loader.exec_module(m); return m.act",
        files={"q.py": "def act(x):\n    return x.relu()\n"},
        change={"q.py": "def act(x):\n    return x.tanh()\n"},
    ),
    reads_file("a file that was not read", "return x", expected="taken"),
    reads_file(
        "nothing, with a resolved path of the checkout",
        "return x * len(HERE.name)",
        "HERE = pathlib.Path(__file__).resolve().parent",
        change={},
        expected="taken",
    ),
    reads_file(
        "a file that the forward writes itself",
        "open(HERE / 'out', 'w').write('4'); return x * float(open(HERE / 'out').read())",
        change={},
        expected="taken",
    ),
)

ENVIRONMENT = (
    reads_env("environ.get in the forward", "return x.relu() if os.environ.get('PREVAR') else x"),
    reads_env("environ at import", header="FLAG = os.environ.get('PREVAR')"),
    reads_env(
        "environ[...] with a default", header="try:\n    FLAG = os.environ['PREVAR']\nexcept KeyError:\n    FLAG = ''"
    ),
    reads_env("getenv", "return x.relu() if os.getenv('PREVAR') else x"),
    reads_env("in environ", "return x.relu() if 'PREVAR' in os.environ else x"),
    reads_env("environb", "return x.relu() if os.environb.get(b'PREVAR') else x"),
    reads_env("an alias of environ", "return x.relu() if e.get('PREVAR') else x", "from os import environ as e"),
    reads_env("in a text that is executed", "return x.relu() if eval('os.environ.get(\"PREVAR\")') else x"),
    reads_env("a computed name", "return x.relu() if os.environ.get('PRE' + 'VAR') else x"),
    reads_env("a copy of environ", "return x.relu() if dict(os.environ).get('PREVAR') else x"),
    reads_env("while building", "return x.relu() if self.f else x", init="self.f = os.environ.get('PREVAR')"),
    reads_env(
        "another value", "return x * float(os.environ['PREVAR'])", env_before={"PREVAR": "2"}, env={"PREVAR": "3"}
    ),
    reads_env(
        "in a helper",
        "return PREhelp.act(x)",
        "import PREhelp",
        files={"PREhelp.py": "import os\ndef act(x):\n    return x.relu() if os.getenv('PREVAR') else x\n"},
    ),
    reads_env("in an installed library's function", "return acme.env_act(x, 'PREVAR')", "import acme"),
    reads_env(
        "at the import of an installed library",
        "return x.relu() if acme.AT_IMPORT else x",
        "import acme",
        env={"ACME_AT_IMPORT": "1"},
    ),
    reads_env("a variable that nothing reads", "return x", expected="taken"),
    reads_env(
        "what differs between any two runs",
        "return x",
        "HOME = [os.environ.get(n) for n in ('HOME', 'TMPDIR', 'CI', 'COLUMNS')]",
        env={"HOME": "/nowhere", "CI": "1", "COLUMNS": "77"},
        expected="taken",
    ),
)

STATE = (
    state(
        "a flag of a settings module",
        "import PREsettings; PREsettings.FLAG = True",
        "return x.relu() if PREsettings.FLAG else x",
        "import PREsettings",
        files=SETTINGS,
    ),
    state(
        "a flag, by getattr",
        "import PREsettings; PREsettings.FLAG = True",
        "return x.relu() if getattr(PREsettings, 'FLAG') else x",
        "import PREsettings",
        files=SETTINGS,
    ),
    state(
        "a flag, imported in the forward",
        "import PREsettings; PREsettings.FLAG = True",
        "from PREsettings import FLAG; return x.relu() if FLAG else x",
        files=SETTINGS,
    ),
    state(
        "a flag that was not there",
        "import PREsettings; PREsettings.NEW = True",
        "return x.relu() if getattr(PREsettings, 'NEW', False) else x",
        "import PREsettings",
        files=SETTINGS,
    ),
    state(
        "an item of a dict",
        "import PREsettings; PREsettings.CFG['k'] = 2",
        "return x * PREsettings.CFG['k']",
        "import PREsettings",
        files=SETTINGS,
    ),
    state(
        "a function of a module",
        "import PREsettings; PREsettings.act = lambda x: x.tanh()",
        "return PREsettings.act(x)",
        "import PREsettings",
        files=SETTINGS,
    ),
    state(
        "a function's default",
        "import PREsettings; PREsettings.scale.__defaults__ = (3,)",
        "return PREsettings.scale(x)",
        "import PREsettings",
        files={"PREsettings.py": "def scale(x, k=2):\n    return x * k\n"},
    ),
    state(
        "an object's attribute",
        "import PREsettings; PREsettings.o.k = 3",
        "return x * o.k",
        "from PREsettings import o",
        files={"PREsettings.py": "class O:\n    k = 2\no = O()\n"},
    ),
    state(
        "a flag that the forward does not name",
        "import PREsettings; PREsettings.UNREAD = 2",
        "return x * PREsettings.CFG['k']",
        "import PREsettings",
        files=SETTINGS,
        expected="taken",
    ),
    state(
        "a method of the model's class",
        "net.Net.act = lambda self, x: x.tanh()",
        "return self.act(x)\n    def act(self, x):\n        return x.relu()",
    ),
    state("the class's forward", "net.Net.forward = lambda self, x: x.tanh()", "return x.relu()"),
    state("a class attribute", "net.Net.k = 3", "return x * self.k\n    k = 2"),
    state(
        "torch.nn.functional.gelu",
        "torch.nn.functional.gelu = lambda x: x.tanh()",
        "return torch.nn.functional.gelu(x)",
    ),
    state("torch.relu, by another of torch's", "torch.relu = torch.tanh", "return torch.relu(x)"),
    state("Tensor.tanh", "torch.Tensor.tanh = lambda x: x * 2", "return x.tanh()"),
    state("Tensor's multiplication", "torch.Tensor.__mul__ = lambda x, y: x.tanh()", "return x * 2"),
    state(
        "how modules are called", "torch.nn.Module.__call__ = lambda self, *x, **y: self.forward(*x, **y)", "return x"
    ),
    state(
        "how modules of an installed library's class are called",
        "import acme; acme.Act.__call__ = lambda self, x: x.tanh()",
        "return self.a(x)",
        "import acme",
        init="self.a = acme.Act()",
    ),
    state(
        "a module found in sys.modules",
        "import PREhelp; PREhelp.K = 3.0",
        "import sys; return x * sys.modules['PREhelp'].K",
        always="import PREhelp",
        files={"PREhelp.py": "K = 2.0\n"},
    ),
    state("Linear.forward", "torch.nn.Linear.forward = lambda self, x: x * 2", "return x"),
    state("math.pi", "import math; math.pi = 3.0", "return x * math.pi", "import math"),
    state("builtins.max", "import builtins; builtins.max = min", "return x * max(1, 2)"),
    state(
        "numpy's sqrt", "import numpy; numpy.sqrt = numpy.square", "return x * float(np.sqrt(9))", "import numpy as np"
    ),
    state("a flag of an installed library", "import acme; acme.FLAG = True", "return acme.flag_act(x)", "import acme"),
    state(
        "a flag of an installed library's module",
        "import acme.config; acme.config.FLAG = True",
        "return acme.config_act(x)",
        "import acme",
    ),
    state(
        "a registry of an installed library",
        "import acme; acme.REGISTRY['act'] = torch.tanh",
        "return acme.registry_act(x)",
        "import acme",
    ),
    state(
        "a new entry of a registry",
        "import acme; acme.REGISTRY['extra'] = torch.tanh",
        "return acme.extra_act(x)",
        "import acme",
    ),
    state(
        "an installed library's function, by a user's",
        "import acme; acme.act = lambda x: x.tanh()",
        "return acme.act(x)",
        "import acme",
    ),
    state(
        "a method of an installed library's class",
        "import acme; acme.Act.forward = lambda self, x: x.tanh()",
        "return self.a(x)",
        "import acme",
        init="self.a = acme.Act()",
    ),
    state(
        "the library's patch of torch", "import acme; acme.patch()", "return torch.nn.functional.silu(x)", "import acme"
    ),
    state(
        "a global forward hook",
        "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: None)",
        "return x",
    ),
    state(
        "a function of the exporter, replaced in a file that the case does not reach",
        "load('PREpatch.py')",
        "return x.relu()",
        files={"PREpatch.py": REPLACED},
    ),
    state(
        "a method of the exporter, replaced",
        "load('PREpatch.py')",
        "return x.relu()",
        files={"PREpatch.py": REPLACED_METHOD},
    ),
    state(
        "a module that an import hook makes",
        "",
        "return PREmade.act(x)",
        "import PREhook, PREmade",
        files={"PREhook.py": HOOK},
        always="import sys; sys.PRE_changed = changed",
    ),
    state(
        "nothing, with a module that an import hook makes",
        "",
        "return PREmade.act(x)",
        "import PREhook, PREmade",
        files={"PREhook.py": HOOK},
        always="import sys; sys.PRE_changed = False",
        expected="taken",
    ),
    state(
        "a library's registry by class",
        "import acme; acme.BY_CLASS[net.Net] = torch.tanh",
        "return acme.class_act(self, x)",
        "import acme",
    ),
    state(
        "a library's registry by the text of a class",
        "import acme; acme.BY_CLASS[str(net.Net)] = torch.tanh",
        "return acme.named_act(self, x)",
        "import acme",
    ),
    state(
        "nothing, with another model in a library's registry",
        "import acme; O = type('O', (), {'__module__': 'elsewhere'}); acme.BY_CLASS |= {O: torch.tanh, str(O): torch.tanh}",
        "return acme.class_act(self, acme.named_act(self, x))",
        "import acme",
        expected="taken",
    ),
    state(
        "a value of this thread",
        "net.LOCAL.k = 3.0",
        "return x * LOCAL.k",
        "import threading\nLOCAL = threading.local()\nLOCAL.k = 2.0",
    ),
    state(
        "an attribute of a function",
        "net.act.k = 3.0",
        "return act(x)",
        "def act(x):\n    return x * act.k\nact.k = 2.0",
    ),
    state(
        "a variable of a closure",
        "net.put(3.0)",
        "return act(x)",
        "def made():\n    k = 2.0\n    def act(x):\n        return x * k\n    def put(v):\n        nonlocal k\n        k = v\n    return act, put\nact, put = made()",
    ),
    state(
        "a flag of torch's tracer",
        "import torch.fx.experimental._config as config; config.use_duck_shape = False",
        "return x.relu()",
        always="import torch.fx.experimental._config",
    ),
    state("the mode that looks for anomalies", "torch.autograd.set_detect_anomaly(True)", "return x.relu()"),
    state(
        "a value in sys",
        "",
        "return x.relu() if sys.PREvalue else x",
        "import sys",
        always="import sys; sys.PREvalue = changed",
    ),
    state(
        "inference mode",
        "import sys; sys.PREmode = torch.inference_mode(); sys.PREmode.__enter__()",
        "return x.relu()",
    ),
    state("a function mode", "enter_function_mode()", "return x.relu()"),
    state("a dispatch mode", "enter_dispatch_mode()", "return x.relu()"),
    state(
        "the default dtype",
        "torch.set_default_dtype(torch.float64)",
        "return x + torch.ones(4)",
    ),
    state("deterministic algorithms", "torch.use_deterministic_algorithms(True)", "return x.relu()"),
    state(
        "the fused attention's switch",
        "torch.backends.cuda.enable_flash_sdp(not torch.backends.cuda.flash_sdp_enabled())",
        "return x.relu()",
    ),
    state(
        "a kernel of the user's operator",
        "",
        "return torch.ops.PREns.act(x)",
        "lib = torch.library.Library('PREns', 'DEF')\nlib.define('act(Tensor x) -> Tensor')\nimport PREkernels\nlib.impl('act', PREkernels.chosen, 'CPU')\ntorch.onnx.register_custom_op_symbolic('PREns::act', lambda g, x: g.op('Relu', x), 9)",
        files={
            "PREkernels.py": "import sys\ndef a(x):\n    return x.relu()\ndef b(x):\n    return x.tanh()\nchosen = b if getattr(sys, 'PRE_changed', False) else a\n"
        },
        always="import sys; sys.PRE_changed = changed",
    ),
    state(
        "a custom symbolic",
        "torch.onnx.register_custom_op_symbolic('aten::relu', lambda g, x: g.op('Tanh', x), 9)",
        "return x.relu()",
    ),
    state(
        "a module's forward hook",
        "",
        "return x.relu()",
        build="import sys; hook = getattr(sys, 'PREhook', None)\n    n = Net()\n    n.linear.register_forward_hook(lambda m, i, o: o * 2) if hook else None\n    return n",
        always="import sys; sys.PREhook = changed",
    ),
    state(
        "a method bound by hand",
        "",
        "return self.act(x)",
        "import sys, types\ndef made(k):\n    def act(self, x):\n        return x * k\n    return act",
        build="n = Net(); n.act = types.MethodType(made(sys.PREk), n)\n    return n",
        always="import sys; sys.PREk = 2.0 + changed",
    ),
    state(
        "one weight",
        "",
        "return x",
        build="import sys\n    n = Net()\n    n.linear.weight.data[0, 0] += sys.PREweight\n    return n",
        always="import sys; sys.PREweight = 0.5 * changed",
    ),
    state(
        "a weight that becomes shared",
        "",
        "return self.b(self.a(x))",
        init="self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)",
        build="import sys\n    n = Net()\n    n.b.load_state_dict(n.a.state_dict())\n    if sys.PREshared: n.b.weight = n.a.weight\n    return n",
        always="import sys; sys.PREshared = changed",
    ),
    state(
        "an attribute of the model",
        "",
        "return x * self.k",
        init="self.k = 2",
        build="import sys\n    n = Net(); n.k = sys.PREk\n    return n",
        always="import sys; sys.PREk = 2 + changed",
    ),
    state(
        "nothing, with a counter in the forward",
        "",
        "global COUNT; COUNT += 1; return x.relu()",
        "COUNT = 0",
        expected="taken",
    ),
    state(
        "nothing, with a cache that the forward fills",
        "",
        "CACHE[x.dtype] = 1; return x.relu()",
        "CACHE = {}",
        expected="taken",
    ),
    state("nothing, with an attribute that the forward sets", "", "self.last = 1; return x.relu()", expected="taken"),
    state(
        "nothing, with a lock and a logger",
        "",
        "with LOCK: LOG.debug('x')\n        return x.relu()",
        "import threading, logging\nLOCK = threading.Lock()\nLOG = logging.getLogger('x')",
        expected="taken",
    ),
    state(
        "nothing, with a path of the checkout",
        "",
        "return x * len(HERE.name)",
        "import pathlib\nHERE = pathlib.Path(__file__).parent\nTEXT = str(HERE)",
        expected="taken",
    ),
    state("nothing, with a set", "", "return x * len(NAMES)", "NAMES = {'a', 'b', 'c', 'd'}", expected="taken"),
)

DISTRIBUTIONS = (
    Attack(
        name="an upgraded library whose function is called",
        header="import acme_up.ops",
        body="return acme_up.ops.act(x)",
    ),
    Attack(name="an upgraded library, imported as a name", header="from acme_up.ops import act", body="return act(x)"),
    Attack(name="an upgraded library, imported in the forward", body="from acme_up.ops import act; return act(x)"),
    Attack(name="a rebuilt library of the same version", header="import acme_same", body="return acme_same.act(x)"),
    Attack(name="an edited file of an installed library", header="import acme_edit", body="return acme_edit.act(x)"),
    Attack(name="a constant of an edited file", header="import acme_edit", body="return acme_edit.scaled(x)"),
    Attack(name="an upgraded dependency of a library", header="import acme_on_dep", body="return acme_on_dep.act(x)"),
    Attack(
        name="an upgrade that left the old records behind", header="import acme_both", body="return acme_both.act(x)"
    ),
    Attack(name="an upgraded library without __init__", header="from acme_space.ops import act", body="return act(x)"),
    Attack(
        name="a constant of an upgraded library without __init__",
        header="from acme_space.constants import K",
        body="return x * K",
    ),
    Attack(name="a development install", header="import acme_dev", body="return acme_dev.act(x)"),
    Attack(name="an upgraded library that the model does not use", body="return x", expected="taken"),
    Attack(
        name="nothing, with a log record",
        header="import logging",
        body="logging.getLogger(__name__).warning('%s', 1); return x",
        expected="taken",
    ),
)

REFUSED = (
    Attack(
        name="a subprocess",
        header="import subprocess, sys",
        body="return x * int(subprocess.check_output([sys.executable, '-c', 'print(2)']))",
        expected="never kept",
    ),
    Attack(
        name="a context variable",
        header="import contextvars\nK = contextvars.ContextVar('k', default=2.0)",
        body="return x * K.get()",
        expected="never kept",
    ),
    Attack(name="the clock", header="import time", body="return x * time.time()", expected="never kept"),
    Attack(
        name="datetime.now",
        header="import datetime",
        body="return x * datetime.datetime.now().second",
        expected="never kept",
    ),
    Attack(
        name="date.today", header="import datetime", body="return x * datetime.date.today().day", expected="never kept"
    ),
    Attack(name="time.localtime", header="import time", body="return x * time.localtime()[0]", expected="never kept"),
    Attack(name="the process id", header="import os", body="return x * os.getpid()", expected="never kept"),
    Attack(name="os.urandom", header="import os", body="return x * os.urandom(1)[0]", expected="never kept"),
    Attack(
        name="global random numbers", header="import random", body="return x * random.random()", expected="never kept"
    ),
    Attack(
        name="random integers", header="import random", body="return x * random.randint(1, 9)", expected="never kept"
    ),
    Attack(
        name="a generator as an attribute", init="self.odd = (n for n in 'ab')", body="return x", expected="never kept"
    ),
)

IF_THERE = """
def act(x):
    try:
        import acme_new
    except ImportError:
        return x.relu()
    return acme_new.act(x)
"""
SEARCHED = (
    Attack(
        name="a library that is installed meanwhile, imported where it is there", header=IF_THERE, body="return act(x)"
    ),
    Attack(
        name="a library that is installed meanwhile, looked for",
        header="import importlib.util",
        body="return x.relu() if importlib.util.find_spec('acme_new') is None else x",
    ),
    Attack(
        name="the version of a library, asked for in the forward",
        header="import importlib.metadata as m\ndef v():\n    try:\n        return m.version('acme_new')\n    except m.PackageNotFoundError:\n        return ''",
        body="return x.relu() if v() > '' else x",
    ),
    Attack(
        name="the version of a library, asked for while building",
        header="import importlib.metadata as m\ndef v():\n    try:\n        return m.version('acme_new')\n    except m.PackageNotFoundError:\n        return ''",
        init="self.a = nn.ReLU() if v() > '' else nn.Tanh()",
        body="return self.a(x)",
    ),
    Attack(
        name="a module that appears",
        header=IF_THERE.replace("acme_new", "PREopt"),
        body="return act(x)",
        change={"PREopt.py": "def act(x):\n    return x.tanh()\n"},
    ),
    Attack(name="another clock", header="import time", body="return x * time.perf_counter()", expected="never kept"),
    Attack(
        name="a kernel of a custom_op",
        header="import PREk\n@torch.library.custom_op('PREns::op', mutates_args=())\ndef op(x: torch.Tensor) -> torch.Tensor:\n    return PREk.chosen(x)\n@op.register_fake\ndef _(x):\n    return torch.empty_like(x)\ntorch.onnx.register_custom_op_symbolic('PREns::op', lambda g, x: g.op('Relu', x), 9)",
        body="return op(x)",
        files={
            "PREk.py": "import sys\ndef a(x):\n    return x.relu()\ndef b(x):\n    return x.tanh()\nchosen = b if getattr(sys, 'PRE_changed', False) else a\n"
        },
        always="import sys; sys.PRE_changed = changed",
    ),
    Attack(
        name="a helper of an autograd function",
        header="import PREk\nclass F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return PREk.f(x)\n    @staticmethod\n    def symbolic(g, x):\n        return g.op(PREk.OP, x)",
        body="return F.apply(x)",
        files={"PREk.py": "OP = 'Relu'\ndef f(x): return x.relu()\n"},
        change={"PREk.py": "OP = 'Tanh'\ndef f(x): return x.tanh()\n"},
    ),
    Attack(
        name="the symbolic of an autograd function",
        header="class F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x.relu()\n    @staticmethod\n    def symbolic(g, x):\n        return g.op('Relu', x)",
        body="return F.apply(x)",
        run="net.F.symbolic = staticmethod(lambda g, x: g.op('Tanh', x))",
    ),
    Attack(
        name="nothing, with a traced module",
        build="return torch.fx.symbolic_trace(Net())",
        body="return x.relu()",
        expected="taken",
    ),
    Attack(
        name="a node of a traced module",
        build="import sys\n    g = torch.fx.symbolic_trace(Net())\n    for n in g.graph.nodes:\n        if n.target == 'relu' and sys.PREc: n.target = 'tanh'\n    g.recompile()\n    return g",
        body="return x.relu()",
        always="import sys; sys.PREc = changed",
    ),
    Attack(
        name="a weakly held object",
        header="import weakref\nclass O: pass\no = O(); o.k = 2.0\nW = weakref.WeakValueDictionary(o=o)",
        body="return x * W['o'].k",
        run="net.o.k = 3.0",
    ),
    Attack(
        name="a copy of a file, in a temporary folder",
        header="import shutil, pathlib, tempfile\nH = pathlib.Path(__file__).parent",
        body="d = tempfile.mkdtemp(); shutil.copy(H / 'w.txt', d + '/c'); return x * float(open(d + '/c').read())",
        files={"w.txt": "2\n"},
        change={"w.txt": "3\n"},
    ),
    Attack(
        name="a member of a zip archive",
        header="import zipfile, pathlib\nH = pathlib.Path(__file__).parent",
        body="return x * len(zipfile.ZipFile(H / 'm.zip').read('mm.py'))",
        files={"m.zip": "zip:mm:2"},
        change={"m.zip": "zip:mm:33"},
    ),
    Attack(
        name="an attribute of a metaclass",
        header="class M(type):\n    k = 2.0\nclass C(metaclass=M): pass",
        body="return x * C.k",
        run="net.M.k = 3.0",
    ),
    Attack(
        name="a descriptor's state",
        header="class D:\n    k = 2.0\n    def __get__(s, o, t): return s.k\nd = D()\nclass C:\n    k = d",
        body="return x * C.k",
        run="net.d.k = 3.0",
    ),
    Attack(
        name="an attribute that a class inherits",
        header="from PREh import C",
        body="return x * C().k",
        files={"PREh.py": "class B:\n    k = 2.0\nclass C(B): pass\n"},
        run="import PREh; PREh.B.k = 3.0",
    ),
    Attack(
        name="a class used as a namespace", header="class C:\n    k = 2.0", body="return x * C.k", run="net.C.k = 3.0"
    ),
    Attack(
        name="a class of a settings module",
        header="from PREh import C",
        body="return x * C.k",
        files={"PREh.py": "class C:\n    k = 2.0\n"},
        run="import PREh; PREh.C.k = 3.0",
    ),
    Attack(
        name="a nested class",
        header="class C:\n    class D:\n        k = 2.0",
        body="return x * C.D.k",
        run="net.C.D.k = 3.0",
    ),
    Attack(
        name="a class attribute of a global object",
        header="class C:\n    k = 2.0\nc = C()",
        body="return x * c.k",
        run="net.C.k = 3.0",
    ),
    Attack(
        name="a class in a registry",
        header="class A:\n    k = 2.0\nR = {'a': A}",
        body="return x * R['a'].k",
        run="net.A.k = 3.0",
    ),
    Attack(
        name="a class attribute of an installed library",
        header="import acme",
        body="return x * getattr(acme.Act, 'k', 2.0)",
        run="import acme; acme.Act.k = 3.0",
    ),
    Attack(
        name="nothing, with dataclasses, enums, abstract and typed classes",
        header="import abc, dataclasses, enum, typing, threading\n@dataclasses.dataclass(frozen=True, slots=True)\nclass A:\n    k: float = 2.0\nclass E(enum.IntFlag):\n    A = 1\n    B = 2\nclass B(abc.ABC):\n    lock = threading.Lock()\n    @abc.abstractmethod\n    def f(self): ...\nclass T(typing.NamedTuple):\n    k: int = 2\nclass G(typing.Generic[typing.TypeVar('X')]):\n    k = 2\nclass P(typing.Protocol):\n    k: int\nclass D(typing.TypedDict):\n    k: int\nclass L(B):\n    lock = threading.Lock()\n    def f(self):\n        with self.lock: return 2",
        body="return x * A().k * E.A * L().f() * T().k * G().k * D(k=2)['k']",
        expected="taken",
    ),
)
"""Found by somebody who tried for an hour to hide a change, without having read the code."""

ATTACKS = (*SOURCES, *FILES, *ENVIRONMENT, *STATE, *DISTRIBUTIONS, *REFUSED, *SEARCHED)
