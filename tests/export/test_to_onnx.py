"""Exports by both exporters: the files, their signatures, and that nothing else was touched."""

import dataclasses
import functools
import logging
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module, module_inputs, run_module
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.export import dynamo as dynamo_exporter
from pytest_modelcheck.export import torchscript as torchscript_exporter
from pytest_modelcheck.graph.files import LARGE_MODEL_BYTES
from pytest_modelcheck.model_case import EXPORTERS

transformers = pytest.importorskip("transformers")


def exported(case, **options) -> Exported:
    result = export(case, **options)
    assert isinstance(result, Exported), f"{result.render()}\n{result.detail}"
    return result


@functools.cache
def bert_exported(exporter) -> Exported:
    return exported(BERT, exporter=exporter)


def session(result: Exported) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(result.path, options, providers=["CPUExecutionProvider"])


def assert_same_numbers(case: ModelCase, result: Exported, seed: int = 3) -> None:
    """Outputs of the module and of the file, by name, on inputs that the export did not see."""
    module = build_module(case)
    inputs = module_inputs(case, module, seed)
    expected = run_module(case, module, inputs)
    running = session(result)
    read = {value.name for value in running.get_inputs()}
    feeds = {name: value.numpy() for name, value in inputs.as_dict().items() if name in read}
    found = dict(zip([value.name for value in running.get_outputs()], running.run(None, feeds), strict=True))
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].astype(np.float32), value.float().numpy(), rtol=2e-4, atol=2e-5)


def tiny_bert():
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    return transformers.BertModel(config)


def bert_inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(0, 50, (2, 8), generator=generator), "attention_mask": mask}


AXES = {0: "batch", 1: "sequence"}
BERT = ModelCase(
    "tiny-bert",
    tiny_bert,
    bert_inputs,
    dynamic_axes={"input_ids": AXES, "attention_mask": AXES},
    output_names=["last_hidden_state", "pooler_output"],
)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_hugging_face_model_with_keywords_and_a_dataclass_output_exports_without_a_wrapper(exporter):
    result = bert_exported(exporter)
    assert result.exporter == result.case.exporter == exporter
    assert_same_numbers(BERT, result)
    graph = result.model.graph
    assert [value.name for value in graph.inputs] == ["input_ids", "attention_mask"]
    assert "embeddings.word_embeddings.weight" in graph.initializers


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_equal_names_of_dynamic_axes_are_one_dimension_with_the_users_name(exporter):
    result = bert_exported(exporter)
    assert [str(value.shape) for value in result.model.graph.inputs] == ["[batch,sequence]"] * 2
    running = session(result)
    for batch, sequence in ((1, 1), (3, 11)):
        ids = np.ones((batch, sequence), np.int64)
        states, pooled = running.run(None, {"input_ids": ids, "attention_mask": ids})
        assert states.shape == (batch, sequence, 16)
        assert pooled.shape == (batch, 16)


def test_equal_names_are_one_dimension_although_the_forward_never_relates_the_inputs():
    class Apart(nn.Module):
        def forward(self, a, b):
            return a * 2, b * 3

    axes = {"a": {0: "batch"}, "b": {0: "batch"}}
    case = ModelCase("apart", Apart, lambda seed: (torch.ones(4, 2), torch.ones(4, 3)), dynamic_axes=axes)
    assert [value.shape[0].value for value in exported(case).model.graph.inputs] == ["batch", "batch"]


def test_different_names_stay_different_dimensions():
    class Apart(nn.Module):
        def forward(self, a, b):
            return a * 2, b * 3

    axes = {"a": {0: "n"}, "b": {0: "m"}}
    case = ModelCase("apart", Apart, lambda seed: (torch.ones(4, 2), torch.ones(4, 3)), dynamic_axes=axes)
    assert [value.shape[0].value for value in exported(case).model.graph.inputs] == ["n", "m"]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_example_of_size_one_on_a_dynamic_axis_stays_dynamic(exporter):
    case = ModelCase(
        "one",
        lambda: nn.Linear(4, 2),
        lambda seed: (torch.ones(1, 4),),
        exporter=exporter,
        dynamic_axes={"input": {0: "batch"}},
    )
    assert session(exported(case)).run(None, {"input": np.ones((5, 4), np.float32)})[0].shape == (5, 2)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_opset_of_the_case_is_the_opset_of_the_file(exporter):
    case = ModelCase("opset", lambda: nn.Linear(4, 2), lambda seed: (torch.ones(1, 4),), exporter=exporter)
    assert exported(dataclasses.replace(case, opset=18)).model.opset_imports[""] == 18
    default = exported(case).model.opset_imports[""]
    assert default == (torchscript_exporter.DEFAULT_OPSET if exporter == "torchscript" else 20)


