"""Execution providers by their short names, and whether this onnxruntime has them."""

from __future__ import annotations

import onnxruntime as ort

CPU = "CPUExecutionProvider"


def execution_providers(name: str) -> tuple[str, ...]:
    """``"CUDA"`` -> what a session is opened with: that provider first, the CPU for what it has no kernel for."""
    first = f"{name}ExecutionProvider"
    return (CPU,) if first == CPU else (first, CPU)


def missing_provider(name: str) -> str:
    """Why a session with this provider cannot be opened here; empty where it can."""
    wanted, available = execution_providers(name)[0], ort.get_available_providers()
    if wanted in available:
        return ""
    return f"this onnxruntime has no {wanted}; it has {', '.join(available)}"
