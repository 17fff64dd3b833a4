from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.pipeline import Pipeline

from src.core.errors import ConfigError
from src.training.scoring import Metric
from src.training.thresholds import best_threshold, out_of_fold

F1 = Metric(
    "f1", lambda truth, labels, _, weight: float(f1_score(truth, labels, pos_label="yes", sample_weight=weight))
)
BRIER = Metric("brier", lambda truth, _, shares, __: float(((truth == "yes") - shares[:, 1]).std()))


def shares(positive: list[float]) -> np.ndarray:
    return np.column_stack([1 - np.array(positive), positive])


def test_best_threshold_parts_the_classes() -> None:
    found = best_threshold(
        shares([0.1, 0.2, 0.3, 0.4]), np.array(["no", "no", "yes", "yes"], dtype=object), "yes", F1, {}
    )
    assert found == 0.3


def test_rows_count_as_often_as_they_are_said_to() -> None:
    target = np.array(["no", "yes", "no", "yes", "yes"], dtype=object)
    probabilities = shares([0.1, 0.2, 0.6, 0.7, 0.9])
    weigh = Metric("weigh", lambda truth, labels, _, weight: float(np.average(truth == labels, weights=weight)))
    low, high = np.array([1.0, 3, 1, 1, 1]), np.array([1.0, 1, 3, 1, 1])
    assert [best_threshold(probabilities, target, "yes", weigh, {}, counts) for counts in (low, high)] == [0.2, 0.7]
    # Of the thresholds that reach the minimum, 0.2 has the best F1 unless the third row counts thrice.
    minimum = {Metric("at least", weigh.function): 0.8}
    assert best_threshold(probabilities, target, "yes", F1, minimum) == 0.2
    assert best_threshold(probabilities, target, "yes", F1, minimum, high) == 0.7


def test_threshold_of_a_rare_class_is_found_among_hundreds() -> None:
    positive = np.linspace(0, 1, 1000).tolist()
    target = np.array(["no"] * 980 + ["yes"] * 20, dtype=object)
    assert best_threshold(shares(positive), target, "yes", F1, {}) == pytest.approx(0.98, abs=0.003)


def test_positive_class_may_be_the_first() -> None:
    target = np.array(["yes", "yes", "no", "no"], dtype=object)
    no = Metric("no", lambda truth, labels, *_: float((truth == labels).mean()))
    # Of "no", which comes first, the last two rows have the larger probabilities.
    assert best_threshold(shares([0.9, 0.8, 0.3, 0.2]), target, "no", no, {}) == 0.5
    assert best_threshold(shares([0.9, 0.8, 0.7, 0.6]), target, "no", no, {}) == pytest.approx(0.3)


def test_lower_is_better_for_a_metric_that_says_so() -> None:
    wrong = Metric("wrong", lambda truth, labels, *_: float((truth != labels).mean()), greater_is_better=False)
    target = np.array(["no", "no", "yes", "yes"], dtype=object)
    assert best_threshold(shares([0.1, 0.2, 0.3, 0.4]), target, "yes", wrong, {}) == 0.3


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    target = np.array(["no"] * 3 + ["yes"] * 3, dtype=object)
    assert best_threshold(shares([0.1, 0.1, 0.2, 0.8, 0.9, 0.9]), target, "yes", F1, {}) == 0.5


def test_certain_probabilities_give_a_threshold_between_0_and_1() -> None:
    target = np.array(["no", "yes"] * 3, dtype=object)
    found = best_threshold(shares([0.0, 1.0] * 3), target, "yes", F1, {})
    assert 0 < found < 1


def test_metric_without_labels_is_refused() -> None:
    target = np.array(["no", "yes", "yes", "no"], dtype=object)
    with pytest.raises(ConfigError, match="brier does not depend on it"):
        best_threshold(shares([0.1, 0.2, 0.3, 0.4]), target, "yes", BRIER, {})


def of(name: str, score: Any) -> Metric:
    return Metric(name, lambda truth, labels, *_: float(score(truth, labels, pos_label="yes", zero_division=0)))


RECALL, PRECISION = of("recall", recall_score), of("precision", precision_score)
# Of the five most probable rows three are positive, of all ten four.
TARGET = np.array(["no", "no", "no", "yes", "no", "no", "yes", "no", "yes", "yes"], dtype=object)
RISING = shares((np.arange(1, 11) / 20).tolist())


@pytest.mark.parametrize(
    ("metric", "minimums", "expected"),
    [
        (RECALL, {}, 0.2),
        (RECALL, {PRECISION: 0.4}, 0.2),
        (RECALL, {PRECISION: 4 / 7}, 0.2),
        (RECALL, {PRECISION: 0.58}, 0.35),
        (RECALL, {PRECISION: 0.76}, 0.45),
        (PRECISION, {RECALL: 0.75}, 0.35),
        (PRECISION, {RECALL: 0.76}, 0.2),
    ],
)
def test_best_threshold_is_one_that_reaches_the_minimums(
    metric: Metric, minimums: dict[Metric, float], expected: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert best_threshold(RISING, TARGET, "yes", metric, minimums) == pytest.approx(expected)
    assert caplog.messages == []


def test_minimum_may_be_an_upper_limit() -> None:
    cost = Metric("cost", lambda _, labels, *__: float((labels == "yes").mean()), greater_is_better=False)
    assert best_threshold(RISING, TARGET, "yes", RECALL, {cost: 0.4}) == pytest.approx(0.35)


def test_without_a_threshold_that_reaches_the_minimums_the_nearest_is_used_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    last = TARGET.copy()
    last[-1] = "no"
    found = best_threshold(RISING, last, "yes", RECALL, {PRECISION: 0.9, RECALL: 0.1})
    # The precision is 0.5 from 0.35 and 0.45 on, the most that there is; the recall is better from 0.35 on.
    assert found == pytest.approx(0.35)
    (message,) = caplog.messages
    assert message.startswith("threshold: no threshold reaches gate.minimums (precision 0.9, recall 0.1) on the")


def varied(truth: Any, labels: Any, *_: Any) -> float:
    if len(set(labels.tolist())) == 1:
        raise ValueError("one value only")
    return float((truth == labels).mean())


def test_thresholds_for_which_an_own_metric_fails_do_not_count() -> None:
    found = best_threshold(RISING, TARGET, "yes", Metric("own", varied), {})
    assert found == pytest.approx(0.45)
    assert best_threshold(RISING, TARGET, "yes", RECALL, {Metric("own", varied): 0.1}) == pytest.approx(0.2)


def test_metric_that_always_fails_is_refused() -> None:
    def fail(*_: Any) -> float:
        raise ValueError("no")

    with pytest.raises(ConfigError, match="own does not depend on it, or is undefined"):
        best_threshold(RISING, TARGET, "yes", Metric("own", fail), {})


def test_probabilities_are_of_models_that_have_not_seen_the_rows() -> None:
    rows = pd.DataFrame({"x": np.arange(20.0)})
    target = np.array(["no"] * 10 + ["yes"] * 10, dtype=object)
    halves = [(np.arange(0, 20, 2), np.arange(1, 20, 2)), (np.arange(1, 20, 2), np.arange(0, 20, 2))]
    found = out_of_fold(Pipeline([("model", LogisticRegression())]), rows, target, {}, halves)
    expected = LogisticRegression().fit(rows[::2], target[::2]).predict_proba(rows[1::2])
    assert np.allclose(found[1::2], expected)
    weights = {"model__sample_weight": np.where(target == "yes", 9.0, 1.0)}
    assert (out_of_fold(Pipeline([("model", LogisticRegression())]), rows, target, weights, halves) != found).all()
