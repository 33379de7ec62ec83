"""What ``expect_latency`` measures: two graphs side by side, against a stored time, throughput; and its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_modelcheck.accuracy.stages import Inputs, feeds_for
from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.calling import resized
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.figures import json_number
from pytest_modelcheck.latency import (
    FreshSession,
    PairedLatency,
    RunTimes,
    StoredTimes,
    Throughput,
    compare_stored,
    evaluate_regression,
    evaluate_speedup,
    locked_graph,
    measure_paired,
    module_times,
    node_owners,
    per_second,
    session_times,
    slower_modules,
    time_key,
)
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.runtimes import How, open_session, signature_of
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


def measure_speedup(modelcheck: ModelCheck, bound: Bound, how: How) -> PairedLatency:
    """Time of the exported over time of the optimized graph, in onnxruntime at its default level.

    Measured until `bound` is clearly met or missed, or the budget is spent. What met it in an earlier run, with the
    very same files, is not measured again.
    """
    graphs = modelcheck.graphs
    exported, optimized = graphs.exported.path, graphs.optimized_path

    def make() -> PairedLatency:
        drawn = _drawn(modelcheck)
        return measure_paired(
            fresh(exported, "exported", drawn, how),
            fresh(optimized, "optimized", drawn, how),
            budget_s=modelcheck.settings.latency_budget,
            judge=partial(evaluate_speedup, bound=bound),
        )

    settings = {"bound": repr(bound), "threads": how.threads, "provider": how.provider}
    with graphs.results.timed("latency"):
        return graphs.reuse.latency(make, optimized, **settings)


def measure_throughput(modelcheck: ModelCheck, sizes: Sequence[int], how: How) -> tuple[Throughput, ...]:
    """Examples per second of the exported and the optimized graph at these batch sizes, in the wall clock's time.

    Raises:
        ModelCaseError: for an .onnx file, or a case whose dynamic axes have no ``batch``.
    """
    if modelcheck.source.torch is None:
        raise ModelCaseError(
            f"{modelcheck.case.name}: is an .onnx file; batch sizes are those of a module's example inputs"
        )
    example = modelcheck.torch.example
    drawn = {size: resized(example, "batch", size, example.axes) for size in sizes}
    sides = (modelcheck.graphs.exported.path, modelcheck.graphs.optimized_path)
    _free_module(modelcheck)
    measured: dict[int, list[float]] = {size: [] for size in sizes}
    with modelcheck.graphs.results.timed("throughput"):
        for path in sides:
            session = open_session(path, how)
            for size, inputs in drawn.items():
                measured[size].append(per_second(session.bind(feeds_for(session, inputs)), size))
    return tuple(Throughput(size, *both) for size, both in measured.items())


def measure_stored(modelcheck: ModelCheck, how: How) -> tuple[PairedLatency | None, tuple[str, ...]]:
    """Time of the optimized graph over the one that is stored for this machine and these versions.

    Returns:
        The measurement, and where the stored time lies. None where nothing comparable was stored: today's time is
        stored then, and the lines say what there was instead.

    Raises:
        ModelCaseError: without a cache, in which times are stored.
    """
    settings = modelcheck.settings
    if settings.cache is None:
        raise ModelCaseError("times are stored in the cache of exports, and this run has none")
    optimized, drawn = modelcheck.graphs.optimized_path, _drawn(modelcheck)
    session = fresh(optimized, "optimized", drawn, how)
    with modelcheck.graphs.results.timed("latency"):
        now = session_times(session, settings.latency_budget)
    shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in _optimized_feeds(modelcheck).items())
    label = f"{settings.model} ({settings.context})"
    key = time_key(label, shapes, how.threads, how.provider, settings.versions)
    stored = StoredTimes(settings.cache / "times")
    then = stored.find(key)
    if then is not None:
        return compare_stored(now, then), (f"stored in {stored.file(key)}",)
    others = stored.differences(key)
    file = stored.store(key, now.ms)
    return None, (f"{median(now.ms):.2f} ms is stored from now on, in {file}", *others)


def measure_regression(
    modelcheck: ModelCheck, bound: Bound, locked: str, how: How
) -> tuple[PairedLatency, tuple[str, ...]]:
    """Time of today's optimized graph over that of the locked one, side by side, and what had to be mapped.

    Args:
        modelcheck: The case.
        bound: On the loss.
        locked: What a snapshot of `modelcheck.baseline` holds.
        how: How sessions are opened, the runtime's own optimizer on.

    Raises:
        BaselineError: if the locked graph cannot be read, or does not take today's inputs.
    """
    graphs = modelcheck.graphs
    _free_module(modelcheck)
    feeds = _optimized_feeds(modelcheck)
    with graphs.results.timed("latency"), locked_graph(locked, graphs.optimized, feeds) as other:
        measured = measure_paired(
            fresh(graphs.optimized_path, "today's graph", graphs.inputs(EXAMPLE_SEED), how),
            fresh(other.path, "the locked graph", other.feeds, how),
            budget_s=modelcheck.settings.latency_budget,
            judge=partial(evaluate_regression, bound=bound),
        )
    return measured, other.notes


def modules_that_slowed(modelcheck: ModelCheck, locked: str) -> tuple[str, ...]:
    """Which modules today's optimized graph spends more time in than the locked one."""
    graphs, feeds = modelcheck.graphs, _optimized_feeds(modelcheck)
    with graphs.results.timed("profile"), locked_graph(locked, graphs.optimized, feeds) as other:
        owners = node_owners(graphs.optimized, other.model)
        sides = ((graphs.optimized_path, feeds), (other.path, other.feeds))
        now, then = (module_times(*side, owners) for side in sides)
    return tuple(map(str, slower_modules(now, then)))


