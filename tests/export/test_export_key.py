"""The export key: one thing changes, the key changes and says what; nothing changes, it does not."""

import functools
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import ExportKey
from pytest_modelcheck.export import key as key_module
from pytest_modelcheck.export.key import export_key
from pytest_modelcheck.model_case import EXPORTERS

MODEL = """
import torch
from torch import nn
from layers.scale import scaled

class Net(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.factor = factor

    def forward(self, x):
        return scaled(torch.relu(self.linear(x)), self.factor)

def build():
    return Net()

def inputs(seed):
    return {"x": torch.ones(2, 4)}
"""


class Row(NamedTuple):
    channels: int
    wide: bool


FILES = {
    "my_model.py": MODEL,
    "layers/__init__.py": "",
    "layers/scale.py": "from .constants import OFFSET\n\ndef scaled(x, factor):\n    return x * factor + OFFSET\n",
    "layers/constants.py": "OFFSET = 1.0\n",
    "unrelated.py": "VALUE = 1\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's project on the import path; calling it writes files, imports it anew and gives its key."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def key(changed=None, **options) -> ExportKey:
        for name, text in {**FILES, **(changed or {})}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        for name in ("my_model", "layers", "layers.scale", "layers.constants", "unrelated"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        module = importlib.import_module("my_model")
        return key_of(ModelCase("net", module.build, module.inputs, **options))

    yield key
    for name in ("my_model", "layers", "layers.scale", "layers.constants", "unrelated"):
        sys.modules.pop(name, None)


def key_of(case: ModelCase, module: nn.Module | None = None) -> ExportKey:
    module = build_module(case) if module is None else module
    return export_key(case, module, module_inputs(case, module, 0))


def simple_case(build=lambda: nn.Linear(4, 4), **options) -> ModelCase:
    return ModelCase("simple", build, lambda seed: (torch.ones(1, 4),), **options)


def test_the_same_model_loaded_twice_has_the_same_key(project):
    first, second = project(), project()
    assert first == second
    assert first.digest == second.digest
    assert first.difference(second) == ()
    assert first.uncacheable == ()


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("my_model.py", "torch.relu", "torch.sigmoid", "my_model.py changed"),
        ("my_model.py", "torch.ones(2, 4)", "torch.zeros(2, 4)", "example input x changed"),
        ("my_model.py", "factor=2.0", "factor=3.0", "factor 2.0 -> 3.0"),
        ("layers/scale.py", "x * factor", "x / factor", "layers/scale.py changed"),
        ("layers/constants.py", "1.0", "1.5", "layers/constants.py changed"),
    ],
)
def test_one_changed_line_changes_the_key_and_is_named(project, file, before, after, said):
    first = project()
    second = project({file: FILES[file].replace(before, after)})
    assert first.digest != second.digest
    assert any(said in words for words in first.difference(second)), first.difference(second)


def test_a_file_that_the_model_does_not_import_does_not_change_the_key(project):
    assert project().digest == project({"unrelated.py": "VALUE = 2\n"}).digest


def test_a_model_that_imports_by_a_computed_name_counts_every_loaded_file(project):
    dynamic = FILES["layers/scale.py"] + "\nimport importlib\nNAME = 'unrelated'\nimportlib.import_module(NAME)\n"
    first = project({"layers/scale.py": dynamic})
    second = project({"layers/scale.py": dynamic, "unrelated.py": "VALUE = 2\n"})
    assert any("unrelated.py changed" in words for words in first.difference(second))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exporter": "torchscript"}, "exporter 'dynamo' -> 'torchscript'"),
        ({"opset": 18}, "opset None -> 18"),
        ({"output_names": ["y"]}, "output_names None -> ['y']"),
        ({"dynamic_axes": {"x": {0: "batch"}}}, "dynamic_axes.x.0 (none) -> 'batch'"),
        ({"export_options": {"optimize": False}}, "export_options.optimize (none) -> False"),
    ],
)
def test_one_changed_option_changes_the_key_and_is_named(project, options, said):
    first, second = project(), project(**options)
    assert first.digest != second.digest
    assert said in first.difference(second)


