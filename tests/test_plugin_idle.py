"""A run that does not use the plugin pays nothing for it: whole runs, with tests, in a process of their own."""

import pytest

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "numpy", "sympy", "transformers", "google.protobuf")

CONFTEST = f"""
    import sys

    def pytest_unconfigure(config):
        print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
        print("gates:", [name for name in sys.modules if name.startswith("pytest_modelcheck.gates.") and
                         name.rpartition(".")[2] not in ("gate", "registry", "evaluate")])
"""

PLAIN = """
    import pytest

    @pytest.mark.parametrize("n", range(3))
    def test_plain(n):
        assert n >= 0

    @pytest.mark.xfail
    def test_fails():
        assert False
"""

UNUSED = """
    import pytest

    @pytest.mark.expect_ops(Gemm=2)
    def test_checks_a_model(modelcheck): pass
"""


@pytest.mark.parametrize("arguments", [(), ("--modelcheck",), ("--strict-markers",)])
def test_a_run_of_plain_tests_loads_nothing_heavy(pytester, arguments):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(PLAIN)
    done = pytester.runpytest_subprocess("-s", *arguments)
    done.assert_outcomes(passed=3, xfailed=1)
    done.stdout.fnmatch_lines(["loaded: []", "gates: []"])


def test_a_skipped_model_check_loads_nothing_heavy(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(UNUSED)
    done = pytester.runpytest_subprocess("-s", "--strict-markers")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["loaded: []", "gates: []"])


def test_reading_a_marker_loads_its_own_gate_and_no_other(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(UNUSED)
    done = pytester.runpytest_subprocess("-s", "--modelcheck", "--collect-only")
    done.stdout.fnmatch_lines(["gates: ['pytest_modelcheck.gates.ops']"])
