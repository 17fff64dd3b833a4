import contextlib

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from src.core.errors import ModelParityError
from src.core.feature_schema import FeatureSchema
from src.core.onnx_engine import OnnxEngine
from src.pipeline.train_model import fit
from src.training.export_onnx import check_parity, export_single, load_graph, prove_onnx
from src.training.probe_rows import probe_rows
from tests.support.training import config, iris_parts

DATASET = config().dataset
TRAIN = iris_parts()[0]
FEATURES = TRAIN.drop(columns="species")
SCHEMA = FeatureSchema.of_numbers(*FEATURES.columns)
CLASSES = ("setosa", "versicolor", "virginica")
MODEL = fit(TRAIN, config(model={"n_estimators": 10}).model, DATASET)


def fitted(*steps: ClassifierMixin) -> Pipeline:
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
    ("model", "told"),
    [
        (fitted(HistGradientBoostingClassifier(max_iter=2)), "in single and double precision: no conversion to ONNX: "),
        (fitted(KNeighborsClassifier()), "precision: ONNX and scikit-learn disagree on "),
    ],
    ids=["no converter", "other answers"],
)
def test_model_without_an_exact_graph_says_what_is_wrong_with_each(model: Pipeline, told: str) -> None:
    with pytest.raises(ModelParityError) as caught:
        prove(model)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
