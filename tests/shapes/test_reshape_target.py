import pytest

from pytest_modelcheck.shapes.dims import atom
from pytest_modelcheck.shapes.reshape_target import copying_target, reshape_target


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


@pytest.mark.parametrize(
    ("source", "elements", "target"),
    [
        ((atom("~k"), 3), (atom("~k"), -1), (0, -1)),  # where k is 0, both say the same
        ((atom("~k"), 3), (4, -1, 0), (4, -1, 0)),
        ((atom("~k"), 3), (-1, atom("~k")), None),
        ((atom("~k"),), (atom("~k"), atom("?element")), None),
        (None, (4, -1), (4, -1)),
        (None, (atom("n"), -1), None),
    ],
)
def test_an_element_that_is_the_size_of_its_axis_is_copied(source, elements, target):
    assert copying_target(source, elements) == target
