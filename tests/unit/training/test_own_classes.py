"""The adopter's own transformer and estimator, from the fit to serving's loader."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from src.core import own_code
from src.core.errors import InvalidModelError, OtherCodeError, UntrustedModelError
from src.core.mlmodel import describe
from src.core.model_config import ModelConfig
from src.core.own_code import own_code_sha256
from src.pipeline import train_model
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.training.frames import table_of
from src.training.package_model import Flavours, build_package
from src.training.sklearn_engine import load_skops
from tests.support.training import config, iris_package, iris_parts, iris_rule

pytestmark = pytest.mark.slow

DATASET = config().dataset
TRAIN, HOLDOUT = iris_parts()
ROWS = HOLDOUT[list(DATASET.features)]


class PetalArea(TransformerMixin, BaseEstimator):
    """One more column."""

    def fit(self, rows: pd.DataFrame, target: Any = None) -> "PetalArea":  # noqa: ARG002
        self.columns_ = list(rows.columns)
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(petal_area=rows["petal_length"] * rows["petal_width"])


class Nearest(ClassifierMixin, BaseEstimator):
    """A class by the distance to the middle of each."""

    def __init__(self, sharpness: float = 1.0) -> None:
        self.sharpness = sharpness

    def fit(self, rows: Any, target: Any) -> "Nearest":
        values = np.asarray(rows, dtype=np.float64)
        self.classes_ = np.unique(target)
        self.middles_ = np.array([values[target == name].mean(axis=0) for name in self.classes_])
        return self

    def predict_proba(self, rows: Any) -> Any:
        values = np.asarray(rows, dtype=np.float64)
        nearness = np.exp(-self.sharpness * np.linalg.norm(values[:, None] - self.middles_, axis=2))
        return nearness / nearness.sum(axis=1, keepdims=True)

    def predict(self, rows: Any) -> Any:
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


@pytest.fixture(autouse=True)
def _mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes as they are in ``src/pipeline/mine.py``."""
    module = ModuleType("src.pipeline.mine")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for own in (PetalArea, Nearest):
        monkeypatch.setattr(own, "__module__", module.__name__)
        setattr(module, own.__name__, own)


def saved(folder: Path, model: ModelConfig) -> tuple[Any, ModelVersion]:
    train_model.check_model(model, DATASET)
    package = build_package(train_model.fit(TRAIN, model, DATASET), TRAIN, HOLDOUT, DATASET, iris_rule())
    flavours = Flavours(package)
    flavours.save_model(str(folder), mlflow_model=Model())
    return package, ModelVersion(name="m", version="1", manifest_sha256=flavours.manifest_sha256)


def with_transformer(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    monkeypatch.setattr(train_model, "transformers", lambda _: [("area", PetalArea())])
    return ModelConfig(params={"n_estimators": 5})


def test_own_transformer_is_served_from_the_image_s_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, version = saved(tmp_path / "model", with_transformer(monkeypatch))
    assert package.graph is None
    assert "no conversion to ONNX" in package.parity
    assert package.own_types == ["src.pipeline.mine.PetalArea"]
    assert describe(tmp_path / "model").code_sha256 == own_code_sha256()
    served = load_predictor(tmp_path / "model", version, "registry")
    assert served.engine.name == "pyfunc"
    found = served.engine.predict(table_of(ROWS, served.schema))
    assert np.allclose(np.asarray(found.probabilities), package.model.predict_proba(ROWS))
    # In its own process, the gate loads it the same way.
    loaded = load_skops(tmp_path / "model" / "model.skops", own_code_sha256())
    assert np.array_equal(loaded.predict_proba(ROWS), package.model.predict_proba(ROWS))


def test_own_estimator_is_served_with_its_parameters(tmp_path: Path) -> None:
    package, version = saved(tmp_path / "model", ModelConfig(estimator="mine:Nearest", params={"sharpness": 3.0}))
    assert package.own_types == ["src.pipeline.mine.Nearest"]
    served = load_predictor(tmp_path / "model", version, "registry")
    found = served.engine.predict(table_of(ROWS, served.schema))
    assert np.allclose(np.asarray(found.probabilities), package.model.predict_proba(ROWS))
    expected = Nearest(sharpness=3.0).fit(TRAIN[list(DATASET.features)], TRAIN["species"].to_numpy(dtype=object))
    assert np.allclose(np.asarray(found.probabilities), expected.predict_proba(ROWS))


def test_version_of_other_code_is_refused_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, version = saved(tmp_path / "model", with_transformer(monkeypatch))
    monkeypatch.setattr(own_code, "own_code_sha256", lambda: "1" * 64)
    with pytest.raises(OtherCodeError, match=r"made with other code of src/pipeline .*build the image again"):
        load_predictor(tmp_path / "model", version, "registry")
    with pytest.raises(OtherCodeError, match="made with other code"):
        load_skops(tmp_path / "model" / "model.skops", describe(tmp_path / "model").code_sha256)


def test_model_with_own_classes_that_does_not_name_its_code_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "model", with_transformer(monkeypatch))
    with pytest.raises(OtherCodeError, match="does not say of which code; train again"):
        load_skops(tmp_path / "model" / "model.skops")


def test_class_that_the_image_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, version = saved(tmp_path / "model", with_transformer(monkeypatch))
    monkeypatch.delitem(sys.modules, "src.pipeline.mine")
    with pytest.raises(InvalidModelError, match=r"src\.pipeline\.mine|PetalArea"):
        load_predictor(tmp_path / "model", version, "registry")


def test_model_without_own_classes_does_not_depend_on_the_code(tmp_path: Path) -> None:
    Flavours(iris_package()).save_model(str(tmp_path / "model"), mlflow_model=Model())
    assert describe(tmp_path / "model").code_sha256 is None
    assert iris_package().own_types == []


def test_class_of_another_package_stays_untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_model, "transformers", lambda _: [("area", Elsewhere())])
    model = train_model.fit(TRAIN, ModelConfig(params={"n_estimators": 2}), DATASET)
    with pytest.raises(UntrustedModelError, match="Elsewhere, which are not trusted"):
        build_package(model, TRAIN, HOLDOUT, DATASET, iris_rule())


class Elsewhere(PetalArea):
    """A class that is not below src/pipeline."""
