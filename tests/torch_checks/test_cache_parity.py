"""cache_parity: a right cache passes, each way to get it wrong is found, and nothing passes for a bad reason."""

import dataclasses
import re

import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs
from pytest_modelcheck.torch_checks.cache import CacheProtocol, cache_parity
from pytest_modelcheck.torch_checks.cache.protocol import without_past
from tests import parity_models as models
from tests.parity_models import FAULTS, Decoder, decoder

OWN = CacheProtocol(cache=("past", "present"), sequence={"ids": 1})


def parity(case, protocol=OWN, **options):
    module = build_module(case)
    return cache_parity(case, module, lambda seed: module_inputs(case, module, seed), protocol=protocol, **options)


def said(report):
    return "\n".join(finding.render() for finding in report.findings)


def test_a_right_cache_passes_in_every_stream_and_every_change_to_it_is_seen():
    report = parity(decoder())
    assert report.findings == ()
    assert report.scaled <= 1e-6
    assert [(stream.name, stream.steps) for stream in report.streams] == [
        ("all at once", 1),
        ("chunks of 1", 9),
        ("chunks of 2", 5),
        ("chunks of 3", 3),
        ("a prefill of 4, then one by one", 6),
        ("one, then all others", 2),
        ("a second continuation from 4", 5),
        ("another sequence in between, at 4", 5),
        ("reloaded from a file at 4, after another", 5),
    ]
    assert report.tensors == ("0.0", "0.1", "1.0", "1.1")
    assert [probe.change for probe in report.probes] == [
        "0.0 set to zero",
        "0.1 set to zero",
        "1.0 set to zero",
        "1.1 set to zero",
        "rows of the batch exchanged",
        "0.0 exchanged with 1.0",
        "0.1 exchanged with 1.1",
    ]
    assert report.text.endswith("; 7 of 7 changes to 4 cache tensors seen")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_cache_is_found(fault):
    report = parity(decoder(FAULTS[fault]))
    assert not report.passed
    expected = Verdict.ERROR if fault in ("NoNewRows", "ReadsNothing") else Verdict.FAIL
    assert {finding.verdict for finding in report.findings} == {expected}, said(report)


def test_a_right_cache_raises_no_false_alarm_over_twenty_seeds():
    assert parity(decoder(), seeds=range(20)).findings == ()


def test_a_position_off_by_one_is_named_with_its_step_and_the_layer():
    report = parity(decoder(models.OffByOne), chunks=(2,))
    assert [stream.position for stream in report.streams] == [None, 2, 4, 1, 4, 4, 4]
    (finding,) = report.findings
    assert re.sub(r"\d+\.\d{2,}(e-\d+)?", "#", finding.render()).startswith(
        "expect_cache_parity: output 'logits' at position 2 expected |difference| <= max(atol 1e-05, rtol 1e-05 x "
        "magnitude #) = #, found |difference| # in OffByOne (chunks of 2, seed 0, with the cache against the full "
        "pass)\n"
        "  where: step 2 of 5: positions 2..3, 2 in the cache\n"
        "         7 of 9 positions differ (2, 3, 4, 5, 6, 7, 8), most # at position 4\n"
        "         cache 0.0 is the first that differs from that of one full pass: # at position 2\n"
    )
    assert "agrees in all at once" in finding.where


def test_a_fault_of_reading_shows_at_the_layer_above():
    (finding,) = parity(decoder(models.MaskWithoutCache)).findings
    assert "cache 1.0 is the first that differs from that of one full pass: 0.4586 at position 1" in finding.where


def test_a_mask_that_is_wrong_inside_a_chunk_is_found_though_single_steps_agree():
    report = parity(decoder(models.SeesTheFutureInAChunk))
    assert [stream.name for stream in report.streams if stream.finding] == [
        "chunks of 2",
        "chunks of 3",
        "one, then all others",
    ]