def test_one_changed_element_of_one_weight_changes_the_key_and_is_named():
    case = simple_case(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    module = build_module(case)
    before = key_of(case, module)
    with torch.no_grad():
        module[1].weight[2, 3] += 1e-6
    after = key_of(case, module)
    assert before.difference(after) == ("weight 1.weight changed",)
    assert before.digest != after.digest


def test_a_weight_of_another_dtype_with_the_same_bytes_changes_the_key():
    module = nn.Linear(4, 4)
    module.register_buffer("table", torch.zeros(4, dtype=torch.int32))
    before = key_of(simple_case(), module)
    module.table = torch.zeros(4, dtype=torch.float32)
    (said,) = before.difference(key_of(simple_case(), module))
    assert said == "weight table changed (int32[4] -> float32[4])"


def test_a_weight_that_becomes_shared_changes_the_key_although_every_value_stays():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].load_state_dict(module[0].state_dict())
    before = key_of(simple_case(), module)
    module[1].weight = module[0].weight
    assert any("1.weight" in words for words in before.difference(key_of(simple_case(), module)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64, torch.complex64])
def test_weights_of_every_dtype_have_a_digest(dtype):
    module = nn.Linear(4, 4)
    module.register_buffer("extra", torch.ones(3, dtype=dtype))
    module.register_buffer("scalar", torch.ones((), dtype=dtype))
    module.register_buffer("empty", torch.ones(0, dtype=dtype))
    assert key_of(simple_case(), module).uncacheable == ()


def test_more_than_five_changed_weights_are_counted_rather_than_listed():
    module = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(8)))
    before = key_of(simple_case(), module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    difference = before.difference(key_of(simple_case(), module))
    assert len(difference) == 6
    assert difference[-1] == "3 more differences in model"


def test_another_library_version_changes_the_key_and_is_named(monkeypatch):
    before = key_of(simple_case())
    version = key_module._version
    monkeypatch.setattr(key_module, "_version", lambda name: "9.9" if name == "onnxscript" else version(name))
    after = key_of(simple_case())
    assert before.digest != after.digest
    assert before.difference(after) == (f"onnxscript {version('onnxscript')} -> 9.9",)


def test_the_distribution_that_owns_a_class_of_the_model_is_among_the_versions():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    case = ModelCase("b", lambda: transformers.BertModel(config), lambda seed: {"input_ids": torch.ones(1, 4).long()})
    key = key_of(case)
    assert key.versions["transformers"] == transformers.__version__
    assert key.uncacheable == ()
    assert "transformers/models/bert/modeling_bert.py" in key.sources


def test_an_attribute_of_a_nested_config_object_counts_and_is_named():
    transformers = pytest.importorskip("transformers")

    def case(activation):
        config = transformers.BertConfig(
            num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8, hidden_act=activation
        )
        return ModelCase("b", lambda: transformers.BertModel(config), lambda s: {"input_ids": torch.ones(1, 4).long()})

    difference = key_of(case("gelu")).difference(key_of(case("gelu_new")))
    assert "config.hidden_act 'gelu' -> 'gelu_new'" in difference


def test_a_method_exchanged_at_run_time_changes_the_key_although_no_file_did(monkeypatch):
    class Net(nn.Module):
        def forward(self, x):
            return x * 2

    case = simple_case(Net)
    before = key_of(case)
    monkeypatch.setattr(Net, "forward", lambda self, x: x * 3)
    assert before.digest != key_of(case).digest


def test_a_method_of_a_library_class_exchanged_at_run_time_changes_the_key(monkeypatch):
    before = key_of(simple_case())
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x * 3)
    assert any("Linear.forward" in words for words in before.difference(key_of(simple_case())))


