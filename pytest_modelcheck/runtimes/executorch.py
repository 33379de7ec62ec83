"""ExecuTorch with XNNPACK: the torch module is converted, not its ONNX graph.

What is opened is a file of torch.export, as `TorchSide.save_program` writes it; the one with dynamic sizes beside it is
preferred where ExecuTorch converts it. Memory is planned for the largest sizes: those of a ``Dim(max=...)``, and of the
example where a dimension has no bound.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.runtimes.environments import Environment
from pytest_modelcheck.runtimes.interface import How, Runtime, Session
from pytest_modelcheck.runtimes.models import Model, SessionError, check_types, existing_file
from pytest_modelcheck.runtimes.ports import STANDARD, Port, Signature
from pytest_modelcheck.runtimes.worker import Worker, python_worker

_ENVIRONMENT = Environment(name="executorch", kind="python", packages=("executorch==1.5.1",), beside="torch")
_ELEMENTS = {dtype.name: element for element, dtype in STANDARD.items() if element != "string"}


def _open(model: Model, how: How, name: str) -> Session:
    worker, described = _loaded(model, how, name)
    signature = Signature(name, _ports(described["inputs"]), _ports(described["outputs"]))
    check_types(signature, RUNTIME.dtypes, "ExecuTorch")
    return Session(
        signature=signature,
        how=how,
        start=worker.start,
        label="ExecuTorch",
        held=(worker,),
        fixed=described["fixed"],
    )


def _loaded(model: Model, how: How, name: str) -> tuple[Worker, Mapping[str, Any]]:
    if not isinstance(model, str | Path):
        raise SessionError(f"{name}: ExecuTorch cannot load the model: it converts torch modules, not ONNX graphs")
    worker = Worker(python_worker(_ENVIRONMENT, "executorch.py"), name, "ExecuTorch")
    fixed = existing_file(model, name)
    given = [path for path in (fixed.with_suffix(".dynamic.pt2"), fixed) if path.is_file()]
    models = [f"{index}.pt2" for index in range(len(given))]
    for path, model_file in zip(given, models, strict=True):
        shutil.copy(path, worker.folder / model_file)
    return worker, worker.load(models=models, threads=how.threads)


def _ports(described: Sequence[Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(
        Port(
            each["name"],
            f"tensor({_ELEMENTS.get(each['dtype'], each['dtype'])})",
            tuple(each["shape"]),
            tuple(each["most"]),
        )
        for each in described
    )


def _executed(path: Path, how: How) -> Mapping[str, int]:
    counts: Mapping[str, int] = _loaded(path, how, path.name)[1]["executes"]
    return counts


RUNTIME = Runtime(
    name="executorch",
    package="",
    install=_ENVIRONMENT.command,
    open=_open,
    label="ExecuTorch",
    dtypes=frozenset(_ELEMENTS.values()),
    executed=_executed,
    environment=_ENVIRONMENT,
    of_module=True,
)
