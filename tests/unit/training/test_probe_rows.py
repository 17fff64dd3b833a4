import numpy as np
import pytest
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import src.training.probe_rows as module
from src.training.probe_rows import RANDOM_ROWS, around, decision_rows, probe_rows
from tests.support.training import config, iris_parts

DATASET = config().dataset
FEATURES = iris_parts()[0].drop(columns="species")
LABELS = iris_parts()[0]["species"].to_numpy(dtype=object)


def fitted(*steps: ClassifierMixin) -> Pipeline:
    return Pipeline([(str(index), step) for index, step in enumerate(steps)]).fit(FEATURES, LABELS)


def test_probe_rows_lie_in_the_data_and_in_the_whole_range_and_are_always_the_same() -> None:
    model = fitted(RandomForestClassifier(3, random_state=0))
    rows = probe_rows(FEATURES, DATASET, model)
    near, wide = rows[:RANDOM_ROWS].to_numpy(), rows[RANDOM_ROWS : 2 * RANDOM_ROWS].to_numpy()
    assert (near >= FEATURES.to_numpy().min(axis=0)).all()
    assert (near <= FEATURES.to_numpy().max(axis=0)).all()
    assert wide.max() > 19
    assert rows[2 * RANDOM_ROWS :].reset_index(drop=True).equals(decision_rows(FEATURES, model))
    assert rows.equals(probe_rows(FEATURES, DATASET, model))


def test_around_gives_a_value_and_its_neighbours_in_both_precisions() -> None:
    (row,) = around(np.array([0.1]))
    single = np.float32(0.1)
    assert row[0] == 0.1
    assert row[1] < 0.1 < row[2]
    assert np.spacing(0.1) == row[2] - 0.1
    assert row[3] == single
    assert [np.float32(row[4]), np.float32(row[5])] == [np.nextafter(single, -single), np.nextafter(single, 2 * single)]


def test_decision_rows_come_by_every_decision_of_every_tree_on_both_sides() -> None:
    model = fitted(RandomForestClassifier(20, random_state=0))
    rows = decision_rows(FEATURES, model)
    trees = [member.tree_ for member in model[-1].estimators_]
    assert len(rows) == 6 * sum(int((tree.feature >= 0).sum()) for tree in trees)
    values = rows.to_numpy().astype(np.float32)
    start = 0
    for tree in trees:
        (inner,) = np.nonzero(tree.feature >= 0)
        mine = values[start : start + 6 * len(inner)]
        start += len(mine)
        path = tree.decision_path(mine).toarray()
        for index, node in enumerate(inner):
            six = slice(6 * index, 6 * index + 6)
            assert path[six, node].all()
            assert path[six, tree.children_left[node]].any()
            assert path[six, tree.children_right[node]].any()


def test_decision_rows_follow_steps_that_can_be_inverted() -> None:
    model = fitted(StandardScaler(), MinMaxScaler(), DecisionTreeClassifier(random_state=0))
    tree, rows = model[-1].tree_, decision_rows(FEATURES, model)
    (inner,) = np.nonzero(tree.feature >= 0)
    assert len(rows) == 6 * len(inner)
    deciding = model[:-1].transform(rows)[np.arange(len(rows)), np.repeat(tree.feature[inner], 6)]
    assert np.allclose(deciding, np.repeat(tree.threshold[inner], 6), rtol=0, atol=1e-6)


def test_decision_rows_know_the_trees_of_boosting() -> None:
    model = fitted(GradientBoostingClassifier(n_estimators=4, random_state=0))
    count = sum(int((member.tree_.feature >= 0).sum()) for member in model[-1].estimators_.ravel())
    assert len(decision_rows(FEATURES, model)) == 6 * count


def test_there_are_no_decision_rows_without_trees_or_behind_steps_that_cannot_be_inverted() -> None:
    for model in (fitted(LogisticRegression(max_iter=500)), fitted(PolynomialFeatures(), DecisionTreeClassifier())):
        rows = decision_rows(FEATURES, model)
        assert rows.empty
        assert list(rows.columns) == list(FEATURES.columns)


def test_decision_rows_of_a_large_forest_are_a_choice_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_DECISIONS", 7)
    assert len(decision_rows(FEATURES, fitted(RandomForestClassifier(10, random_state=0)))) == 42
