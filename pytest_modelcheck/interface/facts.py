"""The promise itself, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

Dim = int | str | None
"""A fixed size, the name of a dynamic axis, or None where the file says nothing that its inputs explain."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a graph.

    Attributes:
        name: Its name, by which a runtime feeds or fetches it.
        dtype: ``"float32"``, ``"int64"``, ``"bool"``, ...; ``"seq(float32)"`` for what is not a tensor.
        dims: One entry per axis; None where not even the rank is declared.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...] | None

    @property
    def signature(self) -> tuple[str, tuple[Dim, ...] | None]:
        """All but the name."""
        return self.dtype, self.dims


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What a runtime, a server or a client of the model relies on.

    Attributes:
        inputs, outputs: In the order of the graph; inputs with a default value (IR version 3 lists initializers as
            inputs) are left out.
        opsets: Domain -> version, sorted by domain; ``""`` is ai.onnx.
        ir_version: Version of the file format.
        external: Whether weights (of more than 1 kB) lie in further files beside the model.
        bytes: dtype -> bytes of the initializers of that type. int64 is left out: shapes, not weights.
        merged_bytes: dtype -> (fewest, most) of them: dynamo writes small equal tensors once, those of fresh norms, and
            trained ones each. Fewest where small ones of one shape are equal; most where each reader has its own. Not
            part of the record.
        metadata: Keys of the model's metadata, sorted; not their values, which may hold a date.
        domains: Domains of the operators that the graph and its functions use, sorted.
        unread: Names of inputs that no node reads; None in a record of an earlier version, as the next two.
        node_names, weight_names: How they are named (`naming`).
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opsets: tuple[tuple[str, int], ...]
    ir_version: int
    external: bool = False
    bytes: tuple[tuple[str, int], ...] = ()
    merged_bytes: tuple[tuple[str, tuple[int, int]], ...] = field(default=(), compare=False)
    metadata: tuple[str, ...] = ()
    domains: tuple[str, ...] = ("",)
    unread: tuple[str, ...] | None = None
    node_names: str | None = None
    weight_names: str | None = None


def domain_name(domain: str) -> str:
    """``"ai.onnx"`` for the empty domain."""
    return domain or "ai.onnx"