def test_export_options_reach_the_exporter():
    case = dataclasses.replace(BERT, exporter="torchscript")
    folded = exported(case).model.graph.num_nodes()
    raw = exported(dataclasses.replace(case, export_options={"do_constant_folding": False})).model.graph.num_nodes()
    assert raw > folded


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_encoder_with_a_fast_path_that_no_opset_has_exports_and_the_module_comes_back_as_it_was(exporter):
    case = ModelCase(
        "encoder",
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        lambda seed: {"src": torch.randn(2, 4, 8)},
        exporter=exporter,
    )
    module = build_module(case).train()
    module.self_attn.eval()
    modes = [submodule.training for submodule in module.modules()]
    names = list(vars(module))
    flags = (torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled(), torch.get_rng_state())
    assert_same_numbers(case, exported(case, module=module))
    assert [submodule.training for submodule in module.modules()] == modes
    assert list(vars(module)) == names
    assert getattr(module.forward, "__func__", None) is nn.TransformerEncoderLayer.forward
    after = (torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled(), torch.get_rng_state())
    assert flags[:2] == after[:2]
    assert torch.equal(flags[2], after[2])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_module_in_training_mode_is_exported_in_eval_mode(exporter):
    case = ModelCase(
        "dropout", lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), lambda seed: (torch.ones(2, 4),)
    )
    result = exported(case, module=build_module(case).train(), exporter=exporter)
    assert not {node.op_type for node in result.model.graph} & {"Dropout", "RandomUniformLike", "Bernoulli"}
    assert_same_numbers(case, result)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_export_is_quiet_and_leaves_warnings_and_logging_as_they_were(exporter, capfd):
    filters, handlers = list(warnings.filters), list(logging.getLogger("torch").handlers)
    axes = {"input": {0: "batch"}}
    case = ModelCase("linear", lambda: nn.Linear(4, 4), lambda seed: (torch.ones(2, 4),), dynamic_axes=axes)
    exported(case, exporter=exporter)
    assert capfd.readouterr() == ("", "")
    assert list(warnings.filters) == filters
    assert logging.getLogger("torch").handlers == handlers


