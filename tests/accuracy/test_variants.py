"""Variants: which inputs are varied how, and what a sweep makes of them."""

import contextlib

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Stage, Subject, assess, standard_stages, standard_variants, sweep
from pytest_modelcheck.accuracy.size_variants import shape_variants
from pytest_modelcheck.accuracy.stage_run import plan
from pytest_modelcheck.accuracy.variants import Variant, kind_variants, rounded, vocabularies_of
from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs
from pytest_modelcheck.export import export


def made(variants, inputs, seed=0):
    return {variant.label: variant.apply(inputs, seed) for variant in variants}


def test_a_float_is_shifted_uniform_zero_one_and_large():
    image = torch.randn(1, 3, 32, 32)
    kinds = made(kind_variants({"image": image}, {}), {"image": image.numpy()})
    assert list(kinds) == ["N(-2, 1)", "U(0, 1)", "zeros", "ones", "large values"]
    assert kinds["N(-2, 1)"]["image"].mean() == pytest.approx(-2, abs=0.1)
    assert 0 <= kinds["U(0, 1)"]["image"].min() < kinds["U(0, 1)"]["image"].max() < 1
    assert (kinds["zeros"]["image"] == 0).all()
    assert (kinds["ones"]["image"] == 1).all()
    np.testing.assert_array_equal(kinds["large values"]["image"], image.numpy() * 100)
    assert all(array["image"].dtype == np.float32 for array in kinds.values())


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_a_mask_is_tried_without_padding_and_with_some_in_every_row(dtype, rows):
    mask = torch.ones(rows, 6, dtype=dtype)
    kinds = made(kind_variants({"attention_mask": mask}, {}), {"attention_mask": mask})
    assert (kinds["no padding"]["attention_mask"] == 1).all()
    padded = kinds["padded"]["attention_mask"]
    assert padded.dtype == mask.numpy().dtype
    kept = padded.astype(int).sum(1)
    assert kept.min() >= 1
    assert kept.max() <= 5
    assert (np.diff(padded.astype(int), axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("position_ids", torch.arange(6)[None]),
        ("attention_mask", torch.zeros(1, 1, 6, 6)),
        ("attention_mask", torch.tensor([[0.0, -1e9]])),
        ("flags", torch.tensor([[0, 1, 1]])),
    ],
)
def test_what_is_no_plain_value_stays_as_it_was_drawn(name, tensor):
    assert kind_variants({name: tensor}, {}) == ()


def test_kinds_of_several_inputs_change_together():
    inputs = {"ids": torch.zeros(2, 4, dtype=torch.long), "mask": torch.ones(2, 4), "states": torch.randn(2, 3)}
    labels = [variant.label for variant in kind_variants(inputs, {"ids": 9})]
    assert labels == [
        "N(-2, 1), no padding, ids over the vocabulary",
        "U(0, 1), padded, ids over the vocabulary",
        "zeros",
        "ones",
        "large values",
    ]


def test_equal_seeds_give_equal_variants():
    inputs = {"ids": torch.zeros(2, 64, dtype=torch.long), "x": torch.randn(2, 3)}
    for variant in kind_variants(inputs, {"ids": 1000}):
        first, second = variant.apply(inputs, 3), variant.apply(inputs, 3)
        assert all(np.array_equal(first[name], second[name]) for name in inputs)
        if "vocabulary" in variant.label:
            assert first["ids"].max() > 500
            assert not np.array_equal(first["ids"], variant.apply(inputs, 4)["ids"])


def test_what_is_neither_tensor_nor_number_is_handed_on():
    inputs = {"x": np.ones(4, np.float32), "words": np.array(["a", "b"], dtype=object)}
    assert made(kind_variants(inputs, {}), inputs)["zeros"]["words"] is inputs["words"]


def test_rounding_moves_every_float_by_one_step_and_zeros_as_well():
    inputs = {"x": torch.tensor([1.0, -2.0, 0.0, 100.0]), "n": torch.tensor([1])}
    moved = rounded(inputs, 0)
    assert (moved["x"] != inputs["x"].numpy()).all()
    np.testing.assert_allclose(moved["x"], inputs["x"], rtol=2e-5, atol=1e-5)
    assert moved["n"].tolist() == [1]


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, 8), torch.nn.Embedding(16, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, ids, position_ids):
        return self.head(self.words(ids) + self.places(position_ids))


