"""onnx_ir is imported without sympy, and computes with names of dimensions all the same."""

import subprocess
import sys

import pytest

OPTIMIZE = """
import sys
import onnx.parser
from pytest_modelcheck.pipeline import optimize
model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 18]> g (float[n, "2*m"] x) => (float[a, b] y)'
                                '{ s = Shape(x) z = Reshape(x, s) y = Relu(z) }')
assert [node.op_type for node in optimize(model).graph.node] == ["Relu"]
assert "sympy" not in sys.modules
"""

ARITHMETIC = """
import sys
import pytest_modelcheck.late_sympy
import onnx_ir as ir
assert "sympy" not in sys.modules
import sympy
assert sympy.Symbol.__name__ == "Symbol"
assert str((ir.SymbolicDim("max(n, m)") + ir.SymbolicDim("n")).value) in ("n + Max(m, n)", "n + max(n, m)"), ir
assert ir.SymbolicDim(sympy.Symbol("k") + 1).value == "k + 1"
assert ir._core.sympy.Symbol is sympy.Symbol
"""

IMPORTED_BEFORE = """
import onnx_ir, sympy
import pytest_modelcheck.late_sympy
assert onnx_ir._core.sympy is sympy
"""


@pytest.mark.parametrize("program", [OPTIMIZE, ARITHMETIC, IMPORTED_BEFORE])
def test_sympy_is_loaded_when_it_is_needed(program):
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
