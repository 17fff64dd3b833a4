"""A model on ONNX Runtime agrees with scikit-learn, and refuses what is not a graph of ours."""

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import COLUMN_INPUT, FEWEST_IN_ORDER, INPUT_NAME, OnnxEngine
from src.core.onnx_outputs import FEW_NUMBERS
from src.core.predictions import Threshold, labels_from

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
    rows = RNG.normal(size=(FEWEST_IN_ORDER, 2)).astype(np.float32)
    alone = np.vstack([np.asarray(engine.predict(table(row[None, :])).probabilities) for row in rows])
    for count in (FEWEST_IN_ORDER - 1, len(rows)):
        np.testing.assert_array_equal(engine.predict(table(rows[:count])).probabilities, alone[:count])


@pytest.mark.parametrize("extreme", [np.nan, 3.4028234663852886e38, 1e-45, 0.0])
def test_any_value_may_stand_in_a_large_table(engine: OnnxEngine, extreme: float) -> None:
    rows = np.full((FEWEST_IN_ORDER, 2), extreme, dtype=np.float32)
    rows[1::2, 0] = -rows[1::2, 0]
    some = np.asarray(engine.predict(table(rows[:2])).probabilities)
    np.testing.assert_array_equal(engine.predict(table(rows)).probabilities, np.tile(some, (FEWEST_IN_ORDER // 2, 1)))


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


@pytest.mark.parametrize(("positive", "expected"), [(0, [0, 0, 0, 1, 1]), (1, [0, 0, 1, 1, 1])])
def test_labels_from_a_threshold_take_the_positive_class_from_it_on(positive: int, expected: list[int]) -> None:
    shares = np.array([0.9, 0.700006, 0.7 - 4e-6, 0.699994, 0.1])
    probabilities = np.column_stack([shares, 1 - shares])
    least = 0.7 if positive == 0 else 0.3
    assert labels_from(probabilities, Threshold(positive, least)).tolist() == expected


def test_engine_with_a_threshold_gives_labels_by_it_and_the_probabilities_as_they_are(tmp_path: Path) -> None:
    file = write_graph(tmp_path / "model.onnx")
    plain = OnnxEngine(file, SCHEMA, CLASSES).predict(table(ROWS))
    engine = OnnxEngine(file, SCHEMA, CLASSES, Threshold(0, 0.01))
    found = engine.predict(table(ROWS))
    assert plain.probabilities is not None
    assert found.probabilities is not None
    assert np.array_equal(found.probabilities, plain.probabilities)
    assert found.given == [CLASSES[0] if share >= 0.01 else CLASSES[1] for share in plain.probabilities[:, 0].tolist()]
    assert found.given != list(plain.values)


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxEngine(tmp_path / "model.onnx", SCHEMA, CLASSES)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxEngine(tmp_path / "model.onnx", SCHEMA, CLASSES)


def test_weights_may_lie_in_a_file_beside_the_graph(tmp_path: Path) -> None:
    weights = np.array([[2.0], [3.0]], dtype=np.float32)
    matrix = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [None, 2])
    output = helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None, 1])
    product = helper.make_node("MatMul", [INPUT_NAME, "weights"], ["variable"])
    graph = helper.make_graph([product], "g", [matrix], [output], [onnx.numpy_helper.from_array(weights, "weights")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "model.onnx"
    onnx.save_model(made, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    assert OnnxEngine(path, SCHEMA, None).predict(FeatureTable.from_rows(SCHEMA, [(1.0, 10.0)])).values == [32]


def test_matrix_may_have_any_name(engine: OnnxEngine, tmp_path: Path) -> None:
    renamed = OnnxEngine(write_graph(tmp_path / "model.onnx", "float_input"), SCHEMA, CLASSES)
    assert renamed.predict(table(ROWS)).values == engine.predict(table(ROWS)).values


def test_matrix_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="must take one matrix of all 3 columns, none of them text, or one inp"):
        OnnxEngine(write_graph(tmp_path / "model.onnx"), FeatureSchema.of_numbers("a", "b", "c"), CLASSES)


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
    names = [COLUMN_INPUT.format(index) for index in range(4)]
    # A missing boolean is NaN, a missing string is empty.
    frame = pd.DataFrame(
        [[size, floors, np.nan if garden is None else garden, town or ""] for size, floors, garden, town in rows],
        columns=names,
    )
    text = ("text", OneHotEncoder(handle_unknown="ignore"), [names[-1]])
    encoder = ColumnTransformer([text, ("rest", "passthrough", names[:-1])])
    model = Pipeline([("encoder", encoder), ("tree", DecisionTreeRegressor(random_state=0))]).fit(frame, [1, 2, 3, 4])
    numbers = [(name, FloatTensorType([None, 1])) for name in names[:-1]]
    graph = to_onnx(model, initial_types=[*numbers, (names[-1], StringTensorType([None, 1]))])
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    assert OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, rows)).values == [1, 2, 3, 4]


