import numpy as np
import pandas as pd
import pytest
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from src.core.dataset_config import DatasetConfig
from src.pipeline.features import transformers
from src.training import probe_rows as probe_rows_module
from src.training import tree_decisions
from src.training.estimators import with_names
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


def test_decision_rows_are_those_whose_answers_the_decision_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_decisions, "CANDIDATES", len(FEATURES))
    model = fitted(RandomForestClassifier(10, random_state=0))
    rows = decision_rows(FEATURES, model).to_numpy().astype(np.float32)
    known = FEATURES.to_numpy().astype(np.float32)
    start = 0
    for member in model[-1].estimators_:
        tree = member.tree_
        path = tree.decision_path(known).toarray().astype(bool)
        for node in np.flatnonzero(tree.feature >= 0):
            sides = [known[path[:, node]], known[path[:, node]]]
            for side, end in zip(sides, (-np.inf, np.inf), strict=True):
                side[:, tree.feature[node]] = np.nextafter(np.float32(tree.threshold[node]), np.float32(end))
            left, right = (tree.predict(side) for side in sides)
            answers = tree.predict(rows[start : start + 6])
            assert (answers != answers[0]).any() == (left != right).any()
            start += 6
    assert start == len(rows)


def test_trees_of_some_of_the_columns_have_no_decision_rows() -> None:
    model = fitted(BaggingClassifier(DecisionTreeClassifier(), n_estimators=3, max_features=2, random_state=0))
    assert decision_rows(FEATURES, model).empty


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


def test_decision_rows_of_a_large_forest_are_a_choice_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_decisions, "MAX_DECISIONS", 7)
    assert len(decision_rows(FEATURES, fitted(RandomForestClassifier(10, random_state=0)))) == 42


def test_decision_rows_of_many_rows_use_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_rows_module, "MAX_BASE_ROWS", 10)
    found = decision_rows(FEATURES, fitted(RandomForestClassifier(5, random_state=0)))
    assert len(found) > 6
    known = FEATURES.sample(10, random_state=0)
    # One column of each row is moved; all others are those of ten rows.
    kept = np.column_stack([np.isin(found[name], known[name]) for name in FEATURES.columns])
    assert (kept.sum(axis=1) >= 3).all()


@pytest.mark.parametrize("model", [DecisionTreeClassifier(max_depth=1), RandomForestClassifier(3)])
def test_trees_without_a_decision_have_no_rows(model: ClassifierMixin) -> None:
    stump = Pipeline([("model", model.set_params(min_samples_leaf=100))]).fit(FEATURES, LABELS)
    rows = decision_rows(FEATURES, stump)
    assert (len(rows), list(rows.columns)) == (0, list(FEATURES.columns))
    assert len(probe_rows(FEATURES, DATASET, stump)) == 2 * RANDOM_ROWS


def test_forest_with_some_trees_of_a_single_leaf_gives_the_decisions_of_the_others() -> None:
    rows = pd.DataFrame(np.arange(600.0).reshape(300, 2), columns=["a", "b"])
    labels = np.array([0] * 299 + [1])
    model = Pipeline([("model", RandomForestClassifier(20, random_state=0))]).fit(rows, labels)
    decisions = [int((tree.tree_.feature >= 0).sum()) for tree in model[-1].estimators_]
    assert (min(decisions), max(decisions) > 0) == (0, True)
    assert len(decision_rows(rows, model)) == 6 * sum(decisions)


def test_decision_rows_know_the_trees_of_xgboost() -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.XGBClassifier(n_estimators=2, max_depth=2, random_state=0)
    table = ColumnTransformer([("all", "passthrough", [0, 1, 2, 3])])
    model = Pipeline([("columns", table), ("model", with_names(booster))]).fit(FEATURES, LABELS)
    trees = model[-1].estimators_[0].get_booster().trees_to_dataframe()
    inner = trees[trees["Feature"] != "Leaf"]
    rows = decision_rows(FEATURES, model)
    assert len(rows) == 6 * len(inner)
    thresholds = np.repeat(inner["Split"].to_numpy(), 6)
    columns = np.repeat(inner["Feature"].str.removeprefix("f").astype(int).to_numpy(), 6)
    assert np.allclose(rows.to_numpy()[np.arange(len(rows)), columns], thresholds, rtol=1e-6)


