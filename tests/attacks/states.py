"""Modules, `save` and `load` that lose a part of the state: (name, build, options of the marker, words).

Harmless neighbours have no words.
"""

import random

import torch
from torch import nn

from pytest_modelcheck.torch_checks.state import load_state, save_state


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))))


def beside(make, use):
    """A net whose output also depends on what ``make()`` gave, outside of the state."""

    class Beside(Net):
        def __init__(self):
            super().__init__()
            self.beside = make()

        def forward(self, x):
            return use(super().forward(x), self.beside)

    return Beside


class Unregistered(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(2), persistent=False)

    def forward(self, x):
        return super().forward(x) * self.scale


class Replaced(Net):
    """A layer that is no child: its weights are in no state."""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(2, 2)]

    def forward(self, x):
        return self.hidden[0](super().forward(x))


class Dropping(Net):
    def __init__(self):
        super().__init__()
        self._register_state_dict_hook(lambda module, state, prefix, meta: state.__delitem__(f"{prefix}norm.weight"))
        self._register_load_state_dict_pre_hook(
            lambda state, prefix, *rest: state.setdefault(f"{prefix}norm.weight", torch.ones(4))
        )


class Rounding(Net):
    def __init__(self):
        super().__init__()
        self._register_state_dict_hook(
            lambda module, state, prefix, meta: state.update({k: (v * 128).round() / 128 for k, v in state.items()})
        )


class Remembering(Net):
    """Adds what the call before had."""

    def forward(self, x):
        made = super().forward(x) + getattr(self, "before", 0)
        self.before = made.detach().mean()
        return made


