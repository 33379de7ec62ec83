"""What a function reads from outside the process's memory: environment variables and files.

Found in its source. A variable read by a literal name can be looked up now; of any other read nobody knows the content.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_READERS = {"open", "read_text", "read_bytes", "fromfile", "memmap", "loadtxt", "genfromtxt", "load_file", "safe_open"}
_READERS |= {"read_csv", "load_state_dict_from_url", "from_file"}
_LOADERS = {"torch", "np", "numpy", "joblib", "pickle", "onnx", "json"}
_ENVIRONMENT = {"environ", "getenv", "environb", "getenvb"}


@dataclass(frozen=True, slots=True)
class OutsideReads:
    """What one function reads from outside.

    Attributes:
        variables: Environment variables read by a literal name.
        unknown: Every other read, e.g. ``"settings.py:12 calls open()"``.
    """

    variables: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()


def outside_reads(code: types.CodeType) -> OutsideReads:
    """What `code` and the functions inside it read, by its source; by the names in its bytecode where it has none."""
    try:
        source = Path(code.co_filename).read_bytes()
        nodes = _functions_by_line(source).get(code.co_firstlineno, ())
    except (OSError, SyntaxError, ValueError):
        nodes = ()
    if not nodes:
        named = sorted((_READERS | _ENVIRONMENT) & set(code.co_names))
        return OutsideReads(unknown=tuple(f"{code.co_name}, whose source is not known, uses {name}" for name in named))
    found = [_reads(node, Path(code.co_filename).name) for node in nodes]
    return OutsideReads(
        frozenset().union(*(reads.variables for reads in found)),
        tuple(dict.fromkeys(text for reads in found for text in reads.unknown)),
    )


@functools.lru_cache(maxsize=512)
def _functions_by_line(source: bytes) -> dict[int, tuple[ast.AST, ...]]:
    """The line on which a function (its first decorator) begins -> the functions that begin there."""
    lines: dict[int, tuple[ast.AST, ...]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            line = min([node.lineno, *(item.lineno for item in decorators)])
            lines[line] = (*lines.get(line, ()), node)
    return lines


def _reads(function: ast.AST, file: str) -> OutsideReads:
    known: set[int] = set()
    variables: set[str] = set()
    for node in ast.walk(function):
        for reader, name in _literal_reads(node):
            known.add(id(reader))
            variables.add(name)
    unknown = [
        f"{file}:{node.lineno} {what}"
        for node in ast.walk(function)
        if isinstance(node, ast.expr) and id(node) not in known and (what := _unknown_read(node))
    ]
    return OutsideReads(frozenset(variables), tuple(unknown))


def _literal_reads(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """The `environ` or `getenv` of ``environ["X"]``, ``environ.get("X")``, ``"X" in environ``, ``getenv("X")``."""
    if isinstance(node, ast.Subscript):
        reader, argument = node.value, node.slice
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        reader, argument = node.comparators[0], node.left
    elif isinstance(node, ast.Call) and node.args:
        argument, reader = node.args[0], node.func
        if isinstance(reader, ast.Attribute) and reader.attr == "get":
            reader = reader.value
    else:
        return
    if _name(reader) in _ENVIRONMENT and isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield reader, argument.value


def _unknown_read(node: ast.expr) -> str:
    if isinstance(node, ast.Name | ast.Attribute) and _name(node) in _ENVIRONMENT:
        return f"reads os.{_name(node)} by a name that is not literal"
    if isinstance(node, ast.Call):
        name = _name(node.func)
        loads = name == "load" and isinstance(node.func, ast.Attribute) and _name(node.func.value) in _LOADERS
        if loads or name in _READERS:
            return f"calls {ast.unparse(node.func)}(), whose file is not part of the key"
    return ""


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
