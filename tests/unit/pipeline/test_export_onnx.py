from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from src.core.errors import ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.onnx_engine import OnnxEngine
from src.pipeline.export_onnx import check_parity, classes_of, export_onnx, probe_rows
from src.pipeline.train_model import fit
from tests.support.training import config, iris_parts

LIMITS = config().dataset.features
TRAIN = iris_parts()[0]
FEATURES = TRAIN.drop(columns="species")
SCHEMA = FeatureSchema.of_numbers(*FEATURES.columns)
MODEL = fit(TRAIN, "species", config(model={"n_estimators": 10}).model)


def loaded(model: Pipeline, folder: Path) -> OnnxEngine:
    path = folder / "model.onnx"
    path.write_bytes(export_onnx(model, 4))
    return OnnxEngine(path, SCHEMA, classes_of(model))


def test_export_answers_as_scikit_learn_on_every_probe_row(tmp_path: Path) -> None:
    check_parity(MODEL, loaded(MODEL, tmp_path), SCHEMA, probe_rows(FEATURES, LIMITS, MODEL))


def test_probe_rows_lie_in_the_data_in_the_range_and_on_thresholds() -> None:
    rows = probe_rows(FEATURES, LIMITS, MODEL).to_numpy()
    near, wide, on_edge = np.split(rows, 3)
    assert (near >= FEATURES.to_numpy().min(axis=0)).all()
    assert (near <= FEATURES.to_numpy().max(axis=0)).all()
    assert wide.max() > 19
    thresholds = {
        (c, t) for tree in MODEL[-1].estimators_ for c, t in zip(tree.tree_.feature, tree.tree_.threshold, strict=True)
    }
    assert all(any((column, value) in thresholds for column, value in enumerate(row)) for row in on_edge.tolist())
    assert np.array_equal(rows, probe_rows(FEATURES, LIMITS, MODEL).to_numpy())


def test_check_parity_refuses_a_graph_of_another_model(tmp_path: Path) -> None:
    other = fit(TRAIN, "species", config(model={"n_estimators": 10, "random_state": 1}).model)
    with pytest.raises(ModelParityError, match=r"disagree on \d+ of \d+ labels.*not registered"):
        check_parity(MODEL, loaded(other, tmp_path), SCHEMA, probe_rows(FEATURES, LIMITS, MODEL))


def test_check_parity_refuses_a_scaler_that_float32_cannot_follow(tmp_path: Path) -> None:
    model = Pipeline([("scaler", StandardScaler()), ("forest", RandomForestClassifier(10, random_state=0))])
    model.fit(FEATURES, TRAIN["species"].to_numpy(dtype=object))
    # One decimal, as the data have it: such rows lie where the trees decide.
    rows = probe_rows(FEATURES, LIMITS, model).round(1)
    with pytest.raises(ModelParityError, match="disagree"):
        check_parity(model, loaded(model, tmp_path), SCHEMA, rows)


def test_export_refuses_a_model_without_a_graph() -> None:
    model = Pipeline([("boosting", HistGradientBoostingClassifier(max_iter=2))])
    model.fit(FEATURES, TRAIN["species"].to_numpy(dtype=object))

    class Unknown(HistGradientBoostingClassifier):  # type: ignore[misc]
        pass

    model.steps[0] = ("boosting", Unknown())
    with pytest.raises(ModelParityError, match="cannot be converted to ONNX"):
        export_onnx(model, 4)
