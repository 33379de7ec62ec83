"""A picture of one module's fused subgraphs, as SVG.

Boxes and arrows in rows need no layout engine: the subgraphs of one layer are almost a chain. `xml.etree` writes them:
every Python has it, and the same report gives the same bytes everywhere, so that a picture in a repository changes when
the model does. (Graphviz lays out better, and is a program to install; SVG libraries of PyPI add nothing to boxes.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.fusion.report import FusionReport, Subgraph

_CHARACTER, _LINE, _PADDING, _GAP_X, _GAP_Y, _LANE = 7.2, 18, 10, 24, 36, 12
_STYLE = "".join(
    f".fusion {rule}"  # in an HTML page the rules of a picture hold for all of it
    for rule in (
        "text{font:12px ui-monospace,monospace;fill:#1f2328}",
        ".title{font-weight:bold}",
        ".note{fill:#656d76;font-size:11px}",
        ".box{fill:#ddf4ff;stroke:#0969da}",
        ".qkv{fill:#dafbe1;stroke:#1a7f37}",
        ".single{fill:#f6f8fa;stroke:#afb8c1}",
        ".outside{fill:none;stroke:#afb8c1;stroke-dasharray:4 3}",
        ".edge{stroke:#656d76;fill:none}",
    )
)


def fusion_svg(report: FusionReport, owner: str) -> str:
    """The subgraphs of the module at path `owner` and of all modules in it, with what they read from outside.

    Grouped projections are green, subgraphs of several operators blue, single operators grey. An operator's line shows
    it with the arguments that a snapshot shows.

    Raises:
        OptionError: if no subgraph belongs to that module, naming the modules that have some.
    """
    inside = [number for number, subgraph in enumerate(report.subgraphs) if _belongs(subgraph, owner)]
    if not inside:
        owners = sorted({subgraph.owner for subgraph in report.subgraphs if subgraph.owner})
        raise OptionError(f"no fused subgraph belongs to {owner!r} in {report.name}; modules: {', '.join(owners)}")
    boxes = {number: _Box(_lines(report.subgraphs[number]), _kind(report.subgraphs[number])) for number in inside}
    outside = dict.fromkeys(s for number in inside for s in report.subgraphs[number].sources if s not in boxes)
    for number in outside:
        source = report.subgraphs[number]
        boxes[number] = _Box([_bare(source.ops[-1]), source.owner or "(root)"], "outside")
    edges = [(source, number) for number in inside for source in report.subgraphs[number].sources]
    width, height = _place(boxes, edges, inside)
    width += _LANE * len(_passing(boxes, edges))
    return _drawn(boxes, edges, width, height, f"{report.name}: {owner or '(root)'}")


def pictured_owner(report: FusionReport) -> str:
    """The module worth drawing: the first with grouped projections, else the first with a fused subgraph; or ``""``."""
    fused = [subgraph for subgraph in report.subgraphs if len(subgraph.ops) > 1 and subgraph.owner]
    grouped = [subgraph for subgraph in fused if subgraph.pattern == "qkv"]
    return next((subgraph.owner for subgraph in [*grouped, *fused]), "")


class _Box:
    def __init__(self, lines: Sequence[str], kind: str) -> None:
        self.lines, self.kind = list(lines), kind
        self.width = 2 * _PADDING + _CHARACTER * max(len(line) for line in lines)
        self.height = 2 * _PADDING + _LINE * len(lines) - 4
        self.x = self.y = 0.0


def _belongs(subgraph: Subgraph, owner: str) -> bool:
    return subgraph.owner == owner or not owner or subgraph.owner.startswith(f"{owner}.")


def _kind(subgraph: Subgraph) -> str:
    return "qkv" if subgraph.pattern == "qkv" else "box" if len(subgraph.ops) > 1 else "single"


def _lines(subgraph: Subgraph) -> list[str]:
    if subgraph.pattern == "qkv":
        return [" | ".join(subgraph.ops), "one kernel for all of them"]
    return [*subgraph.ops, f"ends in {subgraph.boundary}"]


def _bare(label: str) -> str:
    return re.sub(r"\[.*\]", "", label)


def _place(boxes: dict[int, _Box], edges: list[tuple[int, int]], inside: list[int]) -> tuple[float, float]:
    """Rows by the longest way from an input; boxes of a row side by side, in graph order. Gives width and height."""
    row = dict.fromkeys(boxes, 0)
    for number in inside:  # in graph order: what a subgraph reads comes before it
        row[number] = max([row[source] + 1 for source, reader in edges if reader == number], default=0)
    rows = [[number for number in sorted(boxes) if row[number] == level] for level in range(max(row.values()) + 1)]
    widths = [sum(boxes[number].width + _GAP_X for number in level) - _GAP_X for level in rows]
    width, y = max(widths) + 2 * _GAP_X, 2.0 * _LINE
    for level, taken in zip(rows, widths, strict=True):
        x = (width - taken) / 2
        for number in level:
            boxes[number].x, boxes[number].y = x, y
            x += boxes[number].width + _GAP_X
        y += max((boxes[number].height for number in level), default=0) + _GAP_Y
    return width, y


def _passing(boxes: dict[int, _Box], edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The edges that pass a row of boxes on their way: they go around, at the right."""
    tops = {box.y for box in boxes.values()}
    return [edge for edge in edges if any(boxes[edge[0]].y < y < boxes[edge[1]].y for y in tops)]


