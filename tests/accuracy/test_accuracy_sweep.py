"""`sweep` over a real export: what agrees, what does not, and what is said about it."""

import contextlib
import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Stage, session_stage, standard_stages, sweep, torch_stage
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(8, 16)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x):
        logits = self.head(torch.relu(self.hidden(x)))
        return {"logits": logits, "label": logits.argmax(-1)}


CASE = ModelCase("classifier", Classifier, lambda seed: {"x": torch.randn(3, 8)}, exporter="torchscript")


@pytest.fixture(scope="module")
def module():
    return build_module(CASE)


@pytest.fixture(scope="module")
def artifact(module):
    return export(CASE, module=module)


def swept(module, artifact, optimized=None, **kwargs):
    stages = standard_stages(CASE, module, artifact.path, artifact.model if optimized is None else optimized)
    return sweep(stages, lambda seed: module_inputs(CASE, module, seed), model="classifier", **kwargs)


def initializer(model, shape):
    return next(value for value in model.graph.initializers.values() if tuple(value.shape) == shape)


def change(model, shape, edit):
    value = initializer(model, shape)
    array = value.const_value.numpy().copy()
    edit(array)
    value.const_value = ir.tensor(array, name=value.name)
    return model


def test_a_faithful_export_passes_with_every_stage_compared(module, artifact):
    report = swept(module, artifact)
    assert report.passed
    assert report.seeds == tuple(range(20))
    assert [(pair.reference, pair.candidate) for pair in report.pairs] == [
        ("torch", "exported"),
        ("exported", "optimized"),
        ("exported", "exported under onnxruntime's optimizer"),
        ("optimized", "optimized under onnxruntime's optimizer"),
    ]
    assert [len(pair.seeds) for pair in report.pairs] == [20, 20, 4, 4]
    for pair in report.pairs:
        assert 0 <= pair.scaled_max <= 1e-5
    assert report.pair("optimized").scaled_max == 0.0
    assert set(report.seconds) == {"torch", *(pair.candidate for pair in report.pairs)}


def test_one_changed_weight_is_found_between_exported_and_optimized_only(module, artifact):
    optimized = change(artifact.model, (4, 16), lambda weight: weight.__setitem__((0, 0), weight[0, 0] + 1e-3))
    report = swept(module, artifact, optimized)
    assert [finding.verdict for finding in report.findings] == [Verdict.FAIL]
    assert report.pair("exported").passed
    pair = report.pair("optimized")
    failed = [result for result in pair.seeds if not result.passed]
    worst = max(pair.seeds, key=lambda result: result.scaled)
    assert (pair.worst_seed, pair.scaled_max) == (worst.seed, worst.scaled)
    text = report.findings[0].render()
    assert f"in classifier (optimized against exported, seed {worst.seed})" in text
    assert f"{len(failed)} of 20 seeds, first seed {failed[0].seed}" in text
    assert "output 'logits': over tolerance" in text
    assert "A pass changed the numbers" in text


def test_a_wrong_export_is_found_between_torch_and_exported_and_not_blamed_on_the_passes(module, artifact, tmp_path):
    path = tmp_path / "wrong.onnx"
    ir.save(change(artifact.model, (16,), lambda bias: bias.__imul__(1.01)), path)
    report = sweep(
        standard_stages(CASE, module, path, path), lambda seed: module_inputs(CASE, module, seed), model="classifier"
    )
    assert [finding.context.partition(",")[0] for finding in report.findings] == ["exported against torch"]
    assert "The exporter changed the numbers" in report.findings[0].next


def test_a_nan_weight_turns_red_once_and_is_named_on_both_sides(artifact):
    broken = build_module(CASE)
    with torch.no_grad():
        broken.head.weight[0, 0] = math.nan
    model = change(artifact.model, (4, 16), lambda weight: weight.__setitem__((0, 0), math.nan))
    report = sweep(
        standard_stages(CASE, broken, model, model), lambda seed: module_inputs(CASE, broken, seed), model="classifier"
    )
    assert len(report.findings) == 1
    assert not any(pair.passed for pair in report.pairs)
    text = report.findings[0].render()
    assert "NaN in the reference: 3 of 12 elements of the reference are NaN" in text
    assert "weights of torch with NaN or infinity: head.weight" in text
    assert "weights of exported with NaN or infinity: head.weight" in text
    assert math.isnan(report.pair("exported").scaled_max)


