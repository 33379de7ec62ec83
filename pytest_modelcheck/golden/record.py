"""A golden reference of what the module computes today, against which later days are held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from pytest_modelcheck.accuracy import to_numpy
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.golden.file import Golden, GoldenError, write_golden
from pytest_modelcheck.model_case import ModelCase

SEEDS = (0, 1)
"""Two: outputs that are the same for both prove nothing, and are refused."""

LARGEST = 4_000_000
"""Bytes of outputs that are recorded at most: the file lives in version control."""

PRODUCER = "the module itself, recorded by --snapshot-update"


def record_golden(
    path: Path,
    case: ModelCase,
    module: torch.nn.Module,
    inputs: Callable[[int], ModuleInputs],
    versions: Mapping[str, str],
) -> Golden:
    """Write what `module` computes on the inputs of two seeds, with the hashes of its weights and inputs.

    Args:
        path: Ends in ``.npz``; its folder is made.
        case, module: The model.
        inputs: seed -> inputs.
        versions: Library -> version, of this run.

    Raises:
        GoldenError: if the outputs prove nothing (NaN, constant, equal for both seeds), or are too large.
        ModelCaseError: if the forward raises.
    """
    drawn = {seed: inputs(seed) for seed in SEEDS}
    outputs = {
        seed: {name: to_numpy(value).copy() for name, value in run_module(case, module, made).items()}
        for seed, made in drawn.items()
    }
    size = sum(array.nbytes for named in outputs.values() for array in named.values())
    if size > LARGEST:
        raise GoldenError(
            f"{path.name}: outputs of {size / 1e6:.1f} MB are too large for a recorded reference "
            f"(at most {LARGEST / 1e6:.0f} MB): name fewer in output_names, or give inputs() smaller sizes"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_golden(
        path,
        producer=PRODUCER,
        versions=versions,
        weights=module,
        inputs={seed: made.as_dict() for seed, made in drawn.items()},
        outputs=outputs,
    )
