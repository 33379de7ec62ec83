"""The life of a snapshot file: missing, recorded, compared, changed, unused, deleted; plain and in parallel."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

ATTRIBUTION = "assert modelcheck.attribution == modelcheck_snapshot"
FUSION = "assert modelcheck.fusion == modelcheck_snapshot"
FILE = "test_it/test_net.attribution.txt"


@pytest.fixture
def locked(project):
    return project.gated(body=ATTRIBUTION, fixtures="modelcheck, modelcheck_snapshot")


def edit(project, old, new, file=FILE):
    path = project.path / "snapshots" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_missing_file_fails_with_the_flag_that_records_it(locked):
    run = locked.run().outcomes(failed=1)
    run.has(
        f"""
        snapshot: attribution expected a recorded snapshot in snapshots/{FILE}, found no such file in net
        next: To record it, run pytest --modelcheck --snapshot-update and commit the file.
        """
    )
    assert locked.files() == []


def test_the_flag_records_and_the_next_run_is_green_and_changes_nothing(locked):
    locked.run("--snapshot-update").outcomes(passed=1).has("1 snapshot generated.")
    assert locked.files() == [FILE]
    recorded = (locked.path / "snapshots" / FILE).read_bytes()
    locked.run().outcomes(passed=1).has("1 snapshot passed.")
    locked.run("--snapshot-update").outcomes(passed=1)
    assert (locked.path / "snapshots" / FILE).read_bytes() == recorded


def test_the_file_begins_with_the_kind_the_counting_rule_and_the_versions(locked):
    locked.run("--snapshot-update")
    lines = (locked.path / "snapshots" / FILE).read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [
        "# pytest-modelcheck attribution",
        "# nodes: the graph, its subgraphs and its functions, Constant nodes left out; -72 means 72 nodes fewer",
    ]
    assert lines[2].startswith("# recorded with: exporter torchscript, onnx ")
    assert ", torch 2." in lines[2]
    assert re.fullmatch("# optimized graph: [0-9a-f]{12}", lines[3])
    assert lines[4:8] == ["", "target: portable", "nodes: 3 -> 3", "constants: 0 -> 0"]
    assert lines[8].startswith("passes: eliminate_dead_nodes, ")
    assert lines[8].endswith(", fuse_gelu, settle")
    assert lines[9:] == []


def test_a_file_without_the_digest_of_the_optimized_graph_is_right_and_gets_it_by_the_flag(locked):
    locked.run("--snapshot-update")
    file = locked.path / "snapshots" / FILE
    recorded = file.read_text(encoding="utf-8")
    digest = next(line for line in recorded.splitlines() if line.startswith("# optimized graph"))
    edit(locked, f"{digest}\n", "")
    locked.run().outcomes(passed=1)
    edit(locked, "nodes: 3 -> 3", "nodes: 4 -> 3")
    locked.run().outcomes(failed=1).has("where: nodes: 4 -> 3, now 3 -> 3").lacks("the optimized graph is")
    locked.run("--snapshot-update").outcomes(passed=1)
    assert file.read_text(encoding="utf-8") == recorded


def test_each_difference_is_named(locked):
    locked.run("--snapshot-update")
    edit(locked, "nodes: 3 -> 3", "nodes: 4 -> 3")
    edit(locked, ", settle\n", ", old_pass\n\nfold_constants  0  -1  fired\nold_pass  -2  -2  fired\n")
    run = locked.run().outcomes(failed=1)
    run.has(
        """
        snapshot: attribution expected the recorded rows, found 3 differences in net (torchscript, target portable)
        where: the optimized graph is the locked one, node for node (values of weights aside)
        nodes: 4 -> 3, now 3 -> 3
        fold_constants: isolated 0, in order -1, fired, now isolated 0, in order 0, no_op
        old_pass: gone, was isolated -2, in order -2, fired
        next:  If the change is meant, run pytest --modelcheck --snapshot-update and review the diff of
        """
    )
    run.has(f"snapshots/{FILE}").lacks("Recorded with", str(locked.path / "snapshots"))


def test_a_new_pass_that_does_nothing_leaves_the_snapshot_alone(locked):
    locked.run("--snapshot-update")
    edit(locked, ", fuse_gelu, settle\n", ", settle\n")
    locked.run().outcomes(passed=1)
    locked.run("--snapshot-update").outcomes(passed=1)
    assert ", fuse_gelu, settle\n" in (locked.path / "snapshots" / FILE).read_text(encoding="utf-8")


def test_passes_in_another_order_are_a_difference_with_words(locked):
    locked.run("--snapshot-update")
    edit(locked, "fuse_layernorm, fuse_gelu", "fuse_gelu, fuse_layernorm")
    run = locked.run().outcomes(failed=1)
    run.has("found 1 difference in net", "the same rows, in a different order or with different spaces")


def test_versions_that_differ_are_said_where_rows_differ(locked):
    locked.run("--snapshot-update")
    edit(locked, "nodes: 3 -> 3", "nodes: 4 -> 3")
    edit(locked, "torch 2.", "torch 1.")
    locked.run().outcomes(failed=1).has("next:  Recorded with torch 1.", "; now 2.".replace(";", ","))


@pytest.mark.parametrize(
    ("old", "new"),
    [("torch 2.", "torch 1."), ("# nodes: the graph", "# nodes: a graph"), ("\n\ntarget", "\n# a note\n\n\ntarget")],
)
def test_a_header_that_differs_never_fails(locked, old, new):
    locked.run("--snapshot-update")
    edit(locked, old, new)
    locked.run().outcomes(passed=1)


def test_line_ends_of_another_system_never_fail(locked):
    locked.run("--snapshot-update")
    path = locked.path / "snapshots" / FILE
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    locked.run().outcomes(passed=1)


def test_an_intended_change_is_recorded_by_the_flag(locked):
    locked.run("--snapshot-update")
    edit(locked, "nodes: 3 -> 3", "nodes: 4 -> 3")
    locked.run("--snapshot-update").outcomes(passed=1).has("1 snapshot updated.")
    locked.run().outcomes(passed=1)


def test_a_deleted_file_fails(locked):
    locked.run("--snapshot-update")
    (locked.path / "snapshots" / FILE).unlink()
    locked.run().outcomes(failed=1).has("found no such file", "If it was deleted by mistake, restore it.")


def test_an_unused_file_fails_the_run_and_the_flag_deletes_it(locked):
    one = "assert modelcheck.attribution == modelcheck_snapshot"
    fixtures = "modelcheck, modelcheck_snapshot"
    locked.gated(body=f"{one}\nassert modelcheck.modules == modelcheck_snapshot", fixtures=fixtures)
    locked.run("--snapshot-update")
    locked.gated(body=one, fixtures=fixtures)
    run = locked.run()
    assert run.result.ret == 1
    run.has("1 snapshot unused.", "Re-run pytest with --snapshot-update to delete unused snapshots.")
    locked.run("--snapshot-update").has("1 unused snapshot deleted.")
    assert locked.files() == [FILE]


def test_without_modelcheck_snapshots_are_neither_unused_nor_deleted(locked):
    locked.run("--snapshot-update")
    locked.run(modelcheck=False).outcomes(skipped=1)
    locked.run("--snapshot-update", modelcheck=False).outcomes(skipped=1)
    assert locked.files() == [FILE]


@pytest.mark.parametrize("broken", ["net.py", "conftest.py"])
def test_a_test_that_fails_before_its_comparison_keeps_its_snapshots(locked, broken):
    locked.run("--snapshot-update")
    old = {"net.py": "return Net()", "conftest.py": "return ModelCase"}[broken]
    locked.replace(broken, old, f"raise RuntimeError; {old}")
    run = locked.run().lacks("snapshot unused", "to delete unused snapshots")
    assert run.result.ret == 1
    assert locked.run("--snapshot-update").result.ret == 1
    assert locked.files() == [FILE]
    locked.replace(broken, "raise RuntimeError; ", "").run().outcomes(passed=1)


def test_a_skipped_test_keeps_its_snapshots_while_others_are_recorded(project):
    source = f"""
    def test_skipped(modelcheck, modelcheck_snapshot):
        {ATTRIBUTION}

    def test_other(modelcheck, modelcheck_snapshot):
        {ATTRIBUTION}
    """
    project.test(source).run("--snapshot-update").outcomes(passed=2).lacks("Can not relate")
    project.test(source.replace("    def test_skipped", "    @pytest.mark.skip\n    def test_skipped"))
    project.run("--snapshot-update").outcomes(passed=1, skipped=1)
    assert project.files() == ["test_it/test_other.attribution.txt", "test_it/test_skipped.attribution.txt"]


def test_a_selection_of_tests_leaves_the_snapshots_of_the_others_alone(project):
    source = f"""
    def test_one(modelcheck, modelcheck_snapshot):
        {ATTRIBUTION}

    def test_other(modelcheck, modelcheck_snapshot):
        {ATTRIBUTION}
    """
    project.test(source).test(source, "test_more.py").run("--snapshot-update").outcomes(passed=4)
    project.run("--snapshot-update", "-k", "other").outcomes(passed=2, deselected=2)
    project.run("--snapshot-update", "test_it.py::test_one").outcomes(passed=1)
    project.run("--snapshot-update", "test_more.py").outcomes(passed=2)
    assert len(project.files()) == 4


def test_the_snapshots_of_a_deleted_test_file_are_unused(project):
    source = f"""
    def test_net(modelcheck, modelcheck_snapshot):
        {ATTRIBUTION}
    """
    project.test(source).test(source, "test_more.py").run("--snapshot-update").outcomes(passed=2)
    (project.path / "test_more.py").unlink()
    assert project.run().has("1 snapshot unused.").result.ret == 1
    project.run("--snapshot-update").outcomes(passed=1)
    assert project.files() == [FILE]


def test_a_failed_comparison_in_front_of_others_leaves_none_unused(locked):
    locked.gated(body=f"{ATTRIBUTION}\n{FUSION}", fixtures="modelcheck, modelcheck_snapshot")
    locked.run("--snapshot-update").outcomes(passed=1)
    edit(locked, "nodes: 3", "nodes: 5")
    locked.run().outcomes(failed=1).lacks("snapshot unused")


def test_two_kinds_and_two_results_of_one_kind_have_files_of_their_own(project):
    body = f"{ATTRIBUTION}\n{FUSION}\n{ATTRIBUTION}"
    project.gated(body=body, fixtures="modelcheck, modelcheck_snapshot").run("--snapshot-update").outcomes(passed=1)
    assert project.files() == [
        "test_it/test_net.attribution.2.txt",
        "test_it/test_net.attribution.txt",
        "test_it/test_net.fusion.txt",
    ]
    project.run().outcomes(passed=1)
    edit(project, "nodes: 3", "nodes: 5", "test_it/test_net.attribution.2.txt")
    project.run().outcomes(failed=1).has("nodes: 5 -> 3, now 3 -> 3", "attribution.2.txt")


def test_the_snapshot_may_stand_on_either_side(project):
    project.gated(
        body="assert modelcheck_snapshot == modelcheck.attribution", fixtures="modelcheck,modelcheck_snapshot"
    )
    project.run().outcomes(failed=1).has("found no such file")
    project.run("--snapshot-update").outcomes(passed=1)
    project.run().outcomes(passed=1)


def test_what_is_not_a_result_is_a_type_error_that_names_what_can_be_locked(project):
    project.gated(body="assert {'Gemm': 2} == modelcheck_snapshot", fixtures="modelcheck, modelcheck_snapshot")
    project.run().outcomes(failed=1).has(
        "TypeError: modelcheck_snapshot cannot lock a dict; it locks Interface (modelcheck.interface), "
        "Attribution (modelcheck.attribution), ModuleTable (modelcheck.modules), FusionReport (modelcheck.fusion)"
    )
    assert project.files() == []


def test_a_mismatch_and_the_gates_stand_in_one_report(project):
    project.gated("expect_ops(Gemm=3)", body=ATTRIBUTION, fixtures="modelcheck, modelcheck_snapshot")
    project.run("--snapshot-update").outcomes(failed=1)
    edit(project, "nodes: 3", "nodes: 5")
    project.run().outcomes(failed=1).has("nodes: 5 -> 3, now 3 -> 3", "expect_ops: Gemm expected 3, found 2 in net")


def test_the_layout_mirrors_the_test_files(project):
    project.test("", "test_it.py")
    (project.path / "test_it.py").unlink()
    source = f"""
    class TestNet:
        @pytest.mark.parametrize("size", ["a", "b/c"])
        def test_net(self, modelcheck, modelcheck_snapshot, size):
            {ATTRIBUTION}
    """
    project.test(source, "models/vision/test_deep.py").run("--snapshot-update").outcomes(passed=2)
    files = project.files()
    assert files[0] == "models/vision/test_deep/TestNet.test_net[a].attribution.txt"
    assert len(files) == 2
    assert all(file.startswith("models/vision/test_deep/") for file in files)
    project.run().outcomes(passed=2)


def test_the_folder_is_an_ini_option(locked):
    locked.ini(modelcheck_snapshot_dir="locked/here").run("--snapshot-update").outcomes(passed=1)
    assert locked.files("locked/here") == [FILE]
    locked.run().outcomes(passed=1)


def test_a_project_that_uses_syrupys_own_snapshots_is_not_disturbed(project):
    source = f"""
    def test_mine(snapshot):
        assert [1, 2] == snapshot

    def test_net(modelcheck, modelcheck_snapshot, snapshot):
        {ATTRIBUTION}
        assert "both" == snapshot
    """
    project.test(source).run("--snapshot-update").outcomes(passed=2)
    assert project.files() == [FILE]
    assert project.files("__snapshots__") == ["test_it.ambr"]
    project.run().outcomes(passed=2).has("3 snapshots passed.").lacks("snapshot unused", "snapshots unused")
    edit(project, "nodes: 3", "nodes: 5")
    project.run().outcomes(failed=1, passed=1)


PARALLEL = """
    @pytest.mark.parametrize("n", range(3))
    def test_net(modelcheck, modelcheck_snapshot, n):
        assert modelcheck.attribution == modelcheck_snapshot