def test_a_difference_that_onnxruntimes_optimizer_makes_is_its_own_finding():
    # onnxruntime 1.20 to 1.31 folds a zero Pad into MaxPool, whose own padding is minus infinity.
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,1,4,4] x) => (float[1,1,3,3] y) <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float zero = {0}> {
     padded = Pad <mode = "constant"> (x, pads, zero)
     y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (padded)
    }"""
    model = ir.from_onnx_text(text)
    case = ModelCase.from_onnx("unused.onnx", name="pool")
    report = sweep(
        standard_stages(case, None, model),
        lambda seed: {"x": np.random.default_rng(seed).normal(-2, 1, (1, 1, 4, 4)).astype(np.float32)},
        model="pool",
    )
    assert [(pair.reference, pair.candidate) for pair in report.pairs] == [
        ("exported", "exported under onnxruntime's optimizer")
    ]
    if report.passed:
        pytest.skip("this onnxruntime has repaired the fold")
    assert "a bug of the runtime" in report.findings[0].next


# -- stages that fail, and inputs that measure nothing --------------------------------------------------------------


def stage(name, run, against=None):
    return Stage(name=name, open=lambda: contextlib.nullcontext(run), against=against)


def double(inputs):
    return {"y": 2 * inputs["x"]}


def drawn(seed):
    return {"x": np.random.default_rng(seed).standard_normal(4).astype(np.float32)}


def test_a_stage_that_fails_at_one_seed_is_an_error_that_names_the_seed_and_what_was_not_measured():
    calls = []

    def fails(inputs):
        if len(calls) == 3:
            raise RuntimeError("out of patience")
        calls.append(inputs)
        return double(inputs)

    report = sweep([stage("a", double), stage("b", fails, "a"), stage("c", double, "b")], drawn, model="m")
    assert [finding.verdict for finding in report.findings] == [Verdict.ERROR, Verdict.ERROR]
    assert (
        "stage 'b' expected outputs, found an error at seed 2: RuntimeError: out of patience"
        in report.findings[0].render()
    )
    assert "a comparison with 'b', found none: stage 'b' did not run" in report.findings[1].render()
    assert report.pairs == ()
    with pytest.raises(KeyError, match="no pair 'b'"):
        report.pair("b")


def test_a_model_that_onnxruntime_cannot_load_is_an_error_and_not_a_traceback(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nonsense")
    report = sweep([stage("a", double), session_stage("b", path, against="a")], drawn)
    assert "found an error at opening it: b: onnxruntime cannot load" in report.findings[0].render()


def test_a_node_that_breaks_the_rules_of_its_operator_has_a_way_out(tmp_path):
    path = tmp_path / "negative.onnx"
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[2,3] x) => (float[3,2] y) { y = Transpose<perm: ints = [0, -1]>(x) }"""
    onnx.save(onnx.parser.parse_model(text), path)
    report = sweep([stage("a", double), session_stage("b", path, against="a")], drawn)
    finding = report.findings[0]
    assert "Invalid attribute perm {0, -1}" in finding.found
    assert finding.next.startswith("The graph is not valid: the named node breaks the rules of its operator.")


def test_inputs_that_the_graph_does_not_have_are_an_error_with_both_lists(module, artifact):
    report = sweep(
        [torch_stage(CASE, module), session_stage("exported", artifact.path, against="torch")],
        lambda seed: {"pixels": torch.zeros(3, 8) + seed},
    )
    assert "unexpected keyword" in report.findings[0].render() or "pixels" in report.findings[0].render()


def test_inputs_that_ignore_the_seed_are_an_error_because_one_input_was_measured():
    fixed = drawn(0)
    report = sweep([stage("a", double), stage("b", double, "a")], lambda seed: fixed)
    assert [finding.verdict for finding in report.findings] == [Verdict.ERROR]
    assert "the same values for every seed" in report.findings[0].render()
    assert sweep([stage("a", double), stage("b", double, "a")], lambda seed: fixed, seeds=[0]).passed


