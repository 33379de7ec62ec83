"""Texts of values: equal for equal values in any process, different for different ones, never guessed."""

import functools
import logging
import os
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.mutation_guard import install_generation_tagging_init

from pytest_modelcheck.store.bindings import bindings
from pytest_modelcheck.store.describe import Describer
from pytest_modelcheck.store.digests import large_digest


class Row(NamedTuple):
    channels: int
    wide: bool


class Odd(dict):
    def items(self):
        raise ValueError("no")


class Unreadable:
    @property
    def __dict__(self):
        raise ValueError("no")


def texts_of(value) -> dict[str, str]:
    describer = Describer()
    describer.describe("v", value)
    assert describer.unknown == {}
    return describer.texts


def unknown_of(value) -> dict[str, str]:
    describer = Describer()
    describer.describe("v", value)
    return describer.unknown


def with_weight(change) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        change(module)
    return module


def share(module):
    module[1].weight = module[0].weight


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda module: module[1].weight[2, 3].add_(1e-6), "v.1.weight"),
        (lambda module: module[0].register_buffer("table", torch.zeros(4)), "v.0.table"),
        (lambda module: setattr(module[0], "factor", 2.0), "v.0.factor"),
        (lambda module: module[0].register_forward_hook(print), "v.0._forward_hooks"),
        (lambda module: module.append(nn.ReLU()), "v.<children>"),
        (share, "v.1.weight"),
    ],
)
def test_one_change_of_a_module_changes_the_text_of_that_place(change, path):
    before, after = texts_of(with_weight(lambda module: None)), texts_of(with_weight(change))
    assert before == texts_of(with_weight(lambda module: None))
    assert before.get(path) != after.get(path)


@pytest.mark.parametrize(("kind", "one", "other"), [(int, 3, 4), (float, 0.5, 0.25), (str, "a", "b"), (list, "a", "b")])
def test_subclasses_of_built_in_types_differ_by_content_and_by_class(kind, one, other):
    own = type("Own", (kind,), {})
    assert texts_of(own(one)) == texts_of(own(one))
    assert texts_of(own(one)) != texts_of(own(other))
    assert texts_of(own(one)) != texts_of(kind(one))


def test_weights_of_equal_bytes_and_another_dtype_differ():
    assert texts_of(torch.zeros(4)) != texts_of(torch.zeros(4, dtype=torch.int32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.int64, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (3,)])
def test_tensors_of_every_dtype_and_shape_have_a_text(dtype, shape):
    assert texts_of(torch.ones(shape, dtype=dtype))["v"].count("[") == 1


def test_a_large_tensor_is_hashed_like_a_small_one():
    large = torch.zeros(1 << 19)
    before = texts_of(large)
    large[-1] = 1
    assert before != texts_of(large)


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        (n for n in "ab"),
        torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
)
def test_a_value_without_comparable_content_is_named_with_the_reason(value):
    assert list(unknown_of({"odd": value})) == ["v.odd"]


@pytest.mark.parametrize(
    "value",
    [
        *(logging.getLogger("x"), {"a", "b"}, frozenset({1}), {1: {2: [3]}}, np.arange(3), torch.float16, Path("a")),
        *(range(3), Row(3, True), functools.partial(print, 1), nn.LSTM(4, 4), torch.ops.aten.relu.default),
    ],
)
def test_ordinary_values_have_texts_which_stay_the_same(value):
    texts = texts_of({"ordinary": value})
    assert texts
    assert texts_of({"ordinary": value}) == texts


def test_what_a_function_is_made_of_is_seen():
    def made(k, default=1):
        return lambda x, d=default: x * k

    assert texts_of(made(2)) == texts_of(made(2))
    assert texts_of(made(2)) != texts_of(made(3))
    assert texts_of(made(2)) != texts_of(made(2, 2))
    assert texts_of(made(2)) != texts_of(lambda x, d=1: x + 2)


def test_a_method_is_its_function_and_its_object():
    def made(k):
        def act(self, x):
            return x * k

        return act

    def bound(k, of):
        return types.MethodType(made(k), of)

    assert texts_of(bound(2, [1])) == texts_of(bound(2, [1]))
    assert texts_of(bound(2, [1])) != texts_of(bound(3, [1]))
    assert texts_of(bound(2, [1])) != texts_of(bound(2, [2]))


def test_a_function_that_dynamo_has_wrapped_is_the_same_in_every_process():
    def wrapped(x):
        return x

    wrapped._torchdynamo_wrapper_id = id(wrapped)  # type: ignore[attr-defined]  # as dynamo does
    assert not [path for path in texts_of(wrapped) if "wrapper_id" in path]


def test_objects_that_refer_to_each_other_are_described_once():
    loop: dict[str, object] = {"name": "loop"}
    loop["self"] = loop
    assert texts_of(loop)["v.self"] == "= v"


def test_training_mode_has_no_text():
    assert texts_of(nn.Linear(1, 1, bias=False).train()).keys() == texts_of(nn.Linear(1, 1, bias=False).eval()).keys()


