"""`ModelCheck`: everything about one model case, each part computed on first use and kept.

This is where the rooms meet: the export feeds the hierarchy, whose owners ride through the passes; their result feeds
accuracy and latency. A part that cannot exist raises `FindingError`, with the finding to show; it never stands in for
itself with a zero.

Five layers, each of which knows only those below it:

    ModelCheck > ParityChecks > Measurements > GraphSide > TorchSide > CaseCheck
"""

from pytest_modelcheck.check.model_check import ModelCheck

__all__ = ["ModelCheck"]
