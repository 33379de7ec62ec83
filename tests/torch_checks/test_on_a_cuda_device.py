"""What is found without a device, held against one: where CUDA says it waits, and what its allocator is asked for.

A wait is a warning of `torch.cuda.set_sync_debug_mode`, with the innermost line outside torch. One call may wait more
than once (`repeat_interleave` twice, printing 17 times) and counts once, so that lines are compared.
"""

import copy
import os
import traceback
import warnings
from pathlib import PurePath

import pytest
import torch
from torch.utils._pytree import tree_map

from pytest_modelcheck.torch_checks.memory import peak_memory
from pytest_modelcheck.torch_checks.transfers import host_transfers
from tests.torch_checks.test_host_transfers import MIXED, PLANTED, QUIET, Doing
from tests.torch_checks.test_hugging_face_transfers import ARCHITECTURES, ENCODER, text

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="compares with a CUDA device, and torch.cuda.is_available() is False here"
)


def on_device(module, inputs):
    """Copies of both on the device."""
    return copy.deepcopy(module).eval().cuda(), tree_map(lambda leaf: leaf.cuda(), inputs)


def run(module, inputs):
    with torch.no_grad():
        return module(**inputs) if isinstance(inputs, dict) else module(*inputs)


_TORCH = os.path.dirname(torch.__file__) + os.sep


def place():
    """``"transformers/masking_utils.py:123"`` of the innermost frame outside torch, this file and `warnings`."""
    for frame in reversed(traceback.extract_stack()):
        path = PurePath(frame.filename)
        if not frame.filename.startswith(_TORCH) and path.name not in {PurePath(__file__).name, *_WARNINGS}:
            return f"{'/'.join(path.parts[-2:])}:{frame.lineno}"
    return ""


_WARNINGS = {"warnings.py", "_py_warnings.py"}


def waits(module, inputs):
    """The places where a forward on the device waits."""
    places = []

    def show(message, *_args, **_kwargs):
        if "synchronizing CUDA operation" in str(message):
            places.append(place())

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(module, inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return places


def found(module, inputs):
    """The places where a forward is found to wait or copy, without a device."""
    return [transfer.source_line.split(": ")[0] for transfer in host_transfers(module, inputs)]


X = (torch.arange(1.0, 5.0),)

REFUSED = ("numpy", "numpy_asarray")
"""A device tensor has no numpy array: the copy that is found has to be written."""

UNSEEN = {
    "not_blocking": "a copy that does not wait",
    "host_mask": "a copy that does not wait, of the mask's indices (torch 2.11)",
    "unique_rows": "thrust waits, which the sync debug mode does not see",
}


@pytest.mark.parametrize("name", [name for name in PLANTED if name not in REFUSED])
def test_cuda_waits_where_a_planted_transfer_is_found(name):
    module = Doing(PLANTED[name][1])
    places = waits(*on_device(module, X))
    assert set(places) == (set() if name in UNSEEN else set(found(module, X)))


@pytest.mark.parametrize("name", REFUSED)
def test_cuda_refuses_what_needs_a_copy_first(name):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        run(*on_device(Doing(PLANTED[name][1]), X))


@pytest.mark.parametrize("name", QUIET)
def test_cuda_does_not_wait_where_nothing_is_found(name):
    module = Doing(QUIET[name])
    assert waits(*on_device(module, X)) == found(module, X) == []


@pytest.mark.parametrize("name", MIXED)
def test_cuda_refuses_a_mix_that_is_found(name):
    with pytest.raises(RuntimeError, match=r"on the same device|at least two devices"):
        run(*on_device(Doing(MIXED[name]), X))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cuda_waits_in_the_lines_of_an_architecture_as_often_as_they_are_found(name):
    _, build, inputs = ARCHITECTURES[name]
    torch.manual_seed(0)
    module, inputs = build(), inputs()
    assert waits(*on_device(module, inputs)) == found(module, inputs)


def longformer():
    """Reads sizes in each layer: 42 times in two of them."""
    import transformers

    config = transformers.LongformerConfig(vocab_size=99, attention_window=8, **ENCODER)
    return transformers.LongformerModel(config), text() | {"global_attention_mask": torch.eye(1, 16).long()}


def mixtral():
    """Takes its groups of rows apart on the host, in float32."""
    import transformers

    config = transformers.MixtralConfig(vocab_size=99, num_key_value_heads=2, num_local_experts=4, **ENCODER)
    return transformers.MixtralModel(config), text()


def wav2vec2():
    """Sets the last place of each row in its mask."""
    import transformers

    convolutions = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    model = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(vocab_size=99, **convolutions, **positions, **ENCODER)
    )
    return model, {"input_values": torch.randn(2, 800), "attention_mask": torch.ones(2, 800, dtype=torch.long)}


