"""Nothing passes because nothing ran: gates that never ran, snapshots nobody compared, runs that were cut short."""

NEVER_RAN = "expect_ops never ran. Gates need the plugin's own fixture `modelcheck` in a test function"


def test_a_gate_on_a_unittest_class_does_not_pass(project):
    project.file(
        "test_unit.py",
        """
        import unittest
        import pytest

        @pytest.mark.usefixtures("modelcheck")
        @pytest.mark.expect_ops(Gemm=99)
        class TestNet(unittest.TestCase):
            def test_it(self):
                pass
        """,
    ).run().outcomes(failed=1).has(NEVER_RAN)


def test_a_gate_whose_fixture_the_project_overrides_does_not_pass(project):
    project.file(
        "test_own.py",
        """
        import pytest

        @pytest.fixture
        def modelcheck():
            return 1

        @pytest.mark.expect_ops(Gemm=99)
        def test_it(modelcheck):
            pass
        """,
    ).run().outcomes(failed=1).has(NEVER_RAN)


def test_a_marker_that_a_fixture_adds_is_judged(project):
    project.file(
        "test_late.py",
        """
        import pytest

        @pytest.fixture
        def late(request):
            request.node.add_marker(pytest.mark.expect_ops(Gemm=99))

        def test_it(late, modelcheck):
            pass
        """,
    ).run().outcomes(failed=1).has("expect_ops: Gemm expected 99, found 2 in net")


def test_a_comparison_without_assert_does_not_pass(project):
    body = "modelcheck.attribution == modelcheck_snapshot"
    project.gated(body=body, fixtures="modelcheck, modelcheck_snapshot")
    project.run().outcomes(failed=1).has("snapshot: attribution expected a recorded snapshot in")


def test_a_snapshot_fixture_that_compares_nothing_does_not_pass(project):
    project.gated(fixtures="modelcheck, modelcheck_snapshot")
    project.run().outcomes(failed=1).has("test_net uses modelcheck_snapshot and compares nothing with it")


def test_a_failed_pass_cannot_be_locked(project):
    project.file("broken.py", "def boom(model):\n    raise RuntimeError('boom')\n").ini(modelcheck_passes="broken:boom")
    project.gated(
        body="assert modelcheck.attribution == modelcheck_snapshot", fixtures="modelcheck, modelcheck_snapshot"
    )
    project.run("--snapshot-update").outcomes(failed=1).has("an attribution with a failed pass cannot be locked: boom")
    assert not list(project.path.rglob("*.attribution.txt"))


def test_a_run_that_is_cut_short_deletes_no_snapshot_of_a_test_it_did_not_reach(project):
    text = """
        import os
        import pytest

        def test_a(modelcheck, modelcheck_snapshot):
            assert "BOOM" not in os.environ
            assert modelcheck.attribution == modelcheck_snapshot

        def test_b(modelcheck, modelcheck_snapshot):
            assert modelcheck.attribution == modelcheck_snapshot
    """
    project.file("test_two.py", text).run("--snapshot-update").outcomes(passed=2)
    recorded = sorted(project.path.rglob("*.attribution.txt"))
    project.file("test_two.py", text.replace('"BOOM" not in os.environ', "False"))
    project.run("--snapshot-update", "-x").outcomes(failed=1).lacks("deleted")
    project.file("test_two.py", text.replace('assert "BOOM" not in os.environ', "pytest.exit('enough')"))
    project.run("--snapshot-update")
    assert sorted(project.path.rglob("*.attribution.txt")) == recorded


def test_ids_that_differ_only_in_characters_no_file_name_has_get_two_snapshots(project):
    text = """
        import pytest

        @pytest.mark.parametrize("which", ["a/b", "a:b"])
        def test_it(which, modelcheck, modelcheck_snapshot):
            assert modelcheck.attribution == modelcheck_snapshot
    """
    project.file("test_ids.py", text).run("--snapshot-update").outcomes(passed=2)
    assert len(list(project.path.rglob("*.attribution.txt"))) == 2
    project.run().outcomes(passed=2).lacks("snapshot unused", "snapshots unused")


def test_a_snapshot_that_cannot_be_read_is_a_finding_and_no_doctest(project):
    project.gated(
        body="assert modelcheck.attribution == modelcheck_snapshot", fixtures="modelcheck, modelcheck_snapshot"
    )
    project.run("--snapshot-update").outcomes(passed=1)
    (snapshot,) = project.path.rglob("*.attribution.txt")
    snapshot.write_bytes(b"\xff\xfe\x00")
    project.run().outcomes(failed=1).has("found UnicodeDecodeError")


def test_a_result_fixture_whose_model_cannot_be_built_fails_with_the_finding_alone(project):
    project.replace("net.py", "def build():", "def build():\n    raise RuntimeError('no weights')").gated(
        fixtures="exported"
    )
    project.run().outcomes(errors=1).has("build() raised RuntimeError: no weights").lacks("check.py:")


def test_a_pass_whose_module_raises_is_an_option_error(project):
    project.file("broken.py", "1 / 0\n").ini(modelcheck_passes="broken:run")
    project.gated("expect_ops(Gemm=2)").run().usage_error("pass 'broken:run' cannot be loaded: ZeroDivisionError")
