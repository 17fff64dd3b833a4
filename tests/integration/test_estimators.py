"""Every estimator of the catalogue, from a data set's file to a model that serving's own loader answers from.

Two are followed further, from a training process to the inference service; `make measure-estimators` does it with all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.models import Model

from benchmarks.estimators.cases import OWN_CLASSIFIER, Case
from benchmarks.estimators.measurement import Measurement
from src.core.feature_schema import ColumnType
from src.core.model_config import ModelConfig
from src.core.pipeline_config import PipelineConfig
from src.pipeline import data_preprocess, train_model
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.training.fit_model import Study
from src.training.frames import table_of
from src.training.package_model import Flavours, build_package
from src.training.scoring import metrics_of
from src.training.sklearn_engine import SklearnEngine, load_skops
from src.training.splitting import split_rows
from tests.support.datasets import churn, houses
from tests.support.training import config

pytestmark = pytest.mark.integration

# Fewer trees than usual: the tests are about the steps, not about the score.
FEW: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 10},
    "extra_trees": {"n_estimators": 10},
    "gradient_boosting": {"n_estimators": 10},
    "hist_gradient_boosting": {"max_iter": 5},
    "xgboost": {"n_estimators": 10},
}


def iris(_: Path) -> PipelineConfig:
    """The tests' configuration."""
    return config()


def served(folder: Path, kind: Callable[[Path], PipelineConfig], model: dict[str, Any]) -> tuple[str, str]:
    """Train, package, save and load as serving does; return the parity tag and the engine's name.

    Every way to call the model must give the same answers for the holdout.
    """
    settings = kind(folder / "data.csv")
    chosen = ModelConfig.model_validate(model)
    train_model.check_model(chosen, settings.dataset)
    parts = split_rows(data_preprocess.prepare(settings.dataset).frame, settings, None)
    study = Study(settings.split.by, metrics_of(settings, {})[settings.gate.metric])
    fitted = train_model.fit(parts.train, chosen, settings.dataset, study)
    package = build_package(fitted, parts.train, parts.holdout, settings.dataset, parts.rule)
    flavours = Flavours(package)
    flavours.save_model(str(folder / "model"), mlflow_model=Model())
    version = ModelVersion(name="m", version="1", manifest_sha256=flavours.manifest_sha256)
    predictor = load_predictor(folder / "model", version, "registry")
    # MLflow's own check refuses missing integers.
    holdout = parts.holdout[list(settings.dataset.features)]
    whole = [column.name for column in predictor.schema.columns if column.type is ColumnType.INTEGER]
    rows = holdout.dropna(subset=whole).astype(dict.fromkeys(whole, np.int64))
    table = table_of(rows, predictor.schema)
    found = predictor.engine.predict(table)
    gate = SklearnEngine(load_skops(folder / "model" / "model.skops"), package.classes, package.threshold).predict(
        table
    )
    client = mlflow.pyfunc.load_model(str(folder / "model")).predict(rows)
    if package.classes:
        assert list(found.values) == list(gate.values)
        assert np.allclose(np.asarray(found.probabilities), np.asarray(gate.probabilities), atol=1e-5)
        # MLflow's own loader resolves exact ties differently.
        assert (np.array(found.values) == client).mean() > (0.97 if package.threshold is None else 0.9999)
    else:
        assert np.allclose(np.asarray(found.values), np.asarray(gate.values), rtol=1e-4)
        assert np.allclose(np.asarray(found.values), client, rtol=1e-4)
    return package.parity, predictor.engine.name


CLASSIFIERS = [name for name, entry in train_model.ESTIMATORS.items() if entry.classification]
REGRESSORS = [name for name, entry in train_model.ESTIMATORS.items() if entry.regression]


def expect(name: str, parity: str, engine: str) -> None:
    if name == "hist_gradient_boosting":
        assert engine == "pyfunc"
        assert "no conversion to ONNX" in parity
    else:
        assert (parity, engine) == ("passed", "onnx")


@pytest.mark.parametrize("kind", [iris, churn])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_is_served_as_it_was_trained(
    name: str, kind: Callable[[Path], PipelineConfig], tmp_path: Path
) -> None:
    expect(name, *served(tmp_path, kind, {"estimator": name, "params": FEW.get(name, {})}))


@pytest.mark.parametrize("transform", [None, "log"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_regression_is_served_as_it_was_trained(name: str, transform: str | None, tmp_path: Path) -> None:
    model = {"estimator": name, "params": FEW.get(name, {}), "target_transform": transform}
    expect(name, *served(tmp_path, houses, model))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weights_and_a_tuned_threshold_are_served_as_they_were_trained(name: str, tmp_path: Path) -> None:
    model = {"estimator": name, "params": FEW.get(name, {}), "class_weight": "balanced", "threshold": "tune"}
    expect(name, *served(tmp_path, churn, model))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_calibrated_probabilities_are_served_as_they_were_trained(name: str, method: str, tmp_path: Path) -> None:
    model = {"estimator": name, "params": FEW.get(name, {}), "calibrate": method, "threshold": 0.2}
    parity, engine = served(tmp_path, churn, model)
    # Whether ONNX follows exactly depends on the estimator and the method: the tag decides which engine serves.
    assert (engine == "onnx") == (parity == "passed")
    if name in {"logistic_regression", "xgboost"} and method == "sigmoid":
        assert engine == "onnx"


@pytest.mark.timeout(900)
def test_estimator_on_onnx_and_an_own_class_are_trained_gated_and_served(tmp_path: Path, mlflow_url: str) -> None:
    measurement = Measurement(tmp_path, mlflow_url)
    for case, rows in ((Case("extra_trees", "house prices"), 3000), (Case(OWN_CLASSIFIER, "churn"), 4000)):
        found = measurement.run(case)
        assert found.problem == ""
        assert found.compared == rows
