"""Converters to ONNX for skl2onnx, registered on import; needs the extra ``onnx``.

The graph has the outputs "label" and "probabilities", an array as `predict_proba` returns it.
Labels are strings or int64; those of an indicator are int64 (n, K), whatever the dtype of y was. It
works in float where the input and the coefficients are float32, else in double, as the estimators.
"""

import numpy as np
from scipy import sparse
from skl2onnx import update_registered_converter
from skl2onnx.algebra import onnx_ops as ops
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)

from skce._estimators.multilabel import MultiLabelLogistic
from skce._estimators.multilabel_cv import MultiLabelLogisticCV
from skce._estimators.multinomial import MultinomialLogistic
from skce._estimators.multinomial_cv import MultinomialLogisticCV

__all__ = ["register"]

ESTIMATORS = MultinomialLogistic, MultiLabelLogistic, MultinomialLogisticCV, MultiLabelLogisticCV


def register():
    """Register the converters of the estimators, as importing this module has done.

    Examples
    --------
    >>> import numpy as np
    >>> import skce.onnx
    >>> from skl2onnx import to_onnx
    >>> X = np.eye(4, dtype=np.float32)
    >>> model = skce.MultinomialLogistic(alpha=0.1).fit(X, ["a", "b", "a", "b"])
    >>> [output.name for output in to_onnx(model, X[:1]).graph.output]
    ['label', 'probabilities']
    """
    for model in ESTIMATORS:
        update_registered_converter(
            model,
            f"Skce{model.__name__}",
            _shapes,
            _convert,
            overwrite=True,
            parser=_parse,
            options={"zipmap": [False]},
        )


def _parse(scope, model, inputs, custom_parsers=None):
    """Declare the operator and its outputs."""
    operator = scope.declare_local_operator(f"Skce{type(model).__name__}", model)
    operator.inputs = inputs
    double = isinstance(inputs[0].type, DoubleTensorType)
    proba = (DoubleTensorType if double else FloatTensorType)()
    operator.outputs.append(scope.declare_local_variable("label", _label_type(model)()))
    operator.outputs.append(scope.declare_local_variable("probabilities", proba))
    return operator.outputs


def _is_indicator(model):
    return getattr(model, "_form", None) is not None


def _label_type(model):
    return StringTensorType if model.classes_.dtype.kind in "OU" else Int64TensorType


def _shapes(operator):
    """Set the shapes of the outputs."""
    model = operator.raw_operator
    n, k = operator.inputs[0].type.shape[0], len(model.classes_)
    operator.outputs[0].type = _label_type(model)([n, k] if _is_indicator(model) else [n])
    operator.outputs[1].type = type(operator.outputs[1].type)([n, k])


def _convert(scope, operator, container):
    """Add the nodes of a fitted model."""
    model, version = operator.raw_operator, container.target_opset
    label, proba = operator.outputs
    if model.classes_.dtype.kind == "u" and model.classes_.max() > np.iinfo(np.int64).max:
        raise ValueError(f"classes must fit int64 in ONNX, got {model.classes_.max()}.")
    coef = model.coef_.toarray() if sparse.issparse(model.coef_) else model.coef_
    single = (
        isinstance(operator.inputs[0].type, FloatTensorType)
        and coef.dtype == model.intercept_.dtype == np.float32
    )
    dtype = np.float32 if single else np.float64
    intercept = np.full(len(coef), model.intercept_).astype(dtype)
    inputs = ops.OnnxCast(operator.inputs[0], to=_number(dtype), op_version=version)
    logits = ops.OnnxGemm(inputs, coef.T.astype(dtype), intercept, op_version=version)
    if _is_indicator(model):
        values = _activated(model, logits, version)
        labels = _indicator(model, logits, values, dtype, version)
    else:
        if len(coef) < len(model.classes_):  # one logit for two classes
            opposite = ops.OnnxNeg(logits, op_version=version)
            logits = ops.OnnxConcat(opposite, logits, axis=1, op_version=version)
            values = ops.OnnxSigmoid(logits, op_version=version)
        else:
            values = _activated(model, logits, version)
            if isinstance(model, MultiLabelLogistic) and model.loss == "bce":
                total = ops.OnnxReduceSum(values, np.array([1]), keepdims=1, op_version=version)
                values = ops.OnnxDiv(values, total, op_version=version)
        best = ops.OnnxArgMax(logits, axis=1, keepdims=0, op_version=version)
        names = model.classes_.astype(str if model.classes_.dtype.kind in "OU" else np.int64)
        labels = ops.OnnxGather(names, best, axis=0, op_version=version)
    out = np.float64 if isinstance(proba.type, DoubleTensorType) else np.float32
    ops.OnnxIdentity(labels, op_version=version, output_names=[label]).add_to(scope, container)
    ops.OnnxCast(values, to=_number(out), op_version=version, output_names=[proba]).add_to(
        scope, container
    )


def _number(dtype):
    """Return ONNX's number of a dtype."""
    return {np.float32: 1, np.float64: 11, np.int64: 7}[dtype]


def _activated(model, logits, version):
    """Return the softmax or the sigmoids of the logits."""
    if isinstance(model, MultiLabelLogistic) and model.loss == "bce":
        return ops.OnnxSigmoid(logits, op_version=version)
    return ops.OnnxSoftmax(logits, axis=1, op_version=version)


def _indicator(model, logits, values, dtype, version):
    """Return which labels are on, as int64."""
    threshold = model._thresholds(np.dtype(dtype))
    if model.top_k is not None:
        on = _top(model, logits, dtype, version)
    elif threshold is not None:
        on = ops.OnnxGreater(values, threshold, op_version=version)
    else:
        on = ops.OnnxGreater(logits, np.zeros(1, dtype), op_version=version)
    on = ops.OnnxAnd(on, model._observed[np.newaxis], op_version=version)
    return ops.OnnxCast(on, to=_number(np.int64), op_version=version)


def _top(model, logits, dtype, version):
    """Return which labels are the `top_k` best of those observed, as booleans."""
    k = max(1, min(model.top_k, int(model._observed.sum())))
    hidden = np.where(model._observed, 0, -np.finfo(dtype).max).astype(dtype)[np.newaxis]
    seen = ops.OnnxAdd(logits, hidden, op_version=version)
    best = ops.OnnxTopK(seen, np.array([k], np.int64), axis=1, op_version=version)[1]
    zeros, ones = (
        ops.OnnxConstantOfShape(ops.OnnxShape(array, op_version=version), op_version=version)
        for array in (logits, best)
    )
    ones = ops.OnnxAdd(ones, np.ones(1, np.float32), op_version=version)
    on = ops.OnnxScatterElements(zeros, best, ones, axis=1, op_version=version)
    return ops.OnnxGreater(on, np.zeros(1, np.float32), op_version=version)


register()
