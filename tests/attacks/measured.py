"""Measurements that must be red or unclear: (name, question, ratio, reach, noise, bound, verdict, words).

They are given, not taken. `question` is what the bound is about; without a ratio, no pair was measured.
"""

from pytest_modelcheck import Verdict

FAIL, PASS, INCONCLUSIVE, ERROR = Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR
NAN = float("nan")

ROWS = [
    ("half the speed", "speedup", 0.5, 0.01, 0.004, ">=0.98", FAIL, "speedup expected >=0.98, found speedup 0.5x"),
    ("5 % slower", "speedup", 0.95, 0.01, 0.004, ">=0.98", FAIL, "found speedup 0.95x"),
    ("as fast where more is asked", "speedup", 1.0, 0.01, 0.004, ">=1.02", FAIL, "found speedup 1x"),
    ("faster than a range", "speedup", 1.2, 0.01, 0.004, "0.98..1.02", FAIL, "found speedup 1.2x"),
    ("slower than a range", "speedup", 0.9, 0.01, 0.004, "0.98..1.02", FAIL, "found speedup 0.9x"),
    ("a bound from above", "speedup", 2.0, 0.01, 0.004, "<=1.5", FAIL, "found speedup 2x"),
    ("an interval over the bound", "speedup", 1.02, 0.01, 0.004, ">=1.02", INCONCLUSIVE, "found speedup 1.02x"),
    ("just above, too wide", "speedup", 1.03, 0.05, 0.004, ">=1.02", INCONCLUSIVE, "found speedup 1.03x"),
    ("just below, too wide", "speedup", 0.97, 0.05, 0.004, ">=0.98", INCONCLUSIVE, "found speedup 0.97x"),
    ("nothing measured", "speedup", NAN, NAN, NAN, ">=0.001", ERROR, "no memory"),
    ("nothing measured, bound from above", "speedup", NAN, NAN, NAN, "<=1000", ERROR, "no memory"),
    ("much faster", "speedup", 1.5, 0.01, 0.004, ">=1.02", PASS, ""),
    ("no slower", "speedup", 1.0, 0.01, 0.004, ">=0.98", PASS, ""),
    ("within a range", "speedup", 1.0, 0.01, 0.004, "0.98..1.02", PASS, ""),
    ("10 % lost", "regression", 1.1, 0.01, 0.004, "<=5%", FAIL, "regression expected <=5%"),
    ("twice the time", "regression", 2.0, 0.05, 0.004, "<=50%", FAIL, "regression expected <=50%"),
    ("6 % lost, sure", "regression", 1.06, 0.005, 0.002, "<=5%", FAIL, "regression expected <=5%"),
    ("5 % lost", "regression", 1.05, 0.02, 0.004, "<=5%", INCONCLUSIVE, "regression expected <=5%"),
    ("lost in the noise", "regression", 1.1, 0.2, 0.1, "<=5%", INCONCLUSIVE, "regression expected <=5%"),
    ("a gain that is demanded", "regression", 1.0, 0.005, 0.002, "<=-5%", FAIL, "regression expected <=-5%"),
    ("nothing against the locked graph", "regression", NAN, NAN, NAN, "<=900%", ERROR, "no memory"),
    ("a gain", "regression", 0.9, 0.01, 0.004, "<=5%", PASS, ""),
    ("a small loss", "regression", 1.01, 0.01, 0.004, "<=5%", PASS, ""),
    ("10 % against the stored time", "stored", 1.1, 0.01, 0.004, "<=5%", FAIL, "stored expected <=5%"),
    ("5 % against the stored time", "stored", 1.05, 0.02, 0.004, "<=5%", INCONCLUSIVE, "stored expected <=5%"),
    ("nothing against the stored time", "stored", NAN, NAN, NAN, "<=900%", ERROR, "no memory"),
    ("no loss against the stored time", "stored", 1.0, 0.01, 0.004, "<=5%", PASS, ""),
]

COPIES = [
    ("one copy to the device", {"MemcpyFromHost": 1}, 0, FAIL),
    ("one copy back", {"MemcpyToHost": 1}, 0, FAIL),
    ("both ways", {"MemcpyFromHost": 1, "MemcpyToHost": 1}, "<=1", FAIL),
    ("fewer than expected", {"MemcpyToHost": 1}, 2, FAIL),
    ("none where some are", {}, ">0", FAIL),
    ("one layer more on the CPU", {"MemcpyFromHost": 3, "MemcpyToHost": 2}, "<=4", FAIL),
    ("a hundred", {"MemcpyFromHost": 60, "MemcpyToHost": 40}, "<=99", FAIL),
    ("only to the device", {"MemcpyFromHost": 4}, "<4", FAIL),
    ("only back", {"MemcpyToHost": 4}, "<4", FAIL),
    ("one over an inclusive bound", {"MemcpyToHost": 3}, "<=2", FAIL),
    ("an exclusive bound", {"MemcpyToHost": 2}, "<2", FAIL),
    ("an exclusive bound from below", {"MemcpyToHost": 2}, ">2", FAIL),
    ("fewer than an inclusive bound", {"MemcpyToHost": 1}, ">=2", FAIL),
    ("above a range", {"MemcpyFromHost": 3, "MemcpyToHost": 3}, "2..5", FAIL),
    ("below a range", {"MemcpyFromHost": 1}, "2..5", FAIL),
    ("one less than exactly", {"MemcpyFromHost": 1, "MemcpyToHost": 1}, 3, FAIL),
    ("one more than exactly", {"MemcpyFromHost": 2, "MemcpyToHost": 2}, 3, FAIL),
    ("one direction is as expected", {"MemcpyFromHost": 2, "MemcpyToHost": 1}, 2, FAIL),
    ("as text", {"MemcpyToHost": 1}, "0", FAIL),
    ("none where one is expected", {}, 1, FAIL),
    ("none where a range is", {}, "1..2", FAIL),
    ("both ends of a range", {"MemcpyToHost": 2}, "2..2", PASS),
    ("under a bound", {"MemcpyFromHost": 1}, "<=2", PASS),
    ("as many", {"MemcpyFromHost": 1, "MemcpyToHost": 1}, 2, PASS),
    ("none", {}, 0, PASS),
]
"""Copies that onnxruntime would insert: (name, copies, bound, verdict)."""
