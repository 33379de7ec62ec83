import pytest

from pytest_modelcheck.shapes.dims import atom
from pytest_modelcheck.shapes.reshape_target import reshape_target


@pytest.mark.parametrize(
    ("source", "shape", "target"),
    [
        ((2, 3), (6,), (6,)),
        ((2, 3), (0, 6), None),
        ((0, 3), (0, 1, 3), (0, 1, 3)),
        ((atom("n"), 6), (atom("n"), 2, 3), (0, 2, 3)),
        ((atom("n"), 6), (3, atom("n"), 2), (3, -1, 2)),
        ((atom("n"), 6), (3, atom("n"), atom("m")), None),
        ((atom("n"), 6, 0), (atom("m"), 1, 0), None),  # onnxruntime refuses -1 beside an axis of size 0
        ((atom("n"), 6, 0), (atom("n"), 6, 0), (0, 6, 0)),
        ((atom("~k"), 6), (atom("~k"), 2, 3), (0, 2, 3)),
        ((atom("~k"), 6), (atom("~k"), atom("n")), None),  # k may be 0
        ((atom("n"), 6), (atom("n"), atom("~k")), (0, -1)),
        (None, (3, atom("n")), (3, -1)),
        (None, (3, 4), (3, 4)),
    ],
)
def test_the_target_has_zeros_for_what_keeps_its_place_and_at_most_one_size_left_open(source, shape, target):
    assert reshape_target(source, shape) == target
