"""Decoders whose cache is wrong in ways that look right: (name, kind, words); harmless neighbours have no words.

They differ from `tests.parity_models.FAULTS`, which are the plain ways, in that each is wrong in one place, at one
moment, or for one caller alone.
"""

import torch

from tests.parity_models import LAYERS, Decoder

OVER = "expected |difference| <= max("


def kept(change, layer=0, which=1):
    """A decoder that changes one tensor of one layer of what it returns, with ``change(tensor, new positions)``."""

    class Kept(Decoder):
        def kept(self, present, new):
            pairs = [list(pair) for pair in present]
            pairs[layer][which] = change(pairs[layer][which].clone(), new)
            return tuple(tuple(pair) for pair in pairs)

    return Kept


def said(change):
    """A decoder that changes its logits, with ``change(logits, positions before)``."""

    class Said(Decoder):
        def logits(self, logits, seen):
            return change(logits, seen)

    return Said


def placed(change):
    class Placed(Decoder):
        def positions(self, seen, new):
            return change(torch.arange(seen, seen + new), seen)

    return Placed


def masking(change):
    class Masking(Decoder):
        def mask(self, seen, new):
            return change(super().mask(seen, new), seen)

    return Masking


def put(index, value):
    def change(tensor, new):
        tensor[index] = value
        return tensor

    return change


def at(where, change):
    return lambda tensor, now: change(tensor) if where(now) else tensor


def one_entry(logits, seen):
    logits = logits.clone()
    logits[..., 0] += 0.01 * (seen > 0)
    return logits


class Counting(Decoder):
    """Counts its positions itself, whatever cache it is given."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def positions(self, seen, new):
        self.count = self.count + new if seen else new
        return torch.arange(self.count - new, self.count)


class CountingInABuffer(Counting):
    def __init__(self):
        super().__init__()
        del self.count
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def positions(self, seen, new):
        self.count = self.count + new if seen else torch.tensor(new)
        return torch.arange(new) + (self.count - new)


class Appending(Decoder):
    """Writes into the list that it is given."""

    def forward(self, ids, past=None):
        made = super().forward(ids, None if past is None else tuple(past))
        if past is None:
            return made | {"present": list(made["present"])}
        past[:] = made["present"]
        return made | {"present": past}


class SecondLayerWithoutCache(Decoder):
    def taken(self, past):
        return past if past is None else (past[0], (past[1][0] * 0, past[1][1] * 0))


class LastLogitsOnly(Decoder):
    def logits(self, logits, seen):
        return logits[:, -1:] if seen else logits


class OtherName(Decoder):
    def forward(self, ids, past=None):
        made = super().forward(ids, past)
        return {"scores" if name == "logits" and past is not None else name: value for name, value in made.items()}


class NoCacheAtTheEnd(Decoder):
    def kept(self, present, new):
        return present if present[0][0].shape[2] < 6 else None


class OneTensorForAll(Decoder):
    """Every layer gives the cache of the first: the second reads the wrong one."""

    def kept(self, present, new):
        return (present[0],) * LAYERS


class FullPassIsWrong(Decoder):
    def mask(self, seen, new):
        return torch.ones(new, seen + new, dtype=torch.bool) if new > 4 else super().mask(seen, new)


class Window(Decoder):
    def mask(self, seen, new):
        mask = super().mask(seen, new)
        return mask & ~torch.ones_like(mask).tril(seen - 3)


class Cloned(Decoder):
    def kept(self, present, new):
        return tuple((k.clone(), v.clone()) for k, v in present)


ROWS = [
    ("one row of the batch", kept(put((1,), 0)), OVER),
    ("one head", kept(put((slice(None), 1), 0), which=0), OVER),
    ("one element of the newest position", kept(put((0, 0, -1, 0), 9)), OVER),
    ("one element of the oldest position", kept(put((0, 0, 0, 0), 9), layer=1), OVER),
    ("a thousandth too large, each step", kept(lambda t, new: t * 1.001), OVER),
    ("rounded to bfloat16", kept(lambda t, new: t.bfloat16().float(), layer=1), OVER),
    ("rounded to 8 bits", kept(lambda t, new: torch.fake_quantize_per_tensor_affine(t, 0.02, 0, -128, 127)), OVER),
    ("wrong after a single step", kept(at(lambda new: new == 1, lambda t: t.roll(1, 2))), OVER),
    ("wrong after a chunk of two", kept(at(lambda new: new == 2, lambda t: t * 1.1)), "(chunks of 2, seed 0"),
    ("wrong after a chunk of three", kept(at(lambda new: new == 3, lambda t: t * 1.1)), "(chunks of 3, seed 0"),
    ("wrong after the first half", kept(at(lambda new: new == 4, lambda t: t * 1.1)), "a prefill of 4"),
    ("keys that change places", kept(lambda t, new: t.flip(2), which=0), OVER),
    ("wrong at one moment", said(lambda y, seen: y + 0.01 * (seen == 5)), "at position 5"),
    ("one entry of the vocabulary", said(one_entry), OVER),
    ("noise", said(lambda y, seen: y + 0.01 * torch.randn_like(y) * (seen > 0)), OVER),
    ("not a number at one moment", said(lambda y, seen: y / (seen != 3)), "at position 3"),
    ("places that stop at 7", placed(lambda p, seen: p.clamp(max=7) if seen else p), "at position 8"),
    ("places that skip one behind a chunk", placed(lambda p, seen: p + (seen > 3)), OVER),
    (
        "the oldest masked in a long cache",
        masking(lambda m, seen: m & (torch.arange(m.shape[1]) > (seen > 6) - 1)),
        OVER,
    ),
    ("counted by the module", Counting, OVER),
    ("counted in a buffer", CountingInABuffer, OVER),
    ("the second layer reads zeros", SecondLayerWithoutCache, OVER),
    ("one layer's cache for all", OneTensorForAll, OVER),
    ("the last logits alone", LastLogitsOnly, "expected"),
    ("an output of another name", OtherName, "logits"),
    ("no cache any more", NoCacheAtTheEnd, "cache"),
    ("the full pass looks ahead", FullPassIsWrong, OVER),
    ("a list that grows in place", Appending, ""),
    ("a window in both", Window, ""),
    ("cloned", Cloned, ""),
    ("as it should be", Decoder, ""),
]
