"""Other people's optimizers as passes of a pipeline: what each of them is worth, in the same matrix as ours.

Every one of them knows `onnx.ModelProto` only. So the model is written as one, with its weights inside; what comes
back is read again, and every weight that is still the same is the original's own object, not a copy.

They lose the owners of nodes: `metadata_props` do not come back from any of them but onnxscript.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.graph.compare import same_tensor
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.rewriting.pass_base import PassOutcome

_CONTRIB = "com.microsoft"

Optimizer = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True)
class ForeignPass(ir.passes.FunctionalPass):
    """One optimizer of another package.

    Attributes:
        name: Column name of the matrix.
        package: What pip calls the package that has it; the module has the same name.
        run: (model, notes) -> optimized model. May edit its argument; adds what the user should know to the notes.
        standard: Whether the result must pass onnx.checker. onnxruntime writes LayerNormalization into models of
            opset 14, which only onnxruntime itself takes.
    """

    name: str
    package: str
    run: Callable[[onnx.ModelProto, list[str]], onnx.ModelProto]
    standard: bool = True

    def require(self) -> None:
        """Raises OptionError, naming the pip package, if the package is not installed."""
        if importlib.util.find_spec(self.package) is None:
            raise OptionError(
                f"pass {self.name!r} needs the package {self.package}, which is not installed; "
                f"pip install {self.package}, or pip install 'pytest-modelcheck[peers]' for all of them"
            )

    def call(self, model: ir.Model) -> PassOutcome:
        """Give a new model; its inputs and outputs are declared as they were, where names and types are the same."""
        self.require()
        notes: list[str] = []
        optimized = through_proto(model, lambda proto: self.run(proto, notes), name=self.name)
        _restore_shapes(model, optimized)
        return PassOutcome(optimized, True, notes=tuple(notes))


def through_proto(model: ir.Model, optimize: Optimizer, *, name: str) -> ir.Model:
    """Run a function from `onnx.ModelProto` to `onnx.ModelProto` over `model`, which is not touched.

    Weights that lie in a file are written into the proto: nothing tells the function in which folder they would be.
    In the result, an initializer with the name, type and bytes of one before is that one's tensor.

    Raises:
        PassFailedError: if the function returns something else.
    """
    from pytest_modelcheck.runtimes.models import inlined  # 25 ms that most runs do not need

    made = optimize(ir.to_proto(inlined(model)))
    if not isinstance(made, onnx.ModelProto):
        raise PassFailedError(f"{name} returned {type(made).__name__}, not an onnx.ModelProto")
    after = model_from_proto(made, what="the result", sort=False)
    if any(node.domain == _CONTRIB for node in all_nodes(after)):  # onnxruntime's transformers tool forgets the import
        after.opset_imports.setdefault(_CONTRIB, 1)
    for key, value in after.graph.initializers.items():
        before = model.graph.initializers.get(key)
        if before is not None and same_tensor(before.const_value, value.const_value):
            value.const_value = before.const_value
    return after


def _restore_shapes(before: ir.Model, after: ir.Model) -> None:
    """Declare inputs and outputs as the caller's model does: optimizers write down here what they inferred."""
    for old, new in ((before.graph.inputs, after.graph.inputs), (before.graph.outputs, after.graph.outputs)):
        declared = {value.name: value for value in old}
        for value in new:
            known = declared.get(value.name)
            if known is not None and known.type == value.type:
                value.shape = known.shape


def _onnxslim(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    optimized: onnx.ModelProto = importlib.import_module("onnxslim").slim(model)
    return optimized


def _onnxsim(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    optimized: onnx.ModelProto
    optimized, right = importlib.import_module("onnxsim").simplify(model)
    if not right:
        raise PassFailedError("onnxsim says that its result is not equal to the model")
    return optimized


def _onnxoptimizer(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    optimized: onnx.ModelProto = importlib.import_module("onnxoptimizer").optimize(model)
    return optimized


def _onnxscript(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    optimized: onnx.ModelProto = importlib.import_module("onnxscript.optimizer").optimize(model)
    return optimized


def _onnxruntime(level: str) -> Callable[[onnx.ModelProto, list[str]], onnx.ModelProto]:
    """What onnxruntime's own graph optimizer makes of a model for the CPU, and which of its rewrites did it."""

    def optimize(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
        from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, installed_runtime  # as above

        runtime = installed_runtime("onnxruntime")
        assert runtime.optimize is not None
        made = runtime.optimize(model, AT_DEFAULT_LEVEL, level, True)
        notes.append(rewrites_that_fired(made.rewrites))
        if missing := _beyond_the_opset(made.model):
            notes.append(f"no standard ONNX: {', '.join(missing)}; only onnxruntime runs the result")
        return made.model

    return optimize


def _beyond_the_opset(model: onnx.ModelProto) -> list[str]:
    """Operators of the standard domain that the model's own opset does not have."""
    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
    used = sorted({node.op_type for node in model.graph.node if node.domain == ""})
    return [f"{op} at opset {opset}" for op in used if not onnx.defs.has(op, max_inclusive_version=opset)]


def rewrites_that_fired(ran: Sequence[tuple[str, bool]]) -> str:
    """Which of onnxruntime's rewrites changed the graph, and how often."""
    if not ran:
        return "onnxruntime's log names no graph transformer"
    fired = Counter(name for name, changed in ran if changed)
    listed = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(fired.items()))
    return f"onnxruntime's graph transformers that fired: {listed or 'none'}"


FOREIGN_PASSES: tuple[ForeignPass, ...] = (
    ForeignPass("onnxslim", "onnxslim", _onnxslim),
    ForeignPass("onnxsim", "onnxsim", _onnxsim),
    ForeignPass("onnxoptimizer", "onnxoptimizer", _onnxoptimizer),
    ForeignPass("onnxscript", "onnxscript", _onnxscript),
    ForeignPass("onnxruntime_basic", "onnxruntime", _onnxruntime("basic"), standard=False),
    ForeignPass("onnxruntime_extended", "onnxruntime", _onnxruntime("extended"), standard=False),
    ForeignPass("onnxruntime_all", "onnxruntime", _onnxruntime("all"), standard=False),
)
"""Names that a pipeline may hold beside ours; none is in the default pipeline."""