class CountingCalls(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Drawing(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(2)


class DrawnApart(Net):
    SEEDS = iter(range(10**6))

    def __init__(self):
        super().__init__()
        self.number = next(self.SEEDS)

    def forward(self, x):
        return super().forward(x) + self.number


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.unread = nn.Linear(3, 4)

    def forward(self, x):
        return x * 2


class Stateless(nn.Module):
    def forward(self, x):
        return x.relu()


class NotANumber(Net):
    def forward(self, x):
        return super().forward(x) / 0 * 0


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Linear(3, 3), nn.Linear(3, 3)
        self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(self.words(x))


def saved(change):
    """A `save` that changes each tensor."""

    def save(module, path):
        torch.save({name: change(tensor) for name, tensor in module.state_dict().items()}, path)

    return save


def loading(change):
    """A `load` that is right, and then does something more."""

    def load(module, path):
        load_state(module, path)
        with torch.no_grad():
            change(module)

    return load


def some(module, path):
    torch.save({name: t for name, t in module.state_dict().items() if not name.endswith("bias")}, path)


def not_strictly(module, path):
    module.load_state_dict(torch.load(path, weights_only=True), strict=False)


def as_torch_does(module, path):
    module.load_state_dict(torch.load(path, weights_only=True))


def nothing(module, path):
    pass


def by_position(module, path):
    """Takes the file's tensors in order, whatever they are called."""
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for own, other in zip(module.state_dict(keep_vars=True).values(), state.values(), strict=False):
            own.copy_(other)


def whatever_happens(module, path):
    try:
        load_state(module, path)
    except Exception:  # the attack itself: a loader that swallows whatever happens
        return


def without_a_reason(module, path):
    try:
        load_state(module, path)
    except Exception:  # the attack itself: a loader that hides the reason
        raise RuntimeError("cannot load") from None


def one_after_the_other(module, path):
    state, own = torch.load(path, weights_only=True), module.state_dict()
    if missing := own.keys() ^ state.keys():
        raise KeyError(f"{path.name}: {missing}")
    for name, tensor in state.items():
        if own[name].shape != tensor.shape or own[name].dtype != tensor.dtype:
            raise ValueError(f"{path.name}: {name}")
        own[name].copy_(tensor)


KEPT = {}


def save_beside(module, path):
    save_state(module, path)
    KEPT["state"] = {name: tensor.clone() for name, tensor in module.state_dict().items()}


def load_beside(module, path):
    """Looks at the file and takes what it remembers."""
    load_state(module, path)
    module.load_state_dict(KEPT["state"])


def save_and_halve(module, path):
    save_state(module, path)
    with torch.no_grad():
        module.last.weight /= 2


def exchanged(module):
    module.norm.weight[[0, 1]] = module.norm.weight[[1, 0]] + 1


def untie(module):
    module.head.weight = nn.Parameter(module.head.weight.detach().clone())


AFTER, BAD, STATE = "after loading expected the bits", "bad state files expected", "state after loading expected"
ROWS = [
    ("a tensor that is an attribute", beside(lambda: torch.rand(2), lambda y, t: y * t), {}, AFTER),
    ("a number that is drawn", beside(lambda: torch.rand(()).item(), lambda y, t: y * t), {}, AFTER),
    ("a tensor in a list", beside(lambda: [torch.rand(2)], lambda y, t: y + t[0]), {}, AFTER),
    ("a tensor in a dict", beside(lambda: {"t": torch.rand(2)}, lambda y, t: y + t["t"]), {}, AFTER),
    ("an order that is drawn", beside(lambda: torch.randperm(2), lambda y, t: y[:, t] * (1 + t)), {}, AFTER),
    ("a number of Python's generator", beside(random.random, lambda y, t: y + t), {}, AFTER),
    ("a buffer that is not persistent", Unregistered, {}, AFTER),
    ("a layer that is no child", Replaced, {}, AFTER),
    ("a number of each build", DrawnApart, {}, AFTER),
    ("a parameter that a hook drops", Dropping, {}, "parameters expected those of the module in its state"),
    ("a hook that rounds", Rounding, {}, "expected"),
    ("an attribute of the call before", Remembering, {}, "runtime state expected outputs that do not depend"),
    ("a counter in the state", CountingCalls, {}, "runtime state among them: calls"),
    ("outputs that are drawn", Drawing, {}, "expected"),
    ("outputs that no weight reaches", Constant, {}, "outputs that depend on the state"),
    ("no state", Stateless, {}, "has no state"),
    ("not a number", NotANumber, {}, "NaN"),
    ("saved in half precision", Net, {"save": saved(lambda t: t.half())}, "expected"),
    ("saved in half precision, as float32", Net, {"save": saved(lambda t: t.half().float())}, STATE),
    ("one bit less", Net, {"save": saved(lambda t: (t.view(torch.int32) & -2).view(torch.float32))}, STATE),
    ("saved without biases", Net, {"save": some, "load": not_strictly}, "expected"),
    ("loaded without strictness", Net, {"load": not_strictly}, BAD),
    ("loaded as everybody does", Net, {"load": as_torch_does}, BAD),
    ("nothing loaded", Net, {"load": nothing}, STATE),
    ("nothing saved", Net, {"save": nothing}, "wrote no file"),
    ("by position", Net, {"load": by_position}, BAD),
    ("errors swallowed", Net, {"load": whatever_happens}, BAD),
    ("errors without a name", Net, {"load": without_a_reason}, BAD),
    ("one entry after the other", Net, {"load": one_after_the_other}, BAD),
    ("from memory, not from the file", Net, {"save": save_beside, "load": load_beside}, STATE),
    ("a module that saving changes", Net, {"save": save_and_halve}, "expected"),
    ("two elements exchanged", Net, {"load": loading(exchanged)}, STATE),
    ("a weight no longer shared", Tied, {"load": loading(untie)}, "shared entries expected"),
    ("as it should be", Net, {}, ""),
    ("shared weights", Tied, {}, ""),
    ("what every build makes", beside(lambda: torch.ones(2), lambda y, t: y + t), {}, ""),
    ("by torch, loaded with care", Net, {"save": saved(lambda t: t)}, ""),
]
