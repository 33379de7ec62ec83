"""What the exporter itself says about a node: the only source of `direct` owners.

dynamo writes `metadata_props`: ``pkg.torch.onnx.name_scopes`` is the repr of a list of module paths, from the root
(``""``) inwards, whose last element is the operator's own name.

torchscript writes the call stack into the node's name, ``/encoder/layer.0/attention/self/MatMul_1``: one segment per
called module, each the end of its path from the last atom that is no number (``encoder.layer.0`` called by ``encoder``
is ``layer.0``, the child ``1`` of a called Sequential ``block`` is ``block.1``; source: torch.onnx's
`_unqualified_variable_name`). A later call of the same stack has its number behind it: ``/encoder/layer.0_2/MatMul``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.hierarchy.calls import ModuleCalls

NAME_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
CLASS_HIERARCHY_KEY = "pkg.torch.onnx.class_hierarchy"

_CALL_NUMBER = re.compile(r"@\d+$")  # torch.export numbers the later calls of a shared module: "layer@1"


@dataclass(frozen=True, slots=True)
class Scopes:
    """How to read the scopes of one model.

    Attributes:
        paths: The module paths that exist; empty where the tree is unknown, and then none is refused.
        by_name: torchscript scope text -> path of its module; a text that two modules could have is left out.
    """

    paths: Collection[str]
    by_name: Mapping[str, str]

    @classmethod
    def of(cls, calls: ModuleCalls | None) -> Scopes:
        """The scopes of a model whose calls were recorded; of a foreign file where they were not."""
        if calls is None:
            return cls((), {})
        names: dict[str, set[str]] = {}
        for stack, count in calls.stacks.items():
            text = _scope_text(stack)
            for name in (text, *(f"{text}_{later}" for later in range(1, count) if text)):
                names.setdefault(name, set()).add(stack[-1])
        by_name = {name: next(iter(paths)) for name, paths in names.items() if len(paths) == 1}
        return cls(frozenset(calls.classes), by_name)

    def direct_owner(self, node: ir.Node) -> str | None:
        """The module path that the exporter gives for `node`; None where it says nothing that can be read."""
        listed = node.metadata_props.get(NAME_SCOPES_KEY)
        if listed is not None:
            return self._from_metadata(listed)
        return self._from_name(node.name or "")

    def _from_metadata(self, listed: str) -> str | None:
        scopes = parse_scopes(listed)
        if len(scopes) < 2:
            return None
        path = _CALL_NUMBER.sub("", scopes[-2])
        return path if not self.paths or path in self.paths else None

    def _from_name(self, name: str) -> str | None:
        if not name.startswith("/"):
            return None
        return self.by_name.get(name.rpartition("/")[0])


def parse_scopes(listed: str) -> tuple[str, ...]:
    """The list that a metadata value holds; empty where it is not the repr of a list of strings."""
    try:
        scopes = ast.literal_eval(listed)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return ()
    return tuple(scopes)


def _scope_text(stack: tuple[str, ...]) -> str:
    return "".join(f"/{_unqualified(path)}" for path in stack[1:])


def _unqualified(path: str) -> str:
    atoms = path.split(".")
    start = next((i for i in range(len(atoms) - 1, -1, -1) if not atoms[i].isnumeric()), 0)
    return ".".join(atoms[start:])
