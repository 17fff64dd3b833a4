"""Metrics by name: scikit-learn's values for its names, and the adopter's own."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer

from src.core.errors import ConfigError, InvalidModelError
from src.core.pipeline_config import PipelineConfig
from src.pipeline.metrics import METRICS
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE
from src.training.scoring import Metric, metrics_of, scores_of
from tests.support.training import config

BINARY = ("f1", "precision", "recall", "roc_auc", "average_precision")
OF_CLASSES = (
    "accuracy",
    "balanced_accuracy",
    "matthews_corrcoef",
    "roc_auc_ovr",
    "neg_log_loss",
    "neg_brier_score",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
)
OF_NUMBERS = (
    "r2",
    "explained_variance",
    "neg_mean_squared_error",
    "neg_root_mean_squared_error",
    "neg_mean_absolute_error",
    "neg_median_absolute_error",
)


def settings(classes: list[str] | None, metric: str, **gate: Any) -> PipelineConfig:
    positive, report = gate.pop("positive_class", None), gate.pop("report", [])
    dataset = {
        "target": "label",
        "features": {"x": {"type": "number"}},
        "classes": classes,
        "positive_class": positive,
        "min_rows_per_class": 2 if classes else None,
        "target_range": None if classes else {"minimum": 0.0, "maximum": 1.0},
    }
    chosen = config(dataset=dataset, gate={"metric": metric, "floor": 0.0} | gate)
    return chosen.model_copy(update={"report": report})


def metric(classes: list[str] | None, name: str, **gate: Any) -> Metric:
    if name == "recall":
        gate = {"minimums": {"precision": 0.1}} | gate
    return metrics_of(settings(classes, name, **gate), {})[name]


class Prepared(BaseEstimator):
    """A fitted estimator with given predictions, for scikit-learn's scorers."""

    def __init__(self, values: NDArray[Any], probabilities: NDArray[np.float64] | None, classes: list[int]) -> None:
        self.values = values
        self.probabilities = probabilities
        self.classes_ = np.array(classes)
        self._estimator_type = "classifier" if classes else "regressor"

    def fit(self) -> None:
        """It is."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = self._estimator_type
        return tags

    def predict(self, _: Any) -> NDArray[Any]:
        return self.values

    def predict_proba(self, _: Any) -> NDArray[np.float64] | None:
        return self.probabilities


def drawn(classes: int, rows: int = 200) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Numbers as classes, mostly correct predictions, and probabilities with ties."""
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, rows)
    values = np.where(random.random(rows) < 0.6, truth, random.integers(0, classes, rows))
    probabilities = np.round(random.dirichlet(np.ones(classes), rows) + 0.3 * np.eye(classes)[truth], 1) + 0.01
    return truth, values, probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("name", "classes"),
    [*((name, 2) for name in BINARY), *((name, classes) for name in OF_CLASSES for classes in (2, 4))],
)
def test_classification_metric_equals_scikit_learns_scorer_of_that_name(name: str, classes: int) -> None:
    truth, values, probabilities = drawn(classes)
    expected = get_scorer(name)(Prepared(values, probabilities, list(range(classes))), np.zeros((200, 1)), truth)
    names = [str(place) for place in range(classes)]
    answers = Answers("1", tuple(names), truth.astype(str), values.astype(str), probabilities)
    assert metric(names, name).of(answers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_regression_metric_is_what_scikit_learn_s_scorer_of_that_name_says(name: str) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(5, 2, 200)
    values = truth + random.normal(0.5, 1, 200)
    expected = get_scorer(name)(Prepared(values, None, []), np.zeros((200, 1)), truth)
    assert metric(None, name).of(Answers("1", (), truth, values)) == pytest.approx(expected, abs=1e-12)


def test_catalogue_is_complete_and_greater_is_better_for_each() -> None:
    assert set(CATALOGUE) == {*BINARY, *OF_CLASSES, *OF_NUMBERS}
    assert all(metric(["0", "1"], name).greater_is_better for name in (*BINARY, *OF_CLASSES))
    assert metric(None, "r2").sign == 1


def test_metrics_of_two_classes_are_about_the_positive_one() -> None:
    truth, values, probabilities = drawn(2)
    answers = Answers("1", ("0", "1"), truth.astype(str), values.astype(str), probabilities)
    last = {name: metric(["0", "1"], name).of(answers) for name in BINARY}
    first = {name: metric(["0", "1"], name, positive_class="0").of(answers) for name in BINARY}
    named = {name: metric(["0", "1"], name, positive_class="1").of(answers) for name in BINARY}
    listed_last = {name: metric(["1", "0"], name).of(answers) for name in BINARY}
    assert named == last
    assert listed_last == first
    assert first["recall"] == pytest.approx((values[truth == 0] == 0).mean())
    assert last["recall"] == pytest.approx((values[truth == 1] == 1).mean())
    assert first["roc_auc"] == pytest.approx(last["roc_auc"])  # of two classes it is the same
    assert first["average_precision"] != last["average_precision"]


@pytest.mark.parametrize("name", [*OF_CLASSES, *BINARY, *OF_NUMBERS])
def test_a_row_of_weight_two_counts_twice(name: str) -> None:
    random = np.random.default_rng(7)
    if name in OF_NUMBERS:
        truth = random.normal(size=50)
        answers, classes = Answers("1", (), truth, truth + random.normal(size=50)), None
    else:
        numbers, values, probabilities = drawn(2, 50)
        classes = ["0", "1"]
        answers = Answers("1", ("0", "1"), numbers.astype(str), values.astype(str), probabilities)
    weight = random.integers(0, 3, 50)
    if name == "neg_median_absolute_error":
        # Scikit-learn's weighted median is one of the values, the other one may lie between two.
        weight[0] += 1 - weight.sum() % 2
    repeated = answers.take(np.repeat(np.arange(50), weight))
    chosen = metric(classes, name)
    assert chosen.of(answers, weight.astype(float)) == pytest.approx(chosen.of(repeated), abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "name", "reason"),
    [
        (["a", "b"], "acuracy", r"unknown metric 'acuracy'; did you mean 'accuracy'\?; add your own to METRICS"),
        (["a", "b"], "brier_score", "unknown metric 'brier_score'; did you mean 'neg_brier_score'"),
        (["a", "b"], "zzz", "unknown metric 'zzz'; known: accuracy, .*, price"),
        (["a", "b"], "prise", "did you mean 'price'"),
        (["a", "b"], "r2", "the metric r2 is for a regression, and the data set is a classification; known: accuracy"),
        (None, "f1_macro", "the metric f1_macro is for a classification, and the data set is a regression; known: r2"),
        (["a", "b", "c"], "f1", "for two classes, and dataset.classes has 3; use f1_macro"),
        (["a", "b", "c"], "precision", "use precision_macro"),
        (["a", "b", "c"], "roc_auc", "use roc_auc_ovr"),
        (["a", "b", "c"], "average_precision", "use roc_auc_ovr"),
    ],
)
def test_metrics_of_refuses_what_it_does_not_know_or_does_not_fit(
    classes: list[str] | None, name: str, reason: str
) -> None:
    own = {"price": Metric("price", lambda *_: 0.0)}
    with pytest.raises(ConfigError, match=reason):
        metrics_of(settings(classes, name), own)


