"""Runtime state: what a forward leaves behind, kept apart from the weights and put back from a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from pytest_modelcheck.calling import unchanged_buffers
from pytest_modelcheck.calling.fingerprints import (
    attribute_texts,
    buffer_hashes,
    output_hashes,
    state_hashes,
)
from pytest_modelcheck.result import Finding
from pytest_modelcheck.torch_checks.state.trip import Trip

_SHOWN = 5


def hidden_state(trip: Trip) -> list[Finding]:
    """Outputs that depend on earlier calls though every buffer has its content back."""
    before = attribute_texts(trip.module)
    first = output_hashes(trip.run(trip.module, 0))
    trip.run(trip.module, 1)
    if output_hashes(trip.run(trip.module, 0)) == first:
        return []
    after = attribute_texts(trip.module)
    changed = [name for name, value in after.items() if before.get(name) != value]
    return [
        trip.finding(
            "runtime state",
            "outputs that do not depend on earlier calls once every buffer has its content back",
            "other outputs for the same inputs after a call with others",
            where=tuple(f"{name}: an attribute that a forward changed" for name in changed[:_SHOWN]),
            next_step="Keep runtime state in buffers: register_buffer(name, tensor, persistent=False). If nothing "
            "is kept, the module is not deterministic.",
        )
    ]


def runtime_state(trip: Trip, target: torch.nn.Module) -> tuple[tuple[str, ...], list[Finding]]:
    """Which buffers a forward changes; none of them in the state, and together all there is to put back."""
    with unchanged_buffers(target):
        entries, buffers = state_hashes(target, runtime=False), buffer_hashes(target)
        trip.keep(target, 0)
        mixed = [name for name, now in state_hashes(target, runtime=False).items() if entries.get(name) != now]
        runtime = tuple(name for name, now in buffer_hashes(target).items() if buffers.get(name) != now)
        if mixed:
            return runtime, [
                trip.finding(
                    "state",
                    "weights only: entries that a forward in eval mode leaves as they are",
                    f"runtime state among them: {', '.join(mixed[:_SHOWN])}",
                    next_step="Register it with persistent=False and save it in a file of its own.",
                )
            ]
        if not runtime:
            return (), []
        with tempfile.TemporaryDirectory(prefix="modelcheck-") as folder:
            path = Path(folder) / "runtime.pt"
            torch.save({name: buffer.clone() for name, buffer in target.named_buffers()}, path)
            expected = output_hashes(trip.keep(target, 1))
            trip.keep(target, 2)
            for name, tensor in torch.load(path, weights_only=True).items():
                owner, _, leaf = name.rpartition(".")
                target.get_submodule(owner)._buffers[leaf] = tensor
        if output_hashes(trip.keep(target, 1)) == expected:
            return runtime, []
    return runtime, [
        trip.finding(
            "runtime state",
            f"the bits of a continued run from the saved buffers ({', '.join(runtime)})",
            "other outputs",
            next_step="Part of the runtime state lies outside the buffers: keep all of it in buffers.",
        )
    ]
