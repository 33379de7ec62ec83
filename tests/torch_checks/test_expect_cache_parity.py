"""expect_cache_parity: the marker, its arguments, and what a test that carries it says."""

from pathlib import Path

import pytest

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import MarkerError, registered_gates
from tests import parity_models
from tests.gate_checks import ask, said
from tests.parity_models import Decoder, MaskWithoutCache, OffByOne, decoder

OWN = {"cache": ("past", "present"), "sequence": "ids"}


def asked(kind, **arguments):
    return ask(ModelCheck(decoder(kind)), "expect_cache_parity", **arguments)


def test_a_right_cache_passes_and_says_what_was_measured():
    result = asked(Decoder, **OWN)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith("9 positions (all at once, chunks of 1, chunks of 2, chunks of 3, a prefill of 4")
    assert result.measured.endswith("7 of 7 changes to 4 cache tensors seen")


def test_a_wrong_cache_fails():
    result = asked(OffByOne, **OWN, chunks=2)
    assert result.verdict is Verdict.FAIL
    assert said(result).startswith("expect_cache_parity: output 'logits' at position 2 expected |difference| <= max(")


def test_a_model_without_a_cache_is_an_error_and_measures_nothing():
    result = asked(Decoder, sequence="ids")
    assert (result.verdict, result.measured) == (Verdict.ERROR, "")
    assert said(result) == (
        "[error] expect_cache_parity: cache expected a model that runs step by step with its cache, found has no "
        "cache: the forward takes ids, past, and no 'past_key_values'; name the argument and the output that returns "
        'it, cache=("past", "present"), or give step=... in Decoder'
    )


def test_a_model_that_is_only_a_file_is_an_error(tmp_path):
    result = ask(ModelCheck(ModelCase.from_onnx(tmp_path / "a.onnx")), "expect_cache_parity")
    assert result.verdict is Verdict.ERROR
    assert "is an .onnx file and has no torch module" in said(result)


def test_the_report_shows_the_figures():
    result = ask(ModelCheck(decoder()), "expect_cache_parity", **OWN)
    assert result.figures["parity"]["cache"].startswith("9 positions (all at once")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunks": 0}, "chunks=0 must be whole numbers of at least 1, e.g. chunks=(1, 2, 3)"),
        ({"chunks": ()}, "chunks=() must be whole numbers"),
        ({"chunks": (1, 2.5)}, "chunks=(1, 2.5) must be whole numbers"),
        ({"chunks": True}, "chunks=True must be whole numbers"),
        ({"cache": ("past",)}, "cache=('past',) must be a name, or the argument that takes it and the output that"),
        ({"cache": (0, "present")}, "must be a name, or the argument that takes it"),
        ({"cache": "past", "step": print}, "cache=... names where the cache goes in and out, step=... does both"),
        ({"step": "step"}, "step='step' must be a function: step(module, inputs, cache) -> (outputs, cache)"),
        ({"sequence": 1}, "sequence=1 must be input names, or input -> axis: sequence={\"x\": 1}"),
        ({"grows": {"mask": "1"}}, "grows={'mask': '1'} must be input names, or input -> axis"),
        ({"outputs": ()}, "outputs=() must be a name or several"),
        ({"axis": -1}, "axis=-1 must be a whole number of at least 0"),
        ({"atol": -1}, "atol=-1 must be a finite number of at least 0"),
        ({"rtol": float("nan")}, "rtol=nan must be a finite number of at least 0"),
        ({"seeds": 0}, "seeds=0 must be a whole number of at least 1"),
        ({"chunk": 1}, "did you mean 'chunks'?"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_refused_before_anything_is_built(arguments, message):
    gate = registered_gates()["expect_cache_parity"]
    with pytest.raises(MarkerError) as error:
        gate.expectation((), arguments)
    assert str(error.value).startswith("expect_cache_parity: ")
    assert message in str(error.value)


CONFTEST = """
    import sys
    sys.path.insert(0, {folder!r})
    import pytest

    @pytest.fixture(scope="session")
    def model_case():
        from tests.parity_models import {kind}, decoder
        return decoder({kind})
"""
MARKER = 'expect_cache_parity(cache=("past", "present"), sequence="ids", chunks=(1, 4))'


def project_of(project, kind):
    root = Path(parity_models.__file__).parents[1]
    return project.conftest(CONFTEST.format(folder=str(root), kind=kind.__name__))


def test_a_test_with_the_marker_passes_with_a_right_cache(project):
    project_of(project, Decoder).gated(MARKER).run("--modelcheck-report=out.json").outcomes(passed=1)
    (row,) = project.report()["tests"]
    assert row["gates"][0]["verdict"] == "pass"
    assert row["model"]["parity"]["cache"].startswith("9 positions (all at once, chunks of 1, chunks of 4")


def test_a_test_with_the_marker_fails_with_a_wrong_cache_and_shows_no_traceback(project):
    run = project_of(project, MaskWithoutCache).gated(MARKER).run().outcomes(failed=1)
    run.has("expect_cache_parity: output 'logits' at position 1 expected |difference| <= max(", "agrees in all at once")
    run.lacks("Traceback")


def test_a_bad_marker_ends_the_run_before_any_test(project):
    project.gated("expect_cache_parity(chunks=0)").run().bad_marker(
        "test_it.py::test_net: expect_cache_parity: chunks=0 must be whole numbers of at least 1, e.g. chunks=(1, 2, 3)"
    )