def test_the_vocabulary_is_the_table_that_looks_the_ids_up():
    case = ModelCase(
        "words", Words, lambda seed: {"ids": torch.randint(0, 9, (2, 4)), "position_ids": torch.arange(4)[None]}
    )
    module = build_module(case)
    assert vocabularies_of(case, module, module_inputs(case, module, 0)) == {"ids": 50}


# -- sizes --------------------------------------------------------------------------------------------------------


def test_every_dynamic_dimension_gets_two_other_sizes_that_are_all_different():
    axes = {"ids": {0: "batch", 1: "sequence"}, "mask": {0: "batch", 1: "sequence"}}
    inputs = {"ids": torch.arange(32).reshape(2, 16), "mask": torch.ones(2, 16)}
    variants = shape_variants(inputs, axes)
    assert [variant.label for variant in variants] == ["batch 4, sequence 11", "batch 3, sequence 17", "batch 1"]
    resized = variants[1].apply(inputs, 0)
    assert resized["ids"].shape == resized["mask"].shape == (3, 17)
    assert resized["ids"][1].tolist() == [*range(16, 32), 16]
    assert resized["ids"][2].tolist() == resized["ids"][0].tolist()


def test_images_change_by_what_divides_their_sizes():
    (smaller, larger) = shape_variants({"x": torch.randn(1, 3, 224, 224)}, {"x": {2: "height"}})
    assert (smaller.label, larger.label) == ("height 160", "height 256")


def test_no_size_becomes_one_and_none_is_that_of_another_dimension():
    axes = {"x": {0: "a", 1: "b"}}
    for variant in shape_variants({"x": torch.randn(1, 2)}, axes)[:2]:
        sizes = variant.apply({"x": torch.randn(1, 2)}, 0)["x"].shape
        assert min(sizes) >= 3
        assert len(set(sizes)) == 2


@pytest.mark.parametrize("axes", [{}, {"other": {0: "batch"}}, {"x": {0: "n", 1: "n"}}, {"x": {0: "past + length"}}])
def test_axes_that_cannot_be_chosen_freely_are_left_alone(axes):
    assert shape_variants({"x": torch.randn(2, 3)}, axes) == ()


# -- in a sweep ---------------------------------------------------------------------------------------------------


def test_variants_take_every_other_seed_from_the_last_one_or_further_ones():
    variants = [Variant("a", lambda inputs, seed: inputs), Variant("b", lambda inputs, seed: inputs)]
    assert {entry.seed: entry.label for entry in plan(range(5), variants)} == {0: "", 1: "", 2: "b", 3: "", 4: "a"}
    assert {entry.seed: entry.label for entry in plan(range(3), variants)} == {0: "", 1: "", 2: "", 3: "a", 4: "b"}


def stage(name, run, against=None):
    return Stage(name=name, open=lambda: contextlib.nullcontext(run), against=against)


def drawn(seed):
    return {"x": np.random.default_rng(seed).standard_normal(6).astype(np.float32)}


def swept(reference, candidate, seeds=4, **kwargs):
    variants = kind_variants(drawn(0), {})
    return sweep(
        [stage("a", reference), stage("b", candidate, "a")], drawn, seeds=range(seeds), variants=variants, **kwargs
    )


def test_a_difference_that_only_shifted_inputs_show_is_found_and_said_to_be_so():
    report = swept(
        lambda i: {"y": i["x"] * 2}, lambda i: {"y": np.where(np.abs(i["x"] + 3.5) < 0.5, 0, i["x"]) * np.float32(2)}
    )
    finding = report.pair("b").finding
    assert finding.verdict is Verdict.FAIL
    assert "only for inputs that the case does not draw: N(-2, 1)" in "\n".join(finding.where)