def test_a_method_that_a_library_added_to_a_class_of_torch_does_not_change_the_key(monkeypatch):
    before = key_of(simple_case())
    monkeypatch.setattr(nn.Module, "brand_new_method", onnx.helper.make_node, raising=False)
    assert key_of(simple_case()).digest == before.digest
    monkeypatch.setattr(nn.Module, "extra_repr", onnx.helper.make_node)
    assert any("Module.extra_repr" in words for words in before.difference(key_of(simple_case())))


def test_a_function_exchanged_in_the_module_of_a_library_class_changes_the_key(monkeypatch):
    before = key_of(simple_case())
    monkeypatch.setattr(torch.nn.functional, "linear", lambda input, weight, bias=None: input)
    first, *others = before.difference(key_of(simple_case()))
    assert first == "the functions of torch.nn.functional changed"
    assert others
    assert all("linear" in words for words in others)


def test_a_function_exchanged_in_a_helper_module_of_the_user_changes_the_key(project, monkeypatch):
    before = project()
    monkeypatch.setattr(sys.modules["layers.scale"], "scaled", lambda x, factor: x)
    model = sys.modules["my_model"]
    after = key_of(ModelCase("net", model.build, model.inputs))
    assert any("layers.scale" in words for words in before.difference(after))


def test_a_symbolic_registered_for_an_operator_changes_the_key_of_the_torchscript_exporter_only():
    def symbolic(g, x):
        return g.op("Identity", x)

    cases = [simple_case(exporter=exporter) for exporter in EXPORTERS]
    before = [key_of(case) for case in cases]
    torch.onnx.register_custom_op_symbolic("aten::relu", symbolic, 17)
    try:
        after = [key_of(case) for case in cases]
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::relu", 17)
    assert before[0].digest == after[0].digest
    assert any("custom symbolic aten::relu 17" in words for words in before[1].difference(after[1]))


def test_a_forward_set_on_the_instance_changes_the_key():
    module = nn.Linear(4, 4)
    before = key_of(simple_case(), module)
    module.forward = lambda input: input + 1
    assert before.digest != key_of(simple_case(), module).digest


def test_a_hook_changes_the_key_and_so_does_another_hook():
    module = nn.Linear(4, 4)
    keys = [key_of(simple_case(), module).digest]
    handle = module.register_forward_hook(lambda module, args, output: output * 2)
    keys.append(key_of(simple_case(), module).digest)
    handle.remove()
    module.register_forward_hook(lambda module, args, output: output * 3)
    keys.append(key_of(simple_case(), module).digest)
    assert len(set(keys)) == 3


def test_the_same_hook_registered_again_keeps_the_key():
    def hook(module, args, output):
        return output

    module = nn.Linear(4, 4)
    module.register_forward_hook(hook).remove()
    handle = module.register_forward_hook(hook)
    first = key_of(simple_case(), module).digest
    handle.remove()
    module.register_forward_hook(hook)
    assert key_of(simple_case(), module).digest == first


FACTOR = 2.0


def test_a_global_that_build_reads_changes_the_key(monkeypatch):
    def build():
        return nn.Sequential(nn.Linear(4, 4), nn.Hardtanh(max_val=FACTOR))

    before = key_of(simple_case(build), nn.Linear(4, 4))
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert "build.globals.FACTOR 2.0 -> 3.0" in before.difference(key_of(simple_case(build), nn.Linear(4, 4)))


def test_what_a_closure_or_a_partial_holds_changes_the_key():
    def made(width):
        return lambda: nn.Linear(4, width)

    torch.manual_seed(0)
    same = nn.Linear(4, 4)
    assert key_of(simple_case(made(4)), same).digest != key_of(simple_case(made(5)), same).digest
    partials = [functools.partial(nn.Linear, 4, width) for width in (4, 4, 5)]
    keys = [key_of(simple_case(partial), same).digest for partial in partials]
    assert keys[0] == keys[1] != keys[2]


def test_an_activation_held_as_an_attribute_changes_the_key():
    module = nn.TransformerEncoderLayer(4, 2, 8, activation=torch.nn.functional.relu)
    before = key_of(simple_case(), module)
    module.activation = torch.nn.functional.gelu
    assert before.digest != key_of(simple_case(), module).digest


