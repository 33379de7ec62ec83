"""The terminal summary, line by line, from plain rows."""

from pytest_modelcheck.report.terminal import summary_lines


def passes(*rows):
    names = ("isolated", "in_order", "status")
    return [
        {"name": name, "leave_one_out": None, "reasons": [], "error": None, "seconds": 0.0}
        | dict(zip(names, values, strict=True))
        for name, *values in rows
    ]


def model(name="bert", exporter="dynamo", **figures):
    return {"name": name, "exporter": exporter, "target": "portable", "versions": {}, "seconds": {}} | figures


def row(model, *verdicts, test="test_it.py::test_it", outcome="passed"):
    gates = [{"gate": "g", "verdict": v, "measured": "1", "seconds": 0.0, "findings": []} for v in verdicts]
    return {"test": test, "outcome": outcome, "model": model, "gates": gates, "findings": []}


MEASURED = {
    "nodes": {"before": 447, "after": 411, "constants_before": 0, "constants_after": 0},
    "accuracy": {"text": "4.0e-06"},
    "hierarchy": {"text": "99.3%"},
    "latency": {"text": "x1.040 [1.032, 1.047]"},
}


def test_no_row_is_no_summary():
    assert summary_lines([]) == []


def test_everything_measured():
    figures = MEASURED | {"passes": passes(("fold_constants", -72, 0, "no_op"), ("fuse_gelu", 0, 12, "fired"))}
    assert summary_lines([row(model(**figures), "pass", "pass")], verbose=True) == [
        "model  exporter  nodes       max diff  coverage  latency                verdict",
        "bert   dynamo    447 -> 411  4.0e-06   99.3%     x1.040 [1.032, 1.047]  2 pass",
        "",
        "nodes changed by each pass: alone / in its place in the pipeline (-72 means 72 nodes fewer)",
        "pass                  bert",
        "                    dynamo",
        "fold_constants     -72 / 0",
        "fuse_gelu          0 / +12",
        "nodes           447 -> 411",
    ]


def test_what_was_not_measured_is_said_so():
    assert summary_lines([row(model())]) == [
        "model  exporter  nodes         max diff      coverage      latency       verdict",
        "bert   dynamo    not measured  not measured  not measured  not measured  no gate",
    ]


def test_a_failed_export_stands_in_its_row_and_below():
    failure = {"kind": "forward_failed", "text": "export of bert by dynamo failed (forward_failed): no\n  next:  mend"}
    made = [row(model(failure=failure), "error", outcome="failed")]
    explained = "  what it means: python -m pytest_modelcheck explain forward_failed"
    assert summary_lines(made, failures=True) == [
        "model  exporter  nodes                          max diff      coverage      latency       verdict",
        "bert   dynamo    export failed: forward_failed  not measured  not measured  not measured  1 error",
        "  bert: export of bert by dynamo failed (forward_failed): no\n  next:  mend",
        explained,
    ]
    assert summary_lines(made)[2:] == [explained]


def test_the_words_of_failures_are_explained_by_one_command():
    said = [{"gate": "snapshot", "subject": "modules"}, {"gate": "modelcheck", "subject": "export"}]
    made = row(model(), "fail", outcome="failed") | {"findings": said}
    made["gates"][0]["findings"] = [{"gate": "expect_ops", "subject": "Gemm"}] * 2
    lines = summary_lines([made])
    assert lines[-1] == "  what it means: python -m pytest_modelcheck explain modules expect_ops"
    assert len(summary_lines([made | {"outcome": "passed"}])) == len(lines) - 1


def test_verdicts_are_counted_worst_first():
    lines = summary_lines([row(model(), "pass", "fail", "inconclusive", "error", "pass", outcome="failed")])
    assert lines[1].endswith("1 error, 1 fail, 1 inconclusive, 2 pass")


def test_a_failed_body_with_green_gates_is_said():
    assert summary_lines([row(model(), "pass", outcome="failed")])[1].endswith("test failed, 1 pass")


def test_the_tests_of_one_model_are_one_line_and_two_exporters_are_two():
    rows = [
        row(model(hierarchy={"text": "99.3%"}), "pass"),
        row(model(accuracy={"text": "1.0e-06"}), "fail", outcome="failed"),
        row(model(exporter="torchscript"), "pass"),
    ]
    lines = summary_lines(rows)
    assert lines[1].split("  ")[0] == "bert"
    assert lines[1].endswith("not measured  1.0e-06       99.3%         not measured  1 fail, 1 pass")
    assert lines[2].startswith("bert   torchscript  not measured")
    assert len(lines) == 3


def test_a_pass_that_failed_and_one_that_is_not_in_a_pipeline_have_words():
    one = MEASURED | {"passes": passes(("fold_constants", None, None, "error"))}
    two = MEASURED | {"passes": passes(("fuse_gelu", -1, -1, "fired"))}
    lines = summary_lines([row(model(**one)), row(model("vit", **two))], verbose=True)
    assert lines[6:8] == [
        "                         dynamo           dynamo",
        "fold_constants    error / error  not in pipeline",
    ]
    assert lines[8] == "fuse_gelu       not in pipeline          -1 / -1"


