"""The library from the shell, for plain .onnx files: ``python -m pytest_modelcheck attribute model.onnx``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import ModelCheckError, OptionError
from pytest_modelcheck.targets import TARGETS

if TYPE_CHECKING:
    from pytest_modelcheck.pipeline import AnyPass

DEFAULT = "default"
"""Stands for all passes of the default pipeline in a list of names."""


def attribute_command(arguments: argparse.Namespace) -> int:
    """Print what each pass removes: alone, in its place, and, if asked for, what is lost without it."""
    from pytest_modelcheck.attribution import attribute
    from pytest_modelcheck.check.figures import attribution_figures
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.report.matrix import attribution_lines

    passes = _pipeline(arguments.passes)
    model = load_model(arguments.file)
    with _stdout_to_stderr():
        result = attribute(model, passes=passes, target=arguments.target, leave_one_out=arguments.leave_one_out)
    _show(arguments, attribution_figures(result), attribution_lines)
    return 1 if result.errors else 0


def optimize_command(arguments: argparse.Namespace) -> int:
    """Run the pipeline and write the result; nothing is written if a pass fails."""
    from pytest_modelcheck.graph.counts import count_nodes
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.pipeline import optimize

    passes = _pipeline(arguments.passes)
    before = count_nodes(load_model(arguments.file))
    with _stdout_to_stderr():
        written = optimize(Path(arguments.file), passes=passes, target=arguments.target, output=arguments.output)
    after = count_nodes(load_model(written))
    figures = {"file": str(written), "nodes": {"before": before, "after": after}}
    _show(arguments, figures, lambda _: [f"{written}: {before} -> {after} nodes"])
    return 0


def inspect_command(arguments: argparse.Namespace) -> int:
    """Print what a file holds: interface, opsets, operators, and how many nodes have a known owner."""
    from pytest_modelcheck.graph.compare import interface
    from pytest_modelcheck.graph.counts import count_nodes, op_counts
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.hierarchy import hierarchy_of_model

    model = load_model(arguments.file)
    owners = hierarchy_of_model(model)
    figures = {
        "interface": [{"role": r, "name": n, "type": t, "shape": s} for r, n, t, s in interface(model)],
        "opsets": dict(model.opset_imports),
        "nodes": count_nodes(model),
        "constants": count_nodes(model, constants=True) - count_nodes(model),
        "operators": op_counts(model),
        "coverage": owners.coverage,
        "reason": owners.reason,
    }
    _show(arguments, figures, _inspect_lines)
    return 0


def _inspect_lines(figures: dict[str, Any]) -> list[str]:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in figures["opsets"].items())
    reason = f" ({figures['reason']})" if figures["reason"] else ""
    return [
        *(f"{row['role']:<7}{row['name']}: {row['type']} {row['shape']}" for row in figures["interface"]),
        f"opset  {opsets}",
        f"nodes  {figures['nodes']}, and {figures['constants']} Constants",
        f"owners {100 * figures['coverage']:.1f}% of the compute nodes{reason}",
        *(f"  {count:>6}  {op}" for op, count in sorted(figures["operators"].items(), key=lambda item: -item[1])),
    ]


def diff_command(arguments: argparse.Namespace) -> int:
    """Print which modules gained or lost operators between two files; exit status 1 if any did."""
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.hierarchy import diff_tables, hierarchy_of_model, module_table

    models = [load_model(path) for path in (arguments.file, arguments.other)]
    before, after = (module_table(model, hierarchy_of_model(model)) for model in models)
    lines = list(diff_tables(before, after))
    _show(arguments, {"changed": lines}, lambda _: lines or ["no module changed its operators"])
    return 1 if lines else 0


def hierarchy_command(arguments: argparse.Namespace) -> int:
    """Print the tree of modules with the nodes of each, from the sidecar of the file if there is one."""
    from pytest_modelcheck.report.hierarchy_file import file_figures, file_lines

    sidecar = None if arguments.sidecar is None else Path(arguments.sidecar)
    figures = file_figures(Path(arguments.file), strategy=arguments.strategy, sidecar=sidecar, depth=arguments.depth)
    _show(arguments, figures, file_lines)
    return 0


def strip_command(arguments: argparse.Namespace) -> int:
    """Write a model without the owners and without what torch's exporter wrote about its source, for a release."""
    from pytest_modelcheck.graph.files import load_model, save_model
    from pytest_modelcheck.hierarchy import strip

    save_model(strip(load_model(arguments.file), exporter=True), Path(arguments.output))
    return 0


