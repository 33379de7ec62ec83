"""What an earlier run has measured is taken only where nothing it depends on has changed."""

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.check import ModelCheck, torch_side
from pytest_modelcheck.export import export
from pytest_modelcheck.gates import latency_measures
from pytest_modelcheck.gates.accuracy import measure_accuracy
from pytest_modelcheck.gates.latency_measures import measure_speedup
from pytest_modelcheck.latency import PairedLatency
from pytest_modelcheck.recorder import reads
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.runtimes import How
from pytest_modelcheck.store import describe, environment
from tests.gate_checks import ask

WEIGHT = [1.0]


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)
        with torch.no_grad():
            self.first.weight[0, 0] = WEIGHT[0]

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def inputs(seed):
    return {"x": torch.randn(3, 8, generator=torch.Generator().manual_seed(seed))}


def check_of(cache, **options):
    return ModelCheck(ModelCase("network", Network, inputs, exporter="torchscript"), cache=cache, **options)


def measure(check, **accuracy):
    return check.attribution, check.fusion, measure_accuracy(check, seeds=3, **accuracy)


def taken(check):
    return sorted(check.summary()["reused"])


@pytest.fixture
def cache(tmp_path):
    measure(check_of(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_second_run_takes_everything_and_gets_the_same_results(tmp_path):
    first = check_of(tmp_path)
    attribution, fusion, accuracy = measure(first)
    second = check_of(tmp_path)
    again = measure(second)
    assert taken(first) == []
    assert taken(second) == ["accuracy", "fusion", "passes"]
    assert again[0].passes == attribution.passes
    assert again[0].records == attribution.records
    assert again[1:] == (fusion, accuracy)
    assert [node.op_type for node in again[0].optimized.graph] == [node.op_type for node in attribution.optimized.graph]
    assert second.graphs.optimized_hierarchy.kinds == first.graphs.optimized_hierarchy.kinds


def test_another_weight_takes_nothing(cache, monkeypatch):
    monkeypatch.setitem(globals(), "WEIGHT", [2.0])
    check = check_of(cache)
    measure(check)
    assert taken(check) == []


@pytest.fixture
def captures(monkeypatch):
    """The names of the cases whose module was captured."""
    made = []
    original = torch_side.capture

    def capture(case, **given):
        made.append(case.name)
        return original(case, **given)

    monkeypatch.setattr(torch_side, "capture", capture)
    return made


def activated(module, x):
    return torch.relu(x)


def other_inputs(seed):
    return {"x": 2 * inputs(seed)["x"]}


@pytest.mark.parametrize(
    ("changed", "times"),
    [
        ({}, 1),
        ({"opset": 17, "dynamic_axes": {"x": {0: "batch"}}}, 1),
        ({"exporter": "dynamo"}, 1),
        ({"name": "other"}, 2),
        ({"output_names": ["y"]}, 2),
        ({"inputs": other_inputs}, 2),
        ({"activated": lambda module, x: torch.relu(x).neg()}, 2),
        ({"WEIGHT": [2.0]}, 2),
        ({"SLOPE": "1"}, 2),
    ],
)
def test_the_cases_of_one_model_are_captured_once(tmp_path, monkeypatch, captures, changed, times):
    class Net(Network):
        def forward(self, x):
            return super().forward(activated(self, x)) * float(os.environ.get("SLOPE", "2"))

    def build():
        return Net()

    settings = {"name": "net", "build": build, "inputs": inputs, "exporter": "torchscript"}
    monkeypatch.delenv("SLOPE", raising=False)
    first = ModelCheck(ModelCase(**settings), cache=tmp_path).fusion
    for name in ("activated", "WEIGHT"):
        if name in changed:
            monkeypatch.setitem(globals(), name, changed[name])
    if "SLOPE" in changed:
        monkeypatch.setenv("SLOPE", changed["SLOPE"])
    options = {name: value for name, value in changed.items() if name.islower() and name != "activated"}
    second = ModelCheck(ModelCase(**{"opset": 18, **settings, **options}), cache=tmp_path).fusion
    assert len(captures) == times
    assert (second is first) == (times == 1)


@pytest.mark.parametrize(
    ("options", "accuracy", "expected"),
    [
        ({"target": "onnxruntime"}, {}, ["fusion"]),
        ({"passes": ()}, {}, ["fusion"]),
        ({}, {"atol": 1e-3}, ["fusion", "passes"]),
    ],
)
def test_another_setting_takes_only_what_does_not_depend_on_it(cache, options, accuracy, expected):
    check = check_of(cache, **options)
    measure(check, **accuracy)
    assert taken(check) == expected


def test_another_session_option_of_the_case_measures_the_numbers_again(cache):
    options = {"session.disable_prepacking": "1"}
    case = ModelCase("network", Network, inputs, exporter="torchscript", session_options=options)
    check = ModelCheck(case, cache=cache)
    measure(check)
    assert taken(check) == ["fusion", "passes"]


def test_a_worker_with_fewer_threads_takes_what_a_run_without_workers_has_measured(cache, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "64")
    check = check_of(cache)
    measure(check)
    assert taken(check) == ["accuracy", "fusion", "passes"]


def test_another_processor_library_or_setting_measures_the_numbers_again(cache, monkeypatch):
    monkeypatch.setitem(environment._SETTINGS_AT_START, "OMP_SCHEDULE", "static")
    check = check_of(cache)
    measure(check)
    assert taken(check) == []


def test_a_setting_that_a_model_s_library_made_later_on_changes_nothing(cache, monkeypatch):
    monkeypatch.setenv("OMP_SCHEDULE", "static")
    check = check_of(cache)
    measure(check)
    assert taken(check) == ["accuracy", "fusion", "passes"]


def test_a_sweep_is_made_again_when_a_file_that_only_another_seed_reads_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(reads, "seen", dict(reads.seen))  # no later test of this file has read it
    factor = tmp_path / "factor.txt"

    def drawn(seed):
        scale = float(factor.read_text()) if seed == 2 else 1.0
        return {"x": scale * inputs(seed)["x"]}

    def build():  # of its own: what was read for one build counts for every case of it
        return Network()

    def check():
        case = ModelCase("network", build, drawn, exporter="torchscript")
        check = ModelCheck(case, cache=tmp_path / "cache")
        measure(check)
        return check

    factor.write_text("1.0")
    reads.written.clear()  # as if another process had written it
    check()
    assert taken(check()) == ["accuracy", "fusion", "passes"]
    factor.write_text("2.0")
    reads.written.clear()
    assert taken(check()) == ["fusion", "passes"]


def test_a_pass_of_the_user_is_run_every_time(tmp_path):
    def drop_nothing(model):
        return model

    for _ in range(2):
        check = check_of(tmp_path, passes=[drop_nothing])
        assert [row.name for row in check.attribution.passes] == ["drop_nothing"]
        assert taken(check) == []


def test_a_pass_of_the_user_whose_code_changed_under_the_same_name_is_measured_anew(tmp_path):
    class Scale:
        """Scales the output when told so; its repr does not say that."""

        name = "scale"

        def __init__(self, factor):
            self.factor = factor

        def __repr__(self):
            return "Scale()"

        def __call__(self, proto):
            bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "second.bias")
            scaled = self.factor * onnx.numpy_helper.to_array(bias)
            bias.CopyFrom(onnx.numpy_helper.from_array(scaled.astype(np.float32), bias.name))
            return proto

    assert measure_accuracy(check_of(tmp_path, passes=[Scale(1)]), seeds=3).passed
    changed = check_of(tmp_path, passes=[Scale(2)])
    assert not measure_accuracy(changed, seeds=3).passed
    assert taken(changed) == []


def test_a_sweep_that_failed_is_measured_again(tmp_path):
    for _ in range(2):
        check = check_of(tmp_path)
        assert not measure_accuracy(check, atol=0.0, rtol=0.0, seeds=3).passed
        assert taken(check) in ([], ["passes"])


@pytest.fixture
def paired(monkeypatch):
    """What is measured, without a clock: the verdicts that `measure_paired` gives, the last one from then on."""
    verdicts = [Verdict.PASS]

    def measure_paired(a, b, **how):
        verdict = verdicts.pop(0) if len(verdicts) > 1 else verdicts[0]
        figures = {"interval": (1.0, 1.2), "noise": (0.99, 1.01), "a_ms": 2.2, "b_ms": 2.0, "seconds": 1.0}
        return PairedLatency(ratio=1.1, pairs=9, verdict=verdict, reason="", **figures)

    monkeypatch.setattr(latency_measures, "measure_paired", measure_paired)
    return verdicts


def latency_of(cache, bound=">=0.95", **how):
    check = check_of(cache)
    return measure_speedup(check, parse_bound(bound), How(optimizer=True, **how)), "latency" in taken(check)


def test_a_latency_that_met_its_bound_is_taken_for_the_same_files(tmp_path, paired):
    first, second = latency_of(tmp_path), latency_of(tmp_path)
    assert first == (second[0], False)
    assert second[1]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_a_latency_that_did_not_meet_its_bound_is_measured_again(tmp_path, paired, verdict):
    paired[:] = [verdict, Verdict.PASS]
    assert latency_of(tmp_path)[0].verdict is verdict
    assert latency_of(tmp_path)[0].verdict is Verdict.PASS


@pytest.mark.parametrize(("bound", "how"), [(">=1.0", {}), (">=0.95", {"threads": 2})])
def test_a_latency_is_measured_again_for_another_bound_or_number_of_threads(tmp_path, paired, bound, how):
    latency_of(tmp_path)
    assert not latency_of(tmp_path, bound, **how)[1]


def test_a_latency_is_measured_again_for_another_graph_or_processor(tmp_path, paired, monkeypatch):
    latency_of(tmp_path)
    monkeypatch.setitem(globals(), "WEIGHT", [2.0])
    assert not latency_of(tmp_path)[1]
    monkeypatch.setattr(environment, "_processor", lambda: "another")
    assert not latency_of(tmp_path)[1]


def test_a_module_edited_after_its_export_is_measured_and_fails(cache):
    check = check_of(cache)
    assert check.exported.cached
    with torch.no_grad():
        check.torch.module.second.bias[0] += 1.0
    report = measure_accuracy(check, seeds=3)
    assert not report.passed
    assert "accuracy" not in taken(check)
    assert not check.torch.built, "the edited module reaches no later test"


@pytest.mark.parametrize(("asked_before", "times"), [(False, 1), (True, 2)])
def test_weights_are_read_again_only_where_a_test_may_have_edited_them(cache, monkeypatch, asked_before, times):
    read, tensor = [], describe.Describer._tensor

    def counted(self, path, value):
        read.append(path)
        tensor(self, path, value)

    monkeypatch.setattr(describe.Describer, "_tensor", counted)
    check = check_of(cache)
    assert not asked_before or check.exported.cached
    assert ask(check, "expect_accuracy", seeds=3).verdict is Verdict.PASS
    assert read.count("model.first.weight") == times


def test_without_a_cache_nothing_is_looked_for_and_the_optimized_graph_is_a_file_all_the_same():
    check = check_of(None)
    measure(check)
    assert taken(check) == []
    assert check.graphs.optimized_path.is_file()


def test_nothing_is_written_beside_a_file_of_the_user(tmp_path):
    exported = export(ModelCase("network", Network, inputs, exporter="torchscript"))
    mine = tmp_path / "mine"
    mine.mkdir()
    ir.save(exported.model, mine / "model.onnx")
    check = ModelCheck(ModelCase.from_onnx(mine / "model.onnx"), cache=tmp_path / "cache")
    assert measure_accuracy(check, seeds=2).passed
    assert [file.name for file in mine.iterdir()] == ["model.onnx"]
    assert np.isfinite(measure_accuracy(check, seeds=2).pairs[0].scaled_max)


@pytest.mark.parametrize(("seed", "taken_again"), [(2, False), (9, True)])
def test_inputs_that_are_read_in_c_are_known_by_their_numbers(tmp_path, seed, taken_again):
    def write(number, value):
        (tmp_path / f"{number}.bin").write_bytes(np.full(24, value, np.float32).tobytes())

    for number in range(10):
        write(number, number + 1)
    case = ModelCase(
        "network",
        Network,
        lambda seed: {"x": torch.from_file(str(tmp_path / f"{seed}.bin"), size=24).view(3, 8)},
        exporter="torchscript",
    )
    measure_accuracy(ModelCheck(case, cache=tmp_path / "cache"), seeds=3, varied=False)
    write(seed, -1)
    again = ModelCheck(case, cache=tmp_path / "cache")
    measure_accuracy(again, seeds=3, varied=False)
    assert again.exported.cached
    assert ("accuracy" in taken(again)) == taken_again
