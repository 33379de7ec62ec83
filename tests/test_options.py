"""Every option, from the command line and from the ini file; the command line wins."""

import pytest

from pytest_modelcheck import options

READ = """
    import pytest
    from pytest_modelcheck.options import read_options

    @pytest.fixture
    def value(request):
        options = read_options(request.config)
        return lambda name: getattr(options, name)
"""


def values(project, *args, **ini):
    """The options of a run, as text by name."""
    names = list(options.Options.__dataclass_fields__)
    body = "\n".join(f"print('{name} is', repr(value('{name}')), '.')" for name in names)
    project.conftest(READ).gated(body=body, fixtures="value").ini(**ini)
    run = project.run("-s", *args, modelcheck=False).outcomes(passed=1)
    lines = [line.lstrip(".").removeprefix("test_it.py ") for line in run.result.outlines]
    return {line.partition(" is ")[0]: line.partition(" is ")[2].removesuffix(" .") for line in lines if " is " in line}


def test_defaults(project):
    found = values(project)
    root = project.path
    assert found == {
        "enabled": "False",
        "models": "()",
        "reports": "()",
        "cache": f"PosixPath('{root}/.modelcheck')",
        "exporter": "None",
        "target": "'portable'",
        "passes": "()",
        "gates": "()",
        "explain": "False",
        "snapshots": f"PosixPath('{root}/snapshots')",
        "inconclusive": "'warn'",
        "latency_budget": "30.0",
        "export_timeout": "None",
        "known_failures": "None",
        "known_failures_strict": "False",
    }


@pytest.mark.parametrize(
    ("arguments", "ini", "option", "expected"),
    [
        (["--modelcheck"], {}, "enabled", "True"),
        ([], {"modelcheck": "true"}, "enabled", "True"),
        ([], {"modelcheck": "false"}, "enabled", "False"),
        (["--modelcheck"], {"modelcheck": "false"}, "enabled", "True"),
        (["--modelcheck-target", "opset23"], {}, "target", "'opset23'"),
        ([], {"modelcheck_target": "opset23"}, "target", "'opset23'"),
        (["--modelcheck-target", "onnxruntime"], {"modelcheck_target": "opset23"}, "target", "'onnxruntime'"),
        (["--modelcheck-exporter", "torchscript"], {}, "exporter", "'torchscript'"),
        ([], {"modelcheck_exporter": "dynamo"}, "exporter", "'dynamo'"),
        (["--modelcheck-exporter", "torchscript"], {"modelcheck_exporter": "dynamo"}, "exporter", "'torchscript'"),
        (["--modelcheck-cache", "/a"], {}, "cache", "PosixPath('/a')"),
        ([], {"modelcheck_cache": "/b"}, "cache", "PosixPath('/b')"),
        (["--modelcheck-cache", "/a"], {"modelcheck_cache": "/b"}, "cache", "PosixPath('/a')"),
        (["--modelcheck-no-cache"], {}, "cache", "None"),
        (["--modelcheck-explain"], {}, "explain", "True"),
        ([], {"modelcheck_explain": "true"}, "explain", "True"),
        ([], {"modelcheck_no_cache": "true"}, "cache", "None"),
        ([], {"modelcheck_no_cache": "false", "modelcheck_cache": "/b"}, "cache", "PosixPath('/b')"),
        (["--modelcheck-no-cache"], {"modelcheck_no_cache": "false"}, "cache", "None"),
        (["--modelcheck-report=/a.json"], {}, "reports", "(PosixPath('/a.json'),)"),
        ([], {"modelcheck_report": "/b.json"}, "reports", "(PosixPath('/b.json'),)"),
        (["--modelcheck-report=/a.json"], {"modelcheck_report": "/b.json"}, "reports", "(PosixPath('/a.json'),)"),
        (
            ["--modelcheck-report=/a.json", "--modelcheck-report=/c.json"],
            {},
            "reports",
            "(PosixPath('/a.json'), PosixPath('/c.json'))",
        ),
        ([], {"modelcheck_passes": "\n  fold_constants\n  fuse_gelu"}, "passes", "('fold_constants', 'fuse_gelu')"),
        ([], {"modelcheck_snapshot_dir": "/locked"}, "snapshots", "PosixPath('/locked')"),
        ([], {"modelcheck_inconclusive": "fail"}, "inconclusive", "'fail'"),
        ([], {"modelcheck_latency_budget": "0.5"}, "latency_budget", "0.5"),
        (["--modelcheck-inconclusive", "skip"], {"modelcheck_inconclusive": "fail"}, "inconclusive", "'skip'"),
        (["--modelcheck-latency-budget", "2"], {"modelcheck_latency_budget": "0.5"}, "latency_budget", "2.0"),
        (["--modelcheck-export-timeout", "60"], {"modelcheck_export_timeout": "5"}, "export_timeout", "60.0"),
        ([], {"modelcheck_known_failures_strict": "true"}, "known_failures_strict", "True"),
    ],
)
def test_each_option_from_each_source_and_the_command_line_wins(project, arguments, ini, option, expected):
    assert values(project, "--modelcheck-report=/dev/null.json", *arguments, **ini)[option] == expected or (
        option == "reports" and values(project, *arguments, **ini)[option] == expected
    )


