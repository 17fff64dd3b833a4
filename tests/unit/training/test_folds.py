import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError
from src.training.folds import Fold, folds_of


def dataset(**keys: object) -> DatasetConfig:
    kind = {"target_range": {}} if keys.pop("regression", False) else {"classes": ["a", "b"], "min_rows_per_class": 2}
    base = {"source": "x.csv", "target": "y", "features": {"x": {}}, "duplicates": "keep"}
    return DatasetConfig.model_validate(base | kind | keys)


def table(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": random.random(rows), "who": random.integers(0, 12, rows), "when": np.arange(rows) * 1.0})
    return frame.assign(y=np.where(np.arange(rows) % 3 == 0, "a", "b")).sample(
        frac=1, random_state=seed, ignore_index=True
    )


def validated(folds: list[Fold]) -> list[int]:
    return sorted(np.concatenate([check for _, check in folds]).tolist())


def test_folds_keep_the_shares_of_classes_and_validate_each_row_once() -> None:
    frame = table()
    folds = folds_of(frame, dataset(), "hash", 5, each_row_once=True)
    assert validated(folds) == list(range(60))
    for fit, check in folds:
        assert (len(fit), len(check), set(fit) & set(check)) == (48, 12, set())
        assert (frame["y"].iloc[check] == "a").sum() == 4
    again = folds_of(frame, dataset(), "hash", 5, each_row_once=True)
    assert all(np.array_equal(one[1], two[1]) for one, two in zip(folds, again, strict=True))


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("keys", [{"group": "who"}, {"id": ["who"]}])
def test_rows_of_one_group_or_id_are_in_one_fold(keys: dict[str, object], *, regression: bool) -> None:
    frame = table()
    if regression:
        frame["y"] = np.arange(60.0)
    folds = folds_of(frame, dataset(regression=regression, **keys), "hash", 3, each_row_once=True)
    assert validated(folds) == list(range(60))
    for fit, check in folds:
        assert len(check) > 5
        assert not set(frame["who"].iloc[fit]) & set(frame["who"].iloc[check])


def test_regression_without_keys_is_split_at_random() -> None:
    folds = folds_of(table().assign(y=1.5), dataset(regression=True), "hash", 3, each_row_once=True)
    assert validated(folds) == list(range(60))
    assert np.diff(np.sort(folds[0][1])).max() > 1


@pytest.mark.parametrize("regression", [False, True])
def test_rows_with_equal_features_are_in_one_fold_where_repeats_are_kept(*, regression: bool) -> None:
    frame = pd.concat([table(), table().iloc[:30]], ignore_index=True)
    if regression:
        frame["y"] = np.arange(90.0)
    folds = folds_of(frame, dataset(regression=regression), "hash", 5, each_row_once=True)
    assert validated(folds) == list(range(90))
    for fit, check in folds:
        assert frame["x"].iloc[check].nunique() == 12
        assert not set(frame["x"].iloc[fit]) & set(frame["x"].iloc[check])
    dropped = folds_of(frame, dataset(regression=regression, duplicates="drop"), "hash", 5, each_row_once=True)
    assert [len(check) for _, check in dropped] == [18] * 5


def test_rows_without_repeats_are_split_like_scikit_learn() -> None:
    frame = table()
    expected = StratifiedKFold(4, shuffle=True, random_state=0).split(np.zeros(60), frame["y"])
    found = folds_of(frame, dataset(), "hash", 4, each_row_once=True)
    for one, two in zip(found, expected, strict=True):
        assert [part.tolist() for part in one] == [part.tolist() for part in two]


def test_by_time_nothing_is_validated_on_older_rows() -> None:
    frame = table()
    folds = folds_of(frame, dataset(time="when"), "time", 4, each_row_once=False)
    assert len(folds) == 4
    for fit, check in folds:
        assert frame["when"].iloc[fit].max() < frame["when"].iloc[check].min()


def test_by_time_a_class_of_few_rows_need_be_fitted_on_only() -> None:
    frame = table().assign(y=lambda rows: np.where(rows["when"] < 3, "a", "b"))
    assert len(folds_of(frame, dataset(time="when"), "time", 4, each_row_once=False)) == 4


def test_by_time_blocks_validate_each_row_once() -> None:
    frame = table()
    folds = folds_of(frame, dataset(time="when"), "time", 4, each_row_once=True)
    assert validated(folds) == list(range(60))
    for _, check in folds:
        assert np.ptp(frame["when"].iloc[check]) == len(check) - 1


def test_folds_without_a_class_are_refused() -> None:
    frame = table().assign(who=range(60), y="b")
    frame.loc[:2, "y"] = "a"
    for keys in ({}, {"group": "who"}):
        with pytest.raises(DataError, match=r"fewer training rows than 4 folds: class a \(3\); add rows"):
            folds_of(frame, dataset(**keys), "hash", 4, each_row_once=True)
    together = frame.assign(y=table()["y"], who=lambda rows: np.where(rows["y"] == "a", 99, rows["who"]))
    with pytest.raises(DataError, match=r"no row of class a is (validated|fitted) on in fold 1 of 4"):
        folds_of(together, dataset(group="who"), "hash", 4, each_row_once=True)
    late = table().assign(y=lambda rows: np.where(rows["when"] > 50, "a", "b"))
    with pytest.raises(DataError, match="no row of class a is fitted on in fold 1 of 4"):
        folds_of(late, dataset(time="when"), "time", 4, each_row_once=False)


def test_too_few_rows_or_groups_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be split into 5 folds"):
        folds_of(table(4).assign(y=1.0), dataset(regression=True), "hash", 5, each_row_once=True)
    with pytest.raises(DataError, match="cannot be split into 5 folds"):
        folds_of(table().assign(y=1.0, who=1), dataset(regression=True, group="who"), "hash", 5, each_row_once=True)
