"""What the exporter itself says about a node: the only source of `direct` owners.

dynamo writes `metadata_props`: ``pkg.torch.onnx.name_scopes`` is the repr of a list of module paths, from the root
(``""``) inwards, whose last element is the operator's own name.

torchscript writes the call stack into the node's name, ``/encoder/layer.0/attention/self/MatMul_1``: one segment per
called module, each the end of its path from its last non-numeric atom on (``encoder.layer.0`` called by ``encoder``
is ``layer.0``, the child ``1`` of a called Sequential ``block`` is ``block.1``; source: torch.onnx's
`_unqualified_variable_name`). A later call of the same stack has its number behind it: ``/encoder/layer.0_2/MatMul``.
In a plain file, whose modules are not known, the stack itself is the path, as a deduction: a module that is reached
without calling the one around it lacks that one's name.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.hierarchy.calls import ModuleCalls

NAME_SCOPES_KEY = "pkg.torch.onnx.name_scopes"

_STACK = re.compile(r"(?P<stack>(?:/[^/]+)*)/[A-Z]\w*")
"""A node of torchscript: the stack of calls, then the operator with its number."""

_CALL_NUMBER = re.compile(r"@(\d+)$")  # torch.export may number the later calls of a shared module: "layer@1"


@dataclass(frozen=True, slots=True)
class Scopes:
    """How to read the scopes of one model.

    Attributes:
        paths: The module paths that exist; empty where the tree is unknown, and then none is refused.
        by_name: torchscript scope text -> path of its module, and in which of its calls (from 1; 0 where the module is
            called once, or from several places); a text that two modules could have is left out.
        stacks: Of a foreign file: the call stacks that its torchscript nodes name.
    """

    paths: Collection[str]
    by_name: Mapping[str, tuple[str, int]]
    stacks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, calls: ModuleCalls | None, nodes: Iterable[ir.Node] = ()) -> Scopes:
        """The scopes of a model whose calls were recorded; of a foreign file, with its nodes, where they were not."""
        if calls is None:
            matches = (_STACK.fullmatch(node.name or "") for node in nodes)
            stacks = {match["stack"] for match in matches if match}
            return cls((), {}, frozenset(_with_outer(stacks)))
        names: dict[str, set[tuple[str, int]]] = {}
        for stack, count in calls.stacks.items():
            text, path = _scope_text(stack), stack[-1]
            shared = count > 1 and calls.counts.get(path) == count
            names.setdefault(text, set()).add((path, 1 if shared else 0))
            for later in range(1, count if text else 0):
                names.setdefault(f"{text}_{later}", set()).add((path, later + 1 if shared else 0))
        by_name = {name: next(iter(owners)) for name, owners in names.items() if len({path for path, _ in owners}) == 1}
        return cls(frozenset(calls.classes), by_name)

    def direct_owner(self, node: ir.Node) -> str | None:
        """The module path that the exporter gives for `node`; None where it says nothing that can be read."""
        found = self.direct_call(node)
        return None if found is None else found[0]

    def direct_call(self, node: ir.Node) -> tuple[str, int] | None:
        """The same with the number of the call, from 1; 0 where the exporter does not say it."""
        listed = node.metadata_props.get(NAME_SCOPES_KEY)
        if listed is not None:
            return self._from_metadata(listed)
        return self._from_name(node.name or "")

    def deduced_owner(self, node: ir.Node) -> str | None:
        """The call stack in a torchscript node's name, read as a path; None where modules are known, or it has none."""
        match = None if self.paths else _STACK.fullmatch(node.name or "")
        if match is None:
            return None
        path: list[str] = []
        for segment in _first_calls(match["stack"], self.stacks).split("/")[1:]:
            # a Sequential `block` calls `block.1`: the name of its parent is in it already
            if path and segment.startswith(f"{path[-1]}."):
                path.pop()
            path.append(segment)
        return ".".join(path)

    def _from_metadata(self, listed: str) -> tuple[str, int] | None:
        scopes = parse_scopes(listed)
        if len(scopes) < 2:
            return None
        path, call = scopes[-2], 0
        numbered = _CALL_NUMBER.search(path)
        if numbered is not None and path not in self.paths:
            path, call = path[: numbered.start()], int(numbered[1]) + 1
        return (path, call) if not self.paths or path in self.paths else None

    def _from_name(self, name: str) -> tuple[str, int] | None:
        if not name.startswith("/"):
            return None
        return self.by_name.get(name.rpartition("/")[0])


def _with_outer(stacks: Iterable[str]) -> Iterator[str]:
    for stack in stacks:
        while stack:
            yield stack
            stack = stack.rpartition("/")[0]


def _first_calls(stack: str, known: Collection[str]) -> str:
    """Drop the numbers of later calls: ``/shared/conv_1`` is ``/shared/conv``, if that is called as well."""
    first = ""
    for segment in stack.split("/")[1:]:
        name, _, number = segment.rpartition("_")
        first += f"/{name if name and number.isdecimal() and f'{first}/{name}' in known else segment}"
    return first


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


@functools.cache
def _unqualified(path: str) -> str:
    atoms = path.split(".")
    start = next((i for i in range(len(atoms) - 1, -1, -1) if not atoms[i].isnumeric()), 0)
    return ".".join(atoms[start:])