@pytest.mark.parametrize(
    ("arguments", "ini", "message"),
    [
        (
            ["--modelcheck-target=opset22"],
            {},
            "--modelcheck-target: 'opset22' is unknown; choose one of portable, opset23, onnxruntime",
        ),
        (
            [],
            {"modelcheck_target": "Portable"},
            "--modelcheck-target: 'Portable' is unknown; choose one of portable, opset23, onnxruntime",
        ),
        (
            ["--modelcheck-exporter=onnx"],
            {},
            "--modelcheck-exporter: 'onnx' is unknown; choose one of dynamo, torchscript",
        ),
        (
            [],
            {"modelcheck_exporter": "x"},
            "--modelcheck-exporter: 'x' is unknown; choose one of dynamo, torchscript",
        ),
        (["--modelcheck-report=out.txt"], {}, "--modelcheck-report: 'out.txt' must end in .html or .md or .json"),
        ([], {"modelcheck_report": "out"}, "--modelcheck-report: 'out' must end in .html or .md or .json"),
        (
            [],
            {"modelcheck_inconclusive": "pass"},
            "modelcheck_inconclusive: 'pass' is unknown; choose one of warn, missed, fail, skip",
        ),
        ([], {"modelcheck_latency_budget": "long"}, "modelcheck_latency_budget: 'long' is not a number of seconds"),
        ([], {"modelcheck_export_timeout": "soon"}, "modelcheck_export_timeout: 'soon' is not a number of seconds"),
        ([], {"modelcheck_latency_budget": "0"}, "modelcheck_latency_budget: '0' must be above 0 and finite"),
        ([], {"modelcheck_latency_budget": "nan"}, "modelcheck_latency_budget: 'nan' must be above 0 and finite"),
    ],
)
def test_a_value_that_cannot_be_used_is_a_usage_error(project, arguments, ini, message):
    project.gated("expect_ops(Gemm=2)").ini(**ini).run(*arguments).usage_error(message)


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("fuse_gelo", "pass 'fuse_gelo' is unknown; did you mean 'fuse_gelu'?"),
        ("nowhere:optimize", "pass 'nowhere:optimize' cannot be loaded: ModuleNotFoundError: No module"),
        ("net:nothing", "pass 'net:nothing' cannot be loaded: AttributeError: module 'net' has no attribute 'nothing'"),
        ("math:pi", "pass 'math:pi' is a float: neither an onnx_ir pass nor a function"),
    ],
)
def test_a_pipeline_that_cannot_be_made_is_a_usage_error(project, passes, message):
    project.gated("expect_ops(Gemm=2)").ini(modelcheck_passes=passes).run().usage_error(message)


def test_the_pipeline_of_the_ini_file_is_the_one_that_runs(project):
    project.file("mine.py", "def nothing(model): return model\n")
    project.gated(body="assert [row.name for row in modelcheck.attribution.passes] == ['nothing', 'fold_constants']")
    project.ini(modelcheck_passes="\n  mine:nothing\n  fold_constants").run().outcomes(passed=1)


def test_the_exporter_and_the_target_of_the_command_line_reach_the_check(project):
    project.conftest(
        """
        import pytest
        from pytest_modelcheck import ModelCase
        import net

        @pytest.fixture
        def model_case():
            return ModelCase("net", net.build, net.inputs, exporter="dynamo")
        """
    )
    project.gated(body="assert modelcheck.settings.context == 'torchscript, target opset23'")
    project.run("--modelcheck-exporter=torchscript", "--modelcheck-target=opset23").outcomes(passed=1)


def test_every_option_has_a_help_line(project):
    run = project.run("--help", modelcheck=False)
    run.has("--modelcheck ", "--modelcheck-report=FILE", "--modelcheck-cache=DIR", "modelcheck_passes (linelist):")
