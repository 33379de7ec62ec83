"""Numbers as text, and back.

```
dtypes: float32

[inputs]
input_ids int64 [2,10]: 5c1f8a90

[outputs]
hidden float32 [2,10,32]
  plain: 1.02579 3.37612 0.65069 ...
  quiet: 0.00100933 0.00302916 0.00123896 ... (tolerance 1.3e-04)

[modules]
layers.[0-1].attention.query (Linear) weight[32,32] bias[32] x2: out 3.86 4.11 | 0.00386 0.00411
```

A module's row has one number per tensor that first appears there: going ``in`` (made by the code around the module),
coming ``out``; the plain probe's, then after ``|`` the quiet one's, ``=`` where they are equal and ``~`` for one that
is too unstable. Repeated modules share a row, their numbers one after another. Rows are in the order of calls; a
module with neither weights nor new tensors has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_modelcheck.hierarchy.folded_rows import FoldedRow, escape, fold_rows, unescape, unfold
from pytest_modelcheck.numbers.results import PROBES, TOLERANCE, ModuleNumbers, Numbers, OutputNumbers, Probe
from pytest_modelcheck.numbers.sketch import Sketch

RULE = "what the module computes on inputs(0) with weights drawn by name; outputs are compared within 1e-4 of their rms"

_DIRECTIONS = ("in", "out")
_PORT = re.compile(r"(?P<name>\S+) (?P<dtype>\w+) \[(?P<shape>[\d,]*)\](?:: (?P<rest>.+))?")
_PROBE = re.compile(
    r"  (?P<probe>plain|quiet)(?: \[(?P<shape>[\d,]*)\])?: (?P<rest>.+?)(?: \(tolerance (?P<tolerance>[-+.e\d]+)\))?"
)
_MODULE = re.compile(
    r"(?P<path>\(root\)|[^\s()]+) \((?P<cls>[^()]*)\)(?P<weights>(?: [^\s\[\]]+\[[\d,]*\])*)"
    r"(?: x(?P<count>\d+))?: (?P<numbers>.+)"
)
_FILE = re.compile(r"(?P<path>[^\s()]+) (?P<dtype>\w+) \[(?P<shape>[\d,]*)\](?: x(?P<count>\d+))?: (?P<digests>.+)")
_UNLOCKED = "not locked, "
_LEFT_OUT = "left out "

Kind = tuple[str, tuple[tuple[str, tuple[int, ...]], ...], tuple[tuple[tuple[str, Probe], int], ...]]


def render(numbers: Numbers) -> str:
    """The canonical text. `parse` gives the same numbers back, rounded to six digits.

    Tolerances and instabilities are looked for first, where that has not been done.
    """
    return rows(numbers.settle() if numbers.settle is not None else numbers)


def rows(numbers: Numbers) -> str:
    """The text of the numbers as they are."""
    lines = [f"dtypes: {', '.join(numbers.dtypes)}"] if numbers.dtypes else []
    lines += [f"tied: {text}" for text in _ties(numbers.tied)]
    lines += [f"note: {note}" for note in numbers.notes]
    if numbers.inputs:
        lines += ["", "[inputs]", *(_port(name, made) + _values(": ", made) for name, made in numbers.inputs.items())]
    if numbers.outputs:
        lines += ["", "[outputs]", *_outputs(numbers.outputs)]
    shown = {path: module for path, module in numbers.modules.items() if module.weights or module.numbers}
    if shown:
        lines += ["", "[modules]", *_modules(shown)]
    if numbers.files:
        lines += ["", "[initializers]", *_files(numbers.files)]
    if numbers.wiring:
        lines += ["", "[wiring]", *(f"{escape(name)}: {digest}" for name, digest in numbers.wiring.items())]
    return "\n".join(lines).strip("\n") + "\n"


def _ties(tied: Mapping[str, str]) -> Iterator[str]:
    """``head.weight = words.weight``; ``decoder.*`` for the same name below ``decoder``."""
    for folded in fold_rows((alias, _relative(alias, name)) for alias, name in tied.items()):
        yield f"{folded.text} = {folded.row}"


def _relative(alias: str, name: str) -> str:
    return f"{escape(name.removesuffix(alias))}*" if name.endswith(f".{alias}") else escape(name)


def _parsed_tie(line: str) -> dict[str, str]:
    aliases, _, name = line.partition(" = ")
    prefix = name.removesuffix("*")
    return {alias or "": unescape(prefix) + (alias or "" if prefix != name else "") for alias in unfold(aliases)}


def _port(name: str, made: Sketch) -> str:
    return f"{escape(name)} {made.dtype} {_shape(made.shape)}"


def _shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _values(lead: str, made: Sketch) -> str:
    if made.checksum:
        return f"{lead}{made.checksum}"
    shown = " ".join(f"{number:.6g}" for number in made.numbers)
    left_out = f"{_LEFT_OUT}{made.left_out}" if made.left_out else ""
    text = " ".join(part for part in (shown, left_out) if part)
    return f"{lead}{text}" if text else ""


def _outputs(outputs: Mapping[str, Mapping[Probe, OutputNumbers]]) -> Iterator[str]:
    for name, probes in outputs.items():
        yield _port(name, probes["plain"].sketch)
        shape = probes["plain"].sketch.shape
        for probe, made in probes.items():
            lead = f"  {probe}:" if made.sketch.shape == shape else f"  {probe} {_shape(made.sketch.shape)}:"
            if made.unlocked:
                yield f"{lead} {_UNLOCKED}{made.unlocked}"
            else:
                tolerance = f" (tolerance {made.tolerance:.1e})" if made.tolerance > TOLERANCE else ""
                yield f"{lead} {_values('', made.sketch) or '-'}{tolerance}"


def _modules(modules: Mapping[str, ModuleNumbers]) -> Iterator[str]:
    place = {path: index for index, path in enumerate(modules)}
    kinds = fold_rows((path, _kind(module)) for path, module in modules.items())
    for folded in sorted(kinds, key=lambda folded: min(place[path or ""] for path in folded.paths)):
        yield _module(folded, [modules[path or ""] for path in folded.paths])


def _kind(module: ModuleNumbers) -> Kind:
    return module.class_name, module.weights, tuple((key, len(found)) for key, found in module.numbers.items())


def _module(folded: FoldedRow[Kind], modules: Sequence[ModuleNumbers]) -> str:
    class_name, weights, _ = folded.row
    parts = []
    for direction in _DIRECTIONS:
        shown = [
            " ".join(_number(number) for module in modules for number in module.numbers.get((direction, probe), ()))
            for probe in PROBES
        ]
        if any(shown):
            parts.append(f"{direction} {shown[0]} | {'=' if shown[1] == shown[0] else shown[1]}")
    count = f" x{len(folded.paths)}" if len(folded.paths) > 1 else ""
    return f"{folded.text} ({escape(class_name, '()')}){_weights(weights)}{count}: {'; '.join(parts) or '-'}"


def _number(number: float | None) -> str:
    return "~" if number is None else f"{number:.6g}"


def _weights(weights: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """`` weight[32,32] bias[32]``; names of one shape share it: `` weight,bias[32]``."""
    groups: list[tuple[list[str], tuple[int, ...]]] = []
    for name, shape in weights:
        if groups and groups[-1][1] == shape:
            groups[-1][0].append(name)
        else:
            groups.append(([name], shape))
    return "".join(f" {','.join(escape(name, ',[]():') for name in names)}{_shape(shape)}" for names, shape in groups)


def _files(files: Mapping[str, tuple[str, tuple[int, ...], str]]) -> Iterator[str]:
    for folded in fold_rows((name, (dtype, shape)) for name, (dtype, shape, _) in files.items()):
        dtype, shape = folded.row
        count = f" x{len(folded.paths)}" if len(folded.paths) > 1 else ""
        digests = " ".join(files[name or ""][2] for name in folded.paths)
        yield f"{folded.text} {dtype} {_shape(shape)}{count}: {digests}"


def parse(text: str) -> Numbers:
    """The numbers that `text` was rendered from.

    Raises:
        ValueError: naming the line that cannot be read.
    """
    reader = _Reader()
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line:
            try:
                reader.read(section, line)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(f"line {number} cannot be read: {line[:80]!r} ({error})") from error
    return reader.numbers()


class _Reader:
    def __init__(self) -> None:
        self._head: dict[str, list[str]] = {"dtypes": [], "tied": [], "note": []}
        self._inputs: dict[str, Sketch] = {}
        self._outputs: dict[str, dict[Probe, OutputNumbers]] = {}
        self._port = Sketch(dtype="", shape=())
        self._modules: dict[str, ModuleNumbers] = {}
        self._files: dict[str, tuple[str, tuple[int, ...], str]] = {}
        self._wiring: dict[str, str] = {}

    def read(self, section: str, line: str) -> None:
        if section == "":
            key, _, value = line.partition(": ")
            self._head[key].append(value)
        elif section == "inputs":
            match = _matched(_PORT, line)
            self._inputs[unescape(match["name"])] = _sketch(match["dtype"], match["shape"], match["rest"])
        elif section == "outputs" and line.startswith(" "):
            match = _matched(_PROBE, line)
            probe: Probe = "plain" if match["probe"] == "plain" else "quiet"
            port, rest = self._port, match["rest"]
            locked = not rest.startswith(_UNLOCKED)
            shape = ",".join(map(str, port.shape)) if match["shape"] is None else match["shape"]
            list(self._outputs.values())[-1][probe] = OutputNumbers(
                sketch=_sketch(port.dtype, shape, rest if locked else None),
                unlocked="" if locked else rest.removeprefix(_UNLOCKED),
                tolerance=float(match["tolerance"] or TOLERANCE),
            )
        elif section == "outputs":
            match = _matched(_PORT, line)
            self._port = _sketch(match["dtype"], match["shape"], None)
            self._outputs[unescape(match["name"])] = {}
        elif section == "modules":
            self._modules |= _parsed_modules(_matched(_MODULE, line))
        elif section == "initializers":
            match = _matched(_FILE, line)
            names, digests = unfold(match["path"]), match["digests"].split(" ")
            for name, digest in zip(names, digests, strict=True):
                self._files[name or ""] = (match["dtype"], _sizes(match["shape"]), digest)
        elif section == "wiring":
            name, _, digest = line.rpartition(": ")
            self._wiring[unescape(name)] = digest
        else:
            raise ValueError(f"unknown section {section!r}")

    def numbers(self) -> Numbers:
        return Numbers(
            inputs=self._inputs,
            outputs=self._outputs,
            modules=self._modules,
            dtypes=tuple(name for line in self._head["dtypes"] for name in line.split(", ")),
            tied={alias: name for line in self._head["tied"] for alias, name in _parsed_tie(line).items()},
            notes=tuple(self._head["note"]),
            files=self._files,
            wiring=self._wiring,
        )


def _matched(pattern: re.Pattern[str], line: str) -> re.Match[str]:
    match = pattern.fullmatch(line)
    if match is None:
        raise ValueError("not a row")
    return match


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _sketch(dtype: str, shape: str, rest: str | None) -> Sketch:
    sizes = _sizes(shape)
    if rest is None or rest == "-":
        return Sketch(dtype=dtype, shape=sizes)
    if re.fullmatch(r"[0-9a-f]{8}", rest) and not dtype.startswith(("float", "bfloat", "complex")):
        return Sketch(dtype=dtype, shape=sizes, checksum=rest)
    shown, _, left_out = rest.partition(_LEFT_OUT)
    return Sketch(dtype=dtype, shape=sizes, numbers=tuple(map(float, shown.split())), left_out=int(left_out or 0))


def _parsed_modules(match: re.Match[str]) -> dict[str, ModuleNumbers]:
    paths = [path or "" for path in unfold(match["path"])]
    if len(paths) != int(match["count"] or 1):
        raise ValueError(f"{match['path']} names {len(paths)} modules, not {match['count'] or 1}")
    found: dict[str, dict[tuple[str, Probe], tuple[float | None, ...]]] = {path: {} for path in paths}
    for part in match["numbers"].split("; ") if match["numbers"] != "-" else ():
        direction, _, shown = part.partition(" ")
        plain, _, quiet = shown.partition(" | ")
        for probe, text in zip(PROBES, (plain, plain if quiet == "=" else quiet), strict=True):
            values = [None if value == "~" else float(value) for value in text.split()]
            share, rest = divmod(len(values), len(paths))
            if rest:
                raise ValueError(f"{len(values)} numbers for {len(paths)} modules")
            for index, path in enumerate(paths) if share else ():
                found[path][direction, probe] = tuple(values[index * share : (index + 1) * share])
    weights = tuple(_parsed_weights(match["weights"].split()))
    class_name = unescape(match["cls"])
    return {path: ModuleNumbers(class_name=class_name, weights=weights, numbers=found[path]) for path in paths}


def _parsed_weights(groups: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for group in groups:
        names, _, shape = group.removesuffix("]").partition("[")
        for name in names.split(","):
            yield unescape(name), _sizes(shape)
