"""Chains of Reshape and Transpose, composed into the shortest chain that does the same.

A tensor's axes are read as products of factors. A Reshape regroups and splits factors without moving them, a Transpose
moves whole axes; what a chain does is the order in which its factors come out. From that, the shortest chain is one of:
nothing, a Reshape, a Transpose, a Reshape and a Transpose in either order, or Reshape, Transpose, Reshape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_modelcheck.shapes.dims import Dim, divide_exactly, product


@dataclass(eq=False, slots=True)
class Factor:
    """One factor of an axis; two factors are the same only if they are the same object."""

    size: Dim


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a shortest chain: ``Transpose`` with `perm`, or ``Reshape``; `shape` is what comes out."""

    op_type: str
    shape: tuple[Dim, ...]
    perm: tuple[int, ...] = ()


class Layout:
    """The axes of a tensor as lists of factors, followed through a chain."""

    def __init__(self, shape: Sequence[Dim]) -> None:
        self.source = [[] if size == 1 else [Factor(size)] for size in shape]
        self.axes = [list(axis) for axis in self.source]

    def transpose(self, perm: Sequence[int]) -> None:
        """Follow a Transpose."""
        self.axes = [self.axes[axis] for axis in perm]

    def reshape(self, shape: Sequence[Dim]) -> bool:
        """Follow a Reshape to `shape`; False where the grouping of the factors is not provable."""
        rest = [factor for axis in self.axes for factor in axis]
        dims = list(shape)
        front: list[list[Factor]] = []
        back: list[list[Factor]] = []
        while dims and (taken := self._take(rest, dims[0])) is not None:
            front.append(taken)
            dims.pop(0)
        rest.reverse()
        while len(dims) > 1 and (taken := self._take(rest, dims[-1], backwards=True)) is not None:
            back.insert(0, taken)
            dims.pop()
        rest.reverse()
        if len(dims) > 1 or (rest and not dims):
            return False
        if dims and isinstance(dims[0], int) and isinstance(_product(rest), int):
            return False  # a known dimension that does not fit
        self.axes = [*front, *([rest] if dims else []), *back]
        return True

    def _take(self, rest: list[Factor], size: Dim, *, backwards: bool = False) -> list[Factor] | None:
        """Remove factors of product `size` from the start of `rest`; None, with nothing taken, where that fails.

        Args:
            backwards: `rest` has the last factor first.
        """
        needed, taken = size, 0
        while needed != 1:
            if taken == len(rest) or needed == 0:
                return None
            factor = rest[taken]
            taken += 1
            if (left := divide_exactly(needed, factor.size)) is not None:
                needed = left
            elif (other := divide_exactly(factor.size, needed)) is not None:
                pair = [Factor(needed), Factor(other)]
                _replace([rest], factor, pair)
                _replace([*self.source, *self.axes], factor, pair[::-1] if backwards else pair)
                needed = 1
            else:
                return None
        found, rest[:] = rest[:taken], rest[taken:]
        return found[::-1] if backwards else found


def _replace(axes: Sequence[list[Factor]], factor: Factor, parts: list[Factor]) -> None:
    for axis in axes:
        if factor in axis:
            index = axis.index(factor)
            axis[index : index + 1] = parts


def shortest_chain(layout: Layout, final: Sequence[Dim]) -> list[Step]:
    """The fewest steps from the source of `layout` to its axes, which have the dimensions `final`."""
    order = [factor for axis in layout.source for factor in axis]
    found = [factor for axis in layout.axes for factor in axis]
    if found == order:
        return [] if layout.source == layout.axes else [Step("Reshape", tuple(final))]
    position, place = ({factor: index for index, factor in enumerate(factors)} for factors in (order, found))
    candidates = []
    if _are_runs(layout.axes, position):  # each final axis is whole in the source
        candidates.append(layout.axes)
    if all(layout.source) and _are_runs(layout.source, place):  # each axis of the source stays whole
        candidates.append(sorted(layout.source, key=lambda axis: place[axis[0]]))
    if not candidates:
        candidates.append(_runs(found, position))
    return min((_moving(layout, blocks, position, final) for blocks in candidates), key=len)


def _moving(
    layout: Layout, blocks: list[list[Factor]], position: dict[Factor, int], final: Sequence[Dim]
) -> list[Step]:
    """Split the source into `blocks`, given in the order in which they come out; move them, join them."""
    places, joins = _places(layout, blocks, position), blocks != layout.axes
    order = sorted(range(len(blocks)), key=lambda i: (places[i], i))
    sizes = tuple(map(_product, blocks)) if joins else tuple(final)
    steps = [Step("Transpose", sizes, tuple(order.index(i) for i in range(len(blocks))))]
    if [blocks[i] for i in order] != layout.source:
        steps.insert(0, Step("Reshape", tuple(sizes[i] for i in order)))
    return [*steps, Step("Reshape", tuple(final))] if joins else steps


def _places(layout: Layout, blocks: list[list[Factor]], position: dict[Factor, int]) -> list[float]:
    """Where each of `blocks` begins in the source; an axis of size 1 takes the place of one of the source.

    A batch of 1 between sequence and features stays between them, as a larger one does: MatMul kernels take a Transpose
    of leading axes in (onnxruntime's FusedMatMul), and (1, 2, 0, 3) is one, (0, 2, 1, 3) is none. Where the source has
    no such axis left, it goes behind its left neighbour.
    """
    free = [_behind(layout.source[:index], position) for index, axis in enumerate(layout.source) if not axis]
    return [
        float(position[axis[0]]) if axis else free.pop(0) if free else _behind(blocks[:index], position)
        for index, axis in enumerate(blocks)
    ]


def _behind(axes: Sequence[list[Factor]], position: dict[Factor, int]) -> float:
    """The place behind the last of `axes` that has a size other than 1."""
    before = [axis for axis in axes if axis]
    return position[before[-1][-1]] + 0.5 if before else -1.0


def _product(axis: list[Factor]) -> Dim:
    return product(factor.size for factor in axis)


def _are_runs(axes: list[list[Factor]], position: dict[Factor, int]) -> bool:
    return all(position[right] == position[left] + 1 for axis in axes for left, right in pairwise(axis))


def _runs(found: list[Factor], position: dict[Factor, int]) -> list[list[Factor]]:
    runs: list[list[Factor]] = []
    for factor in found:
        if runs and position[runs[-1][-1]] + 1 == position[factor]:
            runs[-1].append(factor)
        else:
            runs.append([factor])
    return runs
