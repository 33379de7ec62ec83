"""The copy of a model on which passes run."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.declared import remember_declared
from pytest_modelcheck.graph.normal_form import bring_to_normal_form
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.shapes.claims import infer_from_inputs


def prepare(model: ir.Model) -> ir.Model:
    """A copy of `model`, weights shared, in normal form, with every type and shape that follows from its inputs."""
    copy = model.clone()
    remember_declared(copy)
    prepare_in_place(copy)
    return copy


def prepare_in_place(model: ir.Model) -> None:
    """`prepare` for passes of our own, on `model` itself."""
    bring_to_normal_form(model)
    infer_from_inputs(model)


def checked_copy(model: ir.Model) -> ir.Model:
    """`prepare` for a model that nobody has checked.

    Raises:
        InvalidModelError: as `graph.validity.check_model`.
    """
    check_model(model)
    return prepare(model)
