"""The weights that ``build()`` gives, a few numbers of each, locked where a test asks for it.

```
values: float32

[function]
hidden float32 [2,10,32]: 1.02579 3.37612 0.65069 ...

[outputs]
hidden float32 [2,10,32]: 0.98312 3.12004 -0.41077 ...

[weights]
layers.[0-1].attention.query.weight float32 [32,32] x2: 0.112 0.00031 -0.1284 0.1131 ...
```

Only the rows of weights decide. The outputs, under drawn weights (``[function]``) and under these, say what follows
from a difference. The rule of a row is in `weight_sketch`.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pytest_modelcheck.calling import module_inputs, run_module
from pytest_modelcheck.hierarchy.folded_rows import escape, fold_rows, unescape, unfold
from pytest_modelcheck.model_case import EXAMPLE_SEED, ModelCase
from pytest_modelcheck.numbers.results import TOLERANCE, Numbers
from pytest_modelcheck.numbers.sketch import Sketch, signs, sketch
from pytest_modelcheck.result import Change

RULE = "weights of build(), by name: rms and two signed sums of each, compared within 1e-5 of the rms"

WEIGHT_TOLERANCE = 1e-5
"""Of a weight's rms. Initialisation differs by 1e-7 between instruction sets; rounding to float16 moves by 2e-4."""

