"""Baselines: predictions without features."""

from typing import Any

import numpy as np
import pytest

from src.training.answers import Answers
from src.training.baselines import baselines, best_baseline
from src.training.scoring import Metric, metrics_of
from tests.unit.training.test_scoring import settings

# 86.8 % of the rows are of one class.
TRUTH = np.array(["no"] * 868 + ["yes"] * 132)
ANSWERS = Answers("5", ("no", "yes"), TRUTH, TRUTH, np.full((1000, 2), 0.5))


def best(name: str, answers: Answers = ANSWERS, train: Any = TRUTH, **gate: Any) -> tuple[str, float]:
    classes = list(answers.classes) or None
    chosen = settings(classes, name, **gate)
    metrics = metrics_of(chosen, {})
    found = best_baseline(chosen.gate, metrics, train, answers)
    assert found is not None
    return found.version, round(metrics[name].of(found), 4)


def test_every_class_the_shares_and_random_answers_are_tried() -> None:
    found = {candidate.version: candidate for candidate in baselines(TRUTH, ANSWERS)}
    assert list(found) == ["always 'no'", "always 'yes'", "the classes' shares", "random answers"]
    assert set(found["always 'yes'"].values.tolist()) == {"yes"}
    shares = found["the classes' shares"]
    assert shares.probabilities is not None
    assert shares.probabilities[0] == pytest.approx([0.868, 0.132])
    assert set(shares.values.tolist()) == {"no"}
    drawn = found["random answers"]
    assert (drawn.values == "yes").mean() == pytest.approx(0.132, abs=0.03)
    assert drawn.probabilities is not None
    assert (drawn.probabilities.argmax(axis=1) == (drawn.values == "yes")).all()
    assert [candidate.truth is ANSWERS.truth for candidate in found.values()] == [True] * 4


def test_random_answers_are_the_same_for_the_same_rows() -> None:
    first, second = (baselines(TRUTH, ANSWERS)[-1] for _ in range(2))
    assert (first.values == second.values).all()


def test_best_is_the_one_with_the_best_score_by_the_gate_s_metric() -> None:
    assert best("accuracy") == ("always 'no'", 0.868)
    assert best("neg_log_loss") == ("the classes' shares", -0.3902)
    assert best("f1")[0] == "always 'yes'"
    assert best("roc_auc")[1] == pytest.approx(0.5, abs=0.05)


def test_best_learns_from_the_training_rows_not_from_the_holdout() -> None:
    name, score = best("neg_log_loss", train=np.array(["no"] * 60 + ["yes"] * 40))
    assert name == "the classes' shares"
    assert score == pytest.approx(0.868 * np.log(0.6) + 0.132 * np.log(0.4), abs=1e-4)
    assert best("r2", Answers("5", (), np.array([1.0, 2.0, 3.0]), np.zeros(3)), np.array([5.0, 5.0]))[1] < 0


def test_class_that_the_training_rows_lack_has_no_probability() -> None:
    found = baselines(np.array(["no", "no"]), ANSWERS)
    assert [candidate.version for candidate in found] == ["always 'no'", "the classes' shares", "random answers"]
    for candidate in found:
        assert candidate.probabilities is not None
        assert candidate.probabilities[0].tolist() == [1.0, 0.0]


def test_regression_has_mean_and_median() -> None:
    truth = np.array([0.0, 0.0, 0.0, 1.0, 9.0])
    answers = Answers("5", (), truth, truth)
    assert [c.values[0] for c in baselines(truth, answers)] == [2.0, 0.0]
    assert best("r2", answers, truth) == ("always the training rows' mean", 0.0)
    assert best("neg_mean_absolute_error", answers, truth) == ("always the training rows' median", -2.0)


def test_recall_is_compared_with_what_reaches_the_minimums_only() -> None:
    assert best("recall", minimums={"precision": 0.1})[:2] == ("always 'yes'", 1.0)
    # 13.2 % of the rows are "yes": what always answers so has that precision, to the last bit.
    assert best("recall", minimums={"precision": 0.132}) == ("always 'yes'", 1.0)
    chosen = settings(["no", "yes"], "recall", minimums={"precision": 0.3})
    assert best_baseline(chosen.gate, metrics_of(chosen, {}), TRUTH, ANSWERS) is None


def test_minimum_that_is_undefined_for_a_constant_is_not_reached_by_it() -> None:
    def varied(truth: Any, values: Any, _: Any, weight: Any) -> float:
        if len(set(values.tolist())) == 1:
            raise ValueError("one value only")
        return float(np.average(truth == values, weights=weight))

    chosen = settings(["no", "yes"], "recall", minimums={"own": 0.1})
    found = best_baseline(chosen.gate, metrics_of(chosen, {"own": Metric("own", varied)}), TRUTH, ANSWERS)
    assert found is not None
    assert found.version == "random answers"


def test_minimums_do_not_spare_another_metric_its_baseline() -> None:
    assert best("accuracy", minimums={"recall": 0.5}) == ("always 'no'", 0.868)


def test_least_is_best_where_less_is_better() -> None:
    def wrong(truth: Any, values: Any, _: Any, weight: Any) -> float:
        return float(np.average(truth != values, weights=weight))

    chosen = settings(["no", "yes"], "cost")
    metrics = metrics_of(chosen, {"cost": Metric("cost", wrong, greater_is_better=False)})
    found = best_baseline(chosen.gate, metrics, TRUTH, ANSWERS)
    assert found is not None
    assert found.version == "always 'no'"


def test_baseline_on_which_the_metric_is_undefined_does_not_count() -> None:
    one = ANSWERS.take(np.arange(10))  # of one class
    chosen = settings(["no", "yes"], "roc_auc")
    assert best_baseline(chosen.gate, metrics_of(chosen, {}), TRUTH, one) is None
