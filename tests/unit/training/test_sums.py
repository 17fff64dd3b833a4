"""The catalogue's metrics as functions of sums agree with scikit-learn's, on odd rows too."""

import numpy as np
import pytest
from numpy.typing import NDArray

from src.training import sums as sums_module
from src.training.answers import Answers
from src.training.catalogue import CATALOGUE
from src.training.sums import Target

NUMBERS = [name for name, recipe in CATALOGUE.items() if recipe.task == "regression" and recipe.sums is not None]
CLASSES = [name for name, recipe in CATALOGUE.items() if recipe.task == "classification" and recipe.sums is not None]


def target(classes: int) -> Target:
    names = tuple("abcdef"[:classes])
    return Target(names, names[0] if classes == 2 else None)


def classified(classes: int, rows: int, seed: int = 0) -> Answers:
    """Answers with ties in the probabilities, and a few labels that are none of the classes."""
    random = np.random.default_rng(seed)
    names = np.array(list("abcdef"[:classes]))
    truth = names[random.integers(0, classes, rows)]
    values = np.where(random.random(rows) < 0.6, truth, names[random.integers(0, classes, rows)])
    values[: rows // 20] = "z"
    probabilities = np.round(random.dirichlet(np.ones(classes), rows), 1) + 0.001
    return Answers("1", tuple(names.tolist()), truth, values, probabilities / probabilities.sum(axis=1, keepdims=True))


def numbers(rows: int) -> Answers:
    random = np.random.default_rng(1)
    truth = random.normal(100, 2, rows)
    return Answers("1", (), truth, truth + random.normal(0.3, 1, rows))


def by_both(name: str, answers: Answers, weights: NDArray[np.float64], goal: Target) -> tuple[list[float], list[float]]:
    recipe = CATALOGUE[name]
    assert recipe.sums is not None
    found = recipe.sums(goal)([answers])
    function = recipe.function(goal)
    expected = [function(answers.truth, answers.values, answers.probabilities, weight) for weight in weights]
    return np.asarray(found.score((found.rows[0].T @ weights.T).T)).tolist(), expected


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", CLASSES)
def test_sums_give_the_metric_of_weighted_rows(name: str, classes: int) -> None:
    if CATALOGUE[name].binary and classes != 2:
        return
    weights = np.random.default_rng(2).poisson(1, (5, 300)).astype(float)
    found, expected = by_both(name, classified(classes, 300), weights, target(classes))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", NUMBERS)
def test_sums_give_the_metric_of_weighted_numbers(name: str) -> None:
    weights = np.random.default_rng(2).poisson(1, (5, 300)).astype(float)
    found, expected = by_both(name, numbers(300), weights, Target())
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("only", ["a", "b"])
def test_sums_of_a_resample_with_one_class_equal_the_function(name: str, only: str) -> None:
    answers = classified(2, 60)
    weights = (answers.truth == only).astype(float)[None, :]
    found, expected = by_both(name, answers, weights, target(2))
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert np.isnan(found[0]) == (name in {"roc_auc", "roc_auc_ovr", "average_precision"})


@pytest.mark.parametrize("name", NUMBERS)
def test_sums_of_equal_numbers_equal_the_function(name: str) -> None:
    weights = np.zeros((1, 60))
    weights[0, 3] = 5  # one row, five times
    found, expected = by_both(name, numbers(60), weights, Target())
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert np.isnan(found[0]) == (name in {"r2", "explained_variance"})


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_sums_of_no_row_are_no_score_or_zero_and_never_a_warning(name: str) -> None:
    answers = numbers(20) if name in NUMBERS else classified(2, 20)
    recipe = CATALOGUE[name]
    assert recipe.sums is not None
    found = recipe.sums(target(2))([answers])
    (score,) = found.score(np.zeros((1, found.rows[0].shape[1])))
    assert np.isnan(score) or score == 0


def test_several_models_are_scored_on_the_same_rows() -> None:
    ours, theirs = classified(3, 100, seed=1), classified(3, 100, seed=2)
    recipe = CATALOGUE["roc_auc_ovr"]
    assert recipe.sums is not None
    found = recipe.sums(target(3))([ours, theirs])
    scores = [found.score(rows.sum(axis=0)[None, :])[0] for rows in found.rows]
    function = recipe.function(target(3))
    expected = [function(model.truth, model.values, model.probabilities, np.ones(100)) for model in (ours, theirs)]
    assert scores == pytest.approx(expected)
    assert scores[0] != scores[1]


def test_ranks_of_many_rows_are_levels_that_change_a_score_by_little() -> None:
    random = np.random.default_rng(3)
    truth = np.where(random.random(20_000) < 0.3, "a", "b")
    own = 1 / (1 + np.exp(-(random.normal(size=20_000) + (truth == "a"))))
    answers = Answers("1", ("a", "b"), truth, truth, np.column_stack([own, 1 - own]))
    for name in ("roc_auc", "average_precision"):
        recipe = CATALOGUE[name]
        assert recipe.sums is not None
        found = recipe.sums(target(2))([answers])
        assert found.rows[0].shape[1] == 2 * sums_module.LEVELS
        exact = recipe.function(target(2))(truth, truth, answers.probabilities, np.ones(20_000))
        assert found.score(found.rows[0].sum(axis=0)[None, :])[0] == pytest.approx(exact, abs=1e-3)
