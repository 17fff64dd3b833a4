"""Models are scored as they are served, and compared with their rivals."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.errors import ConfigError, InvalidModelError, OtherSchemaError
from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.onnx_engine import OnnxEngine
from src.core.pipeline_config import PipelineConfig
from src.core.predictions import Predictions, labels_from
from src.training.answers import Answers
from src.training.comparison import Comparison
from src.training.evaluate_model import Evaluation, Material, answers_of, judge
from src.training.gate import decide
from src.training.registry import FetchedModel
from src.training.scoring import Metric, metrics_of
from tests.support.training import config, iris_package, iris_parts

pytestmark = pytest.mark.slow

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
HOLDOUT = iris_parts()[1]


class FakeEngine:
    """Predicts prepared probabilities in turn."""

    name = "onnx"

    def __init__(self, answers: list[list[float]], classes: tuple[str, ...]) -> None:
        self._answers = np.array(answers, dtype=np.float32)
        self.classes = classes

    def predict(self, table: FeatureTable) -> Predictions:
        probabilities = np.resize(self._answers, (len(table), self._answers.shape[1]))
        return Predictions([self.classes[place] for place in labels_from(probabilities)], probabilities)


class FakeRegression:
    """Predicts prepared numbers in turn."""

    name = "onnx"
    classes: tuple[str, ...] = ()

    def __init__(self, answers: list[float]) -> None:
        self._answers = answers

    def predict(self, table: FeatureTable) -> Predictions:
        return Predictions(np.resize(self._answers, len(table)).tolist())


def fake(answers: list[list[float]], classes: tuple[str, ...] = ("a", "b")) -> FetchedModel:
    return FetchedModel("7", FeatureSchema.of_numbers("x"), FakeEngine(answers, classes))


ROWS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "label": ["a", "a", "a", "b"]})
ANSWERS = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]
NUMBERS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "label": [1.0, 2.0, 3.0, 4.0]})
REGRESSION = FetchedModel("7", FeatureSchema.of_numbers("x"), FakeRegression([1.0, 2.0, 3.0, 6.0]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FetchedModel:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(iris_package().graph)
    schema = FeatureSchema.of_numbers(*COLUMNS)
    return FetchedModel("1", schema, OnnxEngine(path, schema, iris_package().classes))


def settings(classes: list[str] | None = None, **sections: dict[str, Any]) -> PipelineConfig:
    """Two classes, or a regression, on one number."""
    dataset = {
        "target": "label",
        "features": {"x": {"type": "number"}, "part": {"type": "category", "values": ["left", "right"]}},
        "classes": classes,
        "min_rows_per_class": 2 if classes else None,
        "target_range": None if classes else {"minimum": 0.0, "maximum": 100.0},
    }
    gate = {"metric": "accuracy" if classes else "r2", "floor": 0.5} | sections.pop("gate", {})
    return config(dataset=dataset, gate=gate, **sections)


def material(rows: pd.DataFrame, settings: PipelineConfig, **own: Metric) -> Material:
    metrics = metrics_of(settings, own)
    return Material(settings, metrics, rows["label"].to_numpy(), rows, np.arange(len(rows)))


def test_answers_are_labels_and_probabilities_that_add_up_to_one() -> None:
    found = answers_of(fake([[0.9, 0.3], [0.2, 0.2]]), ROWS, "label")
    assert found.version == "7"
    assert found.classes == ("a", "b")
    assert found.truth.tolist() == ["a", "a", "a", "b"]
    assert found.values.tolist() == ["a", "a", "a", "a"]
    assert found.probabilities is not None
    assert found.probabilities[:2] == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))


def test_answers_are_the_labels_that_the_engine_gives_whatever_its_probabilities() -> None:
    class Cautious(FakeEngine):
        def predict(self, table: FeatureTable) -> Predictions:
            return Predictions(["b"] * len(table), super().predict(table).probabilities)

    found = answers_of(FetchedModel("7", FeatureSchema.of_numbers("x"), Cautious(ANSWERS, ("a", "b"))), ROWS, "label")
    assert found.values.tolist() == ["b"] * 4


def test_answers_take_the_columns_in_the_model_s_order_and_leave_others_alone(model: FetchedModel) -> None:
    turned = HOLDOUT[list(reversed(HOLDOUT.columns))].assign(customer=7)
    expected, found = answers_of(model, HOLDOUT, "species"), answers_of(model, turned, "species")
    assert found.values.tolist() == expected.values.tolist()
    assert (expected.values == expected.truth).mean() > 0.9


def test_answers_to_rows_of_a_class_that_the_model_does_not_know_are_wrong() -> None:
    assert answers_of(fake(ANSWERS, ("a", "c")), ROWS, "label").truth.tolist() == ["a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (FetchedModel("7", FeatureSchema.of_numbers("x", "y"), FakeEngine(ANSWERS, ("a", "b"))), "other columns: y$"),
        (REGRESSION, "version 7 answers with numbers"),
    ],
)
def test_answers_refuse_a_model_of_something_else(broken: FetchedModel, reason: str) -> None:
    with pytest.raises(OtherSchemaError, match=reason):
        answers_of(broken, ROWS, "label")
    with pytest.raises(OtherSchemaError, match="version 7 answers with classes"):
        answers_of(fake(ANSWERS), NUMBERS, "label")


@pytest.mark.parametrize(
    ("broken", "rows", "reason"),
    [
        (fake([[float("nan"), 1.0]]), ROWS, "does not return finite probabilities"),
        (fake([[0.2, 0.3, 0.5]], ("a", "b")), ROWS, "(finite probabilities|cannot answer)"),
        (fake([[0.5]], ("a", "b")), ROWS, "does not return finite probabilities"),
        (FetchedModel("7", REGRESSION.schema, FakeRegression([math.nan])), NUMBERS, "does not return a finite number"),
        (FetchedModel("7", REGRESSION.schema, FakeRegression([math.inf])), NUMBERS, "does not return a finite number"),
    ],
)
def test_answers_refuse_a_model_that_answers_nothing_usable(
    broken: FetchedModel, rows: pd.DataFrame, reason: str
) -> None:
    with pytest.raises(InvalidModelError, match=reason):
        answers_of(broken, rows, "label")


def test_answers_refuse_a_graph_that_takes_another_width(model: FetchedModel) -> None:
    narrow = FetchedModel("1", FeatureSchema.of_numbers("sepal_length"), model.engine)
    with pytest.raises(InvalidModelError, match="version 1 cannot answer the holdout"):
        answers_of(narrow, HOLDOUT, "species")


def test_evaluation_counts_by_true_class_and_reports_each_class() -> None:
    found = Evaluation({}, answers_of(fake(ANSWERS), ROWS, "label"))
    assert found.confusion.tolist() == [[2, 1], [0, 1]]
    assert found.report["a"]["recall"] == pytest.approx(2 / 3)
    assert found.report["b"]["precision"] == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("truth", "counts"),
    [
        (["a", "a"], [[1, 1], [0, 0]]),
        (["z", "b"], [[0, 0], [0, 1]]),  # a class that the model does not know has no row
        (["z", "z"], [[0, 0], [0, 0]]),
    ],
)
def test_confusion_of_one_class_or_none_is_counted(truth: list[str], counts: list[list[int]]) -> None:
    answers = Answers("7", ("a", "b"), np.array(truth), np.array(["a", "b"]), np.eye(2))
    assert Evaluation({}, answers).confusion.tolist() == counts
    assert set(Evaluation({}, answers).report) >= {"a", "b"}


def judged(
    challenger: Answers, rivals: dict[str, Answers], rows: pd.DataFrame, settings: PipelineConfig, **own: Metric
) -> Comparison:
    evaluation, comparison = judge(challenger, rivals, material(rows, settings, **own))
    assert evaluation.scores == comparison.challenger
    assert evaluation.answers is challenger
    return comparison


def two_models(errors: int, others: int, rows: int = 200) -> tuple[Answers, Answers, pd.DataFrame]:
    """A model with some errors, one with other errors, and the rows, of which the first half is on the left."""
    truth = np.resize(["a", "b"], rows)
    turned = np.where(truth == "a", "b", "a")
    places = np.arange(rows)
    frame = pd.DataFrame({"label": truth, "part": np.where(places < rows // 2, "left", "right")})
    first = Answers("5", ("a", "b"), truth, np.where(places < errors, turned, truth), np.full((rows, 2), 0.5))
    second = Answers("3", ("a", "b"), truth, np.where(places >= rows - others, turned, truth), np.full((rows, 2), 0.5))
    return first, second, frame


def test_judge_scores_challenger_and_rivals_by_every_metric_on_the_same_rows() -> None:
    ours, theirs, frame = two_models(10, 30)
    found = judged(ours, {"champion": theirs, "best": ours}, frame, settings(["a", "b"]))
    assert found.challenger["accuracy"] == pytest.approx(0.95)
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(0.85)
    assert found.champion["neg_log_loss"] == pytest.approx(math.log(0.5))
    assert found.best == found.challenger
    assert (found.champion_version, found.best_version, found.rows) == ("3", "5", 200)
    assert found.lower_is_better == ()


def test_judge_gives_intervals_of_the_differences() -> None:
    ours, theirs, frame = two_models(10, 30)
    found = judged(ours, {"champion": theirs, "best": ours}, frame, settings(["a", "b"], gate={"confidence": 0.9}))
    difference = found.champion_difference
    assert difference is not None
    # Of 200 rows 40 differ, 10 against and 30 for the challenger: a standard error of √(40 - 20²/200) / 200 = 0.0308.
    assert difference.point == pytest.approx(0.1)
    assert difference.low == pytest.approx(0.1 - 1.96 * 0.0308, abs=0.006)
    assert difference.high == pytest.approx(0.1 + 1.96 * 0.0308, abs=0.006)
    assert difference.bound == pytest.approx(0.1 - 1.28 * 0.0308, abs=0.006)
    unset = judged(ours, {"champion": theirs}, frame, settings(["a", "b"])).champion_difference
    assert unset is not None
    assert unset.bound == pytest.approx(0.1 - 1.645 * 0.0308, abs=0.006)
    assert found.best_difference is not None
    assert (found.best_difference.low, found.best_difference.high) == (0.0, 0.0)


def test_judge_measures_the_difference_to_the_best_baseline() -> None:
    ours, _, frame = two_models(10, 30)
    frame["label"] = np.where(np.arange(200) < 150, "a", "b")
    ours = Answers("5", ("a", "b"), frame["label"].to_numpy(dtype=str), ours.truth, np.full((200, 2), 0.5))
    found = judged(ours, {}, frame, settings(["a", "b"], gate={"confidence": 0.6}))
    assert found.baseline is not None
    assert (found.baseline.name, found.baseline.score) == ("always 'a'", 0.75)
    assert found.baseline.difference.point == pytest.approx(found.challenger["accuracy"] - 0.75)
    # 75 rows for each side differ; one-sided 95 % whatever gate.confidence says.
    error = math.sqrt(100 * 100) / 200 / 10
    assert found.baseline.difference.bound < found.baseline.difference.point - 1.2 * error


def test_model_that_is_no_better_than_the_most_frequent_class_is_rejected_though_it_reaches_the_floor() -> None:
    """86.8 % of the rows are of one class, and the model finds 7 % of the other one."""
    truth = np.array(["no"] * 868 + ["yes"] * 132)
    values = truth.copy()
    values[:10], values[868:991] = "yes", "no"
    ours = Answers("5", ("no", "yes"), truth, values, np.full((1000, 2), 0.5))
    chosen = settings(["no", "yes"], gate={"floor": 0.85})
    found = judged(ours, {}, pd.DataFrame({"label": truth}), chosen)
    assert found.challenger["accuracy"] == pytest.approx(0.867)
    promoted, reason = decide(chosen.gate, found)
    assert not promoted
    assert reason.startswith("does not beat always 'no' with accuracy 0.8680: the one-sided 95 % bound")


def test_judge_of_a_regression_compares_with_mean_and_median() -> None:
    truth = np.linspace(0, 99, 100)
    frame = pd.DataFrame({"label": truth})
    ours, theirs = (Answers(v, (), truth, truth + error * np.resize([1, -1], 100)) for v, error in (("5", 1), ("3", 2)))
    found = judged(ours, {"champion": theirs}, frame, settings())
    assert found.challenger["neg_root_mean_squared_error"] == pytest.approx(-1)
    assert found.challenger["r2"] == pytest.approx(1 - 1 / truth.var())
    assert found.champion is not None
    assert found.champion["neg_mean_absolute_error"] == pytest.approx(-2)
    assert found.baseline is not None
    assert found.baseline.name == "always the training rows' mean"
    assert found.baseline.score == pytest.approx(0.0)


def test_judge_compares_slices_where_they_are_configured() -> None:
    ours, theirs, frame = two_models(40, 0)
    assert judged(ours, {"champion": theirs}, frame, settings(["a", "b"])).slices == ()
    found = judged(ours, {"champion": theirs}, frame, settings(["a", "b"], gate={"slices": ["part"]})).slices
    left, right = sorted(found, key=lambda part: part.value)
    assert (left.value, left.challenger, left.champion, left.worse) == ("left", 0.6, 1.0, True)
    assert (right.value, right.challenger, right.worse, right.p_value) == ("right", 1.0, False, 1.0)


def test_judge_leaves_what_is_not_defined_to_the_gate() -> None:
    ours, theirs, frame = two_models(5, 10)
    frame["label"] = "a"
    alone = (Answers(m.version, m.classes, np.full(200, "a"), m.values, m.probabilities) for m in (ours, theirs))
    found = judged(next(alone), {"champion": next(alone)}, frame, settings(["a", "b"], gate={"metric": "roc_auc"}))
    assert "roc_auc" not in found.challenger
    assert found.champion_difference is None
    assert found.baseline is None
    assert "accuracy" in found.challenger


def varied(truth: Any, values: Any, _: Any, weight: Any) -> float:
    """A metric that fails where all answers, or all true values, are the same."""
    if min(len(set(truth.tolist())), len(set(values.tolist()))) == 1:
        raise ValueError("one value only")
    return float(np.average(truth == values, weights=weight))


OWN = Metric("own", varied)


def test_judge_uses_an_own_metric_that_fails_for_constants_and_on_slices() -> None:
    ours, theirs, frame = two_models(10, 30)
    frame["part"] = ours.truth
    chosen = settings(["a", "b"], gate={"metric": "own", "slices": ["part"]})
    found = judged(ours, {"champion": theirs}, frame, chosen, own=OWN)
    assert found.baseline is not None
    assert found.baseline.name == "random answers"
    assert not found.baselines_undefined
    assert [(part.challenger, part.champion) for part in found.slices] == [(None, None)] * 2


@pytest.mark.parametrize(("floor", "promoted"), [(None, False), (-1.0, True)])
def test_model_is_not_promoted_by_a_metric_that_no_constant_has_without_a_floor(
    floor: float | None, *, promoted: bool
) -> None:
    truth = np.linspace(0, 99, 100)
    ours = Answers("5", (), truth, -truth)
    chosen = settings(gate={"metric": "own", "floor": floor})
    found = judged(ours, {}, pd.DataFrame({"label": truth}), chosen, own=OWN)
    assert (found.baseline, found.baselines_undefined) == (None, True)
    assert decide(chosen.gate, found)[0] is promoted


def test_constants_that_miss_the_minimums_are_not_undefined() -> None:
    ours, _, frame = two_models(10, 30)
    chosen = settings(["a", "b"], gate={"metric": "recall", "minimums": {"precision": 0.6}})
    found = judged(ours, {}, frame, chosen)
    assert (found.baseline, found.baselines_undefined) == (None, False)


def test_judge_counts_the_resamples_in_which_the_gate_s_metric_is_undefined() -> None:
    truth = np.array(["a"] * 29 + ["b"])
    ours = Answers("5", ("a", "b"), truth, truth, np.eye(2)[(truth == "b").astype(int)])
    found = judged(ours, {}, pd.DataFrame({"label": truth}), settings(["a", "b"], gate={"metric": "roc_auc"}))
    assert found.skipped / 2000 == pytest.approx((29 / 30) ** 30, abs=0.04)


def test_judge_aligns_a_champion_that_knows_other_classes() -> None:
    truth = np.resize(["a", "b", "c"], 99)
    ours = Answers("5", ("a", "b", "c"), truth, truth, np.full((99, 3), 1 / 3))
    theirs = Answers("3", ("a", "c", "d"), truth, np.resize(["a", "d", "c"], 99), np.full((99, 3), 1 / 3))
    found = judged(ours, {"champion": theirs}, pd.DataFrame({"label": truth}), settings(["c", "b", "a"]))
    assert found.champion is not None
    assert found.champion["accuracy"] == pytest.approx(2 / 3)
    # Half for each of the two classes that both know; next to nothing for b, which the champion does not.
    assert found.champion["neg_log_loss"] == pytest.approx((2 * math.log(1 / 2) + math.log(np.finfo(float).eps)) / 3)


def cost(truth: Any, answers: Any, _: Any, weight: Any) -> float:
    return float(np.average(truth != answers, weights=weight))


def test_judge_uses_an_own_metric_where_lower_is_better() -> None:
    ours, theirs, frame = two_models(10, 30)
    own = Metric("cost", cost, greater_is_better=False)
    frame["label"] = np.where(np.arange(200) < 150, "a", "b")  # the training rows': most are of the first class
    found = judged(ours, {"champion": theirs}, frame, settings(["a", "b"], gate={"metric": "cost"}), cost=own)
    assert found.lower_is_better == ("cost",)
    assert found.challenger["cost"] == pytest.approx(0.05)
    assert found.baseline is not None
    assert 0.4 < found.baseline.score <= 0.5  # the least cost, not the greatest
    assert found.baseline.difference.point == pytest.approx(0.05 - found.baseline.score)
    difference = found.champion_difference
    assert difference is not None
    assert difference.point == pytest.approx(-0.1)
    assert difference.low < difference.point < difference.bound < difference.high


def test_judge_names_an_own_metric_that_fails() -> None:
    def broken(*_: Any) -> float:
        raise KeyError("price")

    ours, _, frame = two_models(10, 30)
    with pytest.raises(ConfigError, match="the metric cost fails on 200 rows: KeyError: 'price'"):
        judged(ours, {}, frame, settings(["a", "b"], gate={"metric": "cost"}), cost=Metric("cost", broken))


def test_judge_needs_probabilities_only_where_a_metric_does() -> None:
    ours, _, frame = two_models(10, 30)
    bare = Answers("5", ("a", "b"), ours.truth, ours.values)
    by_labels = settings(["a", "b"]).model_copy(update={"report": ["f1_macro"]})
    assert judged(bare, {}, frame, by_labels).challenger["f1_macro"] > 0.9
    with pytest.raises(InvalidModelError, match="version 5 has no probabilities, which neg_log_loss needs"):
        judged(bare, {}, frame, settings(["a", "b"]))
