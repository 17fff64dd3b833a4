"""Graphs as users convert them: outputs are recognised by their types, whatever their names."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.svm import LinearSVC

from src.core.errors import InvalidModelError, ModelFailedError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import FEWEST_IN_ORDER, OnnxEngine

DATA = load_iris()
ROWS = DATA.data.astype(np.float32)
NUMBERS = DATA.target
NAMES = DATA.target_names[NUMBERS]
SCHEMA = FeatureSchema.of_numbers("a", "b", "c", "d")
NO_MAPS = {"options": {"zipmap": False}}


def table(rows: np.ndarray = ROWS) -> FeatureTable:
    return FeatureTable.from_rows(SCHEMA, [tuple(row) for row in rows.tolist()])


def converted(
    folder: Path, model: Any, target: Any, classes: tuple[str, ...] | None = None, **options: Any
) -> OnnxEngine:
    """The engine of a model that is fitted and converted with skl2onnx's defaults."""
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(model.fit(ROWS, target), ROWS[:1], **options).SerializeToString())
    return OnnxEngine(path, SCHEMA, classes)


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (NUMBERS, (0, 1, 2)),
        (NUMBERS + 7, (7, 8, 9)),
        (NAMES, ("setosa", "versicolor", "virginica")),
        (NUMBERS.astype(str), ("0", "1", "2")),
    ],
)
def test_classifier_answers_with_its_own_labels(tmp_path: Path, target: Any, labels: tuple[Any, ...]) -> None:
    model = LogisticRegression(max_iter=500)
    engine = converted(tmp_path, model, target)
    found = engine.predict(table())
    assert (engine.labels, engine.classes) == (labels, tuple(map(str, labels)))
    assert list(found.values) == model.predict(ROWS).tolist()
    assert {type(value) for value in found.values} == {type(labels[0])}
    assert engine.gives_probabilities
    np.testing.assert_allclose(np.asarray(found.probabilities), model.predict_proba(ROWS), atol=1e-5)


def test_many_rows_of_a_forest_keep_their_order(tmp_path: Path) -> None:
    engine = converted(tmp_path, RandomForestClassifier(5, random_state=0), NAMES)
    rows = np.tile(ROWS, (FEWEST_IN_ORDER // len(ROWS) + 1, 1))
    found, alone = engine.predict(table(rows)), engine.predict(table())
    assert list(found.values[-len(ROWS) :]) == list(alone.values)
    np.testing.assert_array_equal(np.asarray(found.probabilities)[-len(ROWS) :], alone.probabilities)


def test_label_is_the_graphs_own_though_another_class_is_likelier(tmp_path: Path) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, floats))
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"], axis=1),
        helper.make_node("ArgMin", ["shares"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["shares"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[3, 4, 5, 6]),
        helper.make_node("Add", ["label", "three"], ["answer"]),
    ]
    outputs = [
        helper.make_value_info("maps", maps),
        helper.make_tensor_value_info("answer", TensorProto.INT64, [None]),
    ]
    matrix = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    three = helper.make_tensor("three", TensorProto.INT64, [1], [3])
    graph = helper.make_graph(nodes, "g", [matrix], outputs, [three])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    found = OnnxEngine(tmp_path / "model.onnx", SCHEMA, None).predict(table(np.array([[4, 1, 2, 3], [1, 2, 3, 0.5]])))
    assert found.values == [4, 6]
    assert np.asarray(found.probabilities).argmax(axis=1).tolist() == [0, 2]


def test_listed_classes_name_the_columns_of_the_probabilities(tmp_path: Path) -> None:
    model = RandomForestClassifier(5, random_state=0)
    engine = converted(tmp_path, model, NUMBERS, ("red", "green", "blue"), **NO_MAPS)
    found = engine.predict(table())
    assert (engine.classes, engine.labels) == (("red", "green", "blue"), ("red", "green", "blue"))
    assert found.values == [engine.classes[label] for label in model.predict(ROWS)]
    np.testing.assert_allclose(np.asarray(found.probabilities), model.predict_proba(ROWS), atol=1e-5)


def test_listed_classes_rename_numbers_of_maps(tmp_path: Path) -> None:
    model = RandomForestClassifier(5, random_state=0)
    engine = converted(tmp_path, model, NUMBERS, ("red", "green", "blue"))
    assert engine.predict(table()).values == [engine.classes[label] for label in model.predict(ROWS)]


def test_listed_classes_that_contradict_the_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="not the model's own: setosa, versicolor, virginica"):
        converted(tmp_path, RandomForestClassifier(5), NAMES, ("virginica", "setosa", "versicolor"))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (LogisticRegression(max_iter=500), NUMBERS),
        (RandomForestClassifier(2), NAMES),
    ],
)
def test_unnamed_classes_are_refused_with_what_to_do(tmp_path: Path, model: Any, target: Any) -> None:
    with pytest.raises(InvalidModelError, match=r"do not name its classes: .*zipmap.*metadata=\{'classes'"):
        converted(tmp_path, model, target, **NO_MAPS)


