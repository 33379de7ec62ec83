"""Every change of the list, made and judged: red with its words, or green."""

from collections import Counter
from pathlib import Path

import pytest

from tests.regressions.changes import CHANGES
from tests.regressions.running import LOCKED, Row, said

RUNS = [(row, exporter) for row in CHANGES for exporter in row.exporters]
UNCHANGED = list(dict.fromkeys((row.model, exporter) for row, exporter in RUNS))


@pytest.mark.parametrize(("row", "exporter"), RUNS, ids=lambda value: str(value).replace(": ", "-"))
def test_a_change_is_said_in_its_words_or_stays_green(row, exporter, tmp_path):
    messages = said(row, exporter, tmp_path)
    text = "\n".join(messages.values())
    if row.verdict == "red":
        assert messages, "nothing was said"
        assert [words for words in row.words if words not in text] == [], text
    elif row.verdict == "graph":
        assert set(messages) <= {"modules"}, text
    else:
        assert messages == {}, text


@pytest.mark.parametrize(("model", "exporter"), UNCHANGED)
def test_a_model_that_did_not_change_is_green(model, exporter, tmp_path):
    assert said(Row(model=model, name="nothing"), exporter, tmp_path) == {}


def test_every_change_has_a_name_of_its_own_and_every_red_one_its_words():
    assert [name for name, count in Counter(map(str, CHANGES)).items() if count > 1] == []
    assert [str(row) for row in CHANGES if row.verdict == "red" and not row.words] == []
    assert {kind for row in CHANGES for kind in row.kinds} == {*LOCKED, "weights"}


def test_the_list_has_many_red_rows_and_many_harmless_ones():
    verdicts = Counter(row.verdict for row in CHANGES)
    assert verdicts["red"] >= 150
    assert verdicts["harmless"] + verdicts["graph"] >= 50
    assert len({row.model for row in CHANGES}) >= 6


def test_the_page_of_what_is_caught_has_every_run_and_no_miss():
    page = (Path(__file__).parents[2] / "docs" / "what_is_caught.md").read_text(encoding="utf-8")
    missing = [
        f"{row} ({exporter})" for row, exporter in RUNS if f"| {row.name} | {exporter} | {row.verdict} |" not in page
    ]
    assert missing == [], "run python -m benchmarks.what_is_caught"
    assert "Misses: none." in page
