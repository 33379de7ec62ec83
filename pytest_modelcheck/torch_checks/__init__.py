"""What concerns the torch module alone: cache, state, host transfers, compilation, memory.

Importing this package loads neither torch nor onnx: its gates are read at the start of every run.
"""