def test_inputs_that_repeat_after_two_seeds_are_an_error():
    inputs = [drawn(0), drawn(1)]
    stages = [stage("a", double), stage("b", double, "a")]
    (finding,) = sweep(stages, lambda seed: inputs[seed % 2], seeds=range(5)).findings
    assert finding.found == "only 2 different inputs: the seeds repeat each other"
    assert sweep(stages, lambda seed: inputs[seed % 2], seeds=range(4)).passed


def test_a_float_output_that_no_input_reaches_is_an_error():
    def ignores(inputs):
        return {**double(inputs), "table": np.array([1.0, 2.0], np.float32), "mask": np.array([True, False])}

    report = sweep([stage("a", ignores), stage("b", ignores, "a")], drawn, seeds=range(3))
    (finding,) = report.findings
    assert finding.verdict is Verdict.ERROR
    assert finding.subject == "output 'table'"
    assert finding.found == "the same values for all 3 seeds: nothing of the computation was measured"


def test_inputs_that_ignore_their_seed_are_the_only_finding():
    generator = np.random.default_rng(0)
    report = sweep(
        [stage("a", double), stage("b", double, "a")],
        lambda seed: {"x": generator.standard_normal(4).astype(np.float32)},
    )
    (finding,) = report.findings
    assert finding.found == "other values for seed 0 on a second call"
    assert finding.next.startswith("Draw from a generator made from the seed: torch.Generator().manual_seed(seed)")
    assert report.pairs == ()


def test_a_later_seed_that_changes_leaves_no_pair_accused():
    generator = np.random.default_rng(0)

    def inputs(seed):
        source = generator if seed == 2 else np.random.default_rng(seed)
        return {"x": source.standard_normal(4).astype(np.float32)}

    report = sweep([stage("a", double), stage("b", double, "a")], inputs, seeds=range(3))
    assert [finding.found for finding in report.findings] == ["other values for seed 2 on a second call"]


def test_a_stage_that_is_not_deterministic_is_said_to_be_so():
    generator = np.random.default_rng(0)

    def noisy(inputs):
        return {"y": 2 * inputs["x"] + 1e-7 * generator.standard_normal(4).astype(np.float32)}

    report = sweep([stage("a", double), stage("b", noisy, "a")], drawn)
    assert report.passed
    assert len(report.notes) == 1
    assert report.notes[0].startswith("b is not deterministic: the same inputs twice differ by up to ")


def test_a_random_module_is_the_only_finding_and_says_what_draws():
    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Dropout(0.5))

        def forward(self, x):
            self.body.train()
            return self.body(x)

    module = Noisy()
    case = ModelCase("noisy", lambda: module, lambda seed: {"x": torch.randn(64)})
    stages = [torch_stage(case, module), stage("b", lambda inputs: {"output_0": inputs["x"].numpy()}, "torch")]
    report = sweep(stages, lambda seed: {"x": torch.randn(64, generator=torch.Generator().manual_seed(seed))})
    (finding,) = report.findings
    assert finding.subject == "stage 'torch'"
    assert finding.found.startswith("random outputs: the same inputs twice differ by up to ")
    assert finding.where == ("bernoulli_ in body.1 (Dropout)",)
    assert finding.next.startswith("Nothing was compared, and no exporter, pass or runtime is at fault")
    assert report.pairs == ()