def replay_command(arguments: argparse.Namespace) -> int:
    """Run the worst input of a failed accuracy gate again; exit status 1 if it still differs."""
    from pytest_modelcheck.accuracy.replay import replay_figures, replay_lines, run_replay

    replay, comparison = run_replay(arguments.file)
    _show(arguments, replay_figures(replay, comparison), lambda _: replay_lines(replay, comparison))
    return 0 if comparison.passed else 1


def merge_command(arguments: argparse.Namespace) -> int:
    """Merge JSON reports of runs that shared the tests; exit status of the whole: the first one that is not 0."""
    from pytest_modelcheck.report.merge import merge_files
    from pytest_modelcheck.report.terminal import summary_lines

    rows, status = merge_files([Path(name) for name in arguments.reports], Path(arguments.output))
    print("\n".join(summary_lines(rows)))
    return status


def _pipeline(given: Sequence[str] | None) -> Sequence[AnyPass] | None:
    """The passes that ``--passes`` names; None where it was not given: the default pipeline.

    Raises:
        OptionError: naming the pass that does not exist, or the package that is not installed.
    """
    from pytest_modelcheck.pipeline import as_passes

    if given is None:
        return None
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError("--passes names no pass")
    return [pass_ for name in names for pass_ in as_passes(None if name == DEFAULT else [name])]


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What other people's optimizers print is no part of our output, which a machine may read."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def fusion_command(arguments: argparse.Namespace) -> int:
    """Print the fused subgraphs of a model case, named as package.module:NAME."""
    from pytest_modelcheck.commands.fusion import fusion_of

    picture = None if arguments.picture is None else Path(arguments.picture)
    figures, lines = fusion_of(arguments.case, picture=picture, module=arguments.module)
    _show(arguments, figures, lambda _: lines)
    return 0


def runtimes_command(arguments: argparse.Namespace) -> int:
    """List the runtimes: version and providers, or the command that installs one."""
    from pytest_modelcheck.commands.runtimes import runtime_figures, runtime_lines

    _show(arguments, runtime_figures(), runtime_lines)
    return 0


def _show(arguments: argparse.Namespace, figures: dict[str, Any], lines: Callable[[dict[str, Any]], list[str]]) -> None:
    print(json.dumps(figures, indent=2) if arguments.json else "\n".join(lines(figures)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_modelcheck", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in (
        ("attribute", attribute_command),
        ("optimize", optimize_command),
        ("inspect", inspect_command),
        ("diff", diff_command),
        ("hierarchy", hierarchy_command),
        ("strip", strip_command),
        ("replay", replay_command),
    ):
        summary = (run.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("file", metavar="FILE")
        if name == "optimize":
            command.add_argument("output", nargs="?", help="default: FILE.optimized.onnx beside FILE")
        if name == "diff":
            command.add_argument("other", metavar="OTHER")
        if name == "strip":
            command.add_argument("output", metavar="OUT")
        if name == "hierarchy":
            command.add_argument("--strategy", choices=("auto", "precise", "broad"), default="auto")
            command.add_argument("--sidecar", metavar="FILE.json", help="default: FILE.hierarchy.json, if it exists")
            command.add_argument("--depth", type=int, help="levels of the tree; default: all")
        if name in ("attribute", "optimize"):
            command.add_argument("--target", choices=TARGETS, default="portable")
            listed = f"names with commas between them, in order; {DEFAULT!r} is the default pipeline; repeatable"
            command.add_argument("--passes", action="append", metavar="NAMES", help=listed)
        if name == "attribute":
            command.add_argument("--leave-one-out", action="store_true", help="also run the pipeline without each pass")
        command.add_argument("--json", action="store_true", help="for machines")
        command.set_defaults(run=run)
    summary = (merge_command.__doc__ or "").splitlines()[0]
    command = commands.add_parser("merge", help=summary, description=summary)
    command.add_argument("reports", nargs="+", metavar="REPORT.json")
    command.add_argument("--output", required=True, metavar="FILE.json")
    command.set_defaults(run=merge_command)
    summary = (fusion_command.__doc__ or "").splitlines()[0]
    command = commands.add_parser("fusion", help=summary, description=summary)
    command.add_argument("case", metavar="MODULE:CASE")
    command.add_argument("--picture", metavar="FILE.svg", help="draw the fused subgraphs of one module")
    command.add_argument("--module", default="", metavar="PATH", help="which one; default: the first attention")
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=fusion_command)
    summary = (runtimes_command.__doc__ or "").splitlines()[0]
    command = commands.add_parser("runtimes", help=summary, description=summary)
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=runtimes_command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 for a difference or a failed pass, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (ModelCheckError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
