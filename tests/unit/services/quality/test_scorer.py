"""Scores of labelled rows: against scikit-learn, with odd rows and metrics, and how often intervals cover the truth."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from src.core.errors import ConfigError
from src.core.pipeline_config import PipelineConfig
from src.quality.labelled import Labelled, Pairs, Scored, Shares
from src.services.quality.scorer import LiveScorer
from src.training.scoring import Metric
from tests.support.datasets import houses
from tests.support.training import config

SETOSA, VERSICOLOR, VIRGINICA = CLASSES = ("setosa", "versicolor", "virginica")


def iris(metric: str = "accuracy", *report: str) -> PipelineConfig:
    return config(gate={"metric": metric, "floor": 0.5, "minimums": {}, "slices": []}).model_copy(
        update={"report": list(report)}
    )


def labelled(truth: Any, predictions: Any, **given: Any) -> Labelled:
    """Rows without probabilities and keys, of weight 1, except what is given."""
    count = len(truth)
    usual = {
        "version": "3",
        "classes": (),
        "probabilities": None,
        "weights": np.ones(count),
        "keys": np.array([f"row {row}" for row in range(count)], dtype=object),
    }
    return Labelled(
        truth=np.array(truth, dtype=object), predictions=np.array(predictions, dtype=object), **usual | given
    )


def random_rows(count: int, seed: int = 0, **given: Any) -> Labelled:
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], count)
    predictions = np.array(CLASSES)[shares.argmax(axis=1)]
    truth = np.where(random.random(count) < 0.7, predictions, random.choice(CLASSES, count))
    return labelled(truth, predictions, **{"classes": CLASSES, "probabilities": shares} | given)


def test_scores_are_weighted_and_lie_in_their_intervals() -> None:
    weights = np.random.default_rng(1).choice([1.0, 4.0], 400)
    rows = random_rows(400, weights=weights)
    scored = LiveScorer(iris("accuracy", "neg_log_loss", "f1_macro"), {})(rows)
    truth, predictions = rows.truth.astype(str), rows.predictions.astype(str)
    assert (scored.rows, scored.unknown, scored.failures) == (400, 0, {})
    assert {name: score.value for name, score in scored.scores.items()} == pytest.approx(
        {
            "accuracy": np.average(truth == predictions, weights=weights),
            "neg_log_loss": -sklearn_metrics.log_loss(
                truth, rows.probabilities, labels=list(CLASSES), sample_weight=weights
            ),
            "f1_macro": sklearn_metrics.f1_score(truth, predictions, average="macro", sample_weight=weights),
        }
    )
    for score in scored.scores.values():
        assert score.low is not None
        assert score.high is not None
        assert score.low < score.value < score.high
    # Weights of 1 and 4 have an effective size of 400 · 2.5² / 8.5.
    accuracy = scored.scores["accuracy"]
    error = np.sqrt(accuracy.value * (1 - accuracy.value) / (400 * 2.5**2 / 8.5))
    assert (accuracy.high or 0) - (accuracy.low or 0) == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_rows_with_the_same_key_are_one_cluster() -> None:
    rows = random_rows(300)
    repeat = np.repeat(np.arange(300), 4)
    copies = {
        "classes": CLASSES,
        "probabilities": rows.probabilities[repeat] if rows.probabilities is not None else None,
    }
    together = labelled(rows.truth[repeat], rows.predictions[repeat], keys=rows.keys[repeat], **copies)
    apart = labelled(rows.truth[repeat], rows.predictions[repeat], **copies)
    scorer = LiveScorer(iris("accuracy"), {})

    def width(of: Labelled) -> float:
        score = scorer(of).scores["accuracy"]
        assert score.low is not None
        assert score.high is not None
        return score.high - score.low

    assert width(together) == pytest.approx(width(rows), rel=0.1)
    assert width(apart) == pytest.approx(width(rows) / 2, rel=0.15)


def test_one_cluster_has_no_interval() -> None:
    score = LiveScorer(iris(), {})(labelled([SETOSA] * 2, [SETOSA, VIRGINICA], keys=np.array(["k", "k"], object)))
    assert score.scores["accuracy"].model_dump() == {"value": 0.5, "low": None, "high": None}
    two = LiveScorer(iris(), {})(labelled([SETOSA] * 2, [SETOSA, VIRGINICA])).scores["accuracy"]
    assert (two.value, two.low, two.high) == (0.5, 0, 1)


@pytest.mark.parametrize(("rows", "low"), [(29, None), (30, 1.0)])
def test_few_rows_that_are_all_right_have_no_interval(rows: int, low: float | None) -> None:
    score = LiveScorer(iris(), {})(labelled([SETOSA] * rows, [SETOSA] * rows)).scores["accuracy"]
    assert (score.value, score.low, score.high) == (1, low, low)


def test_labels_that_are_no_class_are_left_out_and_counted() -> None:
    rows = random_rows(60)
    truth = rows.truth.copy()
    truth[:7] = "rose"
    scorer = LiveScorer(iris("accuracy", "neg_log_loss", "roc_auc_ovr"), {})
    shares, weights = rows.probabilities, np.linspace(1, 2, 60)
    assert shares is not None
    found = scorer(labelled(truth, rows.predictions, classes=CLASSES, probabilities=shares, weights=weights))
    rest = scorer(
        labelled(
            truth[7:], rows.predictions[7:], classes=CLASSES, probabilities=shares[7:], weights=weights[7:],
            keys=rows.keys[7:],
        )
    )  # fmt: skip
    assert (found.rows, found.unknown) == (53, 7)
    assert found.scores == rest.scores
    assert set(found.scores) == {"accuracy", "neg_log_loss", "roc_auc_ovr"}


def test_only_unusable_labels_give_no_score() -> None:
    assert LiveScorer(iris("accuracy", "neg_log_loss"), {})(labelled(["rose"], [SETOSA])) == Scored(unknown=1)


def test_probabilities_of_other_classes_are_put_in_the_order_of_the_configuration() -> None:
    rows = random_rows(80)
    assert rows.probabilities is not None
    scorer = LiveScorer(iris("accuracy", "neg_brier_score"), {})
    order = [2, 0, 1]
    turned = labelled(
        rows.truth,
        rows.predictions,
        classes=tuple(CLASSES[place] for place in order),
        probabilities=rows.probabilities[:, order],
    )
    assert scorer(turned).scores["neg_brier_score"].value == pytest.approx(scorer(rows).scores["neg_brier_score"].value)
    # A version that does not know a class gives it 0.
    two = labelled([VIRGINICA], [SETOSA], classes=(SETOSA, VERSICOLOR), probabilities=np.array([[0.75, 0.25]]))
    assert scorer(two).scores["neg_brier_score"].value == pytest.approx(-(0.75**2 + 0.25**2 + 1))


def test_rounded_probabilities_are_scored_as_if_they_summed_to_one() -> None:
    rows = random_rows(100)
    assert rows.probabilities is not None
    shares = rows.probabilities.round(1)
    shares[0] = 0.0
    scored = LiveScorer(iris("neg_log_loss"), {})(dataclasses.replace(rows, probabilities=shares))
    shares[0] = 1.0
    shares /= shares.sum(axis=1, keepdims=True)
    expected = -sklearn_metrics.log_loss(rows.truth.astype(str), shares, labels=list(CLASSES))
    assert scored.scores["neg_log_loss"].value == pytest.approx(expected)


def test_rows_without_probabilities_count_for_the_metrics_that_need_none() -> None:
    rows = random_rows(80)
    assert rows.probabilities is not None
    shares = rows.probabilities.copy()
    shares[:30] = np.nan
    seen: list[Any] = []

    def own(truth: NDArray[Any], _: Any, probabilities: Any, __: Any) -> float:
        seen.append((len(truth), probabilities))
        return 0.5

    scorer = LiveScorer(iris("accuracy", "neg_log_loss", "own"), {"own": Metric("own", own)})
    found = scorer(labelled(rows.truth, rows.predictions, classes=CLASSES, probabilities=shares))
    some = scorer(labelled(rows.truth[30:], rows.predictions[30:], classes=CLASSES, probabilities=shares[30:]))
    none = scorer(labelled(rows.truth, rows.predictions))
    assert found.rows == 80
    assert found.scores["accuracy"] == none.scores["accuracy"]
    assert found.scores["neg_log_loss"].value == some.scores["neg_log_loss"].value
    assert set(none.scores) == {"accuracy", "own"}
    assert seen[0] == (80, None)


def test_own_metric_gets_weights_and_its_direction() -> None:
    def cost(truth: NDArray[Any], predictions: NDArray[Any], _: Any, weight: NDArray[np.float64]) -> float:
        return float(np.average(3.0 * (truth != predictions), weights=weight))

    scorer = LiveScorer(iris("accuracy", "cost"), {"cost": Metric("cost", cost, greater_is_better=False)})
    found = scorer(labelled([SETOSA] * 3, [SETOSA, SETOSA, VIRGINICA], weights=np.array([1.0, 1.0, 2.0])))
    assert found.scores["cost"].value == 1.5
    assert (scorer.lower_is_better, scorer.by_class) == (["cost"], True)


def test_failing_own_metric_is_reported_and_the_others_count() -> None:
    def broken(*_: Any) -> float:
        raise ValueError("no rose")

    scorer = LiveScorer(iris("accuracy", "broken"), {"broken": Metric("broken", broken)})
    found = scorer(random_rows(40))
    assert set(found.scores) == {"accuracy"}
    assert found.failures == {"broken": "the metric broken fails on 40 rows: ValueError: no rose"}


def test_metric_that_no_resample_defines_has_no_interval() -> None:
    def whole(truth: NDArray[Any], *_: Any) -> float:
        return 0.5 if len(truth) == 40 and truth.tolist() == [SETOSA, VIRGINICA] * 20 else float("nan")

    found = LiveScorer(iris("accuracy", "whole"), {"whole": Metric("whole", whole)})(
        labelled([SETOSA, VIRGINICA] * 20, [SETOSA] * 40)
    )
    assert found.scores["whole"].model_dump() == {"value": 0.5, "low": None, "high": None}


def test_undefined_score_is_left_out() -> None:
    found = LiveScorer(iris("accuracy", "roc_auc_ovr"), {})(
        labelled([SETOSA] * 5, [SETOSA] * 5, classes=CLASSES, probabilities=np.tile([0.8, 0.1, 0.1], (5, 1)))
    )
    assert set(found.scores) == {"accuracy"}
    assert found.failures == {}


def test_regression_parses_numbers_and_leaves_other_labels_out(tmp_path: Path) -> None:
    settings = houses(tmp_path / "houses.csv").model_copy(update={"report": ["neg_mean_absolute_error"]})
    scorer = LiveScorer(settings, {})
    truth = ["100", "2e2", " 300.5 ", "many", "nan", "inf", "400", ""]
    predictions = ["110.0", "190.0", "300.5", "1.0", "1.0", "1.0", "nan", "1.0"]
    found = scorer(labelled(truth, predictions, weights=np.array([1.0, 3.0, 1, 1, 1, 1, 1, 1])))
    assert (found.rows, found.unknown) == (3, 5)
    assert found.scores["neg_mean_absolute_error"].value == pytest.approx(-(10 + 3 * 10 + 0) / 5)
    assert set(found.scores) == {"neg_mean_absolute_error", "r2"}
    assert not scorer.by_class


@pytest.mark.parametrize(
    ("truth", "unlabelled"),
    [
        ([VIRGINICA, "rose", VIRGINICA], (SETOSA, VERSICOLOR)),
        ([VIRGINICA, SETOSA, VERSICOLOR], ()),
        (["rose"], ()),
    ],
)
def test_classes_without_a_label_are_named(truth: list[str], unlabelled: tuple[str, ...]) -> None:
    found = LiveScorer(iris("accuracy"), {})(labelled(truth, [SETOSA] * len(truth)))
    assert found.unlabelled == unlabelled


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown metric"):
        LiveScorer(iris("acuracy"), {})


Draw = Callable[[np.random.Generator], Labelled]
SIMULATIONS = 300


def equal(random: np.random.Generator) -> Labelled:
    """300 rows; 80 % of all predictions are right."""
    right = random.random(300) < 0.8
    return labelled([SETOSA] * 300, np.where(right, SETOSA, VIRGINICA))


def unequal(random: np.random.Generator) -> Labelled:
    """About 300 of 840 rows: of the first 120, 90 % are right and all are sampled, of the others 70 % and 1/4."""
    rates = np.repeat([1.0, 0.25], [120, 120 * 6])
    right = random.random(len(rates)) < np.repeat([0.9, 0.7], [120, 120 * 6])
    sampled = random.random(len(rates)) < rates
    return labelled(
        [SETOSA] * int(sampled.sum()),
        np.where(right, SETOSA, VIRGINICA)[sampled],
        weights=(1 / rates)[sampled],
    )


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "true"), [(equal, 0.8), (unequal, (0.9 + 6 * 0.7) / 7)])
def test_interval_covers_the_true_accuracy_and_the_score_is_unbiased(draw: Draw, true: float) -> None:
    random, scorer = np.random.default_rng(0), LiveScorer(iris(), {})
    scores = [scorer(draw(random)).scores["accuracy"] for _ in range(SIMULATIONS)]
    covered = [(score.low or 0) <= true <= (score.high or 0) for score in scores]
    values = np.array([score.value for score in scores])
    assert 0.92 <= np.mean(covered) <= 0.98
    assert abs(values.mean() - true) < 3 * values.std() / np.sqrt(SIMULATIONS)


@pytest.mark.slow
def test_report_of_the_largest_size_takes_seconds() -> None:
    """6 versions with 3 periods of 5,000 rows each, and 5 metrics: 5 s on one core, or 15 on a slow one."""
    scorer = LiveScorer(iris("accuracy", "f1_macro", "balanced_accuracy", "neg_log_loss", "roc_auc_ovr"), {})
    rows = random_rows(5000, weights=np.random.default_rng(0).choice([1.0, 2.0], 5000))
    scorer(rows)
    started = time.process_time()
    scorer(rows)
    assert 18 * (time.process_time() - started) < 15


def paired(truth: list[str], new: list[str], previous: list[str]) -> Pairs:
    columns = [np.array(column, dtype=object) for column in (truth, new, previous)]
    return Pairs(columns[0], columns[1], columns[2])


def test_both_versions_are_scored_by_the_gates_metric_on_known_labels() -> None:
    truth, new, previous = [SETOSA, SETOSA, VIRGINICA, "rose"], [SETOSA] * 4, [SETOSA, VIRGINICA, VIRGINICA, "rose"]
    pairs = paired(truth, new, previous)
    assert LiveScorer(iris("accuracy"), {}).by_gate(pairs) == pytest.approx((2 / 3, 2 / 3))
    expected = [sklearn_metrics.balanced_accuracy_score(truth[:3], found[:3]) for found in (new, previous)]
    assert LiveScorer(iris("balanced_accuracy"), {}).by_gate(pairs) == pytest.approx(tuple(expected))


def test_numbers_are_scored_by_the_gates_metric_too(tmp_path: Path) -> None:
    pairs = paired(["1", "2", "many", "3"], ["1", "4", "1", "nan"], ["2", "2", "1", "3"])
    settings = houses(tmp_path / "houses.csv")
    gate = settings.gate.model_copy(update={"metric": "neg_mean_absolute_error"})
    scorer = LiveScorer(settings.model_copy(update={"gate": gate}), {})
    assert scorer.by_gate(pairs) == pytest.approx((-1.0, -0.5))


def test_of_a_metric_where_lower_is_better_the_sign_is_turned() -> None:
    own = Metric("cost", lambda truth, found, *_: float((truth != found).sum()), greater_is_better=False)
    pairs = paired([SETOSA] * 3, [SETOSA] * 3, [SETOSA, VIRGINICA, VIRGINICA])
    assert LiveScorer(iris("cost"), {"cost": own}).by_gate(pairs) == (0, -2)


def with_shares(pairs: Pairs, new: list[list[float]], previous: list[list[float]]) -> Pairs:
    """Probabilities of setosa and virginica."""
    sides = [Shares((SETOSA, VIRGINICA), np.array(rows)) for rows in (new, previous)]
    return pairs._replace(new_shares=sides[0], previous_shares=sides[1])


def test_metric_of_probabilities_is_computed_on_rows_for_which_both_versions_have_some() -> None:
    pairs = paired([SETOSA, VIRGINICA, "rose", SETOSA, VIRGINICA], [SETOSA] * 5, [SETOSA] * 5)
    none = [np.nan, np.nan]
    new, previous = [[0.9, 0.1], [0.6, 0.4]], [[0.5, 0.5], [0.2, 0.8]]
    left_out = [[0.01, 0.99], [0.01, 0.99]]
    pairs = with_shares(pairs, [*new, *left_out, none], [*previous, left_out[0], none, [0.9, 0.1]])
    found = LiveScorer(iris("neg_log_loss"), {}).by_gate(pairs)
    assert found == pytest.approx((np.log([0.9, 0.4]).mean(), np.log([0.5, 0.8]).mean()))
    assert LiveScorer(iris("accuracy"), {}).by_gate(pairs) == (0.5, 0.5)  # of all known rows


def test_own_metric_gets_probabilities_where_all_rows_have_some() -> None:
    def first(_truth: Any, _found: Any, shares: Any, _weight: Any) -> float:
        return float(shares[:, 0].mean())

    own = Metric("own", first)
    scorer = LiveScorer(iris("own"), {"own": own})
    pairs = with_shares(paired([SETOSA] * 2, [SETOSA] * 2, [SETOSA] * 2), [[0.9, 0.1]] * 2, [[0.4, 0.6]] * 2)
    assert scorer.by_gate(pairs) == pytest.approx((0.9, 0.4))
    assert scorer.by_gate(with_shares(pairs, [[0.9, 0.1]] * 2, [[0.4, 0.6], [np.nan] * 2])) is None


def test_what_predictions_and_labels_do_not_say_is_not_scored() -> None:
    pairs = paired([SETOSA, VIRGINICA], [SETOSA] * 2, [VIRGINICA] * 2)
    assert LiveScorer(iris("neg_log_loss"), {}).by_gate(pairs) is None
    assert LiveScorer(iris("accuracy"), {}).by_gate(paired(["rose"], [SETOSA], [SETOSA])) is None
    assert LiveScorer(iris("accuracy"), {}).by_gate(paired([], [], [])) is None
    fails = Metric("own", lambda truth, found, shares, weight: float(shares[0, 0]))  # noqa: ARG005 - as metrics are called
    assert LiveScorer(iris("own"), {"own": fails}).by_gate(pairs) is None
    undefined = Metric("own", lambda *_: float("nan"))
    assert LiveScorer(iris("own"), {"own": undefined}).by_gate(pairs) is None


# -- simulated truths --------------------------------------------------------------------------------


def test_simulated_scores_are_those_of_each_truth() -> None:
    rows = random_rows(300, weights=np.random.default_rng(1).choice([1.0, 4.0], 300))
    truths = [random_rows(300, seed).truth.astype(str) for seed in (7, 8)]
    metric = Metric("share", lambda truth, values, _, weight: float(np.average(truth == values, weights=weight)))
    scorer = LiveScorer(iris("share", "accuracy", "neg_log_loss", "f1_macro", "roc_auc_ovr"), {"share": metric})
    found = scorer.simulate(rows, iter(truths))
    assert set(found) == {"share", "accuracy", "neg_log_loss", "f1_macro", "roc_auc_ovr"}
    for place, truth in enumerate(truths):
        scored = scorer(dataclasses.replace(rows, truth=truth.astype(object))).scores
        assert {name: values[place] for name, values in found.items()} == pytest.approx(
            {name: score.value for name, score in scored.items()}
        )


def test_metric_that_fails_for_a_simulated_truth_is_left_out() -> None:
    def fail(truth: Any, *_: Any) -> float:
        if truth[0] == SETOSA:
            raise ValueError
        return 1.0

    rows = random_rows(3)
    truths = [np.array([VIRGINICA] * 3), np.array([SETOSA] * 3), np.array([VIRGINICA] * 3)]
    found = LiveScorer(iris("accuracy", "bad"), {"bad": Metric("bad", fail)}).simulate(rows, truths)
    assert {name: len(values) for name, values in found.items()} == {"accuracy": 3}
