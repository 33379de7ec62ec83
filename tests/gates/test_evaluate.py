"""Running gates: nothing measured is an error, one broken gate hides no other, and which findings fail a test."""

import errno

import pytest

from pytest_modelcheck import Finding, ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.gates import Gate, GateResult, MarkerError, registered_gates
from pytest_modelcheck.gates.evaluate import Declared, declare, evaluate, failing, inconclusive_findings
from pytest_modelcheck.result import FindingError

CHECK = ModelCheck(ModelCase("net", lambda: None, lambda seed: ()))


def finding(verdict, subject="speedup"):
    return Finding(gate="expect_it", model="net", subject=subject, expected="1", found="2", verdict=verdict)


def run(*checks):
    return evaluate(CHECK, [Declared(Gate("expect_it", lambda: None, check), None) for check in checks])


def raising(error):
    def check(modelcheck, expectation):
        raise error

    return check


def test_a_gate_that_measured_nothing_cannot_pass():
    (result,) = run(lambda modelcheck, expectation: GateResult(gate="expect_it", measured=""))
    assert result.verdict is Verdict.ERROR
    assert result.findings[0].render() == (
        "[error] expect_it: verdict expected a measurement, found nothing was measured in net"
    )


def test_a_gate_that_measured_and_found_nothing_wrong_passes():
    (result,) = run(lambda modelcheck, expectation: GateResult(gate="expect_it", measured="Gemm 2"))
    assert (result.verdict, result.findings) == (Verdict.PASS, ())
    assert result.seconds >= 0


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (FindingError(finding(Verdict.ERROR, "export")), "export expected 1, found 2"),
        (ModelCheckError("no graph"), "verdict expected a measurement, found no graph"),
        (KeyError("x"), "verdict expected a measurement, found the gate broke: KeyError: 'x'"),
    ],
)
def test_whatever_a_gate_raises_is_one_error_and_the_next_gate_runs(error, found):
    broken, fine = run(raising(error), lambda modelcheck, expectation: GateResult(gate="expect_it", measured="1"))
    assert broken.verdict is Verdict.ERROR
    assert found in broken.findings[0].render()
    assert fine.verdict is Verdict.PASS


def test_a_broken_gate_names_the_line_that_broke():
    (result,) = run(raising(KeyError("x")))
    assert "test_evaluate.py:" in result.findings[0].where[0]


def test_a_full_disk_has_a_way_out_and_another_error_of_the_system_has_none():
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("1000 requested and 512 written"),  # numpy
    ):
        (full,) = run(raising(error))
        assert full.findings[0].next == (
            "free space there, or keep exports on another disk: --modelcheck-cache=DIR, TMPDIR=DIR"
        )
    (other,) = run(raising(OSError(errno.EACCES, "Permission denied")))
    assert other.findings[0].next == ""


def test_an_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        run(raising(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ([], Verdict.PASS),
        ([Verdict.INCONCLUSIVE], Verdict.INCONCLUSIVE),
        ([Verdict.INCONCLUSIVE, Verdict.FAIL], Verdict.FAIL),
        ([Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE], Verdict.ERROR),
    ],
)
def test_the_verdict_of_a_gate_is_that_of_its_worst_finding(verdicts, worst):
    assert GateResult(gate="g", measured="1", findings=tuple(map(finding, verdicts))).verdict is worst


@pytest.mark.parametrize(("choice", "count"), [("warn", 2), ("skip", 2), ("fail", 3)])
def test_an_inconclusive_finding_fails_a_test_only_where_it_is_asked_to(choice, count):
    verdicts = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
    results = [GateResult(gate="g", measured="1", findings=tuple(map(finding, verdicts)))]
    assert len(failing(results, choice)) == count
    assert len(inconclusive_findings(results)) == 1


def test_the_same_finding_of_two_gates_is_shown_once():
    results = [GateResult(gate=name, measured="", findings=(finding(Verdict.ERROR),)) for name in ("a", "b")]
    assert len(failing(results, "warn")) == 1


def test_a_marker_that_is_none_of_ours_is_not_declared():
    assert declare("parametrize", (), {}, registered_gates()) is None
    assert declare("expect_something_else", (), {}, registered_gates()) is None


@pytest.mark.parametrize("name", ["expect_op", "exepct_ops", "EXPECT_OPS"])
def test_a_marker_that_is_nearly_one_of_ours_is_an_error(name):
    with pytest.raises(MarkerError, match=f"^marker '{name}' is unknown; did you mean 'expect_ops'[?]$"):
        declare(name, (), {}, registered_gates())


def test_every_gate_has_a_one_line_help_and_a_name_of_its_own():
    for gate in registered_gates().values():
        signature, _, summary = gate.help.partition("): ")
        assert signature.startswith(f"{gate.name}(")
        assert summary
        assert "\n" not in gate.help
