"""What torch.export and torch.fx.symbolic_trace capture: predicted and observed, for a fixed list of small modules.

    python benchmarks/capture_limits.py            # the table
    python benchmarks/capture_limits.py --write    # put it into docs/choosing_a_model_strategy.md

`captured` means that the captured graph was run, with the example inputs and with other inputs of the same shapes, and
gave what the module gives; `wrong`, that it gave something else. All other words are kinds of failure. The exit status
is 1 where a prediction is wrong: then torch has changed, and the list in `capture_modules.py` and the document should.
"""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.capture_modules import LIMITS, Limit
from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs, run_module
from pytest_modelcheck.capture import Captured, CaptureFailure, How, capture

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "choosing_a_model_strategy.md"
BEGIN, END = "<!-- measured by benchmarks/capture_limits.py -->", "<!-- end of the measured table -->"
HOWS: tuple[How, ...] = ("export", "symbolic_trace")


@dataclass(frozen=True, slots=True)
class Observed:
    """What one tracer made of one module: a word as in `Limit`, and the failure where there is one."""

    word: str
    failure: CaptureFailure | None = None


def case_of(limit: Limit) -> ModelCase:
    """The module of a limit as a case; normal inputs."""

    def tensors(shapes: Any, generator: torch.Generator) -> Any:
        if isinstance(shapes, dict):
            return {name: tensors(shape, generator) for name, shape in shapes.items()}
        return 3 * torch.randn(shapes, generator=generator)

    def inputs(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        if not isinstance(limit.inputs, dict):
            return tuple(tensors(shape, generator) for shape in limit.inputs)
        made = tensors(limit.inputs, generator)
        return {"batch": made} if "extra" in made else made

    return ModelCase(limit.module.__name__, limit.module, inputs)


def observe(limit: Limit, how: How) -> Observed:
    """Capture the module of a limit, and run what was captured."""
    case = case_of(limit)
    module = build_module(case)
    made = capture(case, module=module, how=how)
    if isinstance(made, CaptureFailure):
        return Observed(str(made.kind), made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nested tensors being a prototype
        same = all(_same(case, module, made, module_inputs(case, module, seed)) for seed in (0, 1, 2))
    return Observed("captured" if same else "wrong")


def _same(case: ModelCase, module: torch.nn.Module, made: Captured, inputs: ModuleInputs) -> bool:
    """Whether graph and module give the same outputs, each for its own copy of the inputs, under one seed."""
    torch.manual_seed(0)
    expected = run_module(case, module, copy.deepcopy(inputs)).values()
    torch.manual_seed(0)
    found = made.run(copy.deepcopy(inputs.values))
    pairs = zip(expected, found, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, equal_nan=True) for a, b in pairs)


def rows() -> Iterator[tuple[Limit, Observed, Observed]]:
    """Every limit with what was observed: by torch.export, by symbolic_trace."""
    for limit in LIMITS:
        yield limit, observe(limit, "export"), observe(limit, "symbolic_trace")


def surprises(limit: Limit, export: Observed, trace: Observed) -> list[str]:
    """One line for each prediction that is wrong."""
    pairs = (("torch.export", limit.export, export), ("symbolic_trace", limit.trace, trace))
    return [
        f"{limit.habit}: {how} predicted {predicted}, observed {seen.word}"
        + (f" ({seen.failure.reason})" if seen.failure else "")
        for how, predicted, seen in pairs
        if seen.word != predicted
    ]


def line(limit: Limit, export: str, trace: str) -> str:
    """One row of the table."""
    return f"| {limit.habit} | {_shown(export)} | {_shown(trace)} |"


def table(lines: list[str]) -> str:
    """The table of the document."""
    return "\n".join(["| the forward uses | torch.export | symbolic_trace |", "|---|---|---|", *lines])


def _shown(word: str) -> str:
    return {"captured": "yes", "wrong": "**wrong**"}.get(word, word.replace("_", " "))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into the document")
    parser.add_argument("--failures", action="store_true", help="also print each failure as a user sees it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = list(rows())
    made = table([line(limit, export.word, trace.word) for limit, export, trace in measured])
    wrong = [text for row in measured for text in surprises(*row)]
    print(
        f"torch {torch.__version__}: {2 * len(measured) - len(wrong)} of {2 * len(measured)} predictions hold\n\n{made}"
    )
    for limit, *seen in measured if arguments.failures else ():
        for how, observed in zip(HOWS, seen, strict=True):
            if observed.failure is not None:
                print(f"\n{limit.habit}, {how}\n{observed.failure.render()}")
    for text in wrong:
        print(f"! {text}")
    if arguments.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
