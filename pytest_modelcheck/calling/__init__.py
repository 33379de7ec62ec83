"""How the module of a model case is built and called: the one place that knows its inputs and outputs.

Exporters, captures and accuracy all see the same flat view: inputs and outputs as ordered mappings from name to tensor,
whatever the forward takes and returns (keywords, dataclasses, dicts, nested tuples, caches).
"""

from pytest_modelcheck.calling.build import build_module, eval_mode, unchanged_buffers, weight_bytes
from pytest_modelcheck.calling.forward import bind_arguments, flat_forward, run_module
from pytest_modelcheck.calling.inputs import ModuleInputs, describe, module_inputs
from pytest_modelcheck.calling.outputs import named_fields, select_outputs
from pytest_modelcheck.calling.resize import resized
from pytest_modelcheck.calling.seeding import seeded
from pytest_modelcheck.calling.watching import WatchingMode

__all__ = [
    "ModuleInputs",
    "WatchingMode",
    "bind_arguments",
    "build_module",
    "describe",
    "eval_mode",
    "flat_forward",
    "module_inputs",
    "named_fields",
    "resized",
    "run_module",
    "seeded",
    "select_outputs",
    "unchanged_buffers",
    "weight_bytes",
]