"""


def test_in_parallel_nothing_is_lost_and_what_is_unused_is_found(project):
    project.test(PARALLEL, "test_one.py").test(PARALLEL, "test_two.py")
    project.run("-n", "2", "--snapshot-update").outcomes(passed=6)
    files = project.files()
    assert files == [f"test_{f}/test_net[{n}].attribution.txt" for f in ("one", "two") for n in range(3)]
    for file in files:
        assert (project.path / "snapshots" / file).read_text(encoding="utf-8").endswith(", fuse_gelu, settle\n")
    project.run().outcomes(passed=6).has("6 snapshots passed.").lacks("snapshot unused", "snapshots unused")
    edit(project, "nodes: 3", "nodes: 5", files[4])
    project.test(PARALLEL.replace("range(3)", "range(2)"), "test_one.py")
    run = project.run("-n", "2", "--modelcheck-report=out.json").outcomes(passed=4, failed=1)
    run.has("nodes: 5 -> 3, now 3 -> 3", "1 snapshot failed. 4 snapshots passed. 1 snapshot unused.")
    assert run.text.count("= modelcheck =") == 1  # workers send their rows to one summary and one report
    tests = [test["test"] for test in project.report()["tests"]]
    assert tests == [f"test_{f}.py::test_net[{n}]" for f, count in (("one", 2), ("two", 3)) for n in range(count)]


def test_the_snapshots_of_a_deleted_test_file_are_noticed_when_pytest_gets_a_path(project):
    source = f"\ndef test_net(modelcheck, modelcheck_snapshot):\n    {ATTRIBUTION}\n"
    project.ini(addopts="--import-mode=importlib").test(source, "a/test_it.py").test(source, "b/test_it.py")
    project.run("--snapshot-update").outcomes(passed=2)
    (project.path / "b" / "test_it.py").unlink()
    run = project.run("a/test_it.py")
    run.has(
        "test_it: 1 file of", "b/test_it.py, which does not exist; pytest --modelcheck --snapshot-update deletes them"
    )
    assert run.result.ret == 1
    project.run("--snapshot-update", "a/test_it.py").outcomes(passed=1)
    assert project.files() == ["a/test_it/test_net.attribution.txt"]