_CHUNK = 65_536
_SHOWN = 6
_PRECISIONS = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
_ROW = re.compile(r"(?P<name>\S+) (?P<dtype>\w+) \[(?P<shape>[\d,]*)\](?: x(?P<count>\d+))?(?:: (?P<rest>.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The state of a module.

    Attributes:
        values: ``"float16"`` or ``"bfloat16"`` where every value is such a number, of any dtype; else ``"float32"``.
        function: Output name -> sketch under drawn weights.
        outputs: Output name -> sketch under the weights themselves.
        rows: Weight or buffer -> dtype, shape, and rms with two signed sums, or a checksum of integers.
    """

    values: str = "float32"
    function: Mapping[str, Sketch] = field(default_factory=dict)
    outputs: Mapping[str, Sketch] = field(default_factory=dict)
    rows: Mapping[str, Sketch] = field(default_factory=dict)


def weights_of(case: ModelCase, module: torch.nn.Module, numbers: Numbers) -> Weights:
    """The weights of `module`; `numbers` are those of the same case.

    Raises:
        ModelCaseError: if inputs or forward raise.
    """
    state = _state(module)
    outputs = run_module(case, module, module_inputs(case, module, EXAMPLE_SEED))
    return Weights(
        values=_values(state.values()),
        function={name: probes["plain"].sketch for name, probes in numbers.outputs.items()},
        outputs={name: sketch(value) for name, value in outputs.items()},
        rows={name: weight_sketch(value) for name, value in state.items()},
    )


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of the state, shared ones once, under their first names."""
    seen: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return {name: value for name, value in tensors.items() if seen.setdefault(id(value), name) == name}


def _values(tensors: Iterable[torch.Tensor]) -> str:
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    for dtype, name in _PRECISIONS.items():
        if floats and all(torch.equal(tensor, tensor.to(dtype).to(tensor.dtype)) for tensor in floats):
            return name
    return "float32"


def weight_sketch(tensor: torch.Tensor) -> Sketch:
    """rms and two signed sums over the root of the size, of all elements; a checksum of integers.

    The signs repeat every 65,536 elements, with a further sign per repetition.
    """
    tensor = tensor.detach()
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = (tensor.to_dense() if tensor.layout is not torch.strided else tensor).cpu()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point():
        content = np.ascontiguousarray(tensor.numpy().astype("<i8"))
        return Sketch(dtype=dtype, shape=shape, checksum=f"{zlib.crc32(content.tobytes()):08x}")
    flat, pattern = tensor.reshape(-1), signs()
    square = first = second = 0.0
    for index, start in enumerate(range(0, flat.numel(), _CHUNK)):
        part = flat[start : start + _CHUNK].double()
        square += float(part.square().sum())
        signed = part * pattern[: part.numel()]
        first += float(signed.sum()) * float(pattern[index % _CHUNK])
        second += float(signed[::2].sum() - signed[1::2].sum()) * float(pattern[(3 * index + 1) % _CHUNK])
    root = math.sqrt(max(1, flat.numel()))
    return Sketch(dtype=dtype, shape=shape, numbers=(math.sqrt(square) / root, first / root, second / root))


def render(weights: Weights) -> str:
    """The canonical text; `parse` gives the same back, rounded to seven digits."""
    lines = [f"values: {weights.values}"]
    for section in ("function", "outputs"):
        rows: Mapping[str, Sketch] = getattr(weights, section)
        lines += ["", f"[{section}]", *(f"{escape(name)} {_row(made, '', [made])}" for name, made in rows.items())]
    lines += ["", "[weights]"]
    for folded in fold_rows((name, (made.dtype, made.shape)) for name, made in weights.rows.items()):
        found = [weights.rows[name or ""] for name in folded.paths]
        count = f" x{len(found)}" if len(found) > 1 else ""
        lines.append(f"{folded.text} {_row(found[0], count, found)}")
    return "\n".join(lines) + "\n"


def _row(like: Sketch, count: str, found: list[Sketch]) -> str:
    shown = " ".join(made.checksum or " ".join(f"{number:.7g}" for number in made.numbers) for made in found)
    return f"{like.dtype} [{','.join(map(str, like.shape))}]{count}: {shown}"


def parse(text: str) -> Weights:
    """The weights that `text` was rendered from.

    Raises:
        ValueError: naming the line that cannot be read.
    """
    values, section = "", ""
    found: dict[str, dict[str, Sketch]] = {"function": {}, "outputs": {}, "weights": {}}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("values: "):
            values = line.removeprefix("values: ")
        elif line.startswith("["):
            section = line.strip("[]")
        elif line:
            try:
                found[section] |= _parsed(line, folded=section == "weights")
            except (ValueError, KeyError) as error:
                raise ValueError(f"line {number} cannot be read: {line[:80]!r} ({error})") from error
    return Weights(values=values, function=found["function"], outputs=found["outputs"], rows=found["weights"])


def _parsed(line: str, *, folded: bool) -> dict[str, Sketch]:
    match = _ROW.fullmatch(line)
    if match is None:
        raise ValueError("not a row")
    names = [name or "" for name in unfold(match["name"])] if folded else [unescape(match["name"])]
    shape = tuple(int(size) for size in match["shape"].split(",") if size)
    shown = (match["rest"] or "").split()
    share, rest = divmod(len(shown), len(names))
    if rest or len(names) != int(match["count"] or 1):
        raise ValueError(f"{len(shown)} numbers for {len(names)} weights")
    is_float = match["dtype"].startswith(("float", "bfloat", "complex", "double"))
    made = {}
    for index, name in enumerate(names):
        part = shown[index * share : (index + 1) * share]
        numbers = tuple(map(float, part)) if is_float else ()
        made[name] = Sketch(dtype=match["dtype"], shape=shape, numbers=numbers, checksum="" if is_float else part[0])
    return made


def judge(recorded: str, now: Weights) -> Change:
    """Which weights changed since `recorded` was rendered, by how much, and whether the function is the same."""
    try:
        before = parse(recorded)
    except ValueError as error:
        return Change(found="recorded rows that cannot be read", where=(str(error),))
    distances = {
        name: before.rows[name].distance(made) if before.rows[name].dtype == made.dtype else math.inf
        for name, made in now.rows.items()
        if name in before.rows
    }
    changed = {name: distance for name, distance in distances.items() if distance > WEIGHT_TOLERANCE}
    gone = [name for name in before.rows if name not in now.rows]
    new = [name for name in now.rows if name not in before.rows]
    if not changed and not gone and not new:
        return Change()
    finite = [distance for distance in changed.values() if not math.isinf(distance)]
    most = f", at most {max(finite):.0e} of its rms" if finite else ""
    words = [f"the weights changed ({len(changed)} of {len(now.rows)}{most})"] if changed else []
    words += [
        f"{len(names)} weight{'s' * (len(names) > 1)} {what}" for names, what in ((gone, "gone"), (new, "new")) if names
    ]
    if _same(before.function, now.function):
        words.append("the function is the same")
    elif not gone and not new:  # its numbers are drawn by the names of the weights: those of others say nothing
        words.append("the function changed, too")
    where = [_weight_line(name, before.rows[name], now.rows[name], changed[name]) for name in list(changed)[:_SHOWN]]
    where += [f"... and {len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
    where += [f"gone: {', '.join(gone[:_SHOWN])}"] if gone else []
    where += [f"new: {', '.join(new[:_SHOWN])}"] if new else []
    if now.values != before.values:
        finer = now.values == "float32"
        where.insert(
            0, f"values are {'no longer all' if finer else 'now'} {before.values if finer else now.values} numbers"
        )
    where += list(_effects(before.outputs, now.outputs))
    return Change(found=", ".join(words), where=tuple(where))


def _weight_line(name: str, old: Sketch, new: Sketch, distance: float) -> str:
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{name}: {new.dtype} {list(new.shape)}, was {old.dtype} {list(old.shape)}"
    if new.checksum:
        return f"{name}: other values"
    rms = f"rms {old.numbers[0]:.6g}" + (f" -> {new.numbers[0]:.6g}" if new.numbers[0] != old.numbers[0] else "")
    return f"{name}: {distance:.0e} of its rms, {rms}"


def _same(before: Mapping[str, Sketch], now: Mapping[str, Sketch]) -> bool:
    return before.keys() == now.keys() and all(before[name].distance(now[name]) <= TOLERANCE for name in before)


def _effects(before: Mapping[str, Sketch], now: Mapping[str, Sketch]) -> Iterator[str]:
    for name, made in now.items():
        if name in before and (distance := before[name].distance(made)) > TOLERANCE:
            yield f"output {name} moves by {distance:.0e} of its rms"
