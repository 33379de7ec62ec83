"""`ModelCheck`: one model case under check, each result computed on first use and kept.

It is composed of parts that work alone:

    Results     once(key, make): computed once, timed, an error remembered; what the report asks
    TorchSide   the module: built, called, captured
    source      how the case becomes an ONNX model: a module that is exported, or a file that is opened
    Graphs      the exported graph, what the pipeline makes of it, who owns the nodes

What one gate measures belongs to that gate, which asks `ModelCheck.once` to keep it.
"""

import pytest_modelcheck.late_sympy  # noqa: F401 - before onnx_ir
from pytest_modelcheck.check.model_check import ModelCheck
from pytest_modelcheck.check.settings import Locked, Settings

__all__ = ["Locked", "ModelCheck", "Settings"]
