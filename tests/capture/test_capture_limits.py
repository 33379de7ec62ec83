"""What the installed torch captures is what benchmarks/capture_modules.py predicts, and what the document says."""

from __future__ import annotations

import dataclasses
import re

import pytest

from benchmarks.capture_limits import BEGIN, DOCUMENT, END, Observed, line, observe, surprises, table
from benchmarks.capture_modules import LIMITS, Eye, Limit
from pytest_modelcheck.capture import CaptureFailureKind


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.module.__name__)
def test_the_prediction_holds_for_the_installed_torch(limit: Limit) -> None:
    seen = observe(limit, "export"), observe(limit, "symbolic_trace")
    assert surprises(limit, *seen) == []
    for observed in seen:
        if (failure := observed.failure) is not None:
            assert re.fullmatch(r"capture_modules\.py:\d+: .+", failure.where) or observed.word == "other_result"
            assert failure.next
            assert "\n" not in failure.reason
            assert "Proxy" not in failure.reason, "the reason is in the user's words"


def test_a_wrong_prediction_is_named() -> None:
    limit = dataclasses.replace(LIMITS[0], trace="unsupported_call")
    assert limit.module is Eye
    assert surprises(limit, Observed("captured"), Observed("captured")) == [
        "torch.eye of a size: symbolic_trace predicted unsupported_call, observed captured"
    ]


def test_the_document_shows_the_predictions() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table([line(limit, limit.export, limit.trace) for limit in LIMITS])


def test_the_document_explains_every_kind_of_failure_that_is_about_the_forward() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    own = {"build_failed", "inputs_failed", "not_a_module", "unknown"}
    assert [kind for kind in CaptureFailureKind if kind not in own and f"`{kind}`" not in text] == []