@pytest.mark.parametrize("place", ["minimums", "report"])
def test_metrics_of_checks_minimums_and_report_too(place: str) -> None:
    chosen = {"minimums": {"recal": 0.5}} if place == "minimums" else {"report": ["recal"]}
    with pytest.raises(ConfigError, match="did you mean 'recall'"):
        metrics_of(settings(["a", "b"], "f1", **chosen), {})


@pytest.mark.parametrize(
    ("minimums", "fits"),
    [({}, False), ({"recall": 0.5}, False), ({"precision": 0.5}, True), ({"recall": 0.5, "accuracy": 0.5}, True)],
)
def test_metrics_of_refuses_plain_recall_unless_another_metric_constrains_it(
    minimums: dict[str, float], *, fits: bool
) -> None:
    chosen = settings(["no", "yes"], "recall", minimums=minimums)
    if fits:
        assert list(metrics_of(chosen, {})) == ["recall", *(name for name in minimums if name != "recall")]
    else:
        with pytest.raises(ConfigError, match=r"always predicting 'yes' has the best recall; .*precision: 0.5.*f1"):
            metrics_of(chosen, {})


def test_metrics_of_lists_the_gate_s_first_and_takes_the_adopter_s_own_before_the_catalogue() -> None:
    own = {"accuracy": Metric("accuracy", lambda *_: 0.25), "unused": Metric("unused", lambda *_: 0.0)}
    chosen = settings(["a", "b"], "f1", minimums={"accuracy": 0.1}, report=["recall", "f1"])
    found = metrics_of(chosen, own)
    assert list(found) == ["f1", "accuracy", "recall"]
    assert found["accuracy"] is own["accuracy"]


