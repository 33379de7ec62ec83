"""The one shape of a failure."""

import pytest

from pytest_modelcheck import Finding, Verdict
from pytest_modelcheck.result import first_lines, listed, printable, printable_line


def test_a_finding_shows_figures_then_place_then_next_step():
    finding = Finding(
        gate="expect_ops",
        model="bert-base",
        subject="Attention",
        expected="12",
        found="0",
        context="optimized, target opset23",
        where=("encoder.layer.0: refused", "... the same in 11 more layers"),
        next="recorded with transformers 5.2, now 5.23.\nIf the change is meant, run with --snapshot-update.",
    )
    assert finding.render() == (
        "expect_ops: Attention expected 12, found 0 in bert-base (optimized, target opset23)\n"
        "  where: encoder.layer.0: refused\n"
        "         ... the same in 11 more layers\n"
        "  next:  recorded with transformers 5.2, now 5.23.\n"
        "         If the change is meant, run with --snapshot-update."
    )


def test_a_finding_without_place_is_one_line_and_an_error_is_marked():
    finding = Finding(gate="g", model="m", subject="s", expected="a", found="b", verdict=Verdict.ERROR)
    assert finding.render() == "[error] g: s expected a, found b in m"


@pytest.mark.parametrize(
    ("shown", "lines", "text"),
    [
        (3, ("a", "b", "c"), "a, b, c"),
        (2, ("a", "b", "... and 1 more places"), "a, b and 1 more"),
        (1, ("a", "... and 2 more places"), "a and 2 more"),
    ],
)
def test_what_is_left_out_is_counted(shown, lines, text):
    assert first_lines(("a", "b", "c"), shown, "places") == lines
    assert listed(("a", "b", "c"), shown) == text


def test_the_rest_needs_no_name():
    assert first_lines(("a", "b"), 1) == ("a", "... and 1 more")


def test_names_of_a_model_do_nothing_to_a_terminal_or_a_ci_log():
    hostile = "a\x1b[31mb\r\x07\u202ec"
    assert printable(hostile) == r"a\x1b[31mb\r\x07\u202ec"
    assert printable("two\n::error::owned\n  ::add-mask::x") == "two\n\\x3a:error::owned\n  \\x3a:add-mask::x"
    assert printable("café a::b\t:c") == "café a::b\t:c"
    assert printable_line("two\n::error::owned") == r"two\n::error::owned"
    finding = Finding(gate="g", model=hostile, subject="s", expected="e", found="x\n::error::y", where=(hostile,))
    assert not set("\x1b\r\x07\u202e") & set(finding.render())
    assert "\n::" not in finding.render()