def test_a_variant_for_which_the_reference_itself_gives_no_number_is_left_out_with_a_note():
    def reference(inputs):
        with np.errstate(all="ignore"):
            return {"y": np.log(np.exp(inputs["x"] * 100)) + inputs["x"]}

    report = swept(reference, reference)
    assert report.passed
    assert set(report.variants.values()) == {"U(0, 1)", "zeros", "ones"} & set(report.variants.values())
    assert "inputs 'large values' left out: a gives NaN or infinities for them" in report.notes
    assert len(report.seeds) == len(report.pair("b").seeds) == 9


def test_a_variant_on_which_a_rounding_of_the_inputs_matters_is_left_out_with_a_note():
    def reference(inputs):
        return {"y": np.sin(inputs["x"] * np.float32(100)) + np.float32(0.1) * inputs["x"]}

    report = swept(reference, reference)
    assert "inputs 'large values' left out: rounding them once moves a by 0.1 tolerances" in report.notes


def test_an_output_that_no_input_moves_is_counted_in_the_seeds_that_the_case_draws():
    """Variants, of which zeros may well make an output constant, do not add to them, and are no seeds that passed."""
    report = swept(lambda inputs: {"y": 0 * inputs["x"]}, lambda inputs: {"y": 0 * inputs["x"]})
    (finding,) = report.findings
    assert finding.found.startswith("empty comparison: the reference is constant")
    assert finding.where[-1] == "4 of 4 seeds, first seed 0"
    assert len(report.seeds) == 9


def test_a_variant_that_the_reference_cannot_run_is_left_out_and_one_that_only_the_candidate_cannot_run_fails():
    def refuses_ones(inputs):
        if (inputs["x"] == 1).all():
            raise ValueError("no ones, please")
        return {"y": inputs["x"] * 2}

    report = swept(refuses_ones, refuses_ones)
    assert report.passed
    assert "inputs 'ones' left out: ValueError: no ones, please" in report.notes
    report = swept(lambda inputs: {"y": inputs["x"] * 2}, refuses_ones)
    (finding,) = report.findings
    assert finding.verdict is Verdict.FAIL
    assert (finding.subject, finding.found) == ("inputs", "an error")
    assert finding.expected == "outputs for ones, as a gives them"
    assert finding.where == ("cannot run at all with ones: ValueError: no ones, please",)


def test_outputs_that_zeros_make_constant_are_no_error():
    report = swept(lambda inputs: {"y": inputs["x"] * 2}, lambda inputs: {"y": inputs["x"] * 2})
    assert report.passed
    assert "zeros" in report.variants.values()


def test_an_input_that_is_the_same_for_every_seed_is_noted():
    def same_mask(seed):
        return drawn(seed) | {"mask": np.ones(6, np.float32)}

    report = sweep([stage("a", lambda i: {"y": i["x"]}), stage("b", lambda i: {"y": i["x"]}, "a")], same_mask)
    assert report.notes == ("input 'mask' is the same for every seed: draw it from the seed if it matters",)


