"""Inputs that no author draws: other kinds of values and other sizes, derived from the inputs of the case.

The case's own inputs say what each tensor is; a variant replaces the values or the sizes of one seed's inputs:

| input | is taken for | variants |
|---|---|---|
| float | values | N(-2, 1), U(0, 1), zeros, ones, the drawn values x 100 |
| float, int or bool of 0 and 1, named ``*mask*``, 2 axes | a padding mask | no padding; the ends of the rows padded |
| int that an `nn.Embedding` of the module looks up | token ids | uniform over the whole vocabulary |
| anything else (positions, flags, additive masks) | itself | as drawn |
| a declared dynamic axis | a size | smaller and larger than the example's, all different; 1 or 0 of a cache only |

Where ``inputs(seed, sizes)`` takes sizes, it draws the other ones itself. Else they change by cutting the drawn tensor
or by repeating it from its beginning, floats up to a quarter smaller. Axes of one name change together, and expressions
of names follow (`dimensions`); axes of images (4 axes, float) by multiples of the power of two, up to 32, that divides
them.

The reference decides what a variant is worth: one that it cannot run, or on which it gives NaN or infinities, or where
a rounding of the inputs moves it by a tenth of the tolerance, is left out and said so (`accuracy.sweep`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import Inputs
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.model_case import ModelCase

LARGE = 100.0
"""What large values are larger by than drawn ones."""

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Variant:
    """Another set of inputs, made from the drawn ones.

    Attributes:
        label: What it is, as findings name it: ``"zeros"``, ``"batch 3, sequence 11"``.
        apply: Drawn inputs and a seed -> the variant's inputs; equal seeds give equal inputs.
        floats: Whether it replaces floating-point values, so that rounding of the inputs can be asked about.
        sizes: Whether it changes sizes.
    """

    label: str
    apply: Callable[[Inputs, int], Inputs]
    floats: bool = False
    sizes: bool = False


def _shifted(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(drawn.shape, generator=generator) - 2.0).to(drawn.dtype)


def _uniform(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(drawn.shape, generator=generator).to(drawn.dtype)


def _unpadded(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.ones_like(drawn)


def _padded(drawn: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Row i keeps its first half and i further elements, at most all but one; at least one."""
    rows, length = drawn.shape
    kept = torch.tensor([max(1, min(length - 1, (length + 1) // 2 + row)) for row in range(rows)])
    return (torch.arange(length)[None, :] < kept[:, None]).to(drawn.dtype)


FLOAT_KINDS: tuple[tuple[str, Change], ...] = (
    ("N(-2, 1)", _shifted),
    ("U(0, 1)", _uniform),
    ("zeros", lambda drawn, generator: torch.zeros_like(drawn)),
    ("ones", lambda drawn, generator: torch.ones_like(drawn)),
    ("large values", lambda drawn, generator: drawn * LARGE),
)
MASK_KINDS: tuple[tuple[str, Change], ...] = (("no padding", _unpadded), ("padded", _padded))


def kind_variants(inputs: Inputs, vocabularies: Mapping[str, int]) -> tuple[Variant, ...]:
    """Variants of the values. Inputs of several kinds change together, so that a case has at most five.

    Args:
        inputs: What the case draws for one seed.
        vocabularies: Input name -> number of ids, as `vocabularies_of` finds it.
    """
    tensors = {name: value for name, value in named_tensors(inputs).items() if isinstance(value, torch.Tensor)}
    masks = [name for name, tensor in tensors.items() if is_padding_mask(name, tensor)]
    floats = [name for name, tensor in tensors.items() if is_plain_float(name, tensor) and name not in masks]
    ids = {name: size for name, size in vocabularies.items() if name in tensors}
    variants = []
    for index in range(max(len(FLOAT_KINDS) if floats else 0, len(MASK_KINDS) if masks else 0, 1 if ids else 0)):
        changes: dict[str, Change] = {}
        labels = []
        for names, kinds in ((floats, FLOAT_KINDS), (masks, MASK_KINDS)):
            if names and index < len(kinds):
                changes |= dict.fromkeys(names, kinds[index][1])
                labels.append(kinds[index][0])
        if index < len(MASK_KINDS) and ids:
            changes |= {name: partial(_from_vocabulary, size=size) for name, size in ids.items()}
            labels.append("ids over the vocabulary")
        variants.append(Variant(", ".join(labels), partial(_apply, changes), floats=bool(floats)))
    return tuple(variants)


def _from_vocabulary(drawn: torch.Tensor, generator: torch.Generator, size: int) -> torch.Tensor:
    return torch.randint(0, size, drawn.shape, generator=generator).to(drawn.dtype)


def is_padding_mask(name: str, tensor: torch.Tensor | Array) -> bool:
    """Whether an input is a padding mask: 0 and 1, two axes, ``mask`` in its name."""
    if "mask" not in name.lower() or tensor.ndim != 2 or 0 in tensor.shape or "complex" in str(tensor.dtype):
        return False
    return bool(((tensor == 0) | (tensor == 1)).all()) and tensor.shape[1] > 1


def is_plain_float(name: str, tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and "mask" not in name.lower()


def _apply(changes: Mapping[str, Change], inputs: Inputs, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def with_generator(change: Change) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda tensor: change(tensor, generator)

    return mapped(inputs, {name: with_generator(change) for name, change in changes.items()})


def vocabularies_of(case: ModelCase, module: torch.nn.Module, inputs: Inputs) -> dict[str, int]:
    """Integer input -> rows of the smallest `nn.Embedding` that looks it up unchanged; one forward pass.

    Positions are left out: a table's last position is valid only at the end of the longest sequence.
    """
    whole = {name: value for name, value in named_tensors(inputs).items() if isinstance(value, torch.Tensor)}
    candidates = {
        name: tensor
        for name, tensor in whole.items()
        if tensor.dtype in (torch.int64, torch.int32) and "position" not in name.lower()
    }
    found: dict[str, int] = {}

    def hook(table: torch.nn.Module, args: tuple[object, ...]) -> None:
        assert isinstance(table, torch.nn.Embedding)
        looked_up = args[0] if args else None
        for name, tensor in candidates.items():
            if isinstance(looked_up, torch.Tensor) and _same_elements(looked_up, tensor):
                found[name] = min(found.get(name, table.num_embeddings), table.num_embeddings)

    if not candidates or not isinstance(inputs, ModuleInputs):
        return {}
    tables = [submodule for submodule in module.modules() if isinstance(submodule, torch.nn.Embedding)]
    handles = [table.register_forward_pre_hook(hook) for table in tables]
    try:
        run_module(case, module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _same_elements(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.numel() != right.numel():
        return False
    return torch.equal(left.reshape(-1), right.reshape(-1))


# -- inputs of either form ----------------------------------------------------------------------------------------


def named_tensors(inputs: Inputs) -> dict[str, torch.Tensor]:
    """Every input that can be a tensor, by name; what is neither a tensor nor a numeric array is left out."""
    if isinstance(inputs, ModuleInputs):
        return inputs.as_dict()
    made: dict[str, torch.Tensor] = {}
    for name, value in inputs.items():
        try:
            made[name] = value if isinstance(value, torch.Tensor) else torch.from_numpy(value)
        except TypeError:  # strings, bfloat16 of ml_dtypes: they stay as they were drawn
            continue
    return made


def mapped(inputs: Inputs, changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]) -> Inputs:
    tensors = named_tensors(inputs)
    changed = {name: change(tensors[name]) for name, change in changes.items() if name in tensors}
    if isinstance(inputs, ModuleInputs):
        values = tuple(changed.get(name, value) for name, value in inputs.as_dict().items())
        return replace(inputs, values=values)
    return {name: changed[name].numpy() if name in changed else value for name, value in inputs.items()}


def rounded(inputs: Inputs, seed: int) -> Inputs:
    """The same inputs with every float moved by one rounding, up or down."""
    generator = torch.Generator().manual_seed(seed)

    def move(tensor: torch.Tensor) -> torch.Tensor:
        step = torch.finfo(tensor.dtype).eps * torch.clamp(tensor.abs(), min=float(tensor.abs().mean()) or 1.0)
        sign = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        return tensor + step * sign.to(tensor.dtype)

    floats = [name for name, tensor in named_tensors(inputs).items() if is_plain_float(name, tensor)]
    return mapped(inputs, dict.fromkeys(floats, move))