@pytest.mark.parametrize("make", [longformer, mixtral, wav2vec2])
def test_cuda_waits_in_the_lines_of_a_model_that_reads_more_as_often_as_they_are_found(make):
    torch.manual_seed(0)
    module, inputs = make()
    places = waits(*on_device(module, inputs))
    assert places
    assert sorted(places) == sorted(found(module, inputs))


def test_the_fast_path_of_torchs_own_encoder_for_padded_rows_waits_unseen():
    """As the docstring of `transfers` says: under a mode torch takes the other path."""
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder, x = torch.nn.TransformerEncoder(layer, 1).eval(), torch.randn(2, 6, 16)
    padding = torch.arange(6) >= torch.tensor([[6], [4]])
    inputs = {"src": x, "src_key_padding_mask": padding}
    assert waits(*on_device(encoder, inputs)) != []
    assert found(encoder, inputs) == []


# -- memory -----------------------------------------------------------------------------------------------------------


def used(module, inputs):
    """Peaks of one forward on the device, in bytes: as they were asked for, and as the allocator rounded them up."""
    module, inputs = on_device(module, inputs)
    run(module, inputs)  # workspaces of cuBLAS stay
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()
    result = run(module, inputs)  # alive until the peak is read
    after = torch.cuda.memory_stats()
    del result
    return tuple(
        after[f"{kind}.all.peak"] - before[f"{kind}.all.current"] for kind in ("requested_bytes", "allocated_bytes")
    )


def bert_layer(attention, tokens):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    config = BertConfig()
    config._attn_implementation = attention
    return BertLayer(config), {"hidden_states": torch.zeros(1, tokens, 768)}


def perceptron():
    layers = torch.nn.Linear(512, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 512)
    return torch.nn.Sequential(*layers), (torch.zeros(64, 512),)


def normalization():
    return torch.nn.Sequential(torch.nn.LayerNorm(256), torch.nn.Softmax(-1)), (torch.zeros(640, 256),)


EXACT = {
    "perceptron": perceptron,
    "normalization": normalization,
    **{
        f"{attention}-{tokens}": (lambda attention=attention, tokens=tokens: bert_layer(attention, tokens))
        for attention in ("eager", "sdpa")
        for tokens in (32, 128, 512)
    },
}


@pytest.mark.parametrize("name", EXACT)
def test_cuda_is_asked_for_the_bytes_that_are_counted(name):
    module, inputs = EXACT[name]()
    requested, allocated = used(module, inputs)
    assert peak_memory(module.eval(), inputs).peak == requested
    assert requested <= allocated <= 1.3 * requested  # blocks of 512 bytes, and what is left over in larger ones


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "bart"])
def test_cuda_is_asked_for_the_bytes_of_an_architecture_within_a_tenth(name):
    """Small ones: a mask of another dtype on the other path through attention shows."""
    _, build, inputs = ARCHITECTURES[name]
    module, inputs = build(), inputs()
    module.set_attn_implementation("eager")
    assert used(module, inputs)[0] == pytest.approx(peak_memory(module, inputs).peak, rel=0.1)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 64, 3)), torch.zeros(4, 3, 64, 64)),
        (torch.nn.LSTM(64, 128, 2), torch.zeros(20, 4, 64)),
    ],
    ids=["convolutions", "lstm"],
)
def test_the_scratch_memory_of_cudnn_comes_on_top(module, inputs):
    assert used(module, (inputs,))[0] >= peak_memory(module, (inputs,)).peak
