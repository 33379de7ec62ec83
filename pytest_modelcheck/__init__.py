"""pytest-modelcheck: regression tests for exported models.

The map, from the top floor down; imports run downward only (tests/test_architecture.py holds it):

- `plugin`, `fixtures`, `options`: the pytest edge.
- `gates`: one file per marker. `check`: everything about one model case, computed on first use.
- `snapshots`, `report`: canonical text for syrupy; terminal and JSON output.
- `fusion`, `parity`, `accuracy`, `performance`: what is measured.
- `export`: torch -> ONNX, with a key and a cache.
- `attribution`, `pipeline`, `foreign`, `passes`: graph rewrites, ours and other people's, and what each one did.
- `capture`, `hierarchy`, `graph`: torch graphs; owners of nodes; reading an ONNX graph.
- `calling`, `runtime`: building and calling a module; onnxruntime sessions.
- `model_case`, `result`, `bounds`, `errors`: the words.

Importing this package loads neither torch nor onnx.
"""

from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding, Verdict

__all__ = ["Finding", "ModelCase", "Verdict"]
