"""``explain``: each word that a failure can hold has its lines, and a wrong one its close match."""

import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.commands.explain import FAILURES, all_words, explained
from pytest_modelcheck.export.exported import FailureKind
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.snapshots.kinds import KINDS


def test_each_word_has_its_lines():
    words = [*registered_gates(), *(kind.name for kind in KINDS), *map(str, FailureKind)]
    assert list(FAILURES) == list(map(str, FailureKind))
    assert all(kind.means for kind in KINDS)
    listed = all_words()
    for word in words:
        assert word in explained(word) or word.startswith("expect_")
        assert f" {word}" in listed


def test_a_gate_is_explained_by_its_file(capsys):
    assert main(["explain", "expect_ops", "dynamic_shape"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("expect_ops: operator counts.\nholds if: the graph at this stage (exported, optimized)")
    assert "\nwritten: expect_ops(stage='optimized', **ops)\n\ndynamic_shape: there is no exported graph" in out
    assert out.endswith(
        "Usually: change dynamic_axes (another name, one axis less) or the shapes of the example inputs.\n"
    )


def test_without_a_word_all_are_listed(capsys):
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.startswith("markers: ")


@pytest.mark.parametrize(("word", "close"), [("expect_op", "expect_ops"), ("modul", "modules")])
def test_an_unknown_word_is_refused_with_the_close_match(capsys, word, close):
    assert main(["explain", word]) == 2
    assert capsys.readouterr().err == f"error: {word!r} is no word of a failure; did you mean {close!r}?\n"
