"""An interface as canonical text, and back.

```
input: input_ids int64 [batch, sequence]
output: logits float32 [batch, 5]
opset: ai.onnx 17
ir version: 8
files: one
initializers: float32 437940224 B
metadata: -
operators of: ai.onnx
unread inputs: -
nodes named: node_...
weights named: by-module
```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from pytest_modelcheck.hierarchy.folded_rows import escape, unescape
from pytest_modelcheck.interface.facts import Dim, Interface, Port, domain_name

_T = TypeVar("_T")
_NOTHING, _UNKNOWN = "-", "?"
_ONE, _EXTERNAL = "one", "weights beside the model"
_PORT = re.compile(r"(?P<name>\S+) (?P<dtype>\S+)(?: \[(?P<dims>[^\]]*)\])?")
_SPECIAL = ",[]:"


def interface_text(interface: Interface) -> str:
    """The canonical text, one line per fact. `parse_interface` gives the same interface back."""
    lines = [f"input: {port_text(port)}" for port in interface.inputs]
    lines += [f"output: {port_text(port)}" for port in interface.outputs]
    lines += [
        f"opset: {_listed(f'{_domain_text(domain)} {version}' for domain, version in interface.opsets)}",
        f"ir version: {interface.ir_version}",
        f"files: {_EXTERNAL if interface.external else _ONE}",
        f"initializers: {_listed(f'{dtype} {size} B' for dtype, size in interface.bytes)}",
        f"metadata: {_listed(escape(key, _SPECIAL) for key in interface.metadata)}",
        f"operators of: {_listed(map(_domain_text, interface.domains))}",
    ]
    if interface.unread is not None:
        lines.append(f"unread inputs: {_listed(escape(name, _SPECIAL) for name in interface.unread)}")
    if interface.node_names is not None:
        lines.append(f"nodes named: {escape(interface.node_names)}")
    if interface.weight_names is not None:
        lines.append(f"weights named: {escape(interface.weight_names)}")
    return "".join(f"{line}\n" for line in lines)


def port_text(port: Port) -> str:
    """``"input_ids int64 [batch, sequence]"``; without brackets where the rank is not declared."""
    return f"{escape(port.name, _SPECIAL)} {port.dtype}{'' if port.dims is None else f' {dims_text(port.dims)}'}"


def dims_text(dims: tuple[Dim, ...]) -> str:
    """``"[batch, 3, 32, 32]"``."""
    return f"[{', '.join(dim_text(dim) for dim in dims)}]"


def dim_text(dim: Dim) -> str:
    """A size, a name, or ``?``; a name that could be taken for one of the others has its first letter escaped."""
    if dim is None:
        return _UNKNOWN
    text = escape(str(dim), _SPECIAL)
    return text if isinstance(dim, int) or not _is_special(text) else f"\\{ord(text[0]):x};{text[1:]}"


def _is_special(text: str) -> bool:
    return text == _UNKNOWN or text.removeprefix("-").isdecimal()


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items) or _NOTHING


def parse_interface(text: str) -> Interface:
    """The interface that `text` was rendered from.

    Raises:
        ValueError: naming the line that cannot be read, or that is missing.
    """
    ports: dict[str, list[Port]] = {"input": [], "output": []}
    facts: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, separator, value = line.partition(": ")
        if not separator or not value:
            raise ValueError(f"line {number} cannot be read: {line!r}")
        if key in ports:
            ports[key].append(_parse_port(value, number))
        else:
            facts[key] = value
    try:
        return Interface(
            inputs=tuple(ports["input"]),
            outputs=tuple(ports["output"]),
            opsets=tuple((_domain(name), int(version)) for name, version in _pairs(facts["opset"])),
            ir_version=int(facts["ir version"]),
            external=facts["files"] == _EXTERNAL,
            bytes=tuple((dtype, int(size)) for dtype, size in _pairs(facts["initializers"].replace(" B", ""))),
            metadata=tuple(unescape(key) for key in _items(facts["metadata"])),
            domains=tuple(sorted(_domain(name) for name in _items(facts["operators of"]))),
            unread=_optional(facts, "unread inputs", lambda text: tuple(map(unescape, _items(text)))),
            node_names=_optional(facts, "nodes named", unescape),
            weight_names=_optional(facts, "weights named", unescape),
        )
    except KeyError as error:
        raise ValueError(f"there is no line {error.args[0]!r}") from None


def _optional(facts: Mapping[str, str], key: str, read: Callable[[str], _T]) -> _T | None:
    return read(facts[key]) if key in facts else None


def _parse_port(text: str, number: int) -> Port:
    match = _PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"line {number} names no input or output: {text!r}")
    return Port(unescape(match["name"]), match["dtype"], None if match["dims"] is None else parse_dims(match["dims"]))


def parse_dims(text: str) -> tuple[Dim, ...]:
    """The dims between the brackets: ``"batch, 3, ?"``."""
    return tuple(_parse_dim(item.strip()) for item in text.split(",")) if text.strip() else ()


def _parse_dim(item: str) -> Dim:
    if item == _UNKNOWN:
        return None
    return int(item) if _is_special(item) else unescape(item)


def _items(text: str) -> list[str]:
    return [] if text == _NOTHING else text.split(", ")


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (item.rpartition(" ") for item in _items(text))]


def _domain_text(domain: str) -> str:
    return escape(domain_name(domain), _SPECIAL)


def _domain(text: str) -> str:
    return "" if text == "ai.onnx" else unescape(text)