def test_metrics_of_refuses_an_own_metric_under_another_name() -> None:
    with pytest.raises(ConfigError, match=r"src/pipeline/metrics.py: the metric 'cost' is listed as 'costs'"):
        metrics_of(settings(["a", "b"], "f1"), {"costs": Metric("cost", lambda *_: 0.0)})


def test_no_own_metric_is_shipped() -> None:
    assert METRICS == {}


ANSWERS = Answers("3", ("a", "b"), np.array(["a", "b", "b"]), np.array(["a", "b", "a"]), np.full((3, 2), 0.5))


def test_own_metric_gets_truth_answers_probabilities_and_weights() -> None:
    given: list[Any] = []

    def note(*arguments: Any) -> float:
        given.extend(arguments)
        return 0.5

    assert Metric("note", note).of(ANSWERS) == 0.5
    truth, values, probabilities, weight = given
    assert (truth.tolist(), values.tolist(), probabilities.shape) == (["a", "b", "b"], ["a", "b", "a"], (3, 2))
    assert weight.tolist() == [1.0, 1.0, 1.0]
    given.clear()
    Metric("note", note).of(ANSWERS, np.array([1.0, 2.0, 0.0]))
    assert given[3].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many"])
def test_own_metric_must_return_a_finite_number(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"the metric odd (returns (nan|inf) for|fails on) 3 rows"):
        scores_of({"odd": Metric("odd", lambda *_: value)}, ANSWERS)


def test_own_metric_s_error_names_it_and_keeps_the_cause() -> None:
    def broken(*_: Any) -> float:
        raise ZeroDivisionError("no rows")

    with pytest.raises(ConfigError, match="the metric broken fails on 3 rows: ZeroDivisionError: no rows") as caught:
        Metric("broken", broken).of(ANSWERS)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.permanent


def test_metric_of_the_catalogue_that_is_undefined_for_the_rows_is_left_out() -> None:
    one = ANSWERS.take(np.array([1, 2]))
    metrics = metrics_of(
        settings(["a", "b"], "roc_auc", report=["accuracy", "average_precision", "balanced_accuracy"]), {}
    )
    assert scores_of(metrics, one) == {"accuracy": 0.5, "balanced_accuracy": 0.5}
    equal = Answers("3", (), np.ones(3), np.zeros(3))
    metrics = metrics_of(settings(None, "r2", report=["explained_variance", "neg_mean_absolute_error"]), {})
    assert scores_of(metrics, equal) == {"neg_mean_absolute_error": -1.0}


@pytest.mark.parametrize("name", ["roc_auc", "roc_auc_ovr", "average_precision", "neg_log_loss", "neg_brier_score"])
def test_metric_of_probabilities_refuses_a_model_without(name: str) -> None:
    bare = Answers("3", ("a", "b"), ANSWERS.truth, ANSWERS.values)
    with pytest.raises(InvalidModelError, match=f"version 3 has no probabilities, which {name} needs"):
        metric(["a", "b"], name).of(bare)
    assert metric(["a", "b"], "accuracy").of(bare) == pytest.approx(2 / 3)