def test_a_branch_that_the_tracer_froze_is_kept_as_a_warning():
    class Branch(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    case = ModelCase("frozen", Branch, lambda seed: (torch.ones(2),), exporter="torchscript")
    (warning,) = exported(case).warnings
    assert "might cause the trace to be incorrect" in warning
    assert "test_to_onnx.py" in warning


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_input_that_the_graph_does_not_read_is_kept_as_a_warning(exporter):
    class Half(nn.Module):
        def forward(self, a, b):
            return a * 2

    case = ModelCase("half", Half, lambda seed: (torch.ones(2), torch.ones(2)), exporter=exporter)
    assert "the exported graph does not read the input 'b'" in exported(case).warnings


def test_the_model_is_a_new_object_on_every_access():
    result = bert_exported("dynamo")
    first = result.model
    first.graph.remove(first.graph[-1], safe=False)
    assert result.model.graph.num_nodes() == first.graph.num_nodes() + 1


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_large_weights_lie_beside_the_file_and_are_not_read_before_they_are_needed(exporter):
    rows = LARGE_MODEL_BYTES // 4096 + 1
    case = ModelCase(
        "large", lambda: nn.Linear(1024, rows, bias=False), lambda seed: (torch.ones(1, 1024),), exporter=exporter
    )
    result = exported(case)
    assert result.path.stat().st_size < 1_000_000
    assert (result.path.parent / "model.onnx.data").stat().st_size >= LARGE_MODEL_BYTES
    assert sorted(path.name for path in result.path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    (weight,) = (value.const_value for value in result.model.graph.initializers.values())
    assert isinstance(weight, ir.ExternalTensor)
    assert weight.raw is None
    onnx.checker.check_model(result.path)


def test_small_weights_are_inside_the_file():
    assert [path.name for path in bert_exported("dynamo").path.parent.iterdir()] == ["model.onnx"]


class Wild(nn.Module):
    """Nested inputs, constants among them, nested outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, *, states, scale: float = 1.0):
        y = self.linear(x) * scale + states["pair"][0]
        return {"y": y, "more": (y + 1, [y + 2, None]), "nothing": None, "sum": states["pair"][1] + x}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_nested_inputs_and_outputs_are_named_by_their_paths(exporter):
    def inputs(seed):
        a, b, c = torch.randn(3, 2, 4)
        return {"x": a, "states": {"pair": (b, c)}, "scale": 2.0}

    case = ModelCase("wild", Wild, inputs, exporter=exporter)
    result = exported(case)
    assert [value.name for value in result.model.graph.inputs] == ["x", "states.pair.0", "states.pair.1"]
    assert [value.name for value in result.model.graph.outputs] == ["y", "more.0", "more.1.0", "sum"]
    assert_same_numbers(case, result)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_forward_with_positional_only_and_variable_arguments_exports(exporter):
    class Sums(nn.Module):
        def forward(self, first, /, *others):
            return first * 2 + sum(others)

    case = ModelCase("sums", Sums, lambda seed: (torch.ones(3), torch.ones(3), torch.ones(3)), exporter=exporter)
    result = exported(case)
    assert [value.name for value in result.model.graph.inputs] == ["first", "others_0", "others_1"]
    assert_same_numbers(case, result)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_key_value_cache_among_the_outputs_is_exported_layer_by_layer(exporter):
    config = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    case = ModelCase(
        "gpt2",
        lambda: transformers.GPT2Model(config),
        lambda seed: {
            "input_ids": torch.ones(1, 4, dtype=torch.long),
            "attention_mask": torch.ones(1, 4, dtype=torch.long),
        },
        exporter=exporter,
    )
    result = exported(case)
    names = [value.name for value in result.model.graph.outputs]
    assert names == ["last_hidden_state"] + [f"past_key_values.{i}.{kind}" for i in (0, 1) for kind in ("key", "value")]
    assert_same_numbers(case, result)


def test_an_attention_whose_strides_are_made_for_gradients_exports():
    config = transformers.T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    case = ModelCase(
        "t5", lambda: transformers.T5EncoderModel(config), lambda s: {"input_ids": torch.ones(2, 6, dtype=torch.long)}
    )
    assert_same_numbers(case, exported(case))


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_exports(exporter, dtype):
    case = ModelCase(
        "half", lambda: nn.Linear(4, 2).to(dtype), lambda seed: (torch.ones(2, 4, dtype=dtype),), exporter=exporter
    )
    (output,) = exported(case).model.graph.outputs
    assert output.dtype == (ir.DataType.FLOAT16 if dtype is torch.float16 else ir.DataType.BFLOAT16)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_module_used_twice_and_a_module_with_a_hook_export_what_they_compute(exporter):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)
            self.b = self.a
            self.a.register_forward_hook(lambda module, args, output: output * 3)

        def forward(self, x):
            return self.b(self.a(x))

    case = ModelCase("twice", Twice, lambda seed: (torch.randn(2, 4),), exporter=exporter)
    assert_same_numbers(case, exported(case))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_tensor_returned_twice_and_an_input_passed_through_keep_their_names(exporter):
    class Same(nn.Module):
        def forward(self, x):
            y = x * 2
            return {"first": y, "second": y, "third": x}

    case = ModelCase("same", Same, lambda seed: (torch.ones(2),), exporter=exporter)
    result = exported(case)
    assert [value.name for value in result.model.graph.outputs] == ["first", "second", "third"]
    assert_same_numbers(case, result)


def test_an_output_may_have_the_name_of_a_value_that_the_exporter_makes():
    case = ModelCase(
        "embedder",
        lambda: nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3)),
        lambda seed: {"input": torch.tensor([[1, seed % 10]])},
        output_names=("embedding",),
    )
    result = exported(case)
    assert [value.name for value in result.model.graph.outputs] == ["embedding"]
    assert next(node.outputs[0].name for node in result.model.graph) == "embedding_1"
    assert_same_numbers(case, result)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_forward_that_writes_a_buffer_starts_every_time_from_what_build_made(exporter):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    case = ModelCase("counter", Counter, lambda seed: (torch.ones(2),), exporter=exporter)
    module = build_module(case)
    for _ in range(2):
        assert run_module(case, module, module_inputs(case, module, 0))["output_0"].tolist() == [2, 2]
    exported(case, module=module)
    assert module.calls.tolist() == [0]


def test_a_dynamic_axis_that_holds_in_a_range_only_is_kept_as_a_warning():
    class Branch(nn.Module):
        def forward(self, x):
            return x + 1 if x.size(0) > 3 else x - 1

    case = ModelCase("branch", Branch, lambda seed: (torch.ones(2),), dynamic_axes={"x": {0: "n"}})
    (warning,) = exported(case).warnings
    assert warning.startswith("dimension 'n' may be 0 to 3 only")
    assert bert_exported("dynamo").warnings == ()


def test_two_dimensions_that_the_forward_makes_one_are_kept_as_a_warning():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    axes = {"a": {0: "n"}, "b": {0: "m"}}
    case = ModelCase("sum", Sum, lambda seed: (torch.ones(4), torch.ones(4)), dynamic_axes=axes)
    assert exported(case).warnings == ("dimension 'm' of 'b' came out as 'n': the forward takes equal sizes only",)


def test_an_export_after_a_failed_one_works():
    class Bad(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x)

    linear = ModelCase("linear", lambda: nn.Linear(4, 4), lambda seed: (torch.ones(2, 4),))
    for exporter in EXPORTERS:
        export(ModelCase("bad", Bad, lambda seed: (torch.ones(2, 2),), exporter=exporter))
        exported(linear, exporter=exporter)


def test_dynamic_shapes_give_one_dim_object_per_name():
    inputs = module_inputs(BERT, build_module(BERT), 0)
    ids, mask = dynamo_exporter.dynamic_shapes(inputs)
    assert ids[0] is mask[0]
    assert ids[1] is mask[1]
    assert ids[0] is not ids[1]
