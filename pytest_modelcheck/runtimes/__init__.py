"""onnxruntime sessions: made once, options in one place."""

from pytest_modelcheck.runtimes.ports import FeedError, Port, SessionError
from pytest_modelcheck.runtimes.providers import execution_providers, missing_provider
from pytest_modelcheck.runtimes.session import Session, open_session
from pytest_modelcheck.runtimes.signature import inputs_from_signature, statement_of_inputs

__all__ = [
    "FeedError",
    "Port",
    "Session",
    "SessionError",
    "execution_providers",
    "inputs_from_signature",
    "missing_provider",
    "open_session",
    "statement_of_inputs",
]
