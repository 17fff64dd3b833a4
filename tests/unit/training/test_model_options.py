from typing import Any

import pytest

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError
from src.core.model_config import ModelConfig
from src.training.model_options import require_options
from tests.support.training import config

IRIS = config().dataset
BASE = {"source": "x.csv", "target": "y", "features": {"a": {}}, "duplicates": "keep"}
TWO = DatasetConfig.model_validate(BASE | {"classes": ["no", "yes"], "min_rows_per_class": 2})


def number(**limits: float) -> DatasetConfig:
    return DatasetConfig.model_validate(BASE | {"target_range": limits})


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        (IRIS, {}),
        (IRIS, {"class_weight": "balanced", "calibrate": "sigmoid"}),
        (IRIS, {"class_weight": {"setosa": 2.0}}),
        (IRIS, {"params": {"class_weight": "balanced"}}),
        (TWO, {"threshold": 0.2}),
        (TWO, {"threshold": "tune"}),
        (number(), {"target_transform": "log"}),
        (number(minimum=-0.5), {"target_transform": "log"}),
        (number(minimum=-5.0), {}),
    ],
)
def test_options_that_fit_pass(dataset: DatasetConfig, model: dict[str, Any]) -> None:
    require_options(ModelConfig.model_validate(model), dataset, ["class_weight"])


@pytest.mark.parametrize(
    ("dataset", "model", "message"),
    [
        (
            IRIS,
            {"class_weight": "balanced", "params": {"class_weight": "balanced"}},
            "given in model and in model.params",
        ),
        (number(minimum=-1.0), {"target_transform": "log"}, r"above -1; raise dataset\.target_range\.minimum"),
    ],
)
def test_options_that_do_not_fit_are_refused(dataset: DatasetConfig, model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        require_options(ModelConfig.model_validate(model), dataset, ["class_weight"])


def test_weights_that_a_calibration_would_count_are_refused() -> None:
    both = ModelConfig(estimator="gradient_boosting", class_weight="balanced", calibrate="sigmoid")
    with pytest.raises(ConfigError, match="cannot be combined for gradient_boosting"):
        require_options(both, IRIS, ["max_depth"])
