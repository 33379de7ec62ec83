"""``python -m pytest_modelcheck explain WORD``: what a word in a failure means, and what usually causes it."""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import TYPE_CHECKING

from pytest_modelcheck.errors import OptionError

if TYPE_CHECKING:
    from pytest_modelcheck.gates import Gate
    from pytest_modelcheck.snapshots.kinds import SnapshotKind

FAILURES = {
    "build_failed": "build() raised: call it by itself.",
    "inputs_failed": "inputs(seed) raised, or gave no tensors: call it by itself.",
    "signature_mismatch": "forward() takes other names or another number of inputs than inputs() gives.",
    "forward_failed": "forward() raised in torch itself: nothing of the export ran yet.",
    "outputs_failed": "forward() returned something other than tensors, or names that do not match.",
    "unsupported_operator": "The exporter has no translation of an operator of the forward.",
    "data_dependent_control_flow": "forward() branches on the contents of a tensor, which a graph cannot.",
    "dynamic_shape": "An axis of dynamic_axes is fixed by the code of the forward, or two axes that differ are equal.",
    "invalid_option": "export_options, opset or dynamic_axes that the exporter does not take.",
    "invalid_model": "The file is no valid ONNX model, or the exporter wrote one that onnx's checker refuses.",
    "file_differs": "The file does not hold the module that it is compared with.",
    "disk_full": "There was no room for the exported file.",
    "out_of_memory": "There was not enough memory for the export.",
    "timeout": "The exporter took longer than modelcheck_export_timeout allows, now or when the kept export was made.",
    "unknown": "The exporter failed in a way that is not known.",
}
"""Kind of a failed export (`FailureKind`) -> what happened."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words."""
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="a marker, a kind of snapshot, or the kind of a failed export"
    )


def run(arguments: argparse.Namespace) -> int:
    """Say what a word in a failure means: a marker, a kind of snapshot or of a failed export; or list all words."""
    print("\n\n".join(map(explained, arguments.words)) if arguments.words else all_words())
    return 0


def explained(word: str) -> str:
    """What a word means, and what usually causes it.

    Raises:
        OptionError: for an unknown word, with the close match.

    >>> explained("dynamic_shape").splitlines()[0]
    'dynamic_shape: there is no exported graph, so nothing else of the model is checked.'
    """
    from pytest_modelcheck.export.exported import FailureKind
    from pytest_modelcheck.export.failures import NEXT
    from pytest_modelcheck.gates import registered_gates
    from pytest_modelcheck.gates.gate import suggestion

    gates, kinds = registered_gates(), _snapshot_kinds()
    if word in gates:
        return _of_gate(gates[word])
    if word in kinds:
        meant = "Meant? pytest --modelcheck --snapshot-update, then review the diff of the file."
        return f"snapshot {word}: {kinds[word].rule}\n{kinds[word].means}\n{meant}"
    if word in FAILURES:
        said = f"{word}: there is no exported graph, so nothing else of the model is checked.\n{FAILURES[word]}"
        return f"{said}\nUsually: {NEXT[FailureKind(word)]}." if FailureKind(word) in NEXT else said
    raise OptionError(f"{word!r} is no word of a failure{suggestion(word, [*gates, *kinds, *FAILURES])}")


def all_words() -> str:
    """The words that there are, by where they are met."""
    from pytest_modelcheck.gates import registered_gates

    words = {"markers": registered_gates(), "snapshots": _snapshot_kinds(), "failed exports": FAILURES}
    return "\n".join(f"{title}: {', '.join(names)}" for title, names in words.items())


def _snapshot_kinds() -> dict[str, SnapshotKind]:
    from pytest_modelcheck.gates import registered_gates
    from pytest_modelcheck.snapshots.kinds import KINDS, kinds_at

    kinds = (*KINDS, *(kind for gate in registered_gates().values() for kind in kinds_at(gate.kinds)))
    return {kind.name: kind for kind in kinds}


def _of_gate(gate: Gate) -> str:
    """What a gate checks, when it holds, and how its marker is written: from the file that holds it."""
    checks = (inspect.getdoc(sys.modules[gate.parse.__module__]) or "").replace("``", "")
    described = (inspect.getdoc(gate.parse) or "").partition("\n")[2].partition("Raises:")[0].strip()
    written, _, holds = gate.help.partition(": ")
    return "\n".join([checks, f"holds if: {holds}", *([described] if described else []), f"written: {written}"])