def _down(a: _Box, b: _Box) -> str:
    x1, y1, x2, y2 = a.x + a.width / 2, a.y + a.height, b.x + b.width / 2, b.y
    bend = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {bend:.1f} {x2:.1f} {bend:.1f} {x2:.1f} {y2:.1f}"


def _around(a: _Box, b: _Box, lane: float, drop: float) -> str:
    x1, y1, x2, y2 = a.x + a.width / 2, a.y + a.height, b.x + b.width, b.y + b.height / 2
    return f"M{x1:.1f} {y1:.1f}v{drop:.1f}H{lane:.1f}V{y2:.1f}H{x2:.1f}"


def _drawn(boxes: dict[int, _Box], edges: list[tuple[int, int]], width: float, height: float, title: str) -> str:
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}", "viewBox": f"0 0 {width:.0f} {height:.0f}"}
    svg = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "fusion", "role": "img", **size})
    ElementTree.SubElement(svg, "title").text = title
    ElementTree.SubElement(svg, "style").text = _STYLE
    marker = {"id": "fusion-arrow", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "orient": "auto"}
    head = ElementTree.SubElement(
        ElementTree.SubElement(svg, "defs"), "marker", marker | {"markerWidth": "7", "markerHeight": "7"}
    )
    ElementTree.SubElement(head, "path", {"d": "M0 0L8 4L0 8z", "fill": "#656d76"})
    _text(svg, _GAP_X, _LINE, title, "title")
    passing = _passing(boxes, edges)
    for source, reader in edges:
        if (source, reader) in passing:
            number = passing.index((source, reader))
            lane = width - _LANE * (len(passing) - number)
            path = _around(boxes[source], boxes[reader], lane, 8 + 6 * (number % 4))
        else:
            path = _down(boxes[source], boxes[reader])
        ElementTree.SubElement(svg, "path", {"class": "edge", "d": path, "marker-end": "url(#fusion-arrow)"})
    for number in sorted(boxes):
        box = boxes[number]
        place = {"x": f"{box.x:.1f}", "y": f"{box.y:.1f}", "width": f"{box.width:.1f}", "height": f"{box.height:.1f}"}
        ElementTree.SubElement(svg, "rect", {"class": box.kind, "rx": "6", **place})
        for index, line in enumerate(box.lines):
            noted = index == len(box.lines) - 1 and len(box.lines) > 1
            _text(svg, box.x + _PADDING, box.y + _PADDING + 10 + _LINE * index, line, "note" if noted else "")
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _text(svg: ElementTree.Element, x: float, y: float, text: str, style: str = "") -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    ElementTree.SubElement(svg, "text", {"class": style, **place} if style else place).text = text
