"""The table of planted faults: what was not caught, not named or not run stands there as that."""

import pytest

from benchmarks import fault_table


def entry(by="outputs", *, pass_named=True, node_named=True):
    outcome = {"by": by, "pass_named": pass_named, "node_named": node_named, "said": "MatMul 'm'"}
    return {"kind": "node", "outcome": outcome, "seconds": 1.0}


NO_PLACE = {"kind": "node", "outcome": None, "seconds": 0.0}
RESULTS = {
    "one": {"a": entry(), "b": entry("weights"), "c": entry("")},
    "two": {"a": entry(node_named=False), "b": NO_PLACE},
    "three": {},
}


def test_every_cell_says_what_became_of_the_fault():
    assert fault_table.table(RESULTS) == (
        "| fault | one | two | three |\n"
        "| --- | --- | --- | --- |\n"
        "| **planted** | 3 | 1, 1 not run | 0, 3 not run |\n"
        "| **caught** | 2 (67 %) | 1 (100 %) | not run |\n"
        "| **named right** | 3 (100 %) | 0 (0 %) | not run |\n"
        "| a | outputs | outputs, **not named** | not run |\n"
        "| b | weights | no place | not run |\n"
        "| c | **not caught** | not run | not run |\n"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (entry(), ""),
        (NO_PLACE, ""),
        (entry(""), "f: NOT CAUGHT; MatMul 'm'"),
        (entry(node_named=False), "f: caught by outputs, not named; MatMul 'm'"),
        (entry(pass_named=False), "f: caught by outputs, not named; another pass or none; MatMul 'm'"),
    ],
)
def test_only_what_is_not_as_it_should_be_is_described(given, said):
    assert fault_table.described({"fault": "f", **given}) == said


def test_the_table_goes_between_the_markers_and_a_page_without_them_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fault_table.BEGIN}\nold\n{fault_table.END}\nafter\n")
    fault_table.write_into(page, "new\n")
    assert page.read_text() == f"before\n{fault_table.BEGIN}\nnew\n{fault_table.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="has no markers"):
        fault_table.write_into(page, "new\n")


def test_a_fault_that_is_not_caught_is_not_named_right_either():
    assert "2 caught (1 by outputs, 1 by weights, 0 by cannot run)" in fault_table.summary("one", RESULTS["one"])
