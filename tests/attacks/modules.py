"""Modules that must be red, and harmless neighbours that must be green: (gate, name, forward, words, arguments).

Each forward takes the module and a float tensor of shape (2, 6, 8); empty words mean that the gate must be green.
"""

import threading
import time

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

LOCK = threading.Lock()
SEEN: list[int] = []


@torch.compiler.disable
def by_hand(x):
    return x * 2


def grown(m, x):
    SEEN.append(x.sum().item())
    return x


class Held(nn.Module):
    """Runs `forward(module, x)` with a few layers at hand."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.linear, self.other, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.lstm, self.gru = nn.LSTM(8, 8, batch_first=True), nn.GRU(8, 8, batch_first=True)
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)
        self.third, self.packed = nn.Linear(8, 8), nn.Linear(8, 24)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.conv = nn.Conv1d(6, 4, 3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.calls = 0

    def forward(self, x):
        return self.body(self, x)


def in_try(m, x):
    try:
        return x * x.sum().item() if x.sum() > 0 else x
    except ValueError:
        return x


def in_with(m, x):
    with LOCK:
        return m.linear(x)


def in_loop(m, x):
    for _ in range(3):
        if x.mean() > 5:
            x = x + 1
    return x


def counted(m, x):
    m.calls += 1
    return x * m.calls


def generated(m, x):
    def parts():
        for row in x:
            print(row.shape)
            yield row

    return torch.stack(list(parts()))


def two_prints(m, x):
    print("a")
    x = m.linear(x)
    print("b")
    return m.other(x)


BREAKS = "graph_breaks expected 0, found"
COMPILE = [
    ("a print before the first operator", lambda m, x: (print("x"), m.linear(x))[1], BREAKS, {}),
    ("a print between operators", lambda m, x: (m.linear(x), print("x"))[0], BREAKS, {}),
    ("a branch on a value", lambda m, x: x + 1 if x.sum() > 0 else x - 1, BREAKS, {}),
    ("a branch in try", in_try, BREAKS, {}),
    ("a lock", in_with, BREAKS, {}),
    ("a branch in a loop", in_loop, BREAKS, {}),
    ("item", lambda m, x: x * x.sum().item(), BREAKS, {}),
    ("tolist", lambda m, x: x * sum(x[0, 0].tolist()), BREAKS, {}),
    (
        "numpy and back",
        lambda m, x: torch.from_numpy(x.detach().numpy().copy()) + x if x[0, 0, 0] > 0 else x,
        BREAKS,
        {},
    ),
    ("a function that is not compiled", lambda m, x: by_hand(m.linear(x)), BREAKS, {}),
    ("nonzero", lambda m, x: x[x > 0].sum(), BREAKS, {}),
    ("masked_select", lambda m, x: torch.masked_select(x, x > 0).sum(), BREAKS, {}),
    ("unique", lambda m, x: torch.unique(x).sum(), BREAKS, {}),
    ("repeat by values", lambda m, x: x.repeat_interleave(x[:, 0, 0].abs().long(), dim=0), BREAKS, {}),
    ("a list that grows outside", grown, BREAKS, {}),
    ("the clock", lambda m, x: x * time.time(), BREAKS, {}),
    ("an id", lambda m, x: x * (id(x) % 2), "recompiles expected 0, found 2", {}),
    ("a generator that prints", generated, BREAKS, {}),
    (
        "one break where none is allowed and one bound is off",
        lambda m, x: x * x.sum().item(),
        BREAKS,
        {"recompiles": None},
    ),
    (
        "two breaks where one is allowed",
        two_prints,
        "graph_breaks expected <=1, found 2",
        {"graph_breaks": "<=1"},
    ),
    ("a number that counts calls", counted, "recompiles expected 0, found", {}),
    ("linear", lambda m, x: m.other(m.linear(x)).relu(), "", {}),
    ("a branch on a shape", lambda m, x: x + 1 if x.shape[0] > 1 else x, "", {}),
    ("a loop over layers", lambda m, x: [x := layer(x) for layer in (m.linear, m.other, m.norm)][-1], "", {}),
    ("where instead of a branch", lambda m, x: torch.where(x > 0, x, -x), "", {}),
]

FLOPS = [
    (
        "a layer more",
        lambda m, x: m.other(m.linear(x)),
        "flops expected <=1536, found 3,072 operations",
        {"flops": "<=1536"},
    ),
    ("a layer less", lambda m, x: x, "flops expected 1536, found 0 operations", {"flops": 1536}),
    ("one operation over", lambda m, x: m.linear(x), "flops expected <=1535, found 1,536", {"flops": "<=1535"}),
    ("a product", lambda m, x: x @ x.mT, "flops expected 0, found 1,152", {"flops": 0}),
    ("einsum", lambda m, x: torch.einsum("bij,bkj->bik", x, x), "flops expected 0, found 1,152", {"flops": 0}),
    ("attention", lambda m, x: F.scaled_dot_product_attention(x, x, x), "flops expected 0, found 2,304", {"flops": 0}),
    ("a convolution", lambda m, x: m.conv(x), "flops expected 0, found 1,728", {"flops": 0}),
    (
        "in a loop",
        lambda m, x: [x := m.linear(x) for _ in range(4)][-1],
        "flops expected 1536, found 6,144",
        {"flops": 1536},
    ),
    ("recurrent", lambda m, x: m.lstm(x)[0], "flops expected 0, found", {"flops": 0}),
    ("gated", lambda m, x: m.gru(x)[0], "flops expected 0, found", {"flops": 0}),
    ("heads", lambda m, x: m.heads(x, x, x)[0], "flops expected 0, found", {"flops": 0}),
    ("a whole layer", lambda m, x: m.layer(x), "flops expected 0, found", {"flops": 0}),
    ("a matrix and a vector", lambda m, x: x[0] @ x[0, 0], "flops expected 0, found 96", {"flops": 0}),
    ("two vectors", lambda m, x: torch.dot(x[0, 0], x[0, 1]), "flops expected 0, found 16", {"flops": 0}),
    ("addmv", lambda m, x: torch.addmv(x[0, :, 0], x[0], x[0, 0]), "flops expected 0, found 96", {"flops": 0}),
    ("a larger total", lambda m, x: torch.cat([x, x]), "total expected <=384B, found 768 bytes", {"total": "<=384B"}),
    (
        "a larger peak",
        lambda m, x: (x[:, :, None] * x[:, None]).sum(-1),
        "peak expected <=2kB, found",
        {"peak": "<=2kB"},
    ),
    ("a wider type", lambda m, x: x.double().sum(), "total expected <=384B, found", {"total": "<=384B"}),
    ("a copy", lambda m, x: x.transpose(1, 2).contiguous(), "total expected 0, found 384 bytes", {"total": 0}),
    ("kept longer", lambda m, x: sum([x * n for n in range(1, 5)]), "peak expected <=768B, found", {"peak": "<=768B"}),
    ("exactly one layer", lambda m, x: m.linear(x), "", {"flops": 1536, "total": 384, "peak": 384}),
    ("a view", lambda m, x: x.transpose(1, 2), "", {"total": 0, "flops": 0}),
]

ROWS = [("expect_compile", *row) for row in COMPILE] + [("expect_memory", *row) for row in FLOPS]
