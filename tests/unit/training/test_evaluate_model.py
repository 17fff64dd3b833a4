import contextlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.core.errors import InvalidModelError, OtherSchemaError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import OnnxEngine
from src.core.predictions import EngineName, Predictions, labels_from
from src.training.compare_models import require_same_columns
from src.training.evaluate_model import evaluate, score
from src.training.pictures import draw, draw_confusion_matrix, draw_importance
from src.training.registry import FetchedModel
from tests.support.training import iris_package, iris_parts

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
HOLDOUT = iris_parts()[1]


class FakeEngine:
    """Answers with prepared probabilities, cycling through them."""

    name: EngineName = "onnx"

    def __init__(self, answers: list[list[float]], classes: tuple[str, ...]) -> None:
        self._answers = np.array(answers, dtype=np.float32)
        self.classes = classes

    def predict(self, table: FeatureTable) -> Predictions:
        probabilities = np.resize(self._answers, (len(table), self._answers.shape[1]))
        return Predictions(labels_from(probabilities).tolist(), probabilities)


def fake(answers: list[list[float]], classes: tuple[str, ...] = ("a", "b")) -> FetchedModel:
    return FetchedModel("7", FeatureSchema.of_numbers("x"), FakeEngine(answers, classes))


ROWS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "label": ["a", "a", "a", "b"]})
ANSWERS = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FetchedModel:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(iris_package().graph)
    schema = FeatureSchema.of_numbers(*COLUMNS)
    return FetchedModel("1", schema, OnnxEngine(path, schema, iris_package().classes))


def test_score_is_what_the_formulas_say() -> None:
    found = score(fake(ANSWERS), ROWS, "label")
    assert found.accuracy == pytest.approx(3 / 4)
    assert found.f1_macro == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.7]).mean())


def test_score_is_finite_for_a_certain_and_wrong_model() -> None:
    assert np.isfinite(score(fake([[0.0, 1.0]]), ROWS, "label").log_loss)


def test_score_feeds_the_columns_in_the_model_s_order(model: FetchedModel) -> None:
    turned = HOLDOUT[list(reversed(HOLDOUT.columns))]
    assert score(model, turned, "species") == score(model, HOLDOUT, "species")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (FetchedModel("7", FeatureSchema.of_numbers("y"), FakeEngine(ANSWERS, ("a", "b"))), "takes other columns: y"),
        (fake(ANSWERS, ("a", "c")), "knows other classes: a, c"),
        (fake([[0.2, 0.3, 0.5]], ("a", "b")), "answers the holdout with no probabilities"),
        (fake([[float("nan"), 1.0]]), "answers the holdout with no probabilities"),
    ],
)
def test_score_refuses_a_model_that_does_not_fit_the_holdout(broken: FetchedModel, told: str) -> None:
    with pytest.raises(InvalidModelError, match=told):
        score(broken, ROWS, "label")


def test_score_refuses_a_graph_that_takes_another_width(model: FetchedModel) -> None:
    narrow = FetchedModel("1", FeatureSchema.of_numbers("sepal_length"), model.engine)
    with pytest.raises(InvalidModelError, match="cannot answer the holdout"):
        score(narrow, HOLDOUT[["sepal_length", "species"]], "species")


def test_evaluate_counts_by_true_class_and_reports_each_class() -> None:
    found = evaluate(fake(ANSWERS), ROWS, "label")
    assert found.confusion.tolist() == [[2, 1], [0, 1]]
    assert found.report["a"]["recall"] == pytest.approx(2 / 3)
    assert found.report["b"]["precision"] == pytest.approx(1 / 2)
    assert found.scores == score(fake(ANSWERS), ROWS, "label")


def test_evaluate_finds_the_columns_that_matter(model: FetchedModel) -> None:
    found = evaluate(model, HOLDOUT, "species")
    ranked = sorted(found.importance, key=lambda name: found.importance[name])
    assert set(ranked[-2:]) == {"petal_length", "petal_width"}
    assert found.importance == evaluate(model, HOLDOUT, "species").importance


class FakeRegression:
    """Answers with prepared numbers, cycling through them."""

    name: EngineName = "onnx"
    classes: tuple[str, ...] = ()

    def __init__(self, answers: list[float]) -> None:
        self._answers = answers

    def predict(self, table: FeatureTable) -> Predictions:
        return Predictions(np.resize(self._answers, len(table)).tolist())


NUMBERS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "label": [1.0, 2.0, 3.0, 4.0]})
REGRESSION = FetchedModel("7", FeatureSchema.of_numbers("x"), FakeRegression([1.0, 2.0, 3.0, 6.0]))


def test_score_of_a_regression_is_what_the_formulas_say(tmp_path: Path) -> None:
    found = evaluate(REGRESSION, NUMBERS, "label")
    assert found.scores == {"r2": 1 - 4 / 5, "neg_root_mean_squared_error": -1.0, "neg_mean_absolute_error": -0.5}
    assert (found.classes, found.importance) == ((), {"x": pytest.approx(0.0)})
    drawn = draw(found)
    assert sorted(drawn) == ["feature_importance.png", "predictions.png"]
    assert drawn["predictions.png"].axes[0].collections[0].get_offsets().tolist() == [[1, 1], [2, 2], [3, 3], [4, 6]]
    drawn["predictions.png"].savefig(tmp_path / "p.png")


def test_score_refuses_numbers_for_classes_and_classes_for_numbers() -> None:
    with pytest.raises(OtherSchemaError, match="answers with classes"):
        score(fake(ANSWERS), NUMBERS, "label")
    with pytest.raises(OtherSchemaError, match="answers with numbers"):
        score(REGRESSION, ROWS, "label")
    with pytest.raises(InvalidModelError, match="with no numbers"):
        score(FetchedModel("7", REGRESSION.schema, FakeRegression([math.nan])), NUMBERS, "label")


@pytest.mark.parametrize(
    ("served", "fits"),
    [
        (Column("x"), True),
        (Column("x", required=False), False),
        (Column("x", ColumnType.STRING, mlflow_type="string"), False),
    ],
)
def test_champion_s_callers_must_be_able_to_call_the_challenger(served: Column, *, fits: bool) -> None:
    champion = FetchedModel("3", FeatureSchema((served,)), REGRESSION.engine)
    with contextlib.nullcontext() if fits else pytest.raises(OtherSchemaError, match="version 3 takes other values: x"):
        require_same_columns(champion, FeatureSchema.of_numbers("x"))
    require_same_columns(REGRESSION, FeatureSchema((Column("x", required=False),)))


def test_pictures_are_drawn_without_pyplot(model: FetchedModel, tmp_path: Path) -> None:
    evaluation = evaluate(model, HOLDOUT, "species")
    figure, bars = draw_confusion_matrix(evaluation), draw_importance(evaluation)
    counts = [int(text.get_text()) for text in figure.axes[0].texts]
    assert counts == evaluation.confusion.ravel().tolist()
    assert [text.get_text() for text in bars.axes[0].get_yticklabels()][-1].startswith("petal")
    for name, drawn in {"a.png": figure, "b.png": bars}.items():
        drawn.savefig(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
