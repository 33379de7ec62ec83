"""The weights of an .onnx file by digest."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.numbers.files import numbers_of_file

TEXT = """
    <ir_version: 10, opset_import: ["" : 18]>
    net (string[2] x) => (bool[2] y) { y = Equal (x, words) }
"""


def model_with(*words: bytes) -> ir.Model:
    model = ir.from_onnx_text(TEXT.replace("string[2] x)", "string[2] x, string[2] words)"))
    value = model.graph.inputs.pop()
    value.const_value = ir.StringTensor(np.array(words, dtype=object), name="words")
    model.graph.register_initializer(value)
    return model


def test_texts_have_a_digest_that_tells_where_one_ends() -> None:
    one, same, other = (numbers_of_file(model_with(*w)).files for w in ((b"ab", b"c"), (b"ab", b"c"), (b"a", b"bc")))

    assert one["words"][:2] == ("string", (2,))
    assert one == same
    assert one != other
