"""What an export promises to whoever runs it: inputs, outputs, opsets, files; as text, and what differs in words."""

from pytest_modelcheck.interface.differences import interface_differences, judge_interface
from pytest_modelcheck.interface.facts import Dim, Interface, Port
from pytest_modelcheck.interface.reading import interface_of
from pytest_modelcheck.interface.text import interface_text, parse_interface

__all__ = [
    "Dim",
    "Interface",
    "Port",
    "interface_differences",
    "interface_of",
    "interface_text",
    "judge_interface",
    "parse_interface",
]