def test_only_columns_of_numbers_with_a_fraction_are_moved() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"whole": random.integers(0, 50, 200), "flag": random.random(200) < 0.5, "x": random.random(200)}
    )
    labels = np.where((rows["whole"] > 20) ^ rows["flag"] ^ (rows["x"] > 0.5), "yes", "no").astype(object)
    model = Pipeline([("model", DecisionTreeClassifier(random_state=0))]).fit(rows, labels)
    tree = model[-1].tree_
    found = decision_rows(rows, model)
    assert len(found) == 6 * int((tree.feature == 2).sum()) > 0
    assert (found.dtypes == rows.dtypes).all()
    assert set(map(tuple, found[["whole", "flag"]].to_numpy())) <= set(map(tuple, rows[["whole", "flag"]].to_numpy()))


def test_decision_rows_look_through_the_columns_step() -> None:
    random = np.random.default_rng(0)
    kind = {"type": "category", "values": ["a", "b"], "missing": True}
    dataset = config(dataset={"features": {"kind": kind, "n": {"type": "integer"}, "x": {"missing": True}}}).dataset
    rows = pd.DataFrame(
        {"kind": random.choice(["a", "b"], 200), "n": random.integers(0, 9, 200), "x": random.random(200)}
    )
    rows = rows.astype({"kind": object})
    labels = np.where((rows["kind"] == "a") ^ (rows["x"] > 0.5) ^ (rows["n"] > 4), "yes", "no").astype(object)
    (columns,) = transformers(dataset)
    model = Pipeline([columns, ("model", DecisionTreeClassifier(random_state=0))]).fit(rows, labels)
    tree = model[-1].tree_
    # The step's columns are n, x, and one of each kind.
    deciding = tree.threshold[tree.feature == 1]
    found = decision_rows(rows, model)
    assert len(found) == 6 * len(deciding) > 0
    assert np.allclose(found["x"], np.repeat(deciding, 6), rtol=1e-6)
    assert set(found["kind"]) <= {"a", "b"}
    assert found["n"].dtype == rows["n"].dtype


def test_columns_of_every_type_get_values_that_they_may_hold() -> None:
    dataset = DatasetConfig.model_validate(
        {
            "source": "x.csv",
            "target": "y",
            "features": {
                "day": {"type": "date"},
                "count": {"type": "integer", "minimum": 3.0, "maximum": 9.0},
                "gaps": {"type": "integer", "missing": True},
                "kind": {"type": "category", "values": ["a", "b"], "missing": True},
                "flag": {"type": "boolean"},
            },
            "target_range": {},
            "duplicates": "keep",
        }
    )
    known = pd.DataFrame(
        {
            "day": [100.5, 200.0],
            "count": [4, 6],
            "gaps": [1.0, np.nan],
            "kind": pd.Series(["a", None], dtype=object),
            "flag": [True, False],
        }
    )
    rows = probe_rows(known, dataset, Pipeline([("model", LogisticRegression())]))
    near, wide = rows[:RANDOM_ROWS], rows[RANDOM_ROWS:]
    assert (100.5 <= near["day"].min() < 110, 190 < near["day"].max() <= 200) == (True, True)
    assert (0 <= wide["day"].min() < 400, 47_000 < wide["day"].max() <= 47_482) == (True, True)
    assert (set(near["count"]), set(wide["count"])) == ({4, 5, 6}, set(range(3, 10)))
    assert (set(near["gaps"].dropna()), set(wide["gaps"].dropna())) == ({1.0}, {0.0, 1.0})
    assert 0.05 < rows["gaps"].isna().mean() < 0.15
    assert (set(near["kind"].dropna()), set(wide["kind"].dropna())) == ({"a", "b"}, {"a", "b", "ab?"})
    assert set(rows["flag"]) == {True, False}
