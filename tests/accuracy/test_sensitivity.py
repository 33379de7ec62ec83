"""A difference that rounding explains accuses nobody; one that it does not explain is blamed as ever."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.accuracy.sensitivity import rounded_graph
from tests.gate_checks import ask, check_of_module, said


class Steep(torch.nn.Module):
    """What rounding does to the sum of 64 products is magnified 3000 times; its export adds a second, harmless one."""

    def __init__(self, added=0.0, steep=3000.0):
        super().__init__()
        self.first, self.last = torch.nn.Linear(64, 64), torch.nn.Linear(64, 4)
        self.added, self.steep = added, steep

    def forward(self, x):
        hidden = self.first(x)
        if torch.onnx.is_in_onnx_export():
            hidden = (hidden * 3.0) / 3.0 + self.added
        return self.last(torch.sin(hidden * self.steep))


def test_a_model_that_magnifies_rounding_accuses_neither_exporter_nor_pass_nor_runtime():
    result = ask(check_of_module(Steep, 4, 64), "expect_accuracy", seeds=3, varied=False)
    finding = result.findings[0]
    assert finding.next.startswith(
        "No exporter, pass or runtime is at fault: the model makes this much of any rounding"
    )
    assert "inputs and weights moved by one unit in the last place move exported by " in finding.where[-1]
    assert "The exporter changed the numbers" not in said(result)
    assert "a bug of the runtime" not in said(result)


def test_a_difference_beyond_rounding_is_the_exporters():
    result = ask(check_of_module(lambda: Steep(1e-3, 3.0), 4, 64), "expect_accuracy", seeds=3, varied=False)
    assert "The exporter changed the numbers" in said(result)


def test_whole_numbers_are_exact_by_design_and_are_not_moved():
    """1 - mask times the smallest number: a rounding of that 1 would mask everything."""
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[3] x) => (float[3] y)
        <float[3] w = {0.1, 1.0, -3.4028234e38}> { y = Mul (x, w) }"""
    )
    moved = rounded_graph(model, 0).graph.initializers["w"].const_value.numpy()
    before = model.graph.initializers["w"].const_value.numpy()
    assert moved[0] in (np.nextafter(before[0], np.float32(1)), np.nextafter(before[0], np.float32(-1)))
    assert moved[1:].tolist() == before[1:].tolist()


class Choosing(torch.nn.Module):
    """Takes the rows whose scores are largest; all scores are equal up to rounding, as of an untrained head."""

    def __init__(self):
        super().__init__()
        self.score = torch.nn.Linear(16, 1)
        with torch.no_grad():
            self.score.weight.mul_(1e-7)

    def forward(self, x):
        scores = self.score(x)[:, 0] + 1.0
        if torch.onnx.is_in_onnx_export():
            scores = (scores * 3.0) / 3.0
        return x[scores.topk(4).indices]


def test_a_selection_among_nearly_equal_values_accuses_nobody():
    result = ask(check_of_module(Choosing, 40, 16), "expect_accuracy", seeds=3, varied=False)
    assert result.findings[0].next.startswith("No exporter, pass or runtime is at fault"), said(result)


def test_equal_scores_of_saturated_inputs_are_a_note():
    """The sweep's large values saturate a sigmoid: torch and onnxruntime take different ones of the equal scores."""

    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.score = torch.nn.Linear(16, 1)

        def forward(self, x):
            return x[self.score(x)[:, 0].sigmoid().topk(4).indices]

    result = ask(check_of_module(Detector, 80, 16), "expect_accuracy", seeds=3, metric={"output_0": "rows >= 99 %"})
    assert result.verdict is Verdict.PASS, said(result)


class Narrow(torch.nn.Module):
    """A float32 model with one cast to float16: an element near the middle of two halves becomes either."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)

    def forward(self, x):
        return self.last(torch.nn.functional.gelu(self.first(x)).half().float())


@pytest.mark.parametrize("seeds", [12])
def test_one_seed_that_a_cast_to_half_precision_turns_is_a_note(seeds):
    check = check_of_module(Narrow, 4, 32)
    result = ask(check, "expect_accuracy", seeds=seeds, varied=False, atol=1e-6, rtol=1e-6)
    assert "a bug of the runtime" not in said(result)
    assert "The exporter changed the numbers" not in said(result)
    if result.verdict is not Verdict.PASS:
        assert "lowers the precision: Cast " in said(result)


class Chosen(Choosing):
    """Scores that any rounding reorders, and a second output, which the export changes in one element."""

    def __init__(self, fault):
        super().__init__()
        self.head, self.fault = torch.nn.Linear(16, 4), fault

    def forward(self, x):
        found = self.head(x)
        if torch.onnx.is_in_onnx_export():
            found = found + self.fault * torch.nn.functional.one_hot(torch.tensor([5]), 160).view(40, 4)
        return {"rows": super().forward(x), "found": found}


@pytest.mark.parametrize(("fault", "hidden"), [(0.0, True), (0.01, False)])
def test_an_order_that_rounding_changes_hides_no_fault_in_another_output(fault, hidden):
    result = ask(check_of_module(lambda: Chosen(fault), 40, 16), "expect_accuracy", seeds=3, varied=False)
    assert ("No exporter, pass or runtime is at fault" in said(result)) == hidden, said(result)
    assert ("The exporter changed the numbers" in said(result)) != hidden


class OneSeed(Narrow):
    """A cast to half precision, and a fault of one element for the inputs that begin with more than 1.5."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        y = super().forward(x)
        if not torch.onnx.is_in_onnx_export():
            return y
        place = torch.nn.functional.one_hot(torch.tensor([7]), 128).view(4, 32)
        return y + self.fault * place * y * (x[0, 0] > 1.5)


@pytest.mark.parametrize("fault", [0.01, 0.05])
def test_a_fault_in_one_element_of_one_seed_is_no_rounding(fault):
    check = check_of_module(lambda: OneSeed(fault), 4, 32)
    result = ask(check, "expect_accuracy", seeds=12, varied=False)
    assert "The exporter changed the numbers" in said(result), said(result)