class Scaled(torch.nn.Module):
    """Multiplies by a size that the tracer takes for a constant."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x) + 1e-3 * len(x.tolist())


class Reshaped(Scaled):
    """Reshapes to a size that the tracer takes for a constant."""

    def forward(self, x):
        return self.linear(x).reshape(len(x.tolist()), 2, 2)


class Shortcut(Scaled):
    """Takes another way where nothing is masked; the tracer keeps the one that the example took."""

    def forward(self, x, mask):
        return self.linear(x) if bool(mask.all()) else self.linear(x) * mask


def assessed(build, inputs, **options):
    case = ModelCase("baked", build, inputs, exporter="torchscript", **options)
    module = build_module(case)
    artifact = export(case, module=module)
    subject = Subject(case=case, module=lambda: contextlib.nullcontext(module), exported=artifact.model, optimized=None)
    stages = standard_stages(case, module, artifact.path)
    return assess(stages, lambda seed: module_inputs(case, module, seed), subject)


def test_a_batch_size_that_is_baked_into_a_number_fails():
    report = assessed(Scaled, lambda seed: {"x": torch.randn(2, 4)}, dynamic_axes={"x": {0: "batch"}})
    finding = report.pair("exported").finding
    assert finding.verdict is Verdict.FAIL
    assert "only for inputs that the case does not draw: batch" in "\n".join(finding.where)
    assert finding.next.startswith("A size of the example inputs is baked into the graph")


def test_a_batch_size_that_is_baked_into_a_shape_fails():
    report = assessed(Reshaped, lambda seed: {"x": torch.randn(2, 4)}, dynamic_axes={"x": {0: "batch"}})
    finding = report.pair("exported").finding
    assert finding.verdict is Verdict.FAIL
    assert "outputs for batch 1; batch 3; batch 4, as torch gives them" in finding.expected
    assert "cannot run at all with batch 1: exported: onnxruntime failed to run the model" in "\n".join(finding.where)
    assert "A size of the example inputs is baked into the graph" in finding.next


class Squeezed(Scaled):
    """Loses the batch where it is one."""

    def forward(self, x):
        return self.linear(x.mean(1, keepdim=True).squeeze()[..., None] * x)


class OneRow(Scaled):
    """Takes another way for a batch of one."""

    def forward(self, x):
        return self.linear(x) if x.shape[0] > 1 else self.linear(x) * 2


@pytest.mark.parametrize("build", [Squeezed, OneRow])
def test_a_batch_of_one_that_the_tracer_did_not_see_fails(build):
    report = assessed(build, lambda seed: {"x": torch.randn(2, 4)}, dynamic_axes={"x": {0: "batch"}})
    assert report.pair("exported").finding.verdict is Verdict.FAIL
    assert "batch 1" in str(report.pair("exported").finding)


def test_a_branch_that_the_example_did_not_take_fails_with_a_padded_mask():
    report = assessed(Shortcut, lambda seed: {"x": torch.randn(2, 4), "mask": torch.ones(2, 4)})
    finding = report.pair("exported").finding
    assert "padded" in finding.context
    assert finding.verdict is Verdict.FAIL


def test_symbolic_dimensions_of_a_file_are_its_dynamic_axes():
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }"""
    )
    subject = Subject(case=ModelCase.from_onnx("g.onnx"), module=None, exported=model, optimized=None)
    labels = [variant.label for variant in standard_variants(subject, {"x": np.ones((2, 4), np.float32)}, {})]
    assert labels[:3] == ["batch 4", "batch 3", "batch 1"]


def test_nested_inputs_keep_their_structure():
    inputs = ModuleInputs(("a.0", "a.1"), (torch.randn(2, 3), torch.randn(2, 3)), None)
    varied = kind_variants(inputs, {})[2].apply(inputs, 0)
    assert varied.names == inputs.names
    assert all((value == 0).all() for value in varied.values)


class Normalized(torch.nn.Module):
    """NaN for zeros and ones: those variants are left out, and their seeds run as drawn."""

    def forward(self, x):
        return {"y": (x - x.min()) / (x.max() - x.min())}


def test_the_worst_seed_of_a_variant_that_was_left_out_is_explained_with_its_drawn_inputs(monkeypatch):
    from pytest_modelcheck.accuracy import assessment

    case = ModelCase("normalized", Normalized, lambda seed: {"x": torch.randn(2, 4)})
    module = build_module(case)
    graph = export(case, module=module).model
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,4] x) => (float[2,4] y) { y = Neg(x) }"""
    explained = []
    monkeypatch.setattr(assessment, "explained", lambda pair, *rest: explained.append((pair.worst_seed, rest[2])))
    stages = standard_stages(case, module, graph, ir.from_onnx_text(text))
    subject = Subject(case=case, module=lambda: contextlib.nullcontext(module), exported=graph, optimized=None)
    variants = [variant.label for variant in standard_variants(subject, module_inputs(case, module, 0), {})]
    seeds = [2 * number for number in range(2 * len(variants))]
    left_out = seeds[len(seeds) - 1 - 2 * variants.index("zeros")]

    def inputs(seed):
        drawn = module_inputs(case, module, seed)
        if seed == left_out:
            drawn.as_dict()["x"].mul_(1000)  # the worst of all
        return drawn

    assess(stages, inputs, subject, seeds=seeds)
    assert [seed for seed, _ in explained] == [left_out]
    assert explained[0][1].as_dict()["x"].abs().max() > 100
