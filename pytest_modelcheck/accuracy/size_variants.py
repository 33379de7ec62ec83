"""Inputs of other sizes than the case draws: the sizes part of `variants`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.stages import Inputs
from pytest_modelcheck.accuracy.variants import Variant, is_padding_mask, is_plain_float, mapped, named_tensors
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.calling.axes import is_unnamed
from pytest_modelcheck.calling.sizes import Sizes, check_sizes
from pytest_modelcheck.dimensions import Axes, is_name, names_in, size_of
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

REPEATED = 0.25
"""By how much, at most, a float that is repeated to fill a larger size is smaller than the one it repeats."""

SPATIAL_STEP = 32
"""Images change size by at most this step: what the strides of common backbones multiply to."""

Draw = Callable[[int, Sizes], Inputs]
"""(seed, sizes) -> inputs, of a case that draws them at the sizes that are asked for."""


def dynamic_axes_of(case: ModelCase, graph: ir.Model, inputs: Inputs) -> Axes:
    """Input -> {axis: dimension name}: what the case declares, else the symbolic dimensions of the graph's inputs.

    Of axes that the case leaves to torch (`Dim.DYNAMIC`) the graph says which are one, and which are a sum.
    """
    of_graph: dict[str, dict[int, str]] = {}
    for value in graph.graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value is not None and value.name is not None:
                of_graph.setdefault(value.name, {})[axis] = str(size.value)
    if isinstance(inputs, ModuleInputs) and inputs.dims:
        return _named_by_torch(inputs, of_graph)
    if isinstance(inputs, ModuleInputs) and case.dynamic_axes is not None:
        return inputs.axes
    return of_graph if case.dynamic_axes is None else case.dynamic_axes


def _named_by_torch(inputs: ModuleInputs, of_graph: Axes) -> dict[str, dict[int, str]]:
    """The declared axes; one without a name of its own is called as the graph calls it, and left out where the graph
    knows no more of it than its place."""
    axes: dict[str, dict[int, str]] = {}
    for name, by_axis in inputs.axes.items():
        for axis, dimension in by_axis.items():
            found = of_graph.get(name, {}).get(axis)
            if not is_unnamed(inputs.dims[name][axis]):
                axes.setdefault(name, {})[axis] = dimension
            elif found is not None and found != dimension:
                axes.setdefault(name, {})[axis] = found
    return axes


def shape_variants(inputs: Inputs, axes: Axes, draw: Draw | None = None) -> tuple[Variant, ...]:
    """Two variants in which every dynamic dimension has another size, and one in which only the first has, a batch 1.

    Most models are deployed with a batch of one, where ``squeeze()`` and ``if x.shape[0] > 1`` do something else. One
    dimension alone is for models whose other sizes depend on each other. Sizes that are declared as expressions follow,
    as does a mask over a cache and new tokens (`_with_sums`). A decoder with a cache is also tried at the ends: a cache
    of no entries, a sequence of one.

    Args:
        inputs: What the case draws for one seed.
        axes: Of `dynamic_axes_of`.
        draw: ``inputs`` of a case that takes sizes.
    """
    tensors = named_tensors(inputs)
    axes = _with_sums(axes, tensors)
    sizes: dict[str, int] = {}
    steps: dict[str, int] = {}
    places = [
        (name, tensor, axis, dimension)
        for name, named_axes in axes.items()
        if isinstance(tensor := tensors.get(name), torch.Tensor)
        for axis, dimension in named_axes.items()
    ]
    ends = _ends(places, axes)
    for _, tensor, axis, dimension in places:
        size = int(tensor.shape[axis])
        if is_name(dimension):
            if sizes.setdefault(dimension, size) != size:
                return ()
            spatial = tensor.is_floating_point() and tensor.ndim == 4 and axis >= 2
            step = math.gcd(size, SPATIAL_STEP) if spatial and dimension not in ends else 1
            steps[dimension] = max(steps.get(dimension, 1), step)
    if not sizes or not all(_follows(dimension, sizes, tensor.shape[axis]) for _, tensor, axis, dimension in places):
        return ()
    taken = set(sizes.values())
    larger, smaller = _other_sizes(sizes, steps, taken, up=True), _other_sizes(sizes, steps, taken, up=False)
    chosen = [smaller, larger]
    first = next(iter(sizes))
    if sizes[first] > 1 and all(axis == 0 for _, _, axis, dimension in places if dimension == first):
        chosen.append({first: 1})
    elif len(sizes) > 1:
        chosen.append({first: larger[first] + steps[first]})
    chosen += [{name: end} for name, end in ends.items() if name in sizes]
    floats = any(is_plain_float(name, tensor) for name, tensor in tensors.items())
    return tuple(
        Variant(
            ", ".join(f"{name} {size}" for name, size in some.items()),
            partial(_resized, axes, sizes | some) if draw is None else partial(_drawn, draw, axes, sizes | some),
            floats=floats,
            sizes=True,
        )
        for some in chosen
        if any(sizes[name] != size for name, size in some.items())
    )


_Place = tuple[str, torch.Tensor, int, str]
"""Input, tensor, axis, dimension."""


def _ends(places: Sequence[_Place], axes: Axes) -> dict[str, int]:
    """Smallest sizes that mean something: a cache of no entries, one new token, one of any other name in a sum."""
    by_name: dict[str, list[_Place]] = {}
    for place in places:
        if is_name(place[3]):
            by_name.setdefault(place[3], []).append(place)
    summed = {name for name in by_name if _in_a_sum(name, axes)}
    cached = {
        name
        for name, of_name in by_name.items()
        if all(t.is_floating_point() and t.ndim > 2 and (name in summed or _is_past(n)) for n, t, *_ in of_name)
    }
    new = {name for name, of_name in by_name.items() if any(_is_ids(n, t, axis) for n, t, axis, _ in of_name)}
    return dict.fromkeys(sorted(cached), 0) | dict.fromkeys(sorted((summed | (new if cached else set())) - cached), 1)


def _is_past(name: str) -> bool:
    """Whether an input is named like the past of a decoder."""
    return bool(re.search(r"past|cache", name.lower()))


def _is_ids(name: str, tensor: torch.Tensor, axis: int) -> bool:
    return axis == 1 and tensor.ndim == 2 and not tensor.is_floating_point() and "mask" not in name.lower()


def _with_sums(axes: Axes, tensors: Mapping[str, torch.Tensor]) -> Axes:
    """The axes where a mask over cached and new tokens has their sum: ``total`` becomes ``past + sequence``.

    Such a mask has a dimension of its own in many exports, and no other size of it means anything. It is taken for a
    sum if the example's is one, of a dimension of a cache (float, more than two axes) and one of ids (two axes), or
    the fixed number of ids of a decoding step: ``past + 1``.
    """
    sizes: dict[str, int] = {}
    cached: set[str] = set()
    new: set[str] = set()
    fixed = {
        int(tensor.shape[1])
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and _is_ids(name, tensor, 1) and 1 not in axes.get(name, {})
    }
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
        added = {str(count): count for count in sorted(fixed)} | {name: sizes[name] for name in sorted(new - cached)}
        sums = [f"{p} + {s}" for p in sorted(cached - new) for s, count in added.items() if sizes[p] + count == size]
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


def _drawn(draw: Draw, axes: Axes, sizes: Mapping[str, int], inputs: Inputs, seed: int) -> Inputs:
    """What the case itself draws at these sizes.

    Raises:
        ModelCaseError: if it has other sizes than were asked for.
    """
    made = draw(seed, sizes)
    tensors = named_tensors(made)
    found = {
        dimension: int(tensors[name].shape[axis])
        for name, named_axes in axes.items()
        if name in tensors
        for axis, dimension in named_axes.items()
        if is_name(dimension)
    }
    check_sizes(found, sizes)
    return made


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

    def resize(tensor: torch.Tensor, named_axes: Mapping[int, str], values: bool, mask: bool) -> torch.Tensor:
        for axis, dimension in named_axes.items():
            before, after = tensor.shape[axis], size_of(dimension, sizes)
            if before == after:
                continue
            # a mask over a cache and new tokens loses its beginning, so that no new token comes to see nothing
            start = before - after if after < before and not values and not is_name(dimension) else 0
            whole = tensor
            tensor = whole.index_select(axis, (torch.arange(after) + start) % max(1, before))
            if mask and axis == 1 and 0 < after < before:  # a row that is padded on this side keeps its end
                unseen = ~tensor.bool().any(1) & whole.bool().any(1)
                tensor[unseen] = whole[unseen, before - after :]
            if values and after > before:  # exact repeats are ties, which runtimes order as they like
                added = tensor.narrow(axis, before, after - before)
                added.mul_(1 - REPEATED * torch.rand(added.shape, generator=generator).to(added.dtype))
        return tensor

    named = named_tensors(inputs)
    floats = {name for name, tensor in named.items() if is_plain_float(name, tensor)}
    masks = {name for name, tensor in named.items() if is_padding_mask(name, tensor)}
    return mapped(
        inputs,
        {
            name: partial(resize, named_axes=axes[name], values=name in floats, mask=name in masks)
            for name in axes
            if name in named
        },
    )
