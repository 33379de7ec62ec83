"""Inputs that no author draws: other kinds of values and other sizes, derived from the inputs of the case.

The case's own inputs say what each tensor is; a variant replaces the values or the sizes of one seed's inputs:

| input | is taken for | variants |
|---|---|---|
| float | values | N(-2, 1), U(0, 1), zeros, ones, the drawn values x 100 |
| float, int or bool of 0 and 1, named ``*mask*``, 2 axes | a padding mask | no padding; the ends of the rows padded |
| int that an `nn.Embedding` of the module looks up | token ids | uniform over the whole vocabulary |
| anything else (positions, flags, additive masks) | itself | as drawn |
| a declared dynamic axis | a size | smaller and larger than the example's, all different; 1 or 0 only in a sum |

Sizes change by cutting the drawn tensor or by repeating it from its beginning, floats up to a quarter smaller. Axes of
one name change together, and expressions of names follow (`dimensions`); axes of images (4 axes, float) by multiples
of the power of two, up to 32, that divides them.

The reference decides what a variant is worth: one that it cannot run, or on which it gives NaN or infinities, or where
a rounding of the inputs moves it by a tenth of the tolerance, is left out and said so (`accuracy.sweep`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import Inputs
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.dimensions import Axes, is_name, names_in, size_of
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

LARGE = 100.0
"""What large values are larger by than drawn ones."""

REPEATED = 0.25
"""By how much, at most, a float that is repeated to fill a larger size is smaller than the one it repeats."""

SPATIAL_STEP = 32
"""Images change size by at most this step: what the strides of common backbones multiply to."""

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Variant:
    """Another set of inputs, made from the drawn ones.

    Attributes:
        label: What it is, as findings name it: ``"zeros"``, ``"batch 3, sequence 11"``.
        apply: Drawn inputs and a seed -> the variant's inputs; equal seeds give equal inputs.
        floats: Whether it replaces floating-point values, so that rounding of the inputs can be asked about.
        sizes: Whether it changes sizes.
    """

    label: str
    apply: Callable[[Inputs, int], Inputs]
    floats: bool = False
    sizes: bool = False


def _shifted(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(drawn.shape, generator=generator) - 2.0).to(drawn.dtype)


def _uniform(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(drawn.shape, generator=generator).to(drawn.dtype)


def _unpadded(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.ones_like(drawn)


def _padded(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Row i keeps its first half and i further elements, at most all but one; at least one."""
    rows, length = drawn.shape
    kept = torch.tensor([max(1, min(length - 1, (length + 1) // 2 + row)) for row in range(rows)])
    return (torch.arange(length)[None, :] < kept[:, None]).to(drawn.dtype)


FLOAT_KINDS: tuple[tuple[str, Change], ...] = (
    ("N(-2, 1)", _shifted),
    ("U(0, 1)", _uniform),
    ("zeros", lambda drawn, generator: torch.zeros_like(drawn)),
    ("ones", lambda drawn, generator: torch.ones_like(drawn)),
    ("large values", lambda drawn, generator: drawn * LARGE),
)
MASK_KINDS: tuple[tuple[str, Change], ...] = (("no padding", _unpadded), ("padded", _padded))


def kind_variants(inputs: Inputs, vocabularies: Mapping[str, int]) -> tuple[Variant, ...]:
    """Variants of the values. Inputs of several kinds change together, so that a case has at most five.

    Args:
        inputs: What the case draws for one seed.
        vocabularies: Input name -> number of ids, as `vocabularies_of` finds it.
    """
    tensors = {name: value for name, value in _named(inputs).items() if isinstance(value, torch.Tensor)}
    masks = [name for name, tensor in tensors.items() if is_padding_mask(name, tensor)]
    floats = [name for name, tensor in tensors.items() if _is_plain_float(name, tensor) and name not in masks]
    ids = {name: size for name, size in vocabularies.items() if name in tensors}
    variants = []
    for index in range(max(len(FLOAT_KINDS) if floats else 0, len(MASK_KINDS) if masks else 0, 1 if ids else 0)):
        changes: dict[str, Change] = {}
        labels = []
        for names, kinds in ((floats, FLOAT_KINDS), (masks, MASK_KINDS)):
            if names and index < len(kinds):
                changes |= dict.fromkeys(names, kinds[index][1])
                labels.append(kinds[index][0])
        if index < len(MASK_KINDS) and ids:
            changes |= {name: partial(_from_vocabulary, size=size) for name, size in ids.items()}
            labels.append("ids over the vocabulary")
        variants.append(Variant(", ".join(labels), partial(_apply, changes), floats=bool(floats)))
    return tuple(variants)


def _from_vocabulary(drawn: torch.Tensor, generator: torch.Generator, size: int) -> torch.Tensor:
    return torch.randint(0, size, drawn.shape, generator=generator).to(drawn.dtype)


def is_padding_mask(name: str, tensor: torch.Tensor | Array) -> bool:
    """Whether an input is a padding mask: 0 and 1, two axes, ``mask`` in its name."""
    if "mask" not in name.lower() or tensor.ndim != 2 or 0 in tensor.shape or "complex" in str(tensor.dtype):
        return False
    return bool(((tensor == 0) | (tensor == 1)).all()) and tensor.shape[1] > 1


def _is_plain_float(name: str, tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and "mask" not in name.lower()


def _apply(changes: Mapping[str, Change], inputs: Inputs, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def with_generator(change: Change) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda tensor: change(tensor, generator)

    return _mapped(inputs, {name: with_generator(change) for name, change in changes.items()})


def vocabularies_of(case: ModelCase, module: torch.nn.Module, inputs: Inputs) -> dict[str, int]:
    """Integer input -> rows of the smallest `nn.Embedding` that looks it up unchanged; one forward pass.

    Positions are left out: a table's last position is valid only at the end of the longest sequence.
    """
    whole = {name: value for name, value in _named(inputs).items() if isinstance(value, torch.Tensor)}
    candidates = {
        name: tensor
        for name, tensor in whole.items()
        if tensor.dtype in (torch.int64, torch.int32) and "position" not in name.lower()
    }
    found: dict[str, int] = {}

    def hook(table: torch.nn.Module, args: tuple[object, ...]) -> None:
        assert isinstance(table, torch.nn.Embedding)
        looked_up = args[0] if args else None
        for name, tensor in candidates.items():
            if isinstance(looked_up, torch.Tensor) and _same_elements(looked_up, tensor):
                found[name] = min(found.get(name, table.num_embeddings), table.num_embeddings)

    if not candidates or not isinstance(inputs, ModuleInputs):
        return {}
    tables = [submodule for submodule in module.modules() if isinstance(submodule, torch.nn.Embedding)]
    handles = [table.register_forward_pre_hook(hook) for table in tables]
    try:
        run_module(case, module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _same_elements(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.numel() != right.numel():
        return False
    return torch.equal(left.reshape(-1), right.reshape(-1))


# -- sizes --------------------------------------------------------------------------------------------------------


def dynamic_axes_of(case: ModelCase, graph: ir.Model) -> dict[str, dict[int, str]]:
    """Input -> {axis: dimension name}: what the case declares, else the symbolic dimensions of the graph's inputs."""
    if case.dynamic_axes is not None:
        return {name: dict(axes) for name, axes in case.dynamic_axes.items()}
    axes: dict[str, dict[int, str]] = {}
    for value in graph.graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value is not None and value.name is not None:
                axes.setdefault(value.name, {})[axis] = str(size.value)
    return axes


def shape_variants(inputs: Inputs, axes: Axes) -> tuple[Variant, ...]:
    """Two variants in which every dynamic dimension has another size, and, of several dimensions, one of the first.

    The last one is for models whose other sizes depend on each other, so that they cannot all change freely. Sizes that
    are declared as expressions follow, as does a mask over a cache and new tokens (`_with_sums`); a sum of two
    (``"past + sequence"``) is also tried at its ends: a cache of no entries, a sequence of one.
    """
    tensors = _named(inputs)
    axes = _with_sums(axes, tensors)
    sizes: dict[str, int] = {}
    steps: dict[str, int] = {}
    places = [
        (tensor, axis, dimension)
        for name, named_axes in axes.items()
        if isinstance(tensor := tensors.get(name), torch.Tensor)
        for axis, dimension in named_axes.items()
    ]
    for tensor, axis, dimension in places:
        size = int(tensor.shape[axis])
        if is_name(dimension):
            if sizes.setdefault(dimension, size) != size:
                return ()
            spatial = tensor.is_floating_point() and tensor.ndim == 4 and axis >= 2
            step = math.gcd(size, SPATIAL_STEP) if spatial and not _in_a_sum(dimension, axes) else 1
            steps[dimension] = max(steps.get(dimension, 1), step)
    if not sizes or not all(_follows(dimension, sizes, tensor.shape[axis]) for tensor, axis, dimension in places):
        return ()
    taken = set(sizes.values())
    larger, smaller = _other_sizes(sizes, steps, taken, up=True), _other_sizes(sizes, steps, taken, up=False)
    chosen = [smaller, larger]
    if len(sizes) > 1:
        first = next(iter(sizes))
        chosen.append({first: larger[first] + steps[first]})
    for name in filter(lambda name: _in_a_sum(name, axes), sizes):
        cache = all(t.is_floating_point() and t.ndim > 2 for t, _, dimension in places if dimension == name)
        chosen.append({name: 0 if cache else 1})
    floats = any(_is_plain_float(name, tensor) for name, tensor in tensors.items())
    return tuple(
        Variant(
            ", ".join(f"{name} {size}" for name, size in some.items()),
            partial(_resized, axes, sizes | some),
            floats=floats,
            sizes=True,
        )
        for some in chosen
        if any(sizes[name] != size for name, size in some.items())
    )


def _with_sums(axes: Axes, tensors: Mapping[str, torch.Tensor]) -> Axes:
    """The axes where a mask over cached and new tokens has their sum: ``total`` becomes ``past + sequence``.

    Such a mask has a dimension of its own in many exports, and no other size of it means anything. It is taken for a
    sum if the example's is one, of a dimension of a cache (float, more than two axes) and one of ids (two axes).
    """
    sizes: dict[str, int] = {}
    cached: set[str] = set()
    new: set[str] = set()
    for name, named_axes in axes.items():
        tensor = tensors.get(name)
        if isinstance(tensor, torch.Tensor) and "mask" not in name.lower():
            sizes |= {
                dimension: int(tensor.shape[axis]) for axis, dimension in named_axes.items() if is_name(dimension)
            }
            of_cache = tensor.is_floating_point() and tensor.ndim > 2
            (cached if of_cache else new).update(dimension for dimension in named_axes.values() if is_name(dimension))

    def of_mask(dimension: str, size: int) -> str:
        if not is_name(dimension) or dimension in sizes:
            return dimension
        sums = [f"{p} + {s}" for p in sorted(cached - new) for s in sorted(new - cached) if sizes[p] + sizes[s] == size]
        return sums[0] if len(sums) == 1 else dimension

    return {
        name: {axis: of_mask(dimension, int(tensors[name].shape[axis])) for axis, dimension in named_axes.items()}
        if name in tensors and "mask" in name.lower()
        else named_axes
        for name, named_axes in axes.items()
    }


def _follows(dimension: str, sizes: Mapping[str, int], size: int) -> bool:
    """Whether a dimension can be computed from `sizes`, and has that size."""
    try:
        return size_of(dimension, sizes) == size
    except (KeyError, ModelCaseError):  # a file's own words, such as "unk__12" + "?"
        return False


def _in_a_sum(name: str, axes: Axes) -> bool:
    dimensions = {dimension for named_axes in axes.values() for dimension in named_axes.values()}
    return any("+" in dimension and name in (n := names_in(dimension)) and len(n) == 2 for dimension in dimensions)


def _other_sizes(sizes: Mapping[str, int], steps: Mapping[str, int], taken: set[int], *, up: bool) -> dict[str, int]:
    """Another size for each dimension, all different and none in `taken`, which they are added to."""
    chosen: dict[str, int] = {}
    for name, size in sizes.items():
        step = steps[name]
        upwards = range(size + step, size + (len(taken) + 2) * step, step)
        downwards = range(size - step * max(1, size // (3 * step)), 1, -step)
        candidates = [*upwards] if up else [*downwards, *upwards]
        chosen[name] = next(other for other in candidates if other not in taken)
        taken.add(chosen[name])
    return chosen


def _resized(axes: Axes, sizes: Mapping[str, int], inputs: Inputs, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def resize(tensor: torch.Tensor, named_axes: Mapping[int, str], values: bool) -> torch.Tensor:
        for axis, dimension in named_axes.items():
            before, after = tensor.shape[axis], size_of(dimension, sizes)
            if before == after:
                continue
            # a mask over a cache and new tokens loses its beginning, so that no new token comes to see nothing
            start = before - after if after < before and not values and not is_name(dimension) else 0
            tensor = tensor.index_select(axis, (torch.arange(after) + start) % max(1, before))
            if values and after > before:  # exact repeats are ties, which runtimes order as they like
                added = tensor.narrow(axis, before, after - before)
                added.mul_(1 - REPEATED * torch.rand(added.shape, generator=generator).to(added.dtype))
        return tensor

    named = _named(inputs)
    floats = {name for name, tensor in named.items() if _is_plain_float(name, tensor)}
    return _mapped(
        inputs, {name: partial(resize, named_axes=axes[name], values=name in floats) for name in axes if name in named}
    )


# -- inputs of either form ----------------------------------------------------------------------------------------


def _named(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Every input that can be a tensor, by name; what is neither a tensor nor a numeric array is left out."""
    if isinstance(inputs, ModuleInputs):
        return inputs.as_dict()
    made: dict[str, torch.Tensor] = {}
    for name, value in inputs.items():
        try:
            made[name] = value if isinstance(value, torch.Tensor) else torch.from_numpy(value)
        except TypeError:  # strings, bfloat16 of ml_dtypes: they stay as they were drawn
            continue
    return made


def _mapped(inputs: Inputs, changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]) -> Inputs:
    tensors = _named(inputs)
    changed = {name: change(tensors[name]) for name, change in changes.items() if name in tensors}
    if isinstance(inputs, ModuleInputs):
        values = tuple(changed.get(name, value) for name, value in inputs.as_dict().items())
        return replace(inputs, values=values)
    return {name: changed[name].numpy() if name in changed else value for name, value in inputs.items()}


def rounded(inputs: Inputs, seed: int) -> Inputs:
    """The same inputs with every float moved by one rounding, up or down."""
    generator = torch.Generator().manual_seed(seed)

    def move(tensor: torch.Tensor) -> torch.Tensor:
        step = torch.finfo(tensor.dtype).eps * torch.clamp(tensor.abs(), min=float(tensor.abs().mean()) or 1.0)
        sign = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        return tensor + step * sign.to(tensor.dtype)

    floats = [name for name, tensor in _named(inputs).items() if _is_plain_float(name, tensor)]
    return _mapped(inputs, dict.fromkeys(floats, move))
