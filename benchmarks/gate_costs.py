"""What the gates of this room cost on BERT-base, beyond what other gates need as well.

    python -m benchmarks.gate_costs

The module is built, exported and optimized first: every gate shares that. `wall` and `processor` are seconds of the
gate alone; of the latency gate, `own` is the wall time that is neither opening a session nor a run of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from examples.zoo.bert_base import BERT_BASE
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import latency_measures as measuring
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.gates.evaluate import Declared, evaluate
from pytest_modelcheck.runtimes import Session

ASKED = (
    ("expect_memory", {"peak": "<=1000GB"}),
    ("expect_memory", {"axis": "sequence", "exponent": "<=2.1"}),
    ("expect_memory", {"flops": "<=1000000000000"}),
    ("expect_host_transfers", {"transfers": "<=100"}),
    ("expect_latency", {"speedup": ">=0.5"}),
)


class Timed:
    """Adds up the seconds of what it wraps, of calls inside one another only the outer ones."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, began = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - began

        return timed


def main() -> None:
    check = ModelCheck(BERT_BASE.case("dynamo"), latency_budget=30)
    assert check.attribution
    opened_and_run = Timed()
    bind = Session.bind
    measuring.open_session = opened_and_run(measuring.open_session)
    Session.bind = lambda self, feeds: opened_and_run(bind(self, feeds))  # type: ignore[method-assign]
    print("| gate | wall, s | processor, s | own, s | measured |\n|---|---|---|---|---|")
    for name, arguments in ASKED:
        assert check.torch.module is not None
        assert check.torch.example is not None
        gate = registered_gates()[name]
        declared = Declared(gate, gate.expectation((), arguments))
        before = opened_and_run.seconds
        began, processor = time.perf_counter(), time.process_time()
        (result,) = evaluate(check, [declared])
        wall, used = time.perf_counter() - began, time.process_time() - processor
        own = f"{wall - (opened_and_run.seconds - before):.2f}" if name == "expect_latency" else ""
        asked = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        print(f"| `{name}({asked})` | {wall:.2f} | {used:.2f} | {own} | {result.measured} |", flush=True)


if __name__ == "__main__":
    main()