@pytest.mark.parametrize(
    "value", [threading.Lock(), (number for number in range(3)), torch.zeros(2).to_sparse(), np.array([object()])]
)
def test_an_attribute_without_comparable_content_makes_the_key_uncacheable_and_is_named(value):
    module = nn.Linear(4, 4)
    module.odd = value
    key = key_of(simple_case(), module)
    assert len(key.uncacheable) == 1
    assert key.uncacheable[0].startswith("model.odd")


@pytest.mark.parametrize(
    "value",
    [
        logging.getLogger("x"),
        {"a", "b"},
        frozenset({1}),
        {1: {2: [3]}},
        np.arange(3),
        torch.float16,
        Path("a"),
        range(3),
        Row(3, True),
    ],
)
def test_ordinary_attributes_are_described(value):
    module = nn.Linear(4, 4)
    module.ordinary = value
    assert key_of(simple_case(), module).uncacheable == ()


def test_recurrent_modules_with_weak_references_to_their_weights_have_a_key():
    module = nn.LSTM(4, 4)
    before = key_of(simple_case(), module)
    assert before.uncacheable == ()
    with torch.no_grad():
        module.weight_hh_l0[0, 0] += 1
    assert before.difference(key_of(simple_case(), module)) == ("weight weight_hh_l0 changed",)


def test_objects_that_refer_to_each_other_are_described_once():
    module = nn.Linear(4, 4)
    loop = {"name": "loop"}
    loop["self"] = loop
    module.loop = loop
    assert key_of(simple_case(), module).model["loop.self"] == "= model.loop"


def test_training_mode_is_no_part_of_the_key():
    module = nn.Linear(4, 4)
    assert key_of(simple_case(), module.train()).digest == key_of(simple_case(), module.eval()).digest


def test_a_switch_of_torch_changes_the_key():
    before = key_of(simple_case())
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        after = key_of(simple_case())
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert before.difference(after) == ("mha fastpath True -> False",)


def test_a_key_comes_back_from_json():
    key = key_of(simple_case())
    assert ExportKey.from_json(key.as_json()).digest == key.digest


SCRIPT = """
import my_model
from transformers import GenerationConfig, GPT2Config
from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export.key import export_key
from pytest_modelcheck.model_case import EXPORTERS

case = ModelCase("net", my_model.build, my_model.inputs, output_names=["a"])
module = build_module(case)
module.names = {"a", "b", "c", "d"}
module.kinds = frozenset({int, str, float})
module.generation = GenerationConfig.from_model_config(GPT2Config())
key = export_key(case, module, module_inputs(case, module, 0))
"""


def test_the_key_is_the_same_in_another_process_with_another_hash_seed(tmp_path, project):
    project()
    here: dict[str, ExportKey] = {}
    exec(SCRIPT, here)
    command = [sys.executable, "-c", SCRIPT + "import json; print(json.dumps(key.as_json()))"]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    said = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert here["key"].difference(ExportKey.from_json(json.loads(said))) == ()
    assert here["key"].uncacheable == ()


def test_a_model_that_build_closes_over_is_described_once():
    shared = nn.Linear(4, 4)
    key = key_of(simple_case(lambda: shared))
    assert key.code["build.closure.shared"] == "= model"


def test_an_attribute_that_raises_when_it_is_read_makes_the_key_uncacheable():
    class Odd(dict):
        def items(self):
            raise ValueError("no")

    module = nn.Linear(4, 4)
    module.odd = Odd()
    assert key_of(simple_case(), module).uncacheable == ("model.odd: a Odd that raises ValueError when it is read",)


def test_an_attribute_nested_too_deeply_makes_the_key_uncacheable():
    nested: list[object] = [object]
    for _ in range(5000):
        nested = [nested, object]
    module = nn.Linear(4, 4)
    module.nested = nested
    assert key_of(simple_case(), module).uncacheable == ("model: nested too deeply",)