def write_difference(path: Path, first: str, second: str, kind: int = TensorProto.DOUBLE) -> Path:
    """A graph with two inputs, in this order, that returns the second minus the first."""
    inputs = [helper.make_tensor_value_info(name, kind, [None, 1]) for name in (first, second)]
    output = helper.make_tensor_value_info("variable", TensorProto.FLOAT, [None, 1])
    casts = [
        helper.make_node("Cast", [name], [f"cast{index}"], to=TensorProto.FLOAT)
        for index, name in enumerate((first, second))
    ]
    graph = helper.make_graph(
        [*casts, helper.make_node("Sub", ["cast1", "cast0"], ["variable"])], "g", inputs, [output]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_inputs_are_matched_to_columns_by_name_whatever_their_order(tmp_path: Path) -> None:
    engine = OnnxEngine(write_difference(tmp_path / "model.onnx", "girth", "height"), SCHEMA, ())
    assert engine.predict(FeatureTable.from_rows(SCHEMA, [(10.0, 1.0)])).values == [9]


@pytest.mark.parametrize("before", [0, FEW_NUMBERS])
def test_answer_that_is_not_finite_is_a_failure(tmp_path: Path, before: int) -> None:
    engine = OnnxEngine(write_difference(tmp_path / "model.onnx", "girth", "height"), SCHEMA, ())
    rows = [(1.0, 1.0)] * before
    assert len(engine.predict(FeatureTable.from_rows(SCHEMA, [*rows, (3e38, 1.0)])).values) == before + 1
    with pytest.raises(ModelFailedError, match="not finite"):
        engine.predict(FeatureTable.from_rows(SCHEMA, [*rows, (3e38, -3e38)]))


def test_inputs_named_by_place_are_matched_by_place(tmp_path: Path) -> None:
    engine = OnnxEngine(write_difference(tmp_path / "model.onnx", "column_1", "column_0"), SCHEMA, ())
    assert engine.predict(FeatureTable.from_rows(SCHEMA, [(10.0, 1.0)])).values == [9]


def test_inputs_of_other_names_are_refused(tmp_path: Path) -> None:
    path = write_difference(tmp_path / "model.onnx", "height", "width")
    with pytest.raises(InvalidModelError, match="name its inputs as the signature names the columns, or column_0"):
        OnnxEngine(path, SCHEMA, ())


def test_inputs_are_recognised_by_the_names_that_skl2onnx_gives_them(tmp_path: Path) -> None:
    names = ["2nd height (m²)", "girth + x"]
    tree = DecisionTreeRegressor(random_state=0).fit([[10.0, 1.0], [1.0, 10.0]], [1, 2])
    model = Pipeline([("columns", ColumnTransformer([("all", "passthrough", [1, 0])])), ("tree", tree)])
    model.fit(pd.DataFrame([[10.0, 1.0], [1.0, 10.0]], columns=names), [1, 2])
    path = tmp_path / "model.onnx"
    types = [(name, FloatTensorType([None, 1])) for name in names]
    path.write_bytes(to_onnx(model, initial_types=types).SerializeToString())
    schema = FeatureSchema.of_numbers(*reversed(names))
    assert OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, [(1.0, 10.0)])).values == [1]


