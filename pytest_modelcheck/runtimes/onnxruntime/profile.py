"""onnxruntime's own profile: what each node of a run takes."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_modelcheck.runtimes.interface import How, NodeTime
from pytest_modelcheck.runtimes.onnxruntime.session import load, session_options

_TIME = "_kernel_time"


def profile(path: Path, feeds: Mapping[str, Any], how: How, runs: int) -> tuple[NodeTime, ...]:
    """Time of each node, in the order of the first run. Profiling makes runs slower.

    Raises:
        SessionError: if the model cannot be loaded.
    """
    options = session_options(how)
    with tempfile.TemporaryDirectory(prefix="modelcheck-profile-") as folder:
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = load(str(path), options, how, path.name)
        for _ in range(runs):
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_TIME):
            key = (event["name"].removesuffix(_TIME), event["args"].get("op_name", ""))
            times[key].append(event["dur"] / 1000)
    return tuple(NodeTime(name, op, tuple(ms)) for (name, op), ms in times.items())
