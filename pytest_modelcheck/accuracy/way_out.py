"""What can be done about a graph that a runtime does not load or run, by the words of the runtime."""

from __future__ import annotations

import re

_WAYS = (
    (
        r"custom operators of",
        "The library does not load into this onnxruntime: build it for this version and platform.",
    ),
    (
        r"No opset import for domain|is not a registered function/op|No Op registered for|no such operator",
        "An operator that onnxruntime does not have. If it is a custom one, name its library: "
        'ModelCase(..., custom_ops=["libmy_ops.so"]); else export to another opset, or write it in standard operators.',
    ),
    (
        r"NOT_IMPLEMENTED|Could not find an implementation",
        "This provider has no kernel for that operator and type (bfloat16 on the CPU, say). Run it where there is one "
        '(expect_accuracy(provider="CUDA"), expect_runtime("openvino")), or check a float32 export on the CPU.',
    ),
    (
        r"Type 'tensor\(bfloat16\)'",
        "onnxruntime's CPU provider computes little in bfloat16. Check a float32 export on the CPU, or run where there "
        'are kernels: expect_accuracy(provider="CUDA"), expect_runtime("openvino").',
    ),
    (
        r"Type parameter .* bound to different types|Type Error",
        "The graph is not valid: the named node reads a type that it does not take. Look at the step that made it.",
    ),
    (
        r"(Shape|Type)InferenceError|Invalid attribute|INVALID_GRAPH",
        "The graph is not valid: the named node breaks the rules of its operator. Where the exported stage says so, "
        "the exporter wrote it: the node's name holds the path of its module; write that line differently, or try the "
        "other exporter.",
    ),
)


def way_out(error: BaseException) -> str:
    """The next step; empty where the words are not known."""
    return next((way for words, way in _WAYS if re.search(words, str(error))), "")
