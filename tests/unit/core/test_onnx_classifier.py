"""The classifier on ONNX Runtime agrees with scikit-learn, and refuses what is not a graph of ours."""

from pathlib import Path

import numpy as np
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from src.core.errors import InvalidModelError
from src.core.model_registry import GoldenRows
from src.core.onnx_classifier import INPUT_NAME, OnnxClassifier, labels_from

CLASSES = ("ash", "birch", "cedar")
RNG = np.random.default_rng(7)
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
def classifier(tmp_path_factory: pytest.TempPathFactory) -> OnnxClassifier:
    return OnnxClassifier(write_graph(tmp_path_factory.mktemp("model") / "model.onnx"), CLASSES)


@pytest.fixture
def golden() -> GoldenRows:
    probabilities = FOREST.predict_proba(ROWS[:10])
    labels = [CLASSES[index] for index in labels_from(probabilities)]
    return GoldenRows(rows=ROWS[:10].tolist(), labels=labels, probabilities=probabilities.tolist())


def test_predict_agrees_with_sklearn(classifier: OnnxClassifier) -> None:
    rows = RNG.normal(size=(500, 2)).astype(np.float32)
    labels, probabilities = classifier.predict(rows)
    assert labels == [CLASSES[index] for index in FOREST.predict(rows)]
    np.testing.assert_allclose(probabilities, FOREST.predict_proba(rows), atol=1e-6)
    assert (probabilities.shape, probabilities.dtype) == ((500, 3), np.float32)


def test_predict_takes_rows_in_any_layout(classifier: OnnxClassifier) -> None:
    rows = np.asfortranarray(ROWS.astype(np.float64))
    np.testing.assert_array_equal(classifier.probabilities(rows), classifier.probabilities(ROWS))


def test_row_gets_the_same_answer_alone_as_among_others(classifier: OnnxClassifier) -> None:
    together = classifier.probabilities(ROWS)
    alone = np.vstack([classifier.probabilities(row[None, :]) for row in ROWS])
    np.testing.assert_array_equal(together, alone)


def test_classifier_starts_no_threads(tmp_path: Path) -> None:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are listed in /proc, on Linux")
    graph = write_graph(tmp_path / "model.onnx")
    before = {task.name for task in tasks.iterdir()}
    alone = OnnxClassifier(graph, CLASSES)
    alone.probabilities(ROWS)
    assert {task.name for task in tasks.iterdir()} <= before


def test_labels_from_breaks_ties_that_differ_in_the_last_bits_by_class_order() -> None:
    probabilities = np.array([[0.4, 0.4, 0.2], [0.4 - 1e-7, 0.4 + 1e-7, 0.2], [0.39, 0.41, 0.2], [0.2, 0.2, 0.6]])
    assert labels_from(probabilities).tolist() == [0, 0, 1, 2]


def test_verify_accepts_the_answers_of_training_time(classifier: OnnxClassifier, golden: GoldenRows) -> None:
    classifier.verify(golden)


def test_verify_refuses_other_labels(classifier: OnnxClassifier, golden: GoldenRows) -> None:
    labels = [golden.labels[0] if label != golden.labels[0] else "birch" for label in golden.labels]
    with pytest.raises(InvalidModelError, match="not those of training time"):
        classifier.verify(golden.model_copy(update={"labels": labels}))


def shifted(golden: GoldenRows, shift: float) -> GoldenRows:
    probabilities = [[value + shift for value in row] for row in golden.probabilities]
    return golden.model_copy(update={"probabilities": probabilities})


def test_verify_allows_for_rounding(classifier: OnnxClassifier, golden: GoldenRows) -> None:
    classifier.verify(shifted(golden, 5e-6))


def test_verify_refuses_probabilities_beyond_the_tolerance(classifier: OnnxClassifier, golden: GoldenRows) -> None:
    with pytest.raises(InvalidModelError, match="not those of training time"):
        classifier.verify(shifted(golden, 1e-4))


def test_verify_refuses_no_golden_rows(classifier: OnnxClassifier) -> None:
    with pytest.raises(InvalidModelError, match="brings no golden rows"):
        classifier.verify(GoldenRows(rows=[], labels=[], probabilities=[]))


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [[1.0, 2.0, 3.0]] * 10},
        {"rows": [[1.0], [1.0, 2.0]]},
        {"probabilities": [[1.0, 0.0]] * 10},
    ],
)
def test_verify_refuses_golden_rows_of_another_shape(
    classifier: OnnxClassifier, golden: GoldenRows, change: dict[str, object]
) -> None:
    with pytest.raises(InvalidModelError, match="cannot answer its golden rows"):
        classifier.verify(golden.model_copy(update=change))


def test_verify_refuses_a_graph_with_more_classes_than_names(tmp_path: Path, golden: GoldenRows) -> None:
    short = OnnxClassifier(write_graph(tmp_path / "model.onnx"), CLASSES[:1])
    with pytest.raises(InvalidModelError, match="cannot answer its golden rows"):
        short.verify(golden)


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxClassifier(tmp_path / "model.onnx", CLASSES)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a readable ONNX graph"):
        OnnxClassifier(tmp_path / "model.onnx", CLASSES)


def test_graph_with_another_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="must map 'features' to 'probabilities'"):
        OnnxClassifier(write_graph(tmp_path / "model.onnx", "X"), CLASSES)
