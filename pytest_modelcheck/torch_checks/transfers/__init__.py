"""Reads and copies for which host and device wait for each other."""

from pytest_modelcheck.torch_checks.transfers.forward import host_transfers
from pytest_modelcheck.torch_checks.transfers.record import Transfer, TransferKind

__all__ = ["Transfer", "TransferKind", "host_transfers"]
