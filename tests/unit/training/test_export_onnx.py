import contextlib
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from src.core.errors import ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.model_config import ModelConfig
from src.core.onnx_engine import OnnxEngine
from src.core.predictions import Predictions
from src.pipeline.data_preprocess import prepare
from src.pipeline.train_model import fit
from src.training.export_onnx import EXPORTS, Export, check_parity, export_single, load_graph, prove_onnx
from src.training.frames import table_of
from src.training.probe_rows import probe_rows
from src.training.sklearn_engine import SklearnEngine
from tests.support.datasets import houses
from tests.support.training import config, iris_parts

pytestmark = pytest.mark.slow

DATASET = config().dataset
TRAIN = iris_parts()[0]
FEATURES = TRAIN.drop(columns="species")
SCHEMA = FeatureSchema.of_numbers(*FEATURES.columns)
CLASSES = ("setosa", "versicolor", "virginica")
MODEL = fit(TRAIN, config(model={"n_estimators": 10}).model, DATASET)


class Doubled(TransformerMixin, BaseEstimator):
    """An adopter's transformer without a converter."""

    def fit(self, *_: object) -> "Doubled":
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows * 2


def fitted(*steps: BaseEstimator) -> Pipeline:
    model = Pipeline([(str(index), step) for index, step in enumerate(steps)])
    return model.fit(FEATURES, TRAIN["species"].to_numpy(dtype=object))


def prove(model: Pipeline) -> OnnxEngine:
    rows = pd.concat([FEATURES, probe_rows(FEATURES, DATASET, model)], ignore_index=True)
    return load_graph(prove_onnx(model, SCHEMA, CLASSES, rows), SCHEMA, CLASSES)


def input_type(engine: OnnxEngine) -> str:
    return str(engine._session.get_inputs()[0].type)  # noqa: SLF001 - the graph's own word


def test_forest_is_exact_in_single_precision() -> None:
    assert input_type(prove(MODEL)) == "tensor(float)"


def test_forest_behind_a_scaler_is_exact_only_in_double_precision() -> None:
    model = fitted(StandardScaler(), RandomForestClassifier(10, random_state=0))
    rows = probe_rows(FEATURES, DATASET, model)
    with pytest.raises(ModelParityError, match=r"disagree on \d+ of \d+ labels"):
        check_parity(model, load_graph(export_single(model, SCHEMA), SCHEMA, CLASSES), SCHEMA, rows)
    assert input_type(prove(model)) == "tensor(double)"


def test_check_parity_refuses_a_graph_of_another_model() -> None:
    other = fit(TRAIN, config(model={"n_estimators": 10, "random_state": 1}).model, DATASET)
    graph = load_graph(export_single(other, SCHEMA), SCHEMA, CLASSES)
    with pytest.raises(ModelParityError, match=r"disagree on \d+ of \d+ labels"):
        check_parity(MODEL, graph, SCHEMA, probe_rows(FEATURES, DATASET, MODEL))


@pytest.mark.parametrize("direction", [-np.inf, np.inf])
def test_check_parity_refuses_a_threshold_that_is_one_rounding_off(direction: float) -> None:
    rows = probe_rows(FEATURES, DATASET, MODEL)
    graph = onnx.load_from_string(export_single(MODEL, SCHEMA))
    attributes = {item.name: item for node in graph.graph.node for item in node.attribute}
    modes, values = attributes["nodes_modes"].strings, attributes["nodes_values"].floats
    decisions = [index for index, mode in enumerate(modes) if mode == b"BRANCH_LEQ"]
    passed = 0
    for index in decisions:
        right = values[index]
        values[index] = np.nextafter(np.float32(right), np.float32(direction))
        with contextlib.suppress(ModelParityError):
            check_parity(MODEL, load_graph(graph.SerializeToString(), SCHEMA, CLASSES), SCHEMA, rows)
            passed += 1
        values[index] = right
    assert (passed, len(decisions)) == (0, 77)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            fitted(Doubled(), LogisticRegression(max_iter=1000)),
            "^no conversion to ONNX exists for Doubled$",
        ),
        (
            fitted(FunctionTransformer(np.log1p), LogisticRegression(max_iter=1000)),
            r"^no conversion to ONNX: FunctionTransformer is not supported unless [^.]*$",
        ),
        (fitted(HistGradientBoostingClassifier(max_iter=2)), "^no conversion to ONNX: Unable to create node .{,100}…$"),
        (fitted(KNeighborsClassifier()), "ONNX and scikit-learn disagree on "),
    ],
    ids=["own class", "function", "conversion fails", "other answers"],
)
def test_model_without_an_exact_graph_has_a_short_reason(model: Pipeline, reason: str) -> None:
    with pytest.raises(ModelParityError, match=reason):
        prove(model)


class Fixed:
    """An engine with fixed predictions."""

    name = "onnx"

    def __init__(self, answers: Predictions, classes: tuple[str, ...]) -> None:
        self.answers = answers
        self.classes = classes

    def predict(self, _: object) -> Predictions:
        return self.answers