def test_a_wide_matrix_is_cut_into_blocks_that_fit():
    names = [f"model-number-{n}" for n in range(6)]
    figures = MEASURED | {"passes": passes(("fold_constants", -1, -1, "fired"))}
    rows = [row(model(name, **figures)) for name in names]
    lines = summary_lines(rows, width=60, verbose=True)
    matrix = lines[lines.index("") + 2 :]
    assert max(map(len, matrix)) <= 60
    assert sum(line.startswith("fold_constants") for line in matrix) == 3
    shown = " ".join(line for line in matrix if line.startswith("pass")).split()
    assert [word for word in shown if word != "pass"] == names
    one_block = summary_lines(rows, width=400, verbose=True)
    assert sum(line.startswith("fold_constants") for line in one_block) == 1


def test_a_green_model_is_one_line_and_a_red_one_shows_its_passes_and_notes():
    figures = MEASURED | {
        "passes": passes(("fold_constants", -72, 0, "no_op")),
        "accuracy": {"text": "0", "notes": ["word " * 60]},
    }
    green = row(model(**figures), "pass")
    red = row(model("vit", **figures), "fail", outcome="failed")
    assert summary_lines([green])[2:] == ["  what each pass changed, and notes: -v"]
    lines = summary_lines([green, red])
    assert lines[-1] == "  what each pass changed, and notes: -v"
    assert [line for line in lines if line.startswith(("pass", "fold"))] == [
        "pass                   vit",
        "fold_constants     -72 / 0",
    ]
    note = next(line for line in lines if "note on" in line)
    assert note.startswith("  note on vit [dynamo]: word word")
    assert note.endswith("word ...")


def test_ten_green_models_take_less_than_fifteen_lines():
    figures = MEASURED | {"passes": passes(("fold_constants", -1, -1, "fired"), ("fuse_gelu", 0, 0, "no_op"))}
    assert len(summary_lines([row(model(f"net{n}", **figures), "pass") for n in range(10)])) == 12


def test_a_note_of_several_models_is_one_line():
    noted = {"accuracy": {"text": "0", "notes": ["seed 3 was left out"]}}
    lines = summary_lines([row(model(name, **noted), "pass") for name in ("a", "b", "c", "d")], verbose=True)
    assert lines[-1] == "  note on a [dynamo], b [dynamo], c [dynamo] and 1 more: seed 3 was left out"


def test_notes_that_are_cut_at_the_same_place_are_one_line():
    noted = {"accuracy": {"text": "0", "notes": [f"{'word ' * 60}{end}" for end in ("one", "two")]}}
    lines = summary_lines([row(model(name, **noted), "pass") for name in ("a", "b")], verbose=True)
    found = [line for line in lines if "note on" in line]
    assert len(found) == 1
    assert found[0].startswith("  note on a [dynamo], b [dynamo]: word word")


def test_a_pass_that_changed_nothing_anywhere_has_no_row():
    figures = MEASURED | {"passes": passes(("fuse_gelu", 0, 0, "no_op"), ("tidy", 0, 0, "fired"))}
    lines = summary_lines([row(model(**figures), "pass")], verbose=True)
    assert [line.split()[0] for line in lines[5:]] == ["dynamo", "tidy", "nodes"]


def test_two_cases_of_one_name_that_fail_differently_are_two_rows_and_said():
    rows = [
        row(model(failure={"kind": "forward_failed", "text": "one"}), "error", test="a.py::t", outcome="failed"),
        row(model(failure={"kind": "forward_failed", "text": "two"}), "error", test="b.py::t", outcome="failed"),
    ]
    lines = summary_lines(rows, failures=True)
    assert "  bert: one" in lines
    assert "  bert: two" in lines
    assert "  2 cases are named 'bert' [dynamo]: a.py::t, b.py::t" in lines
    rows[1]["model"]["failure"] = rows[0]["model"]["failure"]
    assert not any("cases are named" in line for line in summary_lines(rows))


def test_what_fails_as_it_is_known_to_is_no_failure():
    known = {"row": "known.toml, row 1", "gate": "g", "reason": "so", "link": "", "failed": True}
    made = row(model(), "fail", "pass", outcome="skipped") | {"known": [known]}
    assert summary_lines([made])[1].endswith("1 known, 1 pass")
    made["known"] = [known | {"failed": False}]
    assert summary_lines([made])[1].endswith("1 fail, 1 pass")


def test_version_steps_are_said_once_for_the_whole_run():
    steps = {"drift": {"torch": ["2.12", "2.13"]}}
    rows = [
        row(model(), "fail", test="a.py::t", outcome="failed") | steps,
        row(model("gpt"), "fail", test="b.py::t", outcome="failed") | steps,
        row(model("vit"), "fail", test="c.py::t", outcome="failed"),
    ]
    said = "  versions since recording: torch 2.12 -> 2.13; 2 of 3 failed tests: a.py::t, b.py::t"
    assert said in summary_lines(rows)
    assert not any("optimized graphs" in line for line in summary_lines(rows))
    rows[0]["as_locked"], rows[1]["as_locked"], rows[2]["as_locked"] = True, False, True
    assert "  their optimized graphs: 1 of 2 are the locked ones, node for node" in summary_lines(rows)
    green = [row(model(), "pass") | steps]
    assert not any("versions since" in line for line in summary_lines(green))
