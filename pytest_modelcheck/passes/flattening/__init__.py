"""Carrying a flattened (batch * sequence, hidden) view through a part of a graph: for ``fuse_matmul_add``."""
