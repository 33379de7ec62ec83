"""Failed exports: each is a value with its kind, its cause in one sentence, the user's line and a next step."""

import signal
import time
import types
from pathlib import Path

import numpy as np
import onnxscript  # noqa: F401  (its import is not what these tests time)
import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import Exported, ExportFailure, FailureKind, export
from pytest_modelcheck.export.time_limit import at_most
from pytest_modelcheck.model_case import EXPORTERS
from pytest_modelcheck.store import Store


def failed(build, made=lambda seed: (torch.ones(2, 4),), **options) -> ExportFailure:
    result = export(ModelCase("broken", build, made, **options))
    assert isinstance(result, ExportFailure)
    assert result.case_name == "broken"
    assert "\n" not in result.reason
    assert result.next, result
    assert result.render().startswith(f"export of broken by {result.exporter} failed ({result.kind}): ")
    return result


@torch.library.custom_op("modelcheck_tests::mystery", mutates_args=())
def mystery(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@mystery.register_fake
def _(x):
    return torch.empty_like(x)


class Mystery(nn.Module):
    def forward(self, input):
        return torch.ops.modelcheck_tests.mystery(input) + 1


class Branch(nn.Module):
    def forward(self, input):
        if input.sum() > 0:
            return input + 1
        return input - 1


class Fixed(nn.Module):
    def forward(self, input):
        return input.reshape(2, 2, 2) * 2


class Echo(nn.Module):
    def forward(self, input):
        return input


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_operator_that_the_exporter_does_not_know_is_named(exporter):
    failure = failed(Mystery, exporter=exporter)
    assert failure.kind is FailureKind.UNSUPPORTED_OPERATOR
    assert "modelcheck_tests" in failure.reason
    assert "mystery" in failure.reason
    assert failure.where.endswith("return torch.ops.modelcheck_tests.mystery(input) + 1")


class Experts(nn.Module):
    """A module with several implementations, as transformers' mixtures of experts have."""

    def __init__(self, chosen, offered=("mystery", "batched_mm")):
        super().__init__()
        self.config, self.offered = types.SimpleNamespace(_experts_implementation=chosen), offered

    def set_experts_implementation(self, chosen):
        if not self.offered or (isinstance(chosen, str) and chosen not in self.offered):
            raise ValueError(f"{chosen} is not supported")
        self.config._experts_implementation = chosen[""] if isinstance(chosen, dict) else chosen

    @property
    def chosen(self):
        return self.config._experts_implementation

    def forward(self, input):
        return (torch.ops.modelcheck_tests.mystery(input) if self.chosen == "mystery" else input * 1.5) + 1


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_implementation_with_which_the_exporter_takes_the_model_is_named(exporter):
    module = nn.Sequential(Experts("mystery"))
    failure = failed(lambda: module, exporter=exporter)
    assert failure.kind is FailureKind.UNSUPPORTED_OPERATOR
    call = 'set_experts_implementation("batched_mm") on the Experts'
    assert failure.next == f"call {call} in build(): with it {exporter} exported this case"
    assert module[0].chosen == "mystery"


def test_grouped_queries_that_torchscript_refuses_are_taken_from_the_eager_attention():
    """Without a mask transformers leaves the repetition of keys to torch's own function."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
    config = transformers.LlamaConfig(num_attention_heads=2, num_key_value_heads=1, **sizes)
    module = transformers.LlamaModel(config)
    case = ModelCase("llama", lambda: module, lambda seed: (torch.arange(6)[None],), exporter="torchscript")
    failure = export(case)
    assert failure.kind is FailureKind.UNSUPPORTED_OPERATOR
    assert "conversion of scaled_dot_product_attention not implemented if enable_gqa" in failure.reason
    call = 'set_attn_implementation("eager") on the LlamaModel'
    assert failure.next == f"call {call} in build(): with it torchscript exported this case"
    assert module.config._attn_implementation == "sdpa"


def test_an_implementation_that_is_refused_as_well_or_not_offered_is_not_named():
    class Both(Experts):
        def forward(self, input):
            return torch.ops.modelcheck_tests.mystery(input)

    for module in (Both("mystery"), Experts("mystery", offered=())):
        failure = failed(lambda module=module: module, exporter="torchscript")
        assert failure.next == "write it with supported operators, raise opset=, or try the other exporter"
        assert module.chosen == "mystery"


def test_a_branch_on_data_is_found_by_dynamo_with_its_line():
    failure = failed(Branch)
    assert failure.kind is FailureKind.DATA_DEPENDENT_CONTROL_FLOW
    assert failure.where.startswith(__file__)
    assert failure.where.endswith("if input.sum() > 0:")


def test_a_branch_inside_torch_is_named_with_torchs_line():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 1, 4, batch_first=True), 1)

        def forward(self, input):
            mask = nn.Transformer.generate_square_subsequent_mask(input.shape[1])
            return self.layers(input, input, tgt_mask=mask * input.sum())

    failure = failed(Causal, lambda seed: (torch.ones(1, 3, 4),))
    assert failure.kind is FailureKind.DATA_DEPENDENT_CONTROL_FLOW
    place, _, inside = failure.where.partition(", which calls ")
    assert place.endswith("return self.layers(input, input, tgt_mask=mask * input.sum())")
    assert "torch/nn/modules/transformer.py:" in inside


def test_named_dimensions_that_torch_refuses_are_left_to_torch(monkeypatch):
    """torch 2.9 refuses `Dim` objects for two axes with a guard of its own, and takes `Dim.DYNAMIC`."""
    by_torch = torch.onnx.export

    def refusing(*args, dynamic_shapes, **options):
        if any(isinstance(dim, torch.export.Dim) for axes in dynamic_shapes for dim in axes.values()):
            raise RuntimeError("Constraints violated (rows)! Not all values of rows satisfy the generated guard")
        return by_torch(*args, dynamic_shapes=dynamic_shapes, **options)

    def rows(seed):
        return (torch.ones(2, 4),)

    monkeypatch.setattr(torch.onnx, "export", refusing)
    made = export(ModelCase("net", lambda: nn.Linear(4, 4), rows, dynamic_axes={"input": {0: "rows"}}))
    assert isinstance(made, Exported)
    (warning,) = made.warnings
    assert warning.startswith("torch refuses Dim(name) for rows and takes Dim.DYNAMIC: its guards hold")
    assert str(made.model.graph.inputs[0].shape[0]) == "rows"


def test_what_torch_found_of_a_size_is_said_with_its_refusal(monkeypatch):
    """torch 2.9 writes it on the next line, and what to do with other calls behind it."""

    def refusing(*args, **options):
        raise RuntimeError(
            'Constraints violated (rows)! For more information, run with TORCH_LOGS="+dynamic".\n'
            "  - You marked rows as dynamic but your code specialized it to be a constant (2). "
            "If you're using mark_dynamic, either remove it or use maybe_mark_dynamic.\nSuggested fixes:\n  rows = 2"
        )

    monkeypatch.setattr(torch.onnx, "export", refusing)
    failure = failed(Fixed, dynamic_axes={"input": {0: "rows"}})
    assert failure.kind is FailureKind.DYNAMIC_SHAPE
    assert failure.reason == (
        "RuntimeError: Constraints violated (rows)! You marked rows as dynamic but your code specialized it to be a "
        "constant (2)."
    )


def test_a_dynamic_axis_that_the_forward_fixes_is_a_failure_although_the_exporter_accepts_it():
    failure = failed(Fixed, dynamic_axes={"input": {0: "batch"}})
    assert failure.kind is FailureKind.DYNAMIC_SHAPE
    assert "batch" in failure.reason


def test_two_dimensions_of_one_name_with_different_sizes_are_refused_before_the_export():
    class Two(nn.Module):
        def forward(self, a, b):
            return a.sum() + b.sum()

    axes = {"a": {0: "batch"}, "b": {0: "batch"}}
    failure = failed(Two, lambda seed: (torch.ones(2), torch.ones(3)), dynamic_axes=axes)
    assert failure.kind is FailureKind.DYNAMIC_SHAPE
    assert failure.reason == "dimension 'batch' is 2 in 'a' and 3 in 'b', so it is not one"


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"inptu": {0: "batch"}}, "dynamic_axes names the input 'inptu'; the inputs are input"),
        ({"input": {2: "batch"}}, "dynamic_axes names axis 2 of 'input', whose shape is [2, 4]"),
        ({"input": {-1: "batch"}}, "dynamic_axes names axis -1 of 'input', whose shape is [2, 4]"),
        (
            {"input": {0: "batch", 1: "2 * batch + 1"}},
            "dimension '2 * batch + 1' is 5 (batch 2), but axis 1 of 'input' has 4",
        ),
    ],
)
def test_dynamic_axes_that_do_not_fit_the_inputs_are_refused(axes, said):
    failure = failed(lambda: nn.Linear(4, 4), dynamic_axes=axes)
    assert failure.kind is FailureKind.DYNAMIC_SHAPE
    assert failure.reason == said


def test_a_build_that_raises_is_named_with_its_line():
    def build():
        raise FileNotFoundError("no weights.bin")

    failure = failed(build)
    assert failure.kind is FailureKind.BUILD_FAILED
    assert failure.reason == "FileNotFoundError: no weights.bin"
    assert failure.where.startswith(__file__)
    assert "raise FileNotFoundError" in failure.where


def test_a_build_that_gives_no_module_is_named():
    failure = failed(lambda: "bert")
    assert failure.kind is FailureKind.BUILD_FAILED
    assert failure.reason == "build() returned str, not a torch.nn.Module"


def test_a_build_that_needs_more_memory_than_there_is_is_out_of_memory():
    failure = failed(lambda: nn.Linear(10**7, 10**7))
    assert failure.kind is FailureKind.OUT_OF_MEMORY


class Slow(nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.01)
        return x + 1


def test_an_exporter_that_takes_longer_than_it_may_is_interrupted():
    began, handler = time.monotonic(), signal.getsignal(signal.SIGALRM)
    case = ModelCase("net", Slow, lambda seed: (torch.ones(2),), exporter="torchscript")
    failure = export(case, timeout=0.2)
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.reason == "the exporter took more than 0.2 s"
    assert failure.next.endswith("or raise modelcheck_export_timeout")
    assert time.monotonic() - began < 60
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_kept_export_is_held_to_the_seconds_that_it_took(tmp_path):
    case = ModelCase("net", lambda: nn.Linear(2, 2), lambda seed: (torch.ones(1, 2),), exporter="torchscript")
    made = export(case, cache=Store(tmp_path))
    assert export(case, cache=Store(tmp_path), timeout=made.seconds + 1).cached
    assert export(case, cache=Store(tmp_path), timeout=made.seconds / 2).kind is FailureKind.TIMEOUT


def test_a_timer_that_ran_before_goes_on():
    heard = []
    handler = signal.signal(signal.SIGALRM, lambda *_: heard.append("outer"))
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        with at_most(1000):
            pass
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 3600
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    with at_most(None):
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert heard == []


@pytest.mark.parametrize(
    "write",
    [
        lambda stream: stream.write(b"1" * 10**6),
        lambda stream: np.ones(10**6).tofile(stream),
        lambda stream: np.ones((10**3, 10**3)).T.tofile(stream),
    ],
)
def test_a_disk_without_room_is_named_and_so_is_another_place_to_keep_exports(write):
    def build():
        with open("/dev/full", "wb", buffering=0) as stream:
            write(stream)
            stream.flush()
        return nn.Linear(4, 4)

    failure = failed(build)
    assert failure.kind is FailureKind.DISK_FULL
    assert failure.next == "free space there, or keep exports on another disk: --modelcheck-cache=DIR, TMPDIR=DIR"


def _raises(seed):
    raise KeyError("tokenizer")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (_raises, "inputs(0) raised KeyError: 'tokenizer'"),
        (lambda seed: {}, "inputs(0) must return a dict of tensors or a tuple of tensors, got an empty dict"),
        (lambda seed: 3, "inputs(0) must return a dict of tensors or a tuple of tensors, got int"),
        (lambda seed: {"input": 3.0}, "inputs(0) holds no tensor: input"),
        (lambda seed: {"input": np.ones(3)}, "input 'input' is a ndarray; an input is a tensor, "),
        (lambda seed: (torch.ones(2), torch.ones(2)), "inputs() gives 2 positional inputs, forward takes 1: input"),
    ],
)
def test_inputs_that_cannot_be_used_are_named(made, said):
    failure = failed(lambda: nn.Linear(4, 4), made)
    assert failure.kind is FailureKind.INPUTS_FAILED
    assert failure.reason.startswith(said)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda seed: {"x": torch.ones(2, 4)}, "unexpected keyword argument 'x'"),
        (lambda seed: {"input": torch.ones(2, 4), "x": torch.ones(1)}, "unexpected keyword argument 'x'"),
    ],
)
def test_inputs_that_forward_does_not_take_are_a_signature_mismatch(made, said):
    failure = failed(lambda: nn.Linear(4, 4), made)
    assert failure.kind is FailureKind.SIGNATURE_MISMATCH
    assert said in failure.reason


def test_a_missing_input_is_a_signature_mismatch():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    failure = failed(Two, lambda seed: {"a": torch.ones(2)})
    assert failure.kind is FailureKind.SIGNATURE_MISMATCH
    assert "missing 1 required positional argument: 'b'" in failure.reason


def test_a_forward_that_raises_by_itself_is_no_fault_of_the_exporter():
    failure = failed(lambda: nn.Linear(5, 5))
    assert failure.kind is FailureKind.FORWARD_FAILED
    assert "cannot be multiplied" in failure.reason


@pytest.mark.parametrize(
    ("outputs", "names", "said"),
    [
        (lambda x: {"logits": x + 1}, ["logit"], "the forward has no output tensor named logit; it has logits"),
        (lambda x: (x + 1, x + 2), ["a"], "output_names has 1 names (a) for 2 output tensors"),
        (lambda x: {"a": x + 1, "n": 3}, None, "output n is a int, which no ONNX output can carry"),
        (lambda x: None, None, "the forward returned no tensor (NoneType)"),
        (lambda x: {"a": x + 1, "b": None}, ["b"], "the forward has no output tensor named b; it has a"),
    ],
)
def test_outputs_that_cannot_be_exported_are_named(outputs, names, said):
    class Net(nn.Module):
        def forward(self, input):
            return outputs(input)

    failure = failed(Net, output_names=names)
    assert failure.kind is FailureKind.OUTPUTS_FAILED
    assert said in failure.reason


@pytest.mark.parametrize(
    ("options", "said", "step"),
    [
        ({"dynamo": False}, "export_options holds 'dynamo'", "exporter="),
        ({"opset_version": 18}, "export_options holds 'opset_version'", "opset="),
        ({"optimise": False}, "torch.onnx.export has no option 'optimise'", "optimize"),
    ],
)
def test_export_options_that_cannot_work_are_refused(options, said, step):
    failure = failed(lambda: nn.Linear(4, 4), export_options=options)
    assert failure.kind is FailureKind.INVALID_OPTION
    assert failure.reason.startswith(said)
    assert step in failure.next


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_opset_that_does_not_exist_is_a_failure(exporter):
    assert "99" in failed(lambda: nn.Linear(4, 4), opset=99, exporter=exporter).reason


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: torch.jit.script(nn.Linear(4, 4)), "build() returned the result of torch.jit.script or trace"),
        (lambda: torch.compile(nn.Linear(4, 4)), "build() returned the result of torch.compile"),
    ],
)
def test_a_module_that_is_compiled_already_is_refused(build, said):
    failure = failed(build)
    assert failure.kind is FailureKind.BUILD_FAILED
    assert failure.reason == said


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_output_with_the_name_of_an_input_is_refused(exporter):
    class Clash(nn.Module):
        def forward(self, x):
            return {"x": x + 1}

    failure = failed(Clash, lambda seed: (torch.ones(2),), exporter=exporter)
    assert failure.kind is FailureKind.OUTPUTS_FAILED
    assert failure.reason == "the output 'x' has the name of an input"


def test_a_forward_that_exits_is_a_failure_and_does_not_end_the_run():
    class Exit(nn.Module):
        def forward(self, input):
            raise SystemExit(3)

    assert failed(Exit).kind is FailureKind.FORWARD_FAILED


def test_a_skip_raised_in_build_goes_through():
    def build():
        pytest.skip("no weights here")

    with pytest.raises(pytest.skip.Exception):
        export(ModelCase("skipped", build, lambda seed: (torch.ones(2),)))


def test_the_torchscript_exporter_names_the_line_of_an_unsupported_operator_and_prints_nothing(capfd):
    class Spectrum(nn.Module):
        def forward(self, input):
            return torch.fft.rfft(input)

    failure = failed(Spectrum, exporter="torchscript")
    assert failure.kind is FailureKind.UNSUPPORTED_OPERATOR
    assert failure.where.endswith("return torch.fft.rfft(input)")
    assert capfd.readouterr() == ("", "")


def test_a_failure_keeps_the_exporters_own_words():
    failure = failed(Mystery)
    assert "Traceback" in failure.detail
    assert "torch/onnx" in failure.detail


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_forward_that_computes_nothing_gives_no_model_without_nodes(exporter):
    result = export(ModelCase("echo", Echo, lambda seed: (torch.ones(2),), exporter=exporter))
    if isinstance(result, ExportFailure):
        assert result.kind is FailureKind.INVALID_MODEL
        assert "no node" in result.reason
    else:
        assert result.model.graph.num_nodes() > 0


def test_no_failure_leaves_a_file_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for exporter in EXPORTERS:
        failed(Mystery, exporter=exporter)
    assert list(Path().iterdir()) == []
