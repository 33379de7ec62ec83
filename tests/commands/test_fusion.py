"""``python -m pytest_modelcheck fusion MODULE:CASE``, and the picture of a layer."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.commands.fusion import find_case
from pytest_modelcheck.commands.fusion_listing import report_lines
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.fusion import analyse, fusion_svg
from pytest_modelcheck.model_case import ModelCase
from tests.captured_models import captured

ADDRESS = "tests.structure_models:bert_case"


def test_the_report_is_printed(capsys):
    assert main(["fusion", ADDRESS]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[:3] == [
        "bert: 86 compute nodes, 68 with attention left whole; 16 of bookkeeping",
        "fused      26 subgraphs, mean size 3.31 (+62 % over the same graph without attention rules), largest 18",
        "attention  2 of 2 layers have their projections grouped",
    ]
    assert lines[3].startswith("cost       432.13 kFLOP; ")
    assert lines[4].startswith("numerics   attention written out changes the outputs by ")
    assert "      2  qkv" in lines
    assert "encoder.layer.[0-1].attention.self  x2" in lines


def test_the_report_for_machines_holds_the_same_figures(capsys):
    assert main(["fusion", ADDRESS, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["qkv"], figures["attention_layers"], figures["subgraphs"]) == (2, 2, 26)
    assert len(figures["each"]) == 26
    assert sum(subgraph["flops"] for subgraph in figures["each"]) == figures["flops"]


def test_what_is_not_known_or_not_grouped_is_said(capsys):
    lines = report_lines(analyse(captured("cross")))
    assert "attention  0 of 1 layers have their projections grouped" in lines
    assert "           not attention: Q, K and V read three different inputs" in lines


def test_the_picture_of_a_layer_is_written(tmp_path, capsys):
    assert main(["fusion", ADDRESS, "--picture", str(tmp_path / "layer.svg")]) == 0
    assert "layer.svg: the subgraphs of encoder.layer.0.attention.self" in capsys.readouterr().out
    assert (tmp_path / "layer.svg").read_text().startswith("<svg ")


def test_a_picture_shows_every_operator_and_what_is_read_from_outside():
    svg = fusion_svg(analyse(captured("bert")), "encoder.layer.1")
    texts = [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "bert: encoder.layer.1"
    assert "linear | linear | linear" in texts
    assert "softmax[dim=-1]" in texts
    assert "encoder.layer.0.output" in texts  # where its input comes from
    assert svg == fusion_svg(analyse(captured("bert")), "encoder.layer.1")


def test_the_picture_in_the_document_is_the_one_of_today():
    shown = (Path(__file__).parents[2] / "docs" / "fused_attention.svg").read_text(encoding="utf-8")
    assert shown == fusion_svg(analyse(captured("bert")), "encoder.layer.0.attention")


def test_boxes_of_a_picture_do_not_overlap():
    svg = ElementTree.fromstring(fusion_svg(analyse(captured("bert")), "encoder.layer.0"))
    boxes = [
        tuple(float(box.get(name, "")) for name in ("x", "y", "width", "height"))
        for box in svg.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) > 4
    for index, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x <= x + width <= float(svg.get("width", ""))
        for other_x, other_y, other_width, other_height in boxes[index + 1 :]:
            apart = x + width <= other_x or other_x + other_width <= x
            assert apart or y + height <= other_y or other_y + other_height <= y


def test_a_module_without_subgraphs_has_no_picture():
    with pytest.raises(OptionError, match=r"no fused subgraph belongs to 'decoder' in bert; modules: embeddings, "):
        fusion_svg(analyse(captured("bert")), "decoder")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "tests.structure_models",
            "'tests.structure_models' is not an address of a model case; write package.module:NAME",
        ),
        ("no_such_module:CASE", "'no_such_module:CASE': No module named 'no_such_module'"),
        ("tests.structure_models:nothing", "tests.structure_models has no nothing"),
        ("tests.structure_models:VOCABULARY", "'tests.structure_models:VOCABULARY' is a int, not a ModelCase"),
        ("examples.zoo.bert_base:CASES.7", "examples.zoo.bert_base has no CASES.7"),
    ],
)
def test_a_wrong_address_is_bad_input_with_the_reason(capsys, address, message):
    assert main(["fusion", address]) == 2
    assert message in capsys.readouterr().err


def test_a_case_that_cannot_be_captured_is_bad_input_with_the_reason(capsys):
    assert main(["fusion", "tests.fusion.branching:CASE"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: capture of branching failed (data_dependent_control_flow): ")
    assert "where: branching.py:" in error


def test_a_case_of_a_tuple_is_named_by_its_place():
    first, second = (find_case(f"examples.zoo.bert_base:CASES.{index}") for index in (0, 1))
    assert isinstance(first, ModelCase)
    assert (first.exporter, second.exporter) == ("dynamo", "torchscript")
    assert find_case("examples.zoo.bert_base:CASES").exporter == "dynamo"