INTERRUPTED = [
    "a second continuation from 4",
    "another sequence in between, at 4",
    "reloaded from a file at 4, after another",
]


def test_a_cache_that_lies_in_the_module_is_found_by_the_sequence_in_between():
    report = parity(decoder(models.KeepsItInTheModule))
    assert [stream.name for stream in report.streams if stream.finding] == INTERRUPTED
    assert report.findings[0].next == (
        "Without another continuation or sequence in between all agrees: the module keeps part of what it needs "
        "outside its cache, writes into the cache it is given, or hands out caches that share memory."
    )


def test_a_cache_that_lies_in_the_module_is_found_though_every_seed_draws_the_same():
    same = decoder(models.KeepsItInTheModule, lambda seed: models.ids(0))
    assert [stream.name for stream in parity(same).streams if stream.finding] == INTERRUPTED


def test_caches_of_two_sequences_that_share_memory_are_found():
    report = parity(decoder(models.WorksOnSharedMemory))
    assert [stream.name for stream in report.streams if stream.finding] == INTERRUPTED[1:2]
    assert "share memory" in report.findings[0].next


def test_a_step_that_writes_into_the_cache_it_is_given_is_found():
    report = parity(decoder(models.WritesIntoTheCacheItIsGiven))
    assert [stream.name for stream in report.streams if stream.finding] == INTERRUPTED[:1]
    assert "writes into the cache it is given" in report.findings[0].next


class MaskedDecoder(Decoder):
    """Takes a mask over all positions so far: (batch, seq) int64."""

    def forward(self, ids, attention_mask, past=None):
        self.padding = attention_mask.bool()[:, None, None, :]
        return super().forward(ids, past)

    def mask(self, seen, new):
        return super().mask(seen, new) & self.padding


class ForgetsTheMask(MaskedDecoder):
    def mask(self, seen, new):
        return super().mask(seen, new) if seen == 0 else Decoder.mask(self, seen, new)


def with_mask(seed):
    return {"ids": models.ids(seed)[0], "attention_mask": torch.ones(2, models.LENGTH, dtype=torch.long)}


def test_a_mask_that_the_cached_steps_forget_is_found_though_the_example_masks_nothing():
    masks = dataclasses.replace(OWN, grows={"attention_mask": 1})
    report = parity(decoder(MaskedDecoder, with_mask), masks)
    assert report.findings == (), said(report)
    assert report.streams[-1].name == "position 1 masked, one by one after a prefill"
    report = parity(decoder(ForgetsTheMask, with_mask), masks)
    assert [stream.name for stream in report.streams if stream.finding] == [
        "position 1 masked, one by one after a prefill"
    ]


def test_a_cache_that_is_never_read_is_an_error_though_the_outputs_agree():
    report = parity(decoder(models.ReadsNothing))
    assert not [stream for stream in report.streams if stream.finding]
    assert said(report).startswith(
        "[error] expect_cache_parity: cache expected every change to the cache to be seen, found 7 of 7 stay within "
        "the tolerance in ReadsNothing\n  where: 0.0 set to zero: largest effect 0, tolerance 2.49e-05\n"
    )


def test_a_tolerance_in_which_nothing_can_fail_is_an_error():
    report = parity(decoder(), atol=2.0, rtol=0.0)
    assert report.findings[0].verdict is Verdict.ERROR
    assert "found nothing can fail: atol 2 hides a change of 0.1 % of this output" in said(report)


class OneLayerUnread(Decoder):
    def taken(self, past):
        if past is not None and past[1][0].shape[2] != past[0][0].shape[2]:
            raise AssertionError
        return past

    def __init__(self):
        super().__init__()
        torch.nn.init.zeros_(self.layers[1].out.weight)


def test_a_single_layer_whose_cache_does_not_reach_the_outputs_is_named():
    report = parity(decoder(OneLayerUnread))
    assert "1.0 set to zero: largest effect 0" in said(report)
    assert "0.0 set to zero" not in said(report)


