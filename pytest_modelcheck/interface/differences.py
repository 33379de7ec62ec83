"""What changed between two interfaces, in the words of who runs the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_modelcheck.interface.facts import Interface, Port, domain_name
from pytest_modelcheck.interface.text import dim_text, dims_text, interface_text, parse_interface, port_text
from pytest_modelcheck.result import Change

BYTES_TOLERANCE = 0.05
"""Share of the initializers' bytes that may differ, beyond what merging of equal tensors explains (`Interface`)."""


def judge_interface(recorded: str, now: Interface) -> Change:
    """What changed since `recorded` was written; bytes within `BYTES_TOLERANCE` did not."""
    lines = interface_differences(recorded, interface_text(now), dict(now.merged_bytes))
    found = f"{len(lines)} difference{'s' if len(lines) > 1 else ''}" if lines else ""
    return Change(found=found, where=lines, stale="\nnodes named: " not in recorded)


def interface_differences(
    recorded: str, now: str, merged: Mapping[str, tuple[int, int]] | None = None
) -> tuple[str, ...]:
    """One line per change; empty where the promise is the same. `merged` are `Interface.merged_bytes` of today.

    ```
    output `logits` is now `scores`
    axis 0 of input `image` (batch) is now fixed at 2
    opset of ai.onnx is now 18 (was 17)
    ```
    """
    try:
        before = parse_interface(recorded)
    except ValueError as error:
        return (f"the recorded text is not an interface: {error}",)
    after = replace(parse_interface(now), merged_bytes=tuple((merged or {}).items()))
    return differences_between(before, after)


def differences_between(before: Interface, after: Interface) -> tuple[str, ...]:
    """The same for two interfaces."""
    renames: dict[tuple[str, str], list[str]] = {}
    lines = [*_ports("input", before.inputs, after.inputs, renames)]
    lines += _ports("output", before.outputs, after.outputs, renames)
    lines += [f"dynamic axis `{old}` is now `{new}` ({', '.join(at)})" for (old, new), at in renames.items()]
    lines += _opsets(dict(before.opsets), dict(after.opsets))
    if before.ir_version != after.ir_version:
        lines.append(f"IR version is now {after.ir_version} (was {before.ir_version})")
    if before.external != after.external:
        now, was = ("in files beside the model", "inside it") if after.external else ("inside the model", "beside it")
        lines.append(f"the weights are now {now} (were {was})")
    lines += _bytes(dict(before.bytes), dict(after.bytes), dict(after.merged_bytes))
    lines += _reading(before, after)
    lines += _named("nodes", before.node_names, after.node_names)
    lines += _named("weights", before.weight_names, after.weight_names)
    lines += _sets("metadata key", before.metadata, after.metadata, "is new")
    lines += _sets("domain", map_names(before.domains), map_names(after.domains), "has operators in the graph now")
    return tuple(lines)


def map_names(domains: Sequence[str]) -> tuple[str, ...]:
    """Domains as they are written."""
    return tuple(map(domain_name, domains))


def _ports(
    role: str, before: Sequence[Port], after: Sequence[Port], axes: dict[tuple[str, str], list[str]]
) -> Iterator[str]:
    renamed = _renamed(before, after)
    known = [replace(port, name=renamed.get(port.name, port.name)) for port in before]
    for old, new in renamed.items():
        yield f"{role} `{old}` is now `{new}`"
    old_ports, new_ports = {port.name: port for port in known}, {port.name: port for port in after}
    for name, port in old_ports.items():
        if name not in new_ports:
            yield f"{role} `{name}` is gone (was {port_text(port)})"
    for position, port in enumerate(after):
        if port.name not in old_ports:
            yield f"{role} `{port.name}` is new, at place {position} ({port_text(port)})"
    was = [port.name for port in known if port.name in new_ports]
    now = [port.name for port in after if port.name in old_ports]
    if was != now:
        yield f"the {role}s are now in the order {_quoted(now)} (were {_quoted(was)})"
    exchanged = _exchanged(old_ports, new_ports)
    if exchanged:
        yield f"{role}s {_quoted(exchanged)} have exchanged their types and shapes: each has the other's name now"
    for name in now:
        if name not in exchanged:
            yield from _port(role, old_ports[name], new_ports[name], axes)


