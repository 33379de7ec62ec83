"""No model may crash the pipeline, come out invalid, or compute something else afterwards.

`MODELCHECK_THOROUGH=1` runs every operator test that the installed onnx package generates, with its inputs as inputs
and as constants, every model that comes with it, and 2000 random graphs; without it a fixed sample of each.
"""

import os
import random
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import PassStatus, run_pass, run_pipeline
from tests.passes.fusing_checks import in_function, worst_difference
from tests.passes.random_graphs import BATCH, build, models
from tests.passes.rule_cases import PLACES

THOROUGH = os.environ.get("MODELCHECK_THOROUGH") == "1"
RANDOM = settings(
    max_examples=2000 if THOROUGH else 60,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SAMPLE = 1 if THOROUGH else 16

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # overflows in the expected outputs of the operator tests
    CASES = {case.name: case for case in collect_testcases(None)}


def optimized(model):
    after, records = run_pipeline(ir.from_proto(model))
    assert not [(record.name, record.error) for record in records if record.status is PassStatus.ERROR]
    return ir.to_proto(after), any(record.changed for record in records)


@RANDOM
@given(model=models())
def test_a_random_graph_computes_the_same_after_the_pipeline(model):
    after, _ = optimized(model)
    onnx.checker.check_model(after, full_check=True)
    assert worst_difference(model, after, size=BATCH) <= 1e-5
    assert len(after.graph.node) <= len(model.graph.node)


@RANDOM
@given(model=models(max_steps=8))
@pytest.mark.parametrize("place", PLACES)
def test_a_random_graph_inside_a_subgraph_computes_the_same(place, model):
    nested = PLACES[place](model)
    assert worst_difference(nested, optimized(nested)[0], size=BATCH) <= 1e-5


@RANDOM
@given(model=models(max_steps=8))
def test_a_random_graph_inside_a_function_computes_the_same(model):
    nested = in_function(model)
    assert worst_difference(nested, optimized(nested)[0], size=BATCH) <= 1e-5


@RANDOM
@given(model=models(max_steps=10))
@pytest.mark.parametrize("pass_", PASSES, ids=lambda pass_: pass_.name)
def test_a_pass_finds_nothing_to_do_in_its_own_result(pass_, model):
    once, first = run_pass(ir.from_proto(model), pass_)
    assert first.error is None
    _, second = run_pass(once, pass_)
    assert second.error is None
    assert not second.changed


@pytest.mark.parametrize("target", ["portable", "onnxruntime"])
def test_every_pass_finds_something_in_the_random_graphs(target):
    drawn = [build(random.Random(seed).randrange, 14) for seed in range(150)]
    records = [record for model in drawn for record in run_pipeline(ir.from_proto(model), None, target)[1]]
    fired = {record.name for record in records if record.changed}
    silent = {"fuse_conv_relu"} if target == "portable" else set()
    assert {pass_.name for pass_ in PASSES} - fired == silent


def draws(name):
    return name.startswith(("test_training_dropout", "test_bernoulli"))


def names(constant):
    return [name for index, name in enumerate(sorted(CASES)) if index % SAMPLE == constant and not draws(name)]


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if draws(name)])
def test_an_operator_test_of_onnx_that_draws_random_numbers_stays_valid(name):
    after, _ = optimized(CASES[name].model)
    onnx.checker.check_model(after)


def stored_models():
    """The models that come with onnx: converted by torch, and simple ones (strings, sequences, control flow)."""
    cases = [
        case for kind in ("simple", "pytorch-converted", "pytorch-operator") for case in load_model_tests(kind=kind)
    ]
    return {f"{Path(case.model_dir).parent.name}/{case.name}": Path(case.model_dir) for case in cases}


STORED = stored_models()


@pytest.mark.parametrize("name", sorted(STORED)[:: 1 if THOROUGH else 4])
def test_a_model_that_comes_with_onnx_computes_the_same_after_the_pipeline(name):
    folder = STORED[name]
    model = onnx.load(folder / "model.onnx")
    feeds = {}
    for index, value in enumerate(model.graph.input):
        file = folder / "test_data_set_0" / f"input_{index}.pb"
        if file.exists():
            feeds[value.name] = read_value(file, value.type)
    assert_same_results(model, feeds)


def read_value(file, type_):
    if type_.HasField("sequence_type"):
        sequence = onnx.SequenceProto.FromString(file.read_bytes())
        return onnx.numpy_helper.to_list(sequence)
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))


@pytest.mark.parametrize("name", names(0))
def test_an_operator_test_of_onnx_computes_the_same_after_the_pipeline(name):
    case = CASES[name]
    feeds = dict(
        zip([value.name for value in case.model.graph.input], map(array_of, case.data_sets[0][0]), strict=False)
    )
    assert_same_results(case.model, feeds)


@pytest.mark.parametrize("name", names(0 if THOROUGH else 1))
def test_an_operator_test_of_onnx_with_constant_inputs_computes_the_same_after_the_pipeline(name):
    case = CASES[name]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    feeds = {}
    kept = []
    for value, given_ in zip(case.model.graph.input, case.data_sets[0][0], strict=False):
        if not value.type.HasField("tensor_type") or not isinstance(given_, np.ndarray | np.generic | onnx.TensorProto):
            kept.append(value)
            feeds[value.name] = given_
            continue
        tensor = given_ if isinstance(given_, onnx.TensorProto) else onnx.numpy_helper.from_array(np.asarray(given_))
        model.graph.initializer.add().CopyFrom(tensor)
        model.graph.initializer[-1].name = value.name
        if tensor.data_type != value.type.tensor_type.elem_type:
            pytest.skip("onnx's own test data have another type than the model")
    del model.graph.input[:]
    model.graph.input.extend(kept)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        pytest.skip("a subgraph of this test uses the name of an input")
    assert_same_results(model, feeds)


def array_of(given_):
    return onnx.numpy_helper.to_array(given_) if isinstance(given_, onnx.TensorProto) else given_


def by_runtime(model, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def by_reference(model, feeds):
    return ReferenceEvaluator(model).run(None, feeds)


def assert_same_results(model, feeds):
    """In onnxruntime alone; in the reference implementation where onnxruntime cannot run the model."""
    after, changed = optimized(model)
    if not changed:
        return
    assert [value.name for value in after.graph.output] == [value.name for value in model.graph.output]
    left = {value.name for value in after.graph.input}
    feeds = {name: array for name, array in feeds.items() if name in left}
    reasons = []
    for run in (by_runtime, by_reference):
        try:
            expected = run(model, feeds)
        except Exception as error:  # which runs which operator is onnxruntime's and onnx's business
            reasons.append(error)
            continue
        assert all(map(same, expected, run(after, feeds)))
        return
    pytest.skip(f"neither onnxruntime nor the reference implementation runs this model: {reasons}")


def same(expected, actual):
    if isinstance(expected, list | tuple):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if expected is None or actual is None:
        return expected is actual
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.dtype.kind in "OSU" and actual.dtype.kind in "OSU":  # the reference gives one text in either form
        return expected.tolist() == actual.tolist()
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        return False
    if expected.dtype.kind in "OUSb":
        return bool((expected == actual).all())
    tolerance = 2e-3 if expected.dtype.itemsize == 2 else 1e-5
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    return np.allclose(expected.astype(wide), actual.astype(wide), rtol=tolerance, atol=tolerance, equal_nan=True)
