"""Slices: the comparison, its p-values, and the correction over all slices."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.training import slices
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE
from src.training.scoring import Metric
from src.training.slices import holm, score_slices, worse_p_value
from src.training.sums import Target

TARGET = Target(("a", "b"), "b")


def metric(name: str) -> Metric:
    recipe = CATALOGUE[name]
    return Metric(name, recipe.function(TARGET), sums=recipe.sums(TARGET) if recipe.sums else None)


def share_right(truth: Any, values: Any, _: Any, weight: Any) -> float:
    return float(np.average(truth == values, weights=weight))


ACCURACY, OWN = metric("accuracy"), Metric("own", share_right)


def model(wrong: Any, version: str = "1") -> Answers:
    """A model of rows that alternate between two classes, wrong where the mask says so."""
    truth = np.resize(["a", "b"], len(wrong))
    values = np.where(wrong, np.where(truth == "a", "b", "a"), truth)
    return Answers(version, ("a", "b"), truth, values, np.eye(2)[(values == "b").astype(int)])


def mask(rows: int, *places: int) -> Any:
    found = np.zeros(rows, dtype=bool)
    found[list(places)] = True
    return found


@pytest.mark.parametrize("scored", [ACCURACY, OWN])
@pytest.mark.parametrize(
    ("errors", "p_value"),
    [(1, 1 / 2), (3, 1 / 8), (5, 1 / 32), (7, 1 / 128)],
)
def test_p_value_of_errors_that_only_the_challenger_makes_is_that_of_the_sign_test(
    scored: Metric, errors: int, p_value: float
) -> None:
    ours, theirs = model(mask(60, *range(errors))), model(mask(60))
    found = worse_p_value(scored, ours, theirs, np.arange(60), 2000)
    assert found == pytest.approx(p_value, rel=0.15, abs=0.003)


def test_p_value_counts_errors_on_both_sides() -> None:
    # 8 against 2: P(X >= 8) of 10 fair coins is 56/1024.
    ours, theirs = model(mask(60, *range(8))), model(mask(60, 20, 30))
    assert worse_p_value(ACCURACY, ours, theirs, np.arange(60), 4000) == pytest.approx(56 / 1024, rel=0.15)


@pytest.mark.parametrize("scored", [ACCURACY, OWN])
def test_answers_to_a_cluster_are_exchanged_together(scored: Metric) -> None:
    ours, theirs = model(mask(60, *range(12))), model(mask(60))
    # Twelve errors in three clusters of rows are three independent events.
    assert worse_p_value(scored, ours, theirs, np.arange(60) // 4, 2000) == pytest.approx(1 / 8, rel=0.15)
    assert worse_p_value(scored, ours, theirs, np.zeros(60, dtype=int), 2000) == pytest.approx(1 / 2, rel=0.1)


@pytest.mark.parametrize("scored", [ACCURACY, OWN])
def test_challenger_that_is_not_worse_has_a_p_value_of_one(scored: Metric) -> None:
    same, better = model(mask(60, 1, 2)), model(mask(60, 1))
    assert worse_p_value(scored, same, same, np.arange(60), 100) == 1.0
    assert worse_p_value(scored, better, same, np.arange(60), 100) == 1.0


@pytest.mark.parametrize("error", [0.1, 0.2, 0.3, 0.6, 0.7, 1.1])
def test_equal_differences_are_equal_whatever_their_last_bits(error: float) -> None:
    truth = np.linspace(0, 1, 61)
    ours = Answers("1", (), truth, truth + error * mask(61, 0, 1, 2))
    theirs = Answers("2", (), truth, truth)
    recipe = CATALOGUE["neg_mean_absolute_error"]
    assert recipe.sums is not None
    scored = Metric("error", recipe.function(TARGET), sums=recipe.sums(TARGET))
    assert worse_p_value(scored, ours, theirs, np.arange(61), 2000) == pytest.approx(1 / 8, rel=0.15)


def test_p_value_is_never_zero_and_the_same_for_the_same_input() -> None:
    ours, theirs = model(mask(60, *range(40))), model(mask(60))
    found = [worse_p_value(ACCURACY, ours, theirs, np.arange(60), 999) for _ in range(2)]
    assert found == [0.001, 0.001]


def test_less_may_be_better() -> None:
    def wrong(*arguments: Any) -> float:
        return 1 - share_right(*arguments)

    cost = Metric("cost", wrong, greater_is_better=False)
    worse, good = model(mask(60, *range(7))), model(mask(60))
    assert worse_p_value(cost, worse, good, np.arange(60), 1000) < 0.02
    assert worse_p_value(cost, good, worse, np.arange(60), 1000) == 1.0


def test_ranks_are_exchanged_not_the_probabilities_of_models_that_are_calibrated_differently() -> None:
    random = np.random.default_rng(0)
    truth = np.resize(["a", "b"], 300)
    signal = (truth == "b") + random.normal(size=300)

    def ranked(noise: float, low: float, high: float) -> Answers:
        share = low + (high - low) / (1 + np.exp(-(signal + noise * random.normal(size=300))))
        return Answers("1", ("a", "b"), truth, truth, np.column_stack([1 - share, share]))

    worse, good = ranked(2.0, 0.9, 1.0), ranked(0.1, 0.0, 0.1)
    assert worse_p_value(metric("roc_auc"), worse, good, np.arange(300), 1000) < 0.01
    assert worse_p_value(metric("roc_auc"), good, worse, np.arange(300), 1000) == 1.0


def test_own_metric_tests_a_part_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = set()

    def counted(truth: Any, *others: Any) -> float:
        sizes.add(len(truth))
        return share_right(truth, *others)

    monkeypatch.setattr(slices, "MAX_ROWS", 300)
    ours, theirs = model(np.resize([True, False], 1000)), model(mask(1000))
    assert worse_p_value(Metric("own", counted), ours, theirs, np.arange(1000) // 2, 500) == pytest.approx(1 / 501)
    (size,) = sizes
    assert 290 <= size <= 300


def test_own_metric_that_fails_on_a_part_of_many_rows_finds_nothing_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(truth: Any, *others: Any) -> float:
        if len(truth) < 1000:
            raise ValueError("too few rows")
        return share_right(truth, *others)

    monkeypatch.setattr(slices, "MAX_ROWS", 300)
    ours, theirs = model(np.resize([True, False], 1000)), model(mask(1000))
    assert worse_p_value(Metric("own", whole), ours, theirs, np.arange(1000), 500) == 1.0


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([], []),
        ([0.05], [True]),
        ([0.0501], [False]),
        ([0.025, 0.05], [True, True]),
        ([0.0251, 0.02], [True, True]),
        ([0.0251, 0.0251], [False, False]),
        ([0.03, 0.01, 0.5], [False, True, False]),  # 0.01 <= 0.05 / 3, then 0.03 > 0.05 / 2
        ([0.02, 0.01, 0.5], [True, True, False]),
        ([0.001, None, 0.9], [True, False, False]),
        ([None, 0.05], [False, True]),  # what was not tested takes no part of the error
    ],
)
def test_holm_spends_one_error_on_all_slices(p_values: list[float | None], rejected: list[bool]) -> None:
    assert holm(p_values) == rejected


ROWS = 400
COLUMNS = pd.DataFrame(
    {
        "region": ["north"] * 200 + ["south"] * 150 + ["east"] * 50,
        "member": [True] * 349 + [None] * 51,
        "plan": ["x"] * 351 + ["y"] * 49,
    }
)


def test_every_value_with_fifty_rows_is_a_slice_and_so_is_what_is_missing() -> None:
    ours, theirs = model(mask(ROWS, *range(200, 215)), "5"), model(mask(ROWS), "3")
    found = score_slices(ACCURACY, ours, theirs, COLUMNS, np.arange(ROWS))
    assert [(part.column, part.value, part.rows) for part in found] == [
        ("region", "north", 200),
        ("region", "south", 150),
        ("region", "east", 50),
        ("member", "true", 349),
        ("member", "(missing)", 51),
        ("plan", "x", 351),
    ]
    south = found[1]
    assert (south.challenger, south.champion, south.worse) == (pytest.approx(0.9), 1.0, True)
    assert south.p_value is not None
    assert south.p_value < 0.002
    assert [part.worse for part in found] == [False, True, False, True, False, True]
    assert found[0].p_value == 1.0


def test_category_that_is_called_none_is_not_what_is_missing() -> None:
    columns = pd.DataFrame({"plan": ["None"] * 60 + [None] * 70 + ["nan"] * 80})
    found = score_slices(ACCURACY, model(mask(210)), None, columns, np.arange(210))
    assert [(part.value, part.rows) for part in found] == [("nan", 80), ("None", 60), ("(missing)", 70)]


def test_slice_is_tested_on_its_own_clusters() -> None:
    ours, theirs = model(mask(ROWS, *range(200, 215)), "5"), model(mask(ROWS), "3")
    found = score_slices(ACCURACY, ours, theirs, COLUMNS[["region"]], np.arange(ROWS) // 15)
    assert found[1].p_value is not None
    assert found[1].p_value > 0.1  # the errors lie in two clusters
    assert not any(part.worse for part in found)


def test_without_a_champion_slices_are_scored_only() -> None:
    found = score_slices(ACCURACY, model(mask(ROWS)), None, COLUMNS[["region"]], np.arange(ROWS))
    assert [(part.challenger, part.champion, part.p_value, part.worse) for part in found] == [
        (1.0, None, None, False)
    ] * 3


def test_slice_in_which_the_metric_is_undefined_is_not_tested() -> None:
    ours = model(mask(ROWS, 1, 2))
    columns = pd.DataFrame({"class": ours.truth})
    found = score_slices(metric("roc_auc"), ours, ours, columns, np.arange(ROWS))
    assert [(part.challenger, part.champion, part.p_value) for part in found] == [(None, None, None)] * 2


def test_many_slices_take_more_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def note(*arguments: Any) -> float:
        given.append(arguments[-1])
        return 1.0

    monkeypatch.setattr(slices, "worse_p_value", note)
    columns = pd.DataFrame({"shop": np.repeat(np.arange(120), 50).astype(str)})
    answers = model(mask(6000))
    score_slices(ACCURACY, answers, answers, columns, np.arange(6000))
    assert set(given) == {4800}  # the least p-value, 1/4801, is below 5 % / 120
    given.clear()
    score_slices(ACCURACY, answers, answers, columns.assign(shop="one"), np.arange(6000))
    assert given == [2000]


def test_equal_challengers_are_rarely_rejected_and_worse_ones_nearly_always() -> None:
    rejected = {0.1: 0, 0.4: 0}
    columns = pd.DataFrame({"shop": np.repeat(np.arange(8), 60).astype(str)})
    for share in rejected:
        for seed in range(60):
            random = np.random.default_rng(seed)
            chance = np.where(columns["shop"] == "3", share, 0.1)
            ours, theirs = model(random.random(480) < chance), model(random.random(480) < 0.1)
            found = score_slices(ACCURACY, ours, theirs, columns, np.arange(480))
            rejected[share] += any(part.worse for part in found)
    assert rejected[0.1] <= 7  # 3 are expected
    assert rejected[0.4] >= 50