def test_input_that_two_columns_may_mean_is_refused(tmp_path: Path) -> None:
    tree = DecisionTreeRegressor(random_state=0).fit([[1.0], [2.0]], [1, 2])
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(tree, initial_types=[("a_b", FloatTensorType([None, 1]))]).SerializeToString())
    with pytest.raises(InvalidModelError, match="name its inputs"):
        OnnxEngine(path, FeatureSchema.of_numbers("a b", "a_b"), ())


def test_sole_input_of_a_sole_column_may_have_any_name(tmp_path: Path) -> None:
    tree = DecisionTreeRegressor(random_state=0).fit([[1.0], [2.0]], [1, 2])
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(tree, initial_types=[("X", FloatTensorType([None, 1]))]).SerializeToString())
    schema = FeatureSchema.of_numbers("height")
    assert OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, [(2.0,)])).values == [2]


@pytest.mark.parametrize(
    ("kind", "column_type", "mlflow_type"),
    [
        (TensorProto.INT64, ColumnType.INTEGER, "long"),
        (TensorProto.INT64, ColumnType.BOOLEAN, "boolean"),
        (TensorProto.BOOL, ColumnType.BOOLEAN, "boolean"),
    ],
)
def test_input_without_a_missing_value_takes_only_required_columns(
    tmp_path: Path, kind: int, column_type: ColumnType, mlflow_type: str
) -> None:
    path = write_difference(tmp_path / "model.onnx", "b", "a", kind)
    required = Column("a", column_type, mlflow_type=mlflow_type)
    schema = FeatureSchema((required, Column("b", column_type, mlflow_type=mlflow_type)))
    assert OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, [(True, False)])).values == [1]
    optional = FeatureSchema((required, Column("b", column_type, required=False, mlflow_type=mlflow_type)))
    with pytest.raises(InvalidModelError, match=r"column 'b' as tensor.*which has no missing value"):
        OnnxEngine(path, optional, ())


def test_matrix_of_integers_takes_no_columns_that_may_be_missing(tmp_path: Path) -> None:
    forest = RandomForestRegressor(n_estimators=1, random_state=7).fit(ROWS, ROWS[:, 0])
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(forest, initial_types=[(INPUT_NAME, Int64TensorType([None, 2]))]).SerializeToString())
    columns = [Column(name, ColumnType.INTEGER, required=False, mlflow_type="long") for name in SCHEMA.names]
    with pytest.raises(InvalidModelError, match="which has no missing value"):
        OnnxEngine(path, FeatureSchema(tuple(columns)), ())


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.DATE])
def test_input_that_would_change_values_is_refused(tmp_path: Path, kind: ColumnType) -> None:
    path = write_difference(tmp_path / "model.onnx", *SCHEMA.names, TensorProto.INT64)
    schema = FeatureSchema(tuple(Column(name, kind) for name in SCHEMA.names))
    with pytest.raises(InvalidModelError, match=rf"'height', of type {kind}, as tensor\(int64\)"):
        OnnxEngine(path, schema, ())


def test_dates_are_days_to_a_graph(tmp_path: Path) -> None:
    path = write_difference(tmp_path / "model.onnx", *SCHEMA.names, TensorProto.DOUBLE)
    schema = FeatureSchema(tuple(Column(name, ColumnType.DATE) for name in SCHEMA.names))
    found = OnnxEngine(path, schema, ()).predict(FeatureTable.from_rows(schema, [(19782.5, 2.0)]))
    assert [abs(value) for value in found.values] == [19780.5]
