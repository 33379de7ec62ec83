from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_modelcheck.passes.attention.layouts import Layout, Step, shortest_chain
from pytest_modelcheck.shapes.dims import Dim, atom, multiply

BATCH, SEQ = atom("batch"), atom("seq")


def follow(start: tuple[Dim, ...], *steps: tuple[int, ...] | tuple[str, tuple[Dim, ...]]) -> Layout:
    layout = Layout(start)
    for step in steps:
        if step and step[0] == "reshape":
            assert layout.reshape(step[1])  # type: ignore[arg-type]
        else:
            layout.transpose(step)  # type: ignore[arg-type]
    return layout


def test_the_long_way_of_k_is_one_reshape_and_one_transpose() -> None:
    layout = follow(
        (BATCH, SEQ, 768),
        ("reshape", (BATCH, SEQ, 12, 64)),
        (0, 2, 1, 3),
        ("reshape", (multiply(BATCH, 12), SEQ, 64)),
        (0, 2, 1),
        ("reshape", (BATCH, 12, 64, SEQ)),
    )

    assert shortest_chain(layout, (BATCH, 12, 64, SEQ)) == [
        Step("Reshape", (BATCH, SEQ, 12, 64)),
        Step("Transpose", (BATCH, 12, 64, SEQ), (0, 2, 3, 1)),
    ]


@pytest.mark.parametrize(
    ("start", "split", "perm"),
    [
        ((64, 1, 192), (64, 1, 3, 64), (1, 2, 0, 3)),  # nn.MultiheadAttention: between sequence and features
        ((1, 64, 192), (1, 64, 3, 64), (0, 2, 1, 3)),
        ((64, 192), (1, 64, 3, 64), (0, 2, 1, 3)),  # none in the source: in front
    ],
)
def test_a_batch_of_one_stays_where_a_larger_one_would_be(
    start: tuple[int, ...], split: tuple[int, ...], perm: tuple[int, ...]
) -> None:
    layout = follow(start, ("reshape", (64, 3, 64)), (1, 0, 2), ("reshape", (1, 3, 64, 64)))

    assert shortest_chain(layout, (1, 3, 64, 64)) == [
        Step("Reshape", split),
        Step("Transpose", (1, 3, 64, 64), perm),
    ]


def test_a_chain_that_goes_back_is_nothing() -> None:
    layout = follow((2, 3, 4), (0, 2, 1), ("reshape", (8, 3)), ("reshape", (2, 4, 3)), (0, 2, 1))

    assert shortest_chain(layout, (2, 3, 4)) == []


def test_reshapes_alone_are_one_reshape() -> None:
    layout = follow((2, 3, 4), ("reshape", (6, 4)), ("reshape", (24,)), ("reshape", (2, 12)))

    assert shortest_chain(layout, (2, 12)) == [Step("Reshape", (2, 12))]


@pytest.mark.parametrize("shape", [(SEQ, BATCH, 4), (5, BATCH), (4, 6)])
def test_a_grouping_that_is_not_provable_is_refused(shape: tuple[Dim, ...]) -> None:
    assert not Layout((BATCH, SEQ, 4)).reshape(shape)


def test_one_unknown_dimension_takes_what_is_left() -> None:
    layout = Layout((BATCH, SEQ, 4))

    assert layout.reshape((BATCH, atom("?rest")))
    assert [len(axis) for axis in layout.axes] == [1, 2]


def apply(array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], steps: list[Step]) -> np.ndarray:  # type: ignore[type-arg]
    for step in steps:
        array = array.transpose(step.perm) if step.op_type == "Transpose" else array.reshape(step.shape)  # type: ignore[arg-type]
    return array


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_shortest_chain_does_what_the_chain_did_and_is_not_longer(data: st.DataObject) -> None:
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    array = np.arange(int(np.prod(factors))).reshape(factors)
    layout, current = Layout(tuple(factors)), array
    length = data.draw(st.integers(0, 5))
    for _ in range(length):
        if data.draw(st.booleans()):
            perm = data.draw(st.permutations(range(current.ndim)))
            current = current.transpose(perm)
            layout.transpose(perm)
        else:
            split = [f for size in current.shape for f in data.draw(st.sampled_from(_splits(size)))]
            cuts = data.draw(st.lists(st.booleans(), min_size=len(split), max_size=len(split)))
            shape: list[int] = []
            for size, cut in zip(split, cuts, strict=True):
                if cut and shape:
                    shape[-1] *= size
                else:
                    shape.append(size)
            if not layout.reshape(tuple(shape)):
                return
            current = current.reshape(shape)

    steps = shortest_chain(layout, current.shape)

    assert np.array_equal(apply(array, steps), current)
    assert len(steps) <= 3


def _splits(size: int) -> list[list[int]]:
    return [[size], *([[a, size // a] for a in range(2, size) if size % a == 0])]