def test_positions_that_are_all_equal_are_refused():
    class Flat(Decoder):
        def logits(self, logits, seen):
            return logits[..., :1] * 0 + torch.arange(2.0)[:, None, None]

    assert said(parity(decoder(Flat))).startswith(
        "[error] expect_cache_parity: inputs expected positions that differ, found all positions of logits are equal: "
        "exchanging two of them would not show in Flat"
    )


class NoCache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(models.VOCABULARY, 4)

    def forward(self, ids):
        return {"logits": self.words(ids)}


class ReturnsNoCache(NoCache):
    def forward(self, ids, past=None):
        return super().forward(ids)


class EmptyCache(NoCache):
    def forward(self, ids, past=None):
        return {**super().forward(ids), "present": ()}


@pytest.mark.parametrize(
    ("kind", "protocol", "message"),
    [
        (
            NoCache,
            CacheProtocol(sequence={"ids": 1}),
            "has no cache: the forward takes ids, and no 'past_key_values'; name the argument and the output that "
            'returns it, cache=("past", "present"), or give step=...',
        ),
        (NoCache, OWN, "has no cache: the forward takes ids, and no 'past'; name the argument"),
        (ReturnsNoCache, OWN, "the forward returned no cache 'present': it returned logits"),
        (EmptyCache, OWN, "the cache holds no floating-point tensor: tuple"),
        (
            Decoder,
            CacheProtocol(cache=("past", "present")),
            "which inputs hold one entry per position? There is ids; name them, e.g. sequence={\"ids\": 1}",
        ),
        (Decoder, dataclasses.replace(OWN, sequence={"tokens": 1}), "there is no input 'tokens'; there is ids"),
        (Decoder, dataclasses.replace(OWN, sequence={"ids": 2}), "input 'ids' is int64[2, 9] and has no axis 2"),
        (Decoder, dataclasses.replace(OWN, grows={"ids": 0}), "one sequence have different lengths: ids 9, ids 2"),
        (Decoder, dataclasses.replace(OWN, outputs=("loss",)), "no output tensor named loss; it has logits"),
        (Decoder, dataclasses.replace(OWN, step=lambda module, inputs, cache: 5, cache=None), "step() must return"),
    ],
)  # fmt: skip
def test_a_model_without_a_usable_cache_is_an_error_that_says_why(kind, protocol, message):
    report = parity(decoder(kind), protocol)
    assert not report.passed
    assert report.findings[0].verdict is Verdict.ERROR
    assert message in said(report)


def test_a_batch_of_one_passes_and_says_what_it_cannot_show():
    report = parity(decoder(inputs=lambda seed: (models.ids(seed)[0][:1],)))
    assert report.findings == ()
    assert report.text.endswith("; 6 of 6 changes to 4 cache tensors seen; a batch of one shows no exchanged rows")


def test_a_sequence_that_is_too_short_for_its_chunks_is_an_error():
    short = decoder(inputs=lambda seed: (torch.arange(8).reshape(2, 4) + seed,))
    assert parity(short, chunks=(3,)).passed
    assert "a sequence of 4 positions cannot be streamed in chunks of 4" in said(parity(short, chunks=(4,)))
    shorter = decoder(inputs=lambda seed: (torch.arange(6).reshape(2, 3) + seed,))
    assert "it needs at least 4 positions" in said(parity(shorter, chunks=(1,)))


def test_a_step_that_raises_is_an_error_with_its_position():
    class Narrow(Decoder):
        def mask(self, seen, new):
            if seen > 4:
                raise IndexError("no room")
            return super().mask(seen, new)

    assert (
        "found the step of positions 5..5 with 5 positions in the cache raised IndexError: no room "
        "(all inputs: ids: int64[2, 9])"
    ) in said(parity(decoder(Narrow)))