def test_a_random_graph_is_the_only_finding_and_names_its_node():
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[1,8] x) => (float[1,8] y) { noise = RandomNormalLike (x)  y = Add (x, noise) }"""
    )
    model.graph[0].name = "draw"
    report = sweep([session_stage("a", model), session_stage("b", model, against="a", step="passes")], drawn_row)
    (finding,) = report.findings
    assert (finding.subject, finding.where) == ("stage 'a'", ("RandomNormalLike 'draw'",))


def drawn_row(seed):
    return {"x": np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32)}


@pytest.mark.parametrize(
    ("stages", "seeds", "message"),
    [
        ([stage("a", double), stage("b", double, "a")], [], "at least one seed"),
        ([stage("a", double), stage("a", double, "a")], [0], "'a' is there twice"),
        ([stage("a", double, "b"), stage("b", double)], [0], "'b', which does not come before it"),
        ([stage("a", double), stage("b", double)], [0], "nothing would be measured"),
    ],
)
def test_a_sweep_that_could_not_measure_is_refused(stages, seeds, message):
    with pytest.raises(ValueError, match=message):
        sweep(stages, drawn, seeds=seeds)


def test_a_stage_may_run_only_some_of_the_seeds():
    coarse = Stage(name="c", open=stage("c", double).open, against="b", every=8)
    report = sweep([stage("a", double), stage("b", double, "a"), coarse], drawn)
    assert report.passed
    assert [len(pair.seeds) for pair in report.pairs] == [20, 3]
    assert [result.seed for result in report.pair("c").seeds] == [0, 8, 16]


def test_a_stage_that_others_are_held_against_must_run_all_seeds():
    coarse = Stage(name="b", open=stage("b", double).open, against="a", every=2)
    with pytest.raises(ValueError, match="every is at least 1, and 1 for a stage others are held against"):
        sweep([stage("a", double), coarse, stage("c", double, "b")], drawn)


def test_sessions_are_opened_once_and_closed_before_the_next_one_opens():
    events = []

    def watched(name, against=None):
        @contextlib.contextmanager
        def opened():
            events.append(f"open {name}")
            yield double
            events.append(f"close {name}")

        return Stage(name=name, open=opened, against=against)

    assert sweep([watched("a"), watched("b", "a"), watched("c", "a")], drawn).passed
    assert events == [f"{verb} {name}" for name in "abc" for verb in ("open", "close")]


def of_outputs(name, outputs, **kwargs):
    """A stage that gives `outputs[seed]`; the inputs of a seed are the seed."""

    @contextlib.contextmanager
    def opened():
        yield lambda inputs: outputs[int(inputs["seed"])]

    return Stage(name=name, open=opened, **kwargs)


def between(reference, candidate):
    stages = [of_outputs("torch", reference), of_outputs("exported", candidate, against="torch")]
    return sweep(stages, lambda seed: {"seed": np.array(seed)}, seeds=range(len(reference)))


DETECTED = {"boxes": np.array([[1.0, 2.0]], np.float32), "scores": np.array([0.5, 0.25], np.float32)}
NOTHING_THERE = {"boxes": np.zeros((0, 2), np.float32), "scores": np.zeros(2, np.float32)}


def moved(outputs, by):
    return {name: array + np.float32(by) for name, array in outputs.items()}


def test_a_seed_on_which_an_output_is_all_zero_is_fine_where_another_seed_measured_it():
    seeds = [NOTHING_THERE, DETECTED, moved(DETECTED, 1), NOTHING_THERE]
    report = between(seeds, seeds)
    assert report.passed
    assert [result.passed for result in report.pair("exported").seeds] == [True] * 4


def test_an_output_that_is_all_zero_on_every_seed_is_an_error():
    seeds = [DETECTED | {"scores": NOTHING_THERE["scores"]}, moved(DETECTED, 1) | {"scores": NOTHING_THERE["scores"]}]
    (finding,) = between(seeds, seeds).findings
    assert finding.verdict is Verdict.ERROR
    assert "output 'scores'" in finding.subject


def test_a_seed_that_measures_nothing_excuses_no_difference():
    right = [NOTHING_THERE, DETECTED, moved(DETECTED, 1)]
    assert not between(right, [moved(NOTHING_THERE, 0.01), *right[1:]]).passed
    assert not between(right, [right[0], moved(DETECTED, 0.01), right[2]]).passed


def test_an_output_that_is_always_constant_is_said_once():
    def zeros(inputs):
        return {"y": np.zeros_like(inputs["x"])}

    report = sweep([stage("a", zeros), stage("b", zeros, "a"), stage("c", zeros, "b")], drawn)
    (finding,) = report.findings
    assert finding.context == "b against a, seed 0"
    assert finding.found.startswith("empty comparison: the reference is constant")
    assert not any(pair.passed for pair in report.pairs)
