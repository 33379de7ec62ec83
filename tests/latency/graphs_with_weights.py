"""A graph of two layers with weights, and what may differ between two of its kind."""

import numpy as np
import onnx_ir as ir


def two_layers(first="w1", seed=0, opset=18, input_name="x"):
    """y = relu(x @ w1 + 1) @ w2 with weights of 64 x 64, the first of which is called `first`."""
    model = ir.from_onnx_text(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[2,64] {input_name}) => (float[2,64] y)
        <float[1] {first} = {{0.0}}, float[1] w2 = {{0.0}}, float[1] one = {{1.0}}> {{
            h = MatMul({input_name}, {first})
            k = Add(h, one)
            r = Relu(k)
            y = MatMul(r, w2)
        }}"""
    )
    generator = np.random.default_rng(seed)
    for name in (first, "w2"):
        value = model.graph.initializers[name]
        value.shape = ir.Shape([64, 64])
        value.const_value = ir.tensor(generator.standard_normal((64, 64)).astype(np.float32), name=name)
    return model