def changed(value: float, at: tuple[int, int] = (3, 1)) -> Predictions:
    probabilities = MODEL.predict_proba(FEATURES)
    probabilities[at] = value
    return Predictions(probabilities=probabilities, classes=CLASSES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_parity_refuses_probabilities_that_are_no_numbers(value: float) -> None:
    check_parity(MODEL, Fixed(Predictions(probabilities=MODEL.predict_proba(FEATURES)), CLASSES), SCHEMA, FEATURES)
    with pytest.raises(ModelParityError, match="ONNX answers with 1 values that are not finite"):
        check_parity(MODEL, Fixed(changed(value), CLASSES), SCHEMA, FEATURES)


def test_check_parity_refuses_a_nan_on_both_sides() -> None:
    class Undecided(LogisticRegression):
        def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
            return np.full((len(rows), 3), np.nan)

    model = Pipeline([("model", Undecided())]).fit(FEATURES, TRAIN["species"].to_numpy(dtype=object))
    answers = Predictions(probabilities=np.full((len(FEATURES), 3), np.nan), classes=CLASSES)
    with pytest.raises(ModelParityError, match=f"scikit-learn answers with {3 * len(FEATURES)} values"):
        check_parity(model, Fixed(answers, CLASSES), SCHEMA, FEATURES)


def test_check_parity_refuses_another_number_of_classes_and_rows() -> None:
    probabilities = MODEL.predict_proba(FEATURES)
    for found in (probabilities[:, :2], probabilities[1:]):
        with pytest.raises(ModelParityError, match="ONNX answers in the shape"):
            check_parity(MODEL, Fixed(Predictions(probabilities=found), CLASSES), SCHEMA, FEATURES)


@pytest.mark.parametrize(("error", "passes"), [(9e-6, True), (1.1e-5, False)])
def test_check_parity_allows_the_tolerance_and_no_more(error: float, *, passes: bool) -> None:
    sure = int(np.argmax(MODEL.predict_proba(FEATURES).max(axis=1)))
    answers = changed(MODEL.predict_proba(FEATURES)[sure, 1] + error, (sure, 1))
    with contextlib.nullcontext() if passes else pytest.raises(ModelParityError, match=r"by up to 1\.1e-05"):
        check_parity(MODEL, Fixed(answers, CLASSES), SCHEMA, FEATURES)


HEIGHTS = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
LINE = Pipeline([("model", Ridge(alpha=0.0))]).fit(HEIGHTS, [10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([10.0, 20.0, 30.0], None),
        ([10.0, 20.0, 30.0002], None),
        ([10.0, 20.0, 30.001], "disagree on 1 of 3 numbers, by up to 0.001"),
        ([10.0, np.nan, 30.0], "ONNX answers with 1 values that are not finite"),
        ([np.inf, np.nan, 30.0], "ONNX answers with 2 values that are not finite"),
        ([10.0, 20.0], "in the shape"),
    ],
)
def test_check_parity_of_a_regression(found: list[float], message: str | None) -> None:
    with contextlib.nullcontext() if message is None else pytest.raises(ModelParityError, match=message):
        check_parity(LINE, Fixed(Predictions(found), ()), FeatureSchema.of_numbers("a"), HEIGHTS)


@pytest.mark.parametrize("export", EXPORTS.values(), ids=list(EXPORTS))
def test_probabilities_of_two_classes_reach_0_and_1(export: Export) -> None:
    target = np.where(TRAIN["species"] == "setosa", "yes", "no").astype(object)
    model = Pipeline([("model", RandomForestClassifier(10, random_state=0))]).fit(FEATURES, target)
    engine = load_graph(export(model, SCHEMA), SCHEMA, ("no", "yes"))
    check_parity(model, engine, SCHEMA, FEATURES)
    found = engine.predict(table_of(FEATURES, SCHEMA)).probabilities
    assert found is not None
    assert (found.min(), found.max()) == (0, 1)


def test_graph_of_logarithms_is_valid_with_the_types_that_it_states() -> None:
    logarithm = TransformedTargetRegressor(Ridge(alpha=0.0), func=np.log1p, inverse_func=np.expm1)
    model = Pipeline([("model", logarithm)]).fit(HEIGHTS, [1.0, 2.0, 3.0])
    graph = onnx.load_from_string(prove_onnx(model, FeatureSchema.of_numbers("a"), (), HEIGHTS))
    onnx.checker.check_model(graph, full_check=True)
    assert graph.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE


def test_target_transformed_otherwise_than_by_the_known_logarithm_has_no_graph() -> None:
    # Of numbers this large, exp(x) - 1 is exp(x) within the tolerance.
    logarithm = TransformedTargetRegressor(Ridge(alpha=0.0), func=np.log, inverse_func=np.exp)
    model = Pipeline([("model", logarithm)]).fit(HEIGHTS, [1e7, 2e7, 4e7])
    with pytest.raises(ModelParityError, match="no conversion to ONNX"):
        prove_onnx(model, FeatureSchema.of_numbers("a"), (), HEIGHTS)


def test_xgboost_is_exact_on_columns_of_every_kind_of_name() -> None:
    pytest.importorskip("xgboost")
    model = fit(TRAIN, ModelConfig(estimator="xgboost", params={"n_estimators": 5}), DATASET)
    assert input_type(prove(model)) == "tensor(float)"


@pytest.mark.parametrize("estimator", ["random_forest", "extra_trees", "gradient_boosting"])
def test_many_trees_of_logarithms_answer_to_a_few_millionths(estimator: str, tmp_path: Path) -> None:
    """In single precision, a sum of 100 trees around 13 is off by 1e-5, and so would be the price."""
    settings = houses(tmp_path / "houses.csv", estimator=estimator, params={}, target_transform="log")
    rows = prepare(settings.dataset).frame
    model, schema = fit(rows, settings.model, settings.dataset), settings.dataset.feature_schema
    table = table_of(rows[list(settings.dataset.features)], schema)
    found = load_graph(export_single(model, schema), schema, ()).predict(table)
    assert np.allclose(found.values, SklearnEngine(model, ()).predict(table).values, rtol=3e-6, atol=0)
