# ruff: noqa: E501 - one row, one line
"""Times of today and of an earlier run: (name, then, now, between, bound, verdict, words).

Milliseconds of each session. `between` happens between the two runs: it gets the folder of the times and a monkeypatch.
"""

import json
import math
import os
import platform

from pytest_modelcheck import Verdict
from pytest_modelcheck.check import settings

FAIL, PASS, INCONCLUSIVE = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE
NOTHING = "found no time of this graph on this machine with these versions"
TWO_RUNS = "two runs of one and the same graph, one after the other, differ by up to 26 %"


def around(ms, spread=0.005, count=12):
    return tuple(ms * math.exp(spread * (-1) ** index) for index in range(count))


def rewritten(edit):
    """The file of the times, changed."""

    def change(folder, monkeypatch):
        (file,) = folder.glob("*.json")
        entry = json.loads(file.read_text())
        edit(entry)
        file.write_text(json.dumps(entry))

    return change


def cut(folder, monkeypatch):
    (file,) = folder.glob("*.json")
    file.write_bytes(file.read_bytes()[:-20])


def removed(folder, monkeypatch):
    for file in folder.glob("*.json"):
        file.unlink()


def elsewhere(place, name, value):
    return lambda folder, monkeypatch: monkeypatch.setattr(place, name, value)


TEN = around(10)
ROWS = [
    ("twice the time", TEN, around(20), None, "<=10%", FAIL, "stored expected <=10%, found regression 100 %"),
    ("ten times the time", TEN, around(100), None, "<=10%", FAIL, "found regression 900 %"),
    ("60 % slower", TEN, around(16), None, "<=10%", FAIL, "found regression 60 %"),
    ("twice the time where half as much is allowed", TEN, around(20), None, "<=50%", FAIL, "found regression 100 %"),
    ("60 % slower than a noisy time", around(10, 0.02), around(16), None, "<=10%", FAIL, "found regression 60 %"),
    ("60 % slower on few sessions", around(10, count=4), around(16, count=4), None, "<=10%", FAIL, "regression 60 %"),
    ("no gain where half the time is demanded", TEN, around(10), None, "<=-50%", FAIL, "found regression 0"),
    ("20 % slower", TEN, around(12), None, "<=10%", INCONCLUSIVE, TWO_RUNS),
    ("20 % slower than two noisy times", around(10, 0.3), around(12, 0.3), None, "<=10%", INCONCLUSIVE, "stored expected"),
    ("60 % slower, in the noise", around(10, 0.9), around(16, 0.9), None, "<=10%", INCONCLUSIVE, "stored expected <=10%"),
    ("a time of another machine", TEN, around(20), elsewhere(platform, "node", lambda: "ci-8"), "<=10%", INCONCLUSIVE, NOTHING),
    ("a time of other cores", TEN, around(20), elsewhere(os, "cpu_count", lambda: 999), "<=10%", INCONCLUSIVE, NOTHING),
    ("a time of another system", TEN, around(20), elsewhere(platform, "release", lambda: "0"), "<=10%", INCONCLUSIVE, NOTHING),
    ("a time of other versions", TEN, around(20), elsewhere(settings, "installed_versions", lambda: {"onnxruntime": "0.1"}), "<=10%", INCONCLUSIVE, NOTHING),
    ("a time that was written by hand", TEN, around(20), rewritten(lambda e: e["value"].update(tuple=[20.0] * 12)), "<=10%", INCONCLUSIVE, NOTHING),
    ("a time of zero", TEN, around(20), rewritten(lambda e: e["value"].update(tuple=[0.0] * 12)), "<=10%", INCONCLUSIVE, NOTHING),
    ("no sessions", TEN, around(20), rewritten(lambda e: e["value"].update(tuple=[])), "<=10%", INCONCLUSIVE, NOTHING),
    ("another key in the file", TEN, around(20), rewritten(lambda e: e["key"].update(threads="2")), "<=10%", INCONCLUSIVE, NOTHING),
    ("a format that is not known", TEN, around(20), rewritten(lambda e: e.update(format=99)), "<=10%", INCONCLUSIVE, NOTHING),
    ("half a file", TEN, around(20), cut, "<=10%", INCONCLUSIVE, NOTHING),
    ("a file that was removed", TEN, around(20), removed, "<=10%", INCONCLUSIVE, NOTHING),
    ("as fast", TEN, around(10), None, "<=10%", PASS, ""),
    ("5 % slower", TEN, around(10.5), None, "<=10%", PASS, ""),
    ("faster", TEN, around(5), None, "<=10%", PASS, ""),
    ("a third of the time where half is demanded", TEN, around(3), None, "<=-50%", PASS, ""),
]  # fmt: skip
