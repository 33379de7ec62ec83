"""The matrix of one model in the shell: its columns, what stands below them, bytes."""

import pytest

from pytest_modelcheck.report.matrix import attribution_lines, signed_bytes


def row(name, **figures):
    nothing = {"isolated": 0, "in_order": 0, "leave_one_out": None, "constants": 0, "initializer_bytes": 0}
    rest = {"seconds": 0.0, "status": "no_op", "operators": {}, "reasons": [], "notes": [], "error": None}
    return nothing | rest | {"name": name} | figures


def lines(*rows):
    nodes = {"before": 10, "after": 7, "constants_before": 3, "constants_after": 0}
    totals = {"nodes": nodes, "initializer_bytes": {"before": 1000, "after": 2_500_000}}
    return attribution_lines({"passes": list(rows), **totals})


def test_rows_then_what_each_pass_did_then_the_totals():
    fold = row(
        "fold_constants",
        isolated=-3,
        in_order=-2,
        constants=-3,
        initializer_bytes=2048,
        seconds=1.234,
        status="fired",
        operators={"Add": -3, "Mul": 1},
        reasons=[{"reason": "the operator is random", "count": 2}],
        notes=["look here"],
    )
    broken = row("mine", isolated=None, in_order=None, status="error", error="ValueError: no")
    assert lines(fold, broken) == [
        "pass            alone  in order  Constants  initializers  seconds  status",
        "fold_constants  -3     -2        -3         +2.0 kB       1.23     fired",
        "mine            error  error     0          0             0.00     error",
        "fold_constants: Add -3, Mul +1",
        "fold_constants: refused 2 x: the operator is random",
        "fold_constants: look here",
        "mine: ValueError: no",
        "initializers 1,000 -> 2,500,000 bytes",
        "nodes 10 -> 7 (Constants beside: 3 -> 0)",
    ]


def test_without_it_is_a_column_only_where_it_was_measured():
    assert "without it" not in lines(row("a"))[0]
    table = lines(row("a", leave_one_out=-4), row("b"))
    assert "without it" in table[0]
    assert table[1].split()[:4] == ["a", "0", "0", "-4"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "+1 B"),
        (-999, "-999 B"),
        (1000, "+1.0 kB"),
        (-1_250_000, "-1.2 MB"),
        (3_000_000_000, "+3.0 GB"),
        (-4_000_000_000_000, "-4000.0 GB"),
    ],
)
def test_bytes_are_signed_and_short(count, text):
    assert signed_bytes(count) == text
