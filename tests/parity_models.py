"""A small decoder with a key/value cache of its own, and the ways to get such a cache wrong."""

import math

import torch

from pytest_modelcheck import ModelCase

VOCABULARY, WIDTH, HEADS, LAYERS, BATCH, LENGTH = 40, 16, 2, 2, 2, 9


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, past, mask):
        def heads(y):
            return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        scores = q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)
        mixed = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(2)), (k, v)


class Decoder(torch.nn.Module):
    """ids: (batch, seq) int64, past: None or per layer (k, v): (batch, heads, seq, head_dim) float32.

    Subclasses override one of the small methods to get it wrong.
    """

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.places = torch.nn.Embedding(64, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = torch.nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids, past=None):
        past = self.taken(past)
        seen = 0 if past is None else past[0][0].shape[2]
        new = ids.shape[1]
        x = self.words(ids) + self.places(self.positions(seen, new))
        mask, present = self.mask(seen, new), []
        for index, layer in enumerate(self.layers):
            x, pair = layer(x, None if past is None else past[self.read(index)], mask)
            present.append(pair)
        return {"logits": self.logits(self.head(x), seen), "present": self.kept(tuple(present), new)}

    def positions(self, seen, new):
        return torch.arange(seen, seen + new)

    def mask(self, seen, new):
        return torch.ones(new, seen + new, dtype=torch.bool).tril(seen)

    def read(self, index):
        return index

    def taken(self, past):
        return past

    def kept(self, present, new):
        return present

    def logits(self, logits, seen):
        return logits


def on_each(change):
    """A `kept` that applies `change` to every tensor of the cache."""

    def kept(self, present, new):
        return tuple((change(k), change(v)) for k, v in present)

    return kept


class OffByOne(Decoder):
    def positions(self, seen, new):
        return torch.arange(seen, seen + new) + (seen > 0)


class PositionsStartAgain(Decoder):
    def positions(self, seen, new):
        return torch.arange(new)


class OtherLayer(Decoder):
    def read(self, index):
        return (index + 1) % LAYERS


class MaskWithoutCache(Decoder):
    def mask(self, seen, new):
        mask = super().mask(seen, new)
        mask[:, :seen] = False
        return mask


class MaskWithoutNewestOfCache(Decoder):
    def mask(self, seen, new):
        mask = super().mask(seen, new)
        mask[:, seen - 1 : seen] &= seen < 2
        return mask


class SeesTheFutureInAChunk(Decoder):
    def mask(self, seen, new):
        return super().mask(seen, new) if seen == 0 else torch.ones(new, seen + new, dtype=torch.bool)


class CausalFromTheWrongCorner(Decoder):
    def mask(self, seen, new):
        return torch.ones(new, seen + new, dtype=torch.bool).tril(0)


class HalfPrecisionCache(Decoder):
    kept = on_each(lambda t: t.half().float())


class RowsExchanged(Decoder):
    kept = on_each(lambda t: t.flip(0))


class HeadsExchanged(Decoder):
    kept = on_each(lambda t: t.flip(1))


class WindowOfFive(Decoder):
    kept = on_each(lambda t: t[:, :, -5:])


class OldestForgotten(Decoder):
    kept = on_each(lambda t: t[:, :, 1:] if t.shape[2] > 1 else t)


class NewestForgotten(Decoder):
    def kept(self, present, new):
        return tuple((k[:, :, :-1], v[:, :, :-1]) if k.shape[2] > 1 else (k, v) for k, v in present)


class FilledWithZeros(Decoder):
    kept = on_each(lambda t: torch.nn.functional.pad(t, (0, 0, 1, 0)))


class KeyForValue(Decoder):
    def kept(self, present, new):
        return tuple((v, k) for k, v in present)


class OneLayerStale(Decoder):
    """The last layer's cache stays that of the step before the last."""

    def kept(self, present, new):
        old = getattr(self, "old", None)
        self.old = present[-1]
        if new > 1 or old is None or old[0].shape[2] != present[-1][0].shape[2] - 1:
            return present
        k, v = (torch.cat([t, t[:, :, -1:]], 2) for t in old)
        return (*present[:-1], (k, v))


class ScaledByAThousandth(Decoder):
    def kept(self, present, new):
        return ((present[0][0], present[0][1] * 1.001), *present[1:])


class OtherDtypeOut(Decoder):
    def logits(self, logits, seen):
        return logits.double() if seen else logits


class NanAfterSix(Decoder):
    def logits(self, logits, seen):
        return logits * math.nan if seen > 6 else logits


class WrongAtTheLastPosition(Decoder):
    def logits(self, logits, seen):
        return logits + 0.01 if seen == LENGTH - 1 else logits


class KeepsItInTheModule(Decoder):
    """The cache that is given only says that there is one; what is read lies in the module."""

    def taken(self, past):
        return None if past is None else self.own

    def kept(self, present, new):
        self.own = present
        return present


class WorksOnSharedMemory(Decoder):
    """Always returns views of one buffer: the cache of another sequence overwrites it."""

    def kept(self, present, new):
        if not hasattr(self, "memory"):
            self.memory = torch.zeros(LAYERS, 2, BATCH, HEADS, 64, WIDTH // HEADS)
        length = present[0][0].shape[2]
        for index, pair in enumerate(present):
            for which, tensor in enumerate(pair):
                self.memory[index, which, :, :, :length] = tensor
        return tuple((m[0, :, :, :length], m[1, :, :, :length]) for m in self.memory)


class WritesIntoTheCacheItIsGiven(Decoder):
    """Frees what it has read: a second continuation of the same cache finds nothing."""

    def forward(self, ids, past=None):
        made = super().forward(ids, past)
        for pair in past or ():
            for tensor in pair:
                tensor.zero_()
        return made


class NoNewRows(Decoder):
    def logits(self, logits, seen):
        return logits[:1].expand_as(logits)


class ReadsNothing(Decoder):
    """Position-wise: whatever the cache holds, the logits are the same."""

    def forward(self, ids, past=None):
        made = super().forward(ids, past)
        seen = 0 if past is None else past[0][0].shape[2]
        x = self.words(ids) + self.places(self.positions(seen, ids.shape[1]))
        return {"logits": self.head(x), "present": made["present"]}


FAULTS = {
    kind.__name__: kind
    for kind in (
        OffByOne,
        PositionsStartAgain,
        OtherLayer,
        MaskWithoutCache,
        MaskWithoutNewestOfCache,
        SeesTheFutureInAChunk,
        CausalFromTheWrongCorner,
        HalfPrecisionCache,
        RowsExchanged,
        HeadsExchanged,
        WindowOfFive,
        OldestForgotten,
        NewestForgotten,
        FilledWithZeros,
        KeyForValue,
        OneLayerStale,
        ScaledByAThousandth,
        OtherDtypeOut,
        NanAfterSix,
        WrongAtTheLastPosition,
        KeepsItInTheModule,
        WorksOnSharedMemory,
        WritesIntoTheCacheItIsGiven,
        NoNewRows,
        ReadsNothing,
    )
}


def ids(seed):
    return (torch.randint(0, VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(seed)),)


def decoder(kind=Decoder, inputs=ids, **options):
    return ModelCase(kind.__name__, kind, inputs, exporter="torchscript", **options)