def _optimized_feeds(modelcheck: ModelCheck) -> dict[str, Any]:
    graphs = modelcheck.graphs
    return feeds_for(signature_of(graphs.optimized, "optimized"), graphs.inputs(EXAMPLE_SEED))


def _drawn(modelcheck: ModelCheck) -> Inputs:
    drawn = modelcheck.graphs.inputs(EXAMPLE_SEED)
    _free_module(modelcheck)
    return drawn


def _free_module(modelcheck: ModelCheck) -> None:
    """Two sessions are two copies of the weights; who needs the module again builds it again."""
    if modelcheck.source.torch is not None:
        modelcheck.source.torch.release()
    return_freed_memory(collect=False)  # measuring collects garbage before it opens anything


def fresh(model: Path, name: str, drawn: Inputs, how: How) -> FreshSession:
    """A file in a session that is opened whenever one is asked for.

    Both sides from files: sessions of one graph that were opened in different ways differ by up to 7 %, and one of a
    model in memory holds twice the weights.
    """

    def opened() -> Callable[[], object]:
        session = open_session(model, how, name=name)
        return session.bind(feeds_for(session, drawn))

    in_this_thread = how.threads == 1 and how.provider == "CPU" and how.runtime == "onnxruntime"
    return FreshSession(opened, own_thread=in_this_thread)


# -- figures -----------------------------------------------------------------------------------------------------------


def latency_figures(latency: PairedLatency, sides: tuple[str, str] = ("exported", "optimized")) -> dict[str, Any]:
    """The ratio of both sides with its interval, the noise measured beside it, and what each of them took."""
    low, high = latency.interval
    a, b = sides
    return {
        "ratio": json_number(latency.ratio),
        "interval": [json_number(low), json_number(high)],
        "noise": [json_number(end) for end in latency.noise],
        "pairs": latency.pairs,
        "rounds": latency.rounds,
        f"{a}_ms": json_number(latency.a_ms),
        f"{b}_ms": json_number(latency.b_ms),
        "times": {name: _times(each) for name, each in ((a, latency.a_times), (b, latency.b_times)) if each},
        "text": f"x{latency.ratio:.3f} [{low:.3f}, {high:.3f}]" if latency.pairs else "failed",
    }


def _times(times: RunTimes) -> dict[str, Any]:
    """Milliseconds of opening a session, of its first run, and of the runs after that."""
    return {
        name: json_number(getattr(times, name)) for name in ("opening_ms", "first_ms", "p50_ms", "p95_ms", "p99_ms")
    }


def throughput_figures(throughput: Sequence[Throughput]) -> list[dict[str, Any]]:
    """Examples per second of both graphs, one entry per batch size."""
    return [
        {
            "batch": each.size,
            "exported_per_s": json_number(each.exported),
            "optimized_per_s": json_number(each.optimized),
        }
        for each in throughput
    ]
