"""A worker in Python: see `runtimes/worker.py`. Its interpreter does not have this package.

Its argument is the file of a runtime, whose `Model` it serves: `load(...)`, and for each run `feed(arrays by name)`,
`invoke()`, which alone is timed, and `results()`. What these raise is the reason; an error may name `operators` that
the runtime lacks, and `where` they are.
"""

from __future__ import annotations

import json
import math
import os
import runpy
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a converter and its native code print is no answer

import numpy as np  # noqa: E402 - imports may print, too


def answer(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One request, one answer."""
    do = request.pop("do")
    try:
        return model.load(**request) if do == "load" else _run(model, **request)
    except (Exception, SystemExit) as error:  # a converter may end the process where it gives up
        said = {name: getattr(error, name) for name in ("operators", "where") if hasattr(error, name)}
        return {**said, "error": str(error) if said else f"{type(error).__name__}: {error}"}


def _run(model: Any, feeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    model.feed(dict(_arrays(feeds)))
    began = time.perf_counter()
    model.invoke()
    seconds = time.perf_counter() - began
    arrays = model.results()
    with open("results", "wb") as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())
    return {
        "seconds": seconds,
        "results": [{"dtype": array.dtype.name, "shape": array.shape} for array in arrays],
    }


def _arrays(feeds: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    with open("feeds", "rb") as file:
        for feed in feeds:
            dtype = np.dtype(feed["dtype"])
            array = np.frombuffer(bytearray(file.read(math.prod(feed["shape"]) * dtype.itemsize)), dtype)
            yield feed["name"], array.reshape(feed["shape"])


if __name__ == "__main__":
    loaded = runpy.run_path(sys.argv[1])["Model"]()
    for line in sys.stdin:
        print(json.dumps(answer(loaded, json.loads(line))), file=ANSWERS, flush=True)
