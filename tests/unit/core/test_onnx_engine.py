"""A model on ONNX Runtime agrees with scikit-learn, and refuses what is not a graph of ours."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from src.core.errors import InvalidModelError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import INPUT_NAME, OnnxEngine
from src.core.predictions import labels_from

CLASSES = ("ash", "birch", "cedar")
RNG = np.random.default_rng(7)
SCHEMA = FeatureSchema.of_numbers("height", "girth")
ROWS = RNG.normal(size=(60, 2)).astype(np.float32)
FOREST = RandomForestClassifier(n_estimators=5, random_state=7).fit(
    ROWS, np.digitize(ROWS[:, 0] + 0.3 * ROWS[:, 1], [-0.5, 0.5])
)


def write_graph(path: Path, input_name: str = INPUT_NAME) -> Path:
    graph = convert_sklearn(
        FOREST, initial_types=[(input_name, FloatTensorType([None, 2]))], options={"zipmap": False}, target_opset=18
    )
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OnnxEngine:
    return OnnxEngine(write_graph(tmp_path_factory.mktemp("model") / "model.onnx"), SCHEMA, CLASSES)


def table(rows: np.ndarray) -> FeatureTable:
    return FeatureTable.from_rows(SCHEMA, [tuple(row) for row in rows.tolist()])


def test_predict_agrees_with_sklearn(engine: OnnxEngine) -> None:
    rows = RNG.normal(size=(500, 2)).astype(np.float32)
    found = engine.predict(table(rows))
    probabilities = np.asarray(found.probabilities)
    assert found.values == [CLASSES[index] for index in FOREST.predict(rows)]
    np.testing.assert_allclose(probabilities, FOREST.predict_proba(rows), atol=1e-6)
    assert (probabilities.shape, probabilities.dtype) == ((500, 3), np.float32)


def test_rows_and_columns_get_the_same_answers(engine: OnnxEngine) -> None:
    by_column = FeatureTable.from_columns(SCHEMA, [ROWS[:, 0].astype(np.float64), ROWS[:, 1].astype(np.float64)])
    np.testing.assert_array_equal(engine.predict(by_column).probabilities, engine.predict(table(ROWS)).probabilities)


def test_row_gets_the_same_answer_alone_as_among_others(engine: OnnxEngine) -> None:
    alone = [engine.predict(table(row[None, :])).probabilities for row in ROWS]
    np.testing.assert_array_equal(engine.predict(table(ROWS)).probabilities, np.vstack(alone))


def test_engine_starts_no_threads(tmp_path: Path) -> None:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are listed in /proc, on Linux")
    graph = write_graph(tmp_path / "model.onnx")
    before = {task.name for task in tasks.iterdir()}
    alone = OnnxEngine(graph, SCHEMA, CLASSES)
    alone.predict(table(ROWS))
    assert {task.name for task in tasks.iterdir()} <= before


def test_labels_from_breaks_ties_that_differ_in_the_last_bits_by_class_order() -> None:
    probabilities = np.array([[0.4, 0.4, 0.2], [0.4 - 1e-7, 0.4 + 1e-7, 0.2], [0.39, 0.41, 0.2], [0.2, 0.2, 0.6]])
    assert labels_from(probabilities).tolist() == [0, 0, 1, 2]


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxEngine(tmp_path / "model.onnx", SCHEMA, CLASSES)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxEngine(tmp_path / "model.onnx", SCHEMA, CLASSES)


def test_graph_with_another_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="must take 'features', or one input per column"):
        OnnxEngine(write_graph(tmp_path / "model.onnx", "X"), SCHEMA, CLASSES)


def test_graph_without_the_output_of_its_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="no output 'variable'"):
        OnnxEngine(write_graph(tmp_path / "model.onnx"), SCHEMA, ())


def test_regression_answers_numbers_and_no_probabilities(tmp_path: Path) -> None:
    forest = RandomForestRegressor(n_estimators=5, random_state=7).fit(ROWS, ROWS[:, 0] * 2)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(forest, initial_types=[(INPUT_NAME, FloatTensorType([None, 2]))]).SerializeToString())
    found = OnnxEngine(path, SCHEMA, ()).predict(table(ROWS))
    assert found.probabilities is None
    np.testing.assert_allclose(found.values, forest.predict(ROWS), rtol=1e-5)


def test_columns_of_every_type_are_inputs_of_their_own(tmp_path: Path) -> None:
    columns = (
        Column("size"),
        Column("floors", ColumnType.INTEGER, mlflow_type="long"),
        Column("garden", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
        Column("town (of birth)", ColumnType.STRING, required=False, mlflow_type="string"),
    )
    schema = FeatureSchema(columns)
    rows = [(1.0, 1, True, "Ulm"), (2.0, 2, False, "Bonn"), (3.0, 3, None, None), (4.0, 4, True, "Ulm")]
    # A missing boolean is NaN, a missing string is empty.
    frame = pd.DataFrame(
        [[size, floors, np.nan if garden is None else garden, town or ""] for size, floors, garden, town in rows],
        columns=schema.names,
    )
    text = ("text", OneHotEncoder(handle_unknown="ignore"), [schema.names[-1]])
    encoder = ColumnTransformer([text, ("rest", "passthrough", list(schema.names[:-1]))])
    model = Pipeline([("encoder", encoder), ("tree", DecisionTreeRegressor(random_state=0))]).fit(frame, [1, 2, 3, 4])
    numbers = [(name, FloatTensorType([None, 1])) for name in schema.names[:-1]]
    graph = to_onnx(model, initial_types=[*numbers, (schema.names[-1], StringTensorType([None, 1]))])
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    assert OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, rows)).values == [1, 2, 3, 4]