def test_outputs_without_an_entry_per_position_are_an_error():
    class Pooled(Decoder):
        def logits(self, logits, seen):
            return logits[:, -1]

    assert "expected one entry per position along axis 1: 9 in the full pass, 9 in the first step" in said(
        parity(decoder(Pooled))
    )


def test_a_module_that_is_left_different_is_said_so():
    class Drifts(Decoder):
        def logits(self, logits, seen):
            self.calls = getattr(self, "calls", 0) + 1
            return logits * (1 + 1e-7 * self.calls)

    assert "expected the bits of the full pass before the streams, found other values in Drifts" in said(
        parity(decoder(Drifts))
    )


class Streaming(torch.nn.Module):
    """A causal convolution that keeps its last inputs in a buffer; frames: (batch, frames, 3)."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(3, 4, 3)
        self.register_buffer("tail", torch.zeros(2, 3, 2), persistent=False)

    def forward(self, frames):
        return self.conv(torch.nn.functional.pad(frames.transpose(1, 2), (2, 0))).transpose(1, 2)

    def chunk(self, frames):
        x = torch.cat([self.tail, frames.transpose(1, 2)], 2)
        self.tail = x[:, :, -2:]
        return self.conv(x).transpose(1, 2)


def step(module, inputs, cache):
    module.tail = torch.zeros(2, 3, 2) if cache is None else cache["tail"]
    return module.chunk(inputs["frames"]), {"tail": module.tail}


def forgetful_step(module, inputs, cache):
    if cache is None:
        module.tail = torch.zeros(2, 3, 2)
    return module.chunk(inputs["frames"]), {"tail": module.tail}


def frames(seed):
    return {"frames": torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(seed))}


def test_a_step_of_the_users_own_streams_a_module_that_keeps_its_cache_in_a_buffer():
    case = decoder(Streaming, frames)
    report = parity(case, CacheProtocol(step=step, sequence={"frames": 1}))
    assert report.findings == ()
    assert report.tensors == ("tail",)
    report = parity(case, CacheProtocol(step=forgetful_step, sequence={"frames": 1}))
    assert [stream.name for stream in report.streams if stream.finding] == INTERRUPTED


def test_the_module_has_its_buffers_back_at_the_end():
    case = decoder(Streaming, frames)
    module = build_module(case)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    protocol = CacheProtocol(step=step, sequence={"frames": 1})
    assert cache_parity(case, module, lambda seed: module_inputs(case, module, seed), protocol=protocol).passed
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())


def test_a_past_among_the_inputs_is_no_part_of_the_full_pass():
    """As an export with a cache needs them: five positions of a past, and nine new ones."""

    def with_past(seed):
        (ids,) = models.ids(seed)
        state = torch.randn(models.BATCH, models.HEADS, 5, models.WIDTH // models.HEADS)
        return {"ids": ids, "past": tuple((state, state + 1) for _ in range(models.LAYERS))}

    report = parity(decoder(inputs=with_past))
    assert report.findings == (), said(report)
    assert report.positions == 9
    assert not parity(decoder(FAULTS["OffByOne"], with_past)).passed


def test_an_empty_past_takes_its_part_of_the_mask_along_and_leaves_the_encoders():
    values = {
        "input_ids": torch.zeros(2, 3, dtype=torch.long),
        "attention_mask": torch.arange(16).reshape(2, 8),
        "past_key_values.0.key": torch.zeros(2, 1, 5, 4),
        "past_key_values.0.encoder.key": torch.zeros(2, 1, 6, 4),
    }
    made = without_past(
        ModuleInputs(tuple(values), tuple(values.values())), "past_key_values", ("input_ids",)
    ).as_dict()
    assert made["past_key_values.0.key"].shape == (2, 1, 0, 4)
    assert made["past_key_values.0.encoder.key"].shape == (2, 1, 6, 4)
    assert made["attention_mask"].tolist() == [[5, 6, 7], [13, 14, 15]]
