"""Small modules that stand for what is hard to capture, one habit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Eye(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.eye(x.size(0)) @ x


class Arange(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(x.size(1))


class Randperm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[torch.randperm(x.size(0))]


class ZerosOfSizes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(x.size(0), x.size(1)) + x


class NewZerosOfSizes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.size(0), x.size(1)) + x


class TensorOfSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / torch.tensor([x.size(0), 1.0, 2.0, 3.0])


class Nonzero(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(x > 0)


class BooleanIndex(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0].sum()


class IfOnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class IfOnSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.size(0) > 2:
            return x + 1
        return x - 1


class IfOnFoundCount(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.nonzero(x > 0).size(0) > 2:
            return x + 1
        return x - 1


class IfOnFlag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flag = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if self.flag else x - 1


class WhileOnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().max() > 0.1:
            x = x / 2
        return x


class AssertOnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.isfinite().all(), "the input is not finite"
        return x + 1


class RangeOverSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in range(x.size(0)):
            x = x + step
        return x


class RangeOverValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in range(int(x.abs().max())):
            x = x + step
        return x


class IntOfSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * int(x.size(0) / 2)


class Item(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.max().item()


class Rows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row * index for index, row in enumerate(x)])


class UnpackedShape(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        return x.view(rows, 2, columns // 2)


class WriteToResult(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 0] = 0
        return y


class WriteToInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1) * 2


class WriteToBuffer(nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


class ReplacedBuffer(WriteToBuffer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return x + self.calls


class Numpy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.numpy() + 1)


class ToList(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor(x[0].tolist())


class Encoder(nn.Module):
    """`nn.TransformerEncoder` as it comes: with nested tensors enabled."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.encoder(x.unsqueeze(0))
        return made


class PaddedEncoder(Encoder):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = torch.zeros(1, 3, dtype=torch.bool)
        made: torch.Tensor = self.encoder(x.unsqueeze(0), src_key_padding_mask=padding)
        return made


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.attention(x.unsqueeze(0), x.unsqueeze(0), x.unsqueeze(0), need_weights=False)[0]
        return made


class CrossAttention(nn.Module):
    """Queries, keys and values of three sources and three widths."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, kdim=6, vdim=5, batch_first=True)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.attention(query, key, value)[0]
        return made


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.lstm(x.unsqueeze(0))[0]
        return made


class KeywordsOnly(nn.Module):
    def forward(self, *, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return x * scale


class VariablePositional(nn.Module):
    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return tensors[0] + tensors[1]


class NestedInput(nn.Module):
    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        made: torch.Tensor = batch["image"] + batch["extra"]["bias"]
        return made


class DictOutput(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": x.sum(), "twice": x * 2}


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


class AutogradFunction(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = _Double.apply(x)
        return made


X: Any = ((3, 4),)


@dataclass(frozen=True, slots=True)
class Limit:
    """One habit, and what each tracer makes of it.

    Attributes:
        habit: In words.
        module: Takes the inputs.
        export, trace: Predictions for torch.export and torch.fx.symbolic_trace: ``"captured"``, ``"wrong"`` (captured,
            and computes something else for other values of the same shapes; none is), or the kind of the failure.
        inputs: Shapes of positional inputs; or a dict of names and shapes.
    """

    habit: str
    module: type[nn.Module]
    export: str
    trace: str
    inputs: Any = X


DATA, SHAPE = "data_dependent_control_flow", "shape_dependent_control_flow"
MAKES, CALL, WRITES, OTHER = "dynamic_tensor_construction", "unsupported_call", "in_place_write", "other_result"

LIMITS: tuple[Limit, ...] = (
    Limit("torch.eye of a size", Eye, "captured", "captured"),
    Limit("torch.arange of a size", Arange, "captured", "captured"),
    Limit("torch.randperm of a size", Randperm, "captured", "captured"),
    Limit("torch.zeros of two sizes", ZerosOfSizes, "captured", MAKES),
    Limit("x.new_zeros of two sizes", NewZerosOfSizes, "captured", "captured"),
    Limit("torch.tensor of a size", TensorOfSize, "captured", MAKES),
    Limit("torch.nonzero", Nonzero, "captured", "captured"),
    Limit("a boolean index", BooleanIndex, "captured", "captured"),
    Limit("if on a tensor's value", IfOnValue, DATA, DATA),
    Limit("if on a size", IfOnSize, "captured", SHAPE),
    Limit("if on how many nonzero there are", IfOnFoundCount, DATA, DATA),
    Limit("if on a flag of the module", IfOnFlag, "captured", "captured"),
    Limit("while on a tensor's value", WhileOnValue, DATA, DATA),
    Limit("assert on a tensor's value", AssertOnValue, DATA, DATA),
    Limit("range over a size", RangeOverSize, "captured", SHAPE),
    Limit("range over a tensor's value", RangeOverValue, DATA, DATA),
    Limit("int(size / 2)", IntOfSize, "captured", SHAPE),
    Limit("x.max().item()", Item, "captured", "captured"),
    Limit("a loop over the rows of a tensor", Rows, "captured", SHAPE),
    Limit("rows, columns = x.shape", UnpackedShape, "captured", "captured"),
    Limit("a write into a result", WriteToResult, "captured", WRITES),
    Limit("a write into an input", WriteToInput, "captured", "captured"),
    Limit("a write into a buffer", WriteToBuffer, "captured", OTHER),
    Limit("a buffer replaced", ReplacedBuffer, "captured", "captured"),
    Limit("a round trip through numpy", Numpy, CALL, CALL),
    Limit("x.tolist()", ToList, "captured", MAKES),
    Limit("nn.TransformerEncoder", Encoder, "captured", "captured"),
    Limit("nn.TransformerEncoder with a padding mask", PaddedEncoder, "captured", "captured"),
    Limit("nn.MultiheadAttention", SelfAttention, "captured", "captured"),
    Limit(
        "cross-attention of three sources", CrossAttention, "captured", "captured", ((2, 3, 4), (2, 5, 6), (2, 5, 5))
    ),
    Limit("nn.LSTM", Lstm, "captured", "captured"),
    Limit("keyword-only parameters", KeywordsOnly, "captured", "captured", {"x": (3, 4), "scale": (4,)}),
    Limit("*tensors", VariablePositional, "captured", "captured", ((3, 4), (3, 4))),
    Limit("nested dicts as input", NestedInput, "captured", "captured", {"image": (3, 4), "extra": {"bias": (4,)}}),
    Limit("a dict as output", DictOutput, "captured", "captured"),
    Limit("torch.autograd.Function", AutogradFunction, "captured", "captured"),
)