def test_a_value_that_raises_when_it_is_read_is_named():
    assert unknown_of(Unreadable()) == {"v": "a Unreadable that raises ValueError when it is read"}


def test_a_value_nested_too_deeply_is_named():
    nested: list[object] = [object]
    for _ in range(5000):
        nested = [nested, object]
    assert unknown_of(nested) == {"v": "nested too deeply"}


def test_an_items_of_its_own_is_not_called():
    assert texts_of(Odd(a=1))["v.a"] == "1"


def test_a_metaclass_whose_module_is_a_descriptor_is_read(monkeypatch):
    """As those that Cython 3 makes: PyYAML's parser has one, which a model of ultralytics reaches."""
    kind = type("Meta", (type,), {"__module__": property(lambda made: "filelock")})
    monkeypatch.setattr(filelock, "made", kind("Made", (), {"size": 3})(), raising=False)
    assert bindings(["filelock"], {"made", "size"}, (Row,))[0]["filelock:Made.size"] == "3"


@pytest.mark.parametrize("registry", [dict.fromkeys, set])
def test_of_a_librarys_registry_the_classes_of_the_case_count(monkeypatch, registry):
    def texts(*classes):
        monkeypatch.setattr(filelock, "REGISTRY", registry([*classes, *map(str, classes)]), raising=False)
        return bindings(["filelock"], {"REGISTRY"}, (Row,))[0]

    assert texts(Row) == texts(Row, Odd)
    assert texts(Row) != texts(Odd)
    assert texts(int) != texts()


SCRIPT = """
from pytest_modelcheck.store.describe import Describer
from pytest_modelcheck.store.digests import large_digest
describer = Describer()
value = [{"a", "b", "c", "d"}, frozenset({int, str, float}), {"x": (1, 2.5, None)}, len, Describer.describe]
describer.describe("v", value)
print(describer.texts)
"""


def test_texts_are_the_same_in_another_process_with_another_hash_seed():
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    }
    assert len(said) == 1


SIGNS, WORDS = np.uint64(1 << 63), np.arange(3 * 2**15 + 5, dtype=np.uint64)


def negated(words, *rows):
    for row in rows:
        words[row * 2**15 + 7] ^= SIGNS


def exchanged(words):
    words[[7, 2**15 + 7]] = words[[2**15 + 7, 7]]


@pytest.mark.parametrize(
    "edit",
    [
        lambda words: negated(words, 0),
        lambda words: negated(words, 0, 1),
        lambda words: negated(words, 1, 2),
        exchanged,
        lambda words: words.sort(),
        lambda words: np.copyto(words, words[::-1].copy()),
        lambda words: words.__setitem__(0, 1),
        lambda words: words.__setitem__(-1, 0),
        lambda words: np.negative(words, out=words),
    ],
)
def test_the_digest_of_a_large_buffer_sees_an_edit(edit):
    words = WORDS[::-1].copy() if "sort" in edit.__code__.co_names else WORDS.copy()
    before = large_digest(words.view(np.uint8))
    edit(words)
    assert large_digest(words.view(np.uint8)) != before


def test_the_digest_of_a_large_buffer_sees_its_length():
    zeros = np.zeros(3 * 2**18, np.uint8)
    assert len({large_digest(zeros[:size]) for size in (0, 1, 2**18 - 1, 2**18, 2**18 + 1, 2**19, 3 * 2**18)}) == 7


def test_the_digest_of_a_large_buffer_is_the_same_in_every_process_and_place():
    moved = np.empty(WORDS.nbytes + 1, np.uint8)[1:]
    moved[:] = WORDS.view(np.uint8)
    assert large_digest(moved) == large_digest(WORDS.view(np.uint8)) == "fc67117e541caab1e4ea7c521c3d64a8"


def test_what_torchs_tracer_puts_around_the_constructor_of_modules_is_no_change(monkeypatch):
    original = nn.Module.__init__
    if original.__qualname__ != "Module.__init__":  # a test before this one traced
        original = original.__closure__[0].cell_contents
    monkeypatch.setattr(nn.Module, "__init__", original)
    monkeypatch.setattr(nn.Module, "__setstate__", nn.Module.__setstate__)
    monkeypatch.setattr(nn.Module, "___needs_generation_tag_patch", True, raising=False)
    before = bindings([], {"__init__"}, ())
    install_generation_tagging_init()
    assert nn.Module.__init__ is not original
    assert bindings([], {"__init__"}, ()) == before
    monkeypatch.setattr(nn.Module, "__init__", lambda self: original(self))
    assert bindings([], {"__init__"}, ()) != before


def test_the_classes_of_torchs_tracer_are_its_own():
    from torch._dynamo import mutation_guard

    assert isinstance(mutation_guard.GenerationTracker, type)  # no function: it has no closure
    texts, _ = bindings([mutation_guard.__name__], {"GenerationTracker"}, ())
    assert f"{mutation_guard.__name__}:GenerationTracker" not in texts
