from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from src.core.model_config import SearchConfig
from src.training.estimators import with_names
from src.training.folds import Fold
from src.training.scoring import Metric
from src.training.search import FoldScore, candidates_of, search

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame({"a": RANDOM.normal(size=120), "b": RANDOM.normal(size=120)})
# Needs two splits.
TARGET = np.where((ROWS["a"] > 0) == (ROWS["b"] > 0), "yes", "no").astype(object)
# Of arrays of texts, which a metric gets from the evaluation, too.
ACCURACY = Metric("accuracy", lambda truth, answers, _, __: float(np.char.equal(truth, answers).mean()))
ERROR = Metric(
    "error", lambda truth, answers, _, __: float(mean_absolute_error(truth, answers)), greater_is_better=False
)
PARTS = np.array_split(np.random.default_rng(1).permutation(120), 3)
FOLDS: list[Fold] = [(np.concatenate([p for p in PARTS if p is not part]), part) for part in PARTS]


def searched(estimator: Any, params: dict[str, list[Any]], **options: Any) -> tuple[Pipeline, pd.DataFrame, list[str]]:
    reported: list[str] = []
    target, metric, given = options.pop("target", TARGET), options.pop("metric", ACCURACY), options.pop("given", {})
    config = SearchConfig.model_validate({"params": params} | options)
    score = FoldScore(metric, len(FOLDS), candidates_of(config), reported.append)
    model, table = search(Pipeline([("estimator", estimator)]), ROWS, target, given, config, FOLDS, score)
    return model, table, reported


@pytest.mark.parametrize("method", ["random", "halving"])
def test_best_parameters_by_the_metric_are_taken(method: str) -> None:
    tree = DecisionTreeClassifier(random_state=0)
    model, table, _ = searched(tree, {"max_depth": [1, 4]}, method=method)
    assert model[-1].max_depth == 4
    assert not hasattr(model[-1], "tree_")
    assert table["max_depth"].iloc[0] == 4
    assert list(table.columns) == ["max_depth", "score", "deviation", "rows"]


def test_scores_are_those_of_the_folds() -> None:
    _, table, reported = searched(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 4]})
    for _, row in table.iterrows():
        model = DecisionTreeClassifier(max_depth=int(row["max_depth"]), random_state=0)
        scores = cross_val_score(model, ROWS, TARGET, cv=FOLDS)
        assert (row["score"], row["deviation"]) == pytest.approx((scores.mean(), scores.std()))
    assert table["score"].is_monotonic_decreasing
    assert set(table["rows"]) == {120}
    assert reported == ["search: 1 of 2 candidates scored", "search: 2 of 2 candidates scored"]


def test_trials_are_limited_by_the_combinations_and_the_configuration() -> None:
    tree = DecisionTreeClassifier(random_state=0)
    assert len(searched(tree, {"max_depth": [1, 2], "min_samples_leaf": [1, 5]}, trials=20)[1]) == 4
    assert len(searched(tree, {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 2, 5]}, trials=3)[1]) == 3


@pytest.mark.parametrize("method", ["random", "halving"])
def test_search_tries_the_same_again(method: str) -> None:
    values = {"max_depth": list(range(1, 10)), "min_samples_leaf": list(range(1, 10))}
    tree = DecisionTreeClassifier(random_state=0)
    one, two = (searched(tree, values, method=method, trials=3)[1] for _ in range(2))
    assert one.equals(two)


def test_halving_tries_candidates_on_few_rows_first() -> None:
    depths = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    tree = DecisionTreeClassifier(random_state=0)
    _, table, reported = searched(tree, {"max_depth": depths}, method="halving", trials=9)
    counts = table["rows"].value_counts().sort_index()
    assert counts.tolist() == [9, 3, 1]
    assert table["rows"].iloc[0] == counts.index[-1] > 3 * counts.index[0]
    assert reported[-1] == "search: 13 of 13 candidates scored"


@pytest.mark.parametrize(("trials", "rounds"), [(2, 1), (3, 2), (8, 2), (10, 3)])
def test_halving_scores_as_many_candidates_as_announced(trials: int, rounds: int) -> None:
    values = {"max_depth": list(range(1, 11))}
    tree = DecisionTreeClassifier(random_state=0)
    _, table, reported = searched(tree, values, method="halving", trials=trials)
    assert table["rows"].nunique() == rounds
    assert reported[-1] == f"search: {len(table)} of {len(table)} candidates scored"


def test_lower_is_better_for_a_metric_that_says_so() -> None:
    target = 3 * ROWS["a"].to_numpy()
    model, table, _ = searched(Ridge(), {"alpha": [0.001, 1000.0]}, target=target, metric=ERROR)
    assert model[-1].alpha == 0.001
    assert table["score"].max() < 0


def test_estimators_inside_others_are_searched() -> None:
    model, _, _ = searched(with_names(DecisionTreeClassifier(random_state=0)), {"max_depth": [1, 4]})
    assert model[-1].estimators[0][1].max_depth == 4
    logarithm = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1)
    model, _, _ = searched(logarithm, {"alpha": [1000.0, 0.001]}, target=np.exp(ROWS["a"].to_numpy()), metric=ERROR)
    assert model[-1].regressor.alpha == 0.001


def test_weights_of_rows_are_used() -> None:
    weight = np.where(TARGET == "yes", 9.0, 1.0)
    given = {"estimator__sample_weight": weight}
    _, table, _ = searched(DecisionTreeClassifier(random_state=0), {"max_depth": [1]}, given=given, trials=2)
    stump = DecisionTreeClassifier(max_depth=1, random_state=0)
    weighted, plain = (
        cross_val_score(stump, ROWS, TARGET, cv=FOLDS, params=params).mean()
        for params in ({"sample_weight": weight}, {})
    )
    assert table["score"].tolist() == pytest.approx([weighted])
    assert weighted != plain
