"""``expect_interface``: what whoever runs the export relies on, and what the deployed runtime can take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, named_bound, shortened
from pytest_modelcheck.gates.ops import wrong_operator

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.interface import Interface, Port
    from pytest_modelcheck.result import Finding

Stage = Literal["exported", "optimized"]
STAGES: tuple[Stage, ...] = ("exported", "optimized")
_PORT = re.compile(r"(?P<name>\S+?)(?:\s+(?P<dtype>[a-z]\w*))?(?:\s*\[(?P<dims>[^\]]*)\])?")
_HELP = 'write e.g. "image", "image float32" or "image float32 [batch, 3, *, *]"'


@dataclass(frozen=True, slots=True)
class ExpectedPort:
    """One expected input or output.

    Attributes:
        name: Its name.
        dtype: Its type; None where any will do.
        dims: Sizes and axis names as text, ``"*"`` for anything, ``"?"`` for an axis without a known name; None where
            any shape will do.
    """

    name: str
    dtype: str | None = None
    dims: tuple[str, ...] | None = None

    def __str__(self) -> str:
        dims = "" if self.dims is None else f" [{', '.join(self.dims)}]"
        return f"{self.name}{f' {self.dtype}' if self.dtype else ''}{dims}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectInterface:
    """What is expected, None where nothing is."""

    stage: Stage
    inputs: tuple[ExpectedPort, ...] | None
    outputs: tuple[ExpectedPort, ...] | None
    opset: Bound | None
    ir_version: Bound | None
    single_file: bool | None
    domains: tuple[str, ...] | None
    operators: tuple[str, ...] | None


def parse(
    inputs: Any = None,
    outputs: Any = None,
    opset: Any = None,
    ir_version: Any = None,
    single_file: Any = None,
    domains: Any = None,
    operators: Any = None,
    stage: str = "exported",
) -> ExpectInterface:
    """the graph has these inputs and outputs in this order, and nothing beyond what the deployed runtime can take

    Raises:
        MarkerError: when nothing is expected; on an unknown stage, a port that cannot be read, or no list where one is
            needed.
        BoundError: on a bound that cannot be read, or that is not a version.
    """
    if all(value is None for value in (inputs, outputs, opset, ir_version, single_file, domains, operators)):
        raise MarkerError('expects nothing; write e.g. inputs=("image float32 [batch, 3, 32, 32]",) or opset="<=17"')
    if single_file is not None and not isinstance(single_file, bool):
        raise MarkerError(f"single_file={single_file!r}: write True or False")
    named = _names("domains", domains)
    return ExpectInterface(
        stage=choice("stage", stage, STAGES),
        inputs=_ports("inputs", inputs),
        outputs=_ports("outputs", outputs),
        opset=_version("opset", opset),
        ir_version=_version("ir_version", ir_version),
        single_file=single_file,
        domains=None if named is None else tuple("" if name == "ai.onnx" else name for name in named),
        operators=_names("operators", operators),
    )


def validate(expectation: ExpectInterface, passes: tuple[str, ...]) -> None:
    """Check the operator names: a name that cannot exist allows nothing.

    Raises:
        MarkerError: naming the operator or domain that does not exist, and the close match.
    """
    for op in expectation.operators or ():
        if wrong := wrong_operator(op):
            raise MarkerError(wrong)


def _names(argument: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise MarkerError(f"{argument}={value!r}: write a tuple of names")
    return tuple(value)


def _ports(argument: str, value: Any) -> tuple[ExpectedPort, ...] | None:
    return None if value is None else tuple(_port(argument, text) for text in _names(argument, value) or ())


def _port(argument: str, text: str) -> ExpectedPort:
    match = _PORT.fullmatch(text.strip())
    if match is None:
        raise MarkerError(f"{argument}: {text!r} cannot be read; {_HELP}")
    dims = match["dims"]
    items = None if dims is None else tuple(item.strip() for item in dims.split(",")) if dims.strip() else ()
    if items is not None and not all(items):
        raise MarkerError(f"{argument}: {text!r} has an empty dimension; {_HELP}")
    return ExpectedPort(match["name"], match["dtype"], items)


def _version(argument: str, expected: Any) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound(argument, expected)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{argument}={expected!r}: a version is a plain number")
    return bound


def check(modelcheck: ModelCheck, expectation: ExpectInterface) -> GateResult:
    """Compare the interface of the exported or the optimized graph with what is expected of it."""
    from pytest_modelcheck.interface import interface_of
    from pytest_modelcheck.interface.facts import domain_name

    found = interface_of(modelcheck.graphs.graph(expectation.stage))
    opset = dict(found.opsets).get("")
    findings: list[Finding] = []

    def wrong(subject: str, expected: str, found: str, next_step: str, where: Sequence[str] = ()) -> None:
        findings.append(
            modelcheck.finding(
                GATE.name, subject, expected, found, stage=expectation.stage, where=where, next=next_step
            )
        )

    for role in ("inputs", "outputs"):
        expected: tuple[ExpectedPort, ...] | None = getattr(expectation, role)
        lines = [] if expected is None else list(_differences(role[:-1], expected, getattr(found, role)))
        if expected is not None and lines:
            count = f"{len(lines)} difference{'s' if len(lines) > 1 else ''}"
            wrong(role, _listed(expected), count, "Whoever feeds or reads the model by these names breaks.", lines)
    if expectation.opset is not None and (opset is None or not expectation.opset.holds(opset)):
        said = "no opset of ai.onnx" if opset is None else str(opset)
        wrong("opset", str(expectation.opset), said, "Export with ModelCase(opset=...), or deploy a newer runtime.")
    if expectation.ir_version is not None and not expectation.ir_version.holds(found.ir_version):
        step = "Set model.ir_version before the file is shipped, or deploy a newer runtime."
        wrong("ir_version", str(expectation.ir_version), str(found.ir_version), step)
    if expectation.single_file is not None and expectation.single_file is _has_data_files(modelcheck, expectation):
        words = {True: "one file", False: "weights in files beside it"}
        step = "Weights above 100 MiB are written beside the model; export_options external_data= decides it."
        wrong("files", words[expectation.single_file], words[not expectation.single_file], step)
    if expectation.domains is not None:
        beyond = [domain_name(domain) for domain in found.domains if domain not in expectation.domains]
        if beyond:
            allowed = ", ".join(map(domain_name, expectation.domains)) or "no domain"
            step = "The deployed runtime lacks these operators: take the pass or option that makes them out."
            wrong("domains", allowed, ", ".join(beyond), step)
    if expectation.operators is not None:
        counts = modelcheck.graphs.op_counts(expectation.stage)
        beyond = [f"{op} {count}" for op, count in counts.items() if op not in expectation.operators]
        if beyond:
            step = "If the deployed runtime has these operators, name them in the marker."
            wrong("operators", f"{len(expectation.operators)} allowed", f"{len(beyond)} more", step, shortened(beyond))
    return GateResult(gate=GATE.name, measured=_measured(found, opset), findings=tuple(findings))


def _has_data_files(modelcheck: ModelCheck, expectation: ExpectInterface) -> bool:
    """Whether the graph needs further files; tensors below 1 kB lie in memory once the graph is loaded."""
    from pytest_modelcheck.graph.files import data_files
    from pytest_modelcheck.interface import interface_of

    if expectation.stage == "exported":
        return bool(data_files(modelcheck.exported.path))
    return interface_of(modelcheck.graphs.graph("optimized")).external


def _measured(found: Interface, opset: int | None) -> str:
    return f"inputs {len(found.inputs)}, outputs {len(found.outputs)}, opset {opset}, IR version {found.ir_version}"


def _listed(ports: Sequence[ExpectedPort]) -> str:
    return ", ".join(map(str, ports)) or "none"


def _differences(role: str, expected: Sequence[ExpectedPort], found: Sequence[Port]) -> Iterator[str]:
    from pytest_modelcheck.interface.text import port_text

    by_name: Mapping[str, Port] = {port.name: port for port in found}
    names = [port.name for port in expected]
    for port in expected:
        if port.name not in by_name:
            known = ", ".join(f"`{name}`" for name in by_name) or "none"
            yield f"{role} `{port.name}` is missing; the graph has {known}"
        elif not _fits(port, by_name[port.name]):
            yield f"{role} `{port.name}` is {port_text(by_name[port.name])}, expected {port}"
    for name in by_name:
        if name not in names:
            yield f"{role} `{name}` is not expected ({port_text(by_name[name])})"
    order = [name for name in by_name if name in names]
    if order != [name for name in names if name in by_name]:
        yield f"the {role}s are in the order {', '.join(f'`{name}`' for name in order)}"


def _fits(expected: ExpectedPort, found: Port) -> bool:
    from pytest_modelcheck.interface.text import dim_text

    if expected.dtype is not None and expected.dtype != found.dtype:
        return False
    if expected.dims is None:
        return True
    if found.dims is None or len(found.dims) != len(expected.dims):
        return False
    return all(want in ("*", dim_text(dim)) for want, dim in zip(expected.dims, found.dims, strict=True))


GATE = Gate("expect_interface", parse, check, validate)
