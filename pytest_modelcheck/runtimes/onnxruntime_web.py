"""onnxruntime-web: onnxruntime compiled to WebAssembly, as a browser runs it, here under node.

One thread, on the processor (the provider ``wasm``). It reads the .onnx file itself; weights must lie in it, so that a
model of 2 GB and more cannot be run.
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.runtimes.environments import Environment
from pytest_modelcheck.runtimes.interface import How, Runtime, Session
from pytest_modelcheck.runtimes.models import Model, check_types, graph_of, inlined, loading
from pytest_modelcheck.runtimes.ports import STANDARD, signature_of
from pytest_modelcheck.runtimes.worker import WORKERS, Worker

_ENVIRONMENT = Environment(name="onnxruntime-web", kind="node", packages=("onnxruntime-web@1.30.0",))
_DTYPES = frozenset(STANDARD) - {"string"}


def _open(model: Model, how: How, name: str) -> Session:
    with loading(name, "onnxruntime-web"):
        graph = graph_of(model, name)
        content = ir.to_proto(inlined(graph)).SerializeToString()
        signature = signature_of(graph, name)
        check_types(signature, _DTYPES, "onnxruntime-web")
    command = [str(_ENVIRONMENT.interpreter), str(WORKERS / "web.mjs"), str(_ENVIRONMENT.folder)]
    worker = Worker(command, name, "onnxruntime-web")
    (worker.folder / "model.onnx").write_bytes(content)
    worker.load(model="model.onnx", optimizer=how.optimizer)
    return Session(signature=signature, how=how, start=worker.start, label="onnxruntime-web", held=(worker,))


RUNTIME = Runtime(
    name="onnxruntime-web",
    package="",
    install=_ENVIRONMENT.command,
    open=_open,
    dtypes=_DTYPES,
    environment=_ENVIRONMENT,
)
