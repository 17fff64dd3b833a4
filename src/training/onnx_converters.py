"""Converters to ONNX beyond skl2onnx's own, for estimators of other libraries."""

from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from src.training.fitted_parts import parts_of

# The latest versions of ONNX's operators that onnxmltools supports for XGBoost.
XGBOOST_OPSETS = {"": 15, "ai.onnx.ml": 3}


def register_converters(model: Any) -> dict[str, int] | None:
    """Register with skl2onnx the converters that a fitted model needs.

    Returns:
        The versions of operators that the graph must use, or None for skl2onnx's choice.
    """
    if not any(type(part).__module__.startswith("xgboost.") for part in parts_of(model)):
        return None
    # An optional dependency, installed with XGBoost.
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost  # noqa: PLC0415
    from xgboost import XGBClassifier, XGBRegressor  # noqa: PLC0415

    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        XGBRegressor, "XGBoostXGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost
    )
    return XGBOOST_OPSETS