def test_values_of_a_decision_function_are_no_probabilities(tmp_path: Path) -> None:
    model = SGDClassifier(loss="hinge", random_state=0)
    engine = converted(tmp_path, model, NAMES)
    found = engine.predict(table())
    assert (engine.gives_probabilities, found.probabilities) == (False, None)
    assert list(found.values) == model.predict(ROWS).tolist()


@pytest.mark.parametrize("model", [RandomForestRegressor(5, random_state=0), Ridge()])
@pytest.mark.parametrize("classes", [(), None])
def test_regression_answers_numbers(tmp_path: Path, model: Any, classes: tuple[str, ...] | None) -> None:
    engine = converted(tmp_path, model, NUMBERS.astype(float), classes)
    found = engine.predict(table())
    assert (engine.classes, engine.gives_probabilities, found.probabilities) == ((), False, None)
    np.testing.assert_allclose(found.values, model.predict(ROWS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "classes", "options", "says"),
    [
        (RandomForestClassifier(2), None, {"options": {"zipmap": "columns"}}, r"output_label of type .*i0 of type .*"),
        (RandomForestClassifier(2), (), NO_MAPS, "label of type .*probabilities of type .*"),
        (RandomForestClassifier(2), (), {}, "output_label of type .*output_probability of type .*"),
    ],
)
def test_other_outputs_are_refused_with_what_to_do(
    tmp_path: Path, model: Any, classes: tuple[str, ...] | None, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidModelError, match=f"{says}serving takes one output of floats for a regression.*zipmap"):
        converted(tmp_path, model, NUMBERS, classes, **options)


def written(path: Path, output: int, *shape: int | None) -> Path:
    """A graph from a matrix of four columns to a single output y of a type, with the values of the matrix."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    y = helper.make_tensor_value_info("y", output, list(shape))
    nodes = [
        helper.make_node("Slice", ["x", "start", "stop", "axis"], ["part"]),
        helper.make_node("Cast", ["part"], ["y"], to=output),
    ]
    stop = shape[1] if len(shape) > 1 else 1
    constants = {"start": 0, "stop": stop, "axis": 1}
    made = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_labels_alone_are_served_by_the_listed_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", TensorProto.INT64, None, 1)
    rows = np.zeros((3, 4), np.float32)
    rows[:, 0] = [2, 0, 1]
    for classes, expected in ((("a", "b", "c"), ["c", "a", "b"]), (("2", "1", "0"), ["2", "0", "1"])):
        engine = OnnxEngine(path, SCHEMA, classes)
        assert not engine.gives_probabilities
        assert engine.predict(table(rows)).values == expected
    with pytest.raises(ModelFailedError, match="not one of its classes"):
        engine.predict(table(rows + 3))


def test_several_numbers_per_row_are_refused_with_what_to_do(tmp_path: Path) -> None:
    engine = OnnxEngine(written(tmp_path / "model.onnx", TensorProto.FLOAT, None, 3), SCHEMA, None)
    with pytest.raises(ModelFailedError, match=r"has the shape \(150, 3\).*log it with metadata="):
        engine.predict(table())


def test_probabilities_of_another_number_of_classes_are_a_failure(tmp_path: Path) -> None:
    engine = converted(tmp_path, LinearSVC(), NUMBERS == 0, ("no", "yes"))  # one value of its decision function
    with pytest.raises(ModelFailedError, match=r"150 rows and 2 classes have the shape \(150, 1\)"):
        engine.predict(table())


def test_outlier_scores_beside_labels_need_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="do not name its classes"):
        converted(tmp_path, IsolationForest(n_estimators=5), NUMBERS, target_opset={"": 18, "ai.onnx.ml": 3})
