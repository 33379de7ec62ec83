"""Every attack of the tables is red: a wrong result that a gate takes for right is worse than no gate."""

import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.accuracy import compare
from pytest_modelcheck.gates import MarkerError, registered_gates
from tests.attacks import accuracy, markers


@pytest.mark.parametrize("widths", [{}, {"atol": 1e-5, "rtol": 1e-5}], ids=["default", "1e-5"])
@pytest.mark.parametrize(("reference", "candidate"), accuracy.ATTACKS.values(), ids=accuracy.ATTACKS)
def test_wrong_outputs_do_not_pass(reference, candidate, widths):
    finding = compare(reference, candidate, **widths).finding
    assert finding is not None
    assert finding.verdict in (Verdict.FAIL, Verdict.ERROR)


@pytest.mark.parametrize(("gate", "arguments"), markers.ATTACKS)
def test_a_marker_that_cannot_fail_or_cannot_pass_is_a_usage_error(gate, arguments):
    with pytest.raises(MarkerError, match=f"^{gate}: "):
        registered_gates()[gate].expectation((), arguments)
