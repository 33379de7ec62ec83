"""onnxruntime sessions: made once, options in one place."""

from pytest_modelcheck.runtime.ports import FeedError, Port, SessionError
from pytest_modelcheck.runtime.session import Session, open_session
from pytest_modelcheck.runtime.signature import inputs_from_signature, statement_of_inputs

__all__ = [
    "FeedError",
    "Port",
    "Session",
    "SessionError",
    "inputs_from_signature",
    "open_session",
    "statement_of_inputs",
]
