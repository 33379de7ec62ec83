"""What every part of a state round trip needs: the module, further ones like it, and its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs, bind_arguments, build_module, run_module, select_outputs
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import BUILD_SEED, ModelCase
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.torch_checks.state.bad_files import other_values
from pytest_modelcheck.torch_checks.state.file import Load, Save

Outputs = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Trip:
    """One module, how to make and run more like it, and the functions that save and load."""

    case: ModelCase
    module: torch.nn.Module
    inputs: Callable[[int], ModuleInputs]
    save: Save
    load: Load

    def save_to(self, path: Path) -> None:
        try:
            self.save(self.module, path)
        except Exception as error:  # the project's own function
            raise ModelCheckError(f"{self.case.name}: save() raised {type(error).__name__}: {error}") from error
        if not path.is_file():
            raise ModelCheckError(f"{self.case.name}: save() wrote no file at the path it was given")

    def another_module(self, shift: float = 0.125) -> torch.nn.Module:
        """A module of the same kind from another seed, every entry of its state overwritten, and every parameter."""
        made = build_module(self.case, seed=BUILD_SEED + 1)
        with torch.no_grad():
            entries = made.state_dict(keep_vars=True)
            outside = {name: value for name, value in made.named_parameters() if name not in entries}
            for tensor in (*entries.values(), *outside.values()):
                if isinstance(tensor, torch.Tensor):
                    tensor.copy_(other_values(tensor, shift))
        return made

    def run(self, module: torch.nn.Module, seed: int) -> Outputs:
        return run_module(self.case, module, self.inputs(seed))

    def keep(self, module: torch.nn.Module, seed: int) -> Outputs:
        """A forward whose changes to the buffers stay."""
        with torch.no_grad():
            positional, named = bind_arguments(module.forward, self.inputs(seed).forward_arguments())
            return select_outputs(self.case, module(*positional, **named))

    def finding(
        self,
        subject: str,
        expected: str,
        found: str,
        *,
        context: str = "",
        where: tuple[str, ...] = (),
        next_step: str = "",
        error: bool = False,
    ) -> Finding:
        return Finding(
            gate="expect_state_roundtrip",
            model=self.case.name,
            subject=subject,
            expected=expected,
            found=found.removeprefix(f"{self.case.name}: "),
            context=context,
            where=where,
            next=next_step,
            verdict=Verdict.ERROR if error else Verdict.FAIL,
        )
