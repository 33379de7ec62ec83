"""`Results`: each result of a check is computed once, and its time, its failure and its figures are kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory

Figures = Callable[[Any], Mapping[str, Any]]
"""A result -> plain data for the reports, by the name of its section."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Kept:
    value: Any
    figures: Figures | None


@dataclass(slots=True)
class Results:
    """What was computed of one case.

    Attributes:
        progress: Called with what is being done, in a few words; with the empty text when it is done.
        seconds: Step -> wall seconds, without those of the steps inside it.
        untouched: Whether gates run, and there was no export before them: no test can have edited what they exported.
    """

    progress: Callable[[str], None] = lambda text: None
    seconds: dict[str, float] = field(default_factory=dict)
    untouched: bool = False
    _kept: dict[Hashable, _Kept] = field(default_factory=dict)
    _failed: dict[Hashable, ModelCheckError] = field(default_factory=dict)
    _running: list[float] = field(default_factory=list)  # seconds of finished inner steps, one entry per open step
    _steps: list[str] = field(default_factory=list)  # the open steps, the innermost last

    def once(
        self, key: Hashable, make: Callable[[], _T], *, step: str | None = None, figures: Figures | None = None
    ) -> _T:
        """The result under `key`: made on the first call, and the same object on each further one.

        Args:
            key: Everything that tells this result from others of the case, e.g. ``("accuracy", atol, rtol, seeds)``.
            make: Computes it. A `ModelCheckError` that it raises is raised again on each further call.
            step: Name under which the time is shown; None where the time is that of the steps inside.
            figures: The result as plain data for the reports, e.g. ``lambda opset: {"opset": {"text": str(opset)}}``.

        Example:
            ``size = modelcheck.once("size", lambda: path.stat().st_size, figures=lambda n: {"size": {"bytes": n}})``
        """
        if key in self._failed:
            raise self._failed[key]
        if key not in self._kept:
            try:
                if step is None:
                    value = make()
                else:
                    with self.timed(step):
                        value = make()
            except ModelCheckError as error:
                self._failed[key] = error
                raise
            self._kept[key] = _Kept(value, figures)
        return cast("_T", self._kept[key].value)

    def has(self, key: Hashable) -> bool:
        """Whether there is a result under `key`."""
        return key in self._kept

    def forget(self, *keys: Hashable) -> None:
        """Drop results, so that their memory is free; who asks again has them made again."""
        for key in keys:
            self._kept.pop(key, None)

    def figures(self) -> dict[str, Any]:
        """The figures of every result, in the order in which they were made; sections of one name are merged."""
        figures: dict[str, Any] = {}
        for kept in self._kept.values():
            if kept.figures is not None:
                merge_figures(figures, kept.figures(kept.value))
        return figures

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Show `step` while the block runs, and count its seconds, without those of the steps inside it."""
        self.progress(f"{step} ...")
        started = time.perf_counter()
        self._running.append(0.0)
        self._steps.append(step)
        try:
            with _own_trace():
                yield
        finally:
            return_freed_memory(collect=False)
            whole = time.perf_counter() - started
            self.seconds[step] = self.seconds.get(step, 0.0) + whole - self._running.pop()
            if self._running:
                self._running[-1] += whole
            self._steps.pop()
            self.progress(f"{self._steps[-1]} ..." if self._steps else "")


def merge_figures(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add sections to figures in place; of a section that is in both, the entries are put together."""
    for name, section in more.items():
        before = into.get(name)
        into[name] = {**before, **section} if isinstance(before, dict) and isinstance(section, Mapping) else section


@contextmanager
def _own_trace() -> Iterator[None]:
    """Keep torch's structured trace, which is for tools and always at level DEBUG, to torch's own handlers.

    pytest attaches its capturing handler to loggers that do not propagate, too (pytest 9), and would show hundreds of
    lines below every failure.
    """
    trace = logging.getLogger("torch.__trace")
    handlers = trace.handlers[:]
    trace.handlers[:] = [handler for handler in handlers if type(handler).__module__.startswith("torch.")]
    try:
        yield
    finally:
        trace.handlers[:] = handlers