def _renamed(before: Sequence[Port], after: Sequence[Port]) -> dict[str, str]:
    """Old name -> new name, of what is at the same place, or the only one of its type and shape, under another name."""
    old_names, new_names = {port.name for port in before}, {port.name for port in after}
    gone = {port.name: (place, port) for place, port in enumerate(before) if port.name not in new_names}
    new = {port.name: (place, port) for place, port in enumerate(after) if port.name not in old_names}
    found: dict[str, str] = {}
    for same_place in (True, False):
        for name, (place, port) in gone.items():
            fits = [
                other
                for other, (at, candidate) in new.items()
                if other not in found.values()
                and (at == place if same_place else candidate.signature == port.signature)
                and candidate.dtype == port.dtype
                and len(candidate.dims or ()) == len(port.dims or ())
            ]
            if name not in found and len(fits) == 1:
                found[name] = fits[0]
    return found


def _exchanged(before: Mapping[str, Port], after: Mapping[str, Port]) -> list[str]:
    """Two or more whose signatures are those of the others: a permutation, and nothing else changed."""
    moved = [name for name, port in before.items() if name in after and port.signature != after[name].signature]
    was = sorted((before[name].signature for name in moved), key=repr)
    now = sorted((after[name].signature for name in moved), key=repr)
    return moved if len(moved) > 1 and was == now else []


def _port(role: str, before: Port, after: Port, axes: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    name = after.name
    if before.dtype != after.dtype:
        yield f"{role} `{name}` is now {after.dtype} (was {before.dtype})"
    if before.dims == after.dims:
        return
    if before.dims is None or after.dims is None or len(before.dims) != len(after.dims):
        now, was = ("of unknown rank" if dims is None else dims_text(dims) for dims in (after.dims, before.dims))
        yield f"{role} `{name}` is now {now} (was {was})"
        return
    for axis, (old, new) in enumerate(zip(before.dims, after.dims, strict=True)):
        place = f"axis {axis} of {role} `{name}`"
        if old == new:
            continue
        if isinstance(old, str) and isinstance(new, str):
            axes.setdefault((old, new), []).append(place)
        elif isinstance(new, int):
            known = f" ({old})" if isinstance(old, str) else ""
            fixed = f"{new} (was {old})" if isinstance(old, int) else f"fixed at {new}"
            yield f"{place}{known} is now {fixed}"
        elif isinstance(old, int):
            yield f"{place} is now dynamic ({'' if new is None else f'{new}; '}was fixed at {old})"
        else:
            yield f"{place} is now {dim_text(new)} (was {dim_text(old)})"


def _opsets(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for domain in dict.fromkeys([*before, *after]):
        name = domain_name(domain)
        if domain not in after:
            yield f"opset of {name} is no longer imported (was {before[domain]})"
        elif domain not in before:
            yield f"opset {after[domain]} of {name} is imported now"
        elif before[domain] != after[domain]:
            yield f"opset of {name} is now {after[domain]} (was {before[domain]})"


def _bytes(before: Mapping[str, int], after: Mapping[str, int], merged: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for dtype in dict.fromkeys([*before, *after]):
        was, now = before.get(dtype, 0), after.get(dtype, 0)
        fewest, most = merged.get(dtype, (now, now))
        if min(max(was, fewest), most) != was and abs(now - was) > BYTES_TOLERANCE * max(was, 1):
            share = f", {100 * (now / was - 1):+.0f} %" if was and now else ""
            yield f"initializers of {dtype} now take {now} B (were {was} B{share})"


def _reading(before: Interface, after: Interface) -> Iterator[str]:
    if before.unread is None or after.unread is None:
        return
    known = {port.name for port in before.inputs}
    for port in after.inputs:
        was, now = port.name in before.unread, port.name in after.unread
        if port.name in known and was != now:
            yield f"input `{port.name}` is {'no longer read by any node' if now else 'read now (no node did)'}"


def _named(what: str, before: str | None, after: str | None) -> Iterator[str]:
    if before is not None and after is not None and before != after:
        yield f"{what} are now named {after} (were {before})"


def _sets(what: str, before: Sequence[str], after: Sequence[str], new: str) -> Iterator[str]:
    for item in after:
        if item not in before:
            yield f"{what} `{item}` {new}"
    for item in before:
        if item not in after:
            yield f"{what} `{item}` is gone"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
