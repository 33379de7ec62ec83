"""`check_repeatable`: two exports of one case are one graph, and what makes them differ is named."""

import itertools
import time

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.export import check_repeatable
from pytest_modelcheck.model_case import EXPORTERS

transformers = pytest.importorskip("transformers")


def bert():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=50, max_position_embeddings=16, **sizes))


def tokens(seed):
    ids = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


BERT = ModelCase("bert", bert, tokens, output_names=["last_hidden_state", "pooler_output"])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_transformer_exported_twice_is_one_graph(exporter):
    finding = check_repeatable(BERT, exporter=exporter)
    assert finding is None, finding.render()


class Scaled(nn.Module):
    """What it computes comes from outside: `factor()` is asked once per module."""

    def __init__(self, factor, rows=1):
        super().__init__()
        self.factor, self.rows = factor(), rows

    def forward(self, x):
        for _ in range(self.rows):
            x = torch.sin(x)
        return x * self.factor


def case_of(build, **options):
    return ModelCase("outside", build, lambda seed: {"x": torch.randn(2, 3)}, **options)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_number_from_outside_the_seed_is_found_at_the_node_that_reads_it(exporter):
    finding = check_repeatable(case_of(lambda: Scaled(time.perf_counter)), exporter=exporter)
    assert finding.verdict is Verdict.FAIL
    assert finding.found.startswith(("constant ", "attribute 'value' of Constant "))
    assert "Snapshots of this model would change" in finding.next


def test_another_number_of_nodes_is_said_in_operators():
    rows = itertools.count(1)
    finding = check_repeatable(case_of(lambda: Scaled(lambda: 2.0, rows=next(rows))), exporter="torchscript")
    assert finding.found == "Sin 2 instead of 1"


def test_random_weights_are_drawn_under_the_seed_and_do_not_differ():
    assert check_repeatable(case_of(lambda: Scaled(lambda: nn.Parameter(torch.randn(3))))) is None


def test_a_failed_export_is_an_error_and_not_agreement():
    def build():
        raise RuntimeError("no weights here")

    finding = check_repeatable(case_of(build))
    assert finding.verdict is Verdict.ERROR
    assert "no weights here" in finding.found


def test_a_case_that_is_a_file_cannot_be_repeated(tmp_path):
    with pytest.raises(ValueError, match="there is no export to repeat"):
        check_repeatable(ModelCase.from_onnx(tmp_path / "model.onnx"))
