from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import DatasetConfig
from src.core.errors import DataError
from src.training.check_rows import CheckedRows, check_rows
from src.training.sources import DataFile, RawData
from tests.support.training import config

DATASET = config().dataset


def rows(*, per_class: int = 20) -> pd.DataFrame:
    """Valid, distinct rows of text, as read from a CSV file."""
    names = [name for name in DATASET.classes or [] for _ in range(per_class)]
    numbers = {column: [f"{1 + index / 100:.2f}" for index in range(len(names))] for column in DATASET.features}
    return pd.DataFrame({**numbers, "species": names}, dtype="str")


def validate(frame: pd.DataFrame, dataset: DatasetConfig = DATASET, *files: tuple[str, int]) -> CheckedRows:
    found = files or (("iris.csv", len(frame)),)
    return check_rows(RawData(frame, tuple(DataFile(name=name, rows=count) for name, count in found)), dataset)


def with_policy(policy: str, max_share: float = 1.0, **dataset: Any) -> DatasetConfig:
    return config(dataset={"invalid_rows": {"policy": policy, "max_share": max_share}, **dataset}).dataset


def test_valid_rows_come_out_typed_in_the_configuration_s_order() -> None:
    found = validate(rows()[["species", *reversed(list(DATASET.features))]].assign(note="x"))
    assert list(found.frame.columns) == [*DATASET.features, "species"]
    assert found.frame.dtypes.astype(str).to_list() == ["float64"] * 4 + ["str"]
    assert (found.report.rows, found.report.invalid_rows, len(found.invalid)) == (60, 0, 0)


def test_all_problems_are_reported_together_with_counts_and_rows() -> None:
    raw = rows()
    raw.loc[[1, 3], "sepal_length"] = "wide"
    raw.loc[0, "sepal_width"] = ""
    raw.loc[[4, 5, 6, 7], "petal_length"] = "99"
    raw.loc[9, "species"] = "rose"
    with pytest.raises(DataError) as caught:
        validate(raw)
    assert str(caught.value) == (
        "iris fails validation: sepal_length: not a finite number: 2 rows (2, 4); sepal_width: missing: 1 row (1); "
        "petal_length: outside 0.1 to 20: 4 rows (5, 6, 7, …); species: not one of dataset.classes ('rose'): "
        "1 row (10); fix the rows or the dataset section"
    )


def test_three_rows_are_all_of_the_examples() -> None:
    raw = rows()
    raw.loc[[1, 2, 3], "sepal_length"] = "wide"
    with pytest.raises(DataError, match=r"3 rows \(2, 3, 4\);"):
        validate(raw)


def test_rows_of_several_files_are_named_by_file() -> None:
    raw = rows()
    raw.loc[[19, 20, 59], "sepal_length"] = "wide"
    with pytest.raises(DataError, match=r"3 rows \(a\.csv 20, b\.csv 1, c\.csv 39\)"):
        validate(raw, DATASET, ("a.csv", 20), ("b.csv", 1), ("empty.csv", 0), ("c.csv", 39))


def test_range_s_ends_are_valid() -> None:
    raw = rows()
    raw.loc[0, "sepal_length"], raw.loc[1, "sepal_length"] = "0.1", "20"
    assert validate(raw).frame["sepal_length"].to_list()[:2] == [0.1, 20.0]
    raw.loc[0, "sepal_length"] = "0.0999"
    with pytest.raises(DataError, match="outside"):
        validate(raw)


def test_columns_that_are_missing_or_there_twice_are_named() -> None:
    with pytest.raises(DataError, match=r"iris lacks the columns petal_width, species \(it has sepal_length,"):
        validate(rows().drop(columns=["petal_width", "species"]))
    twice = pd.concat([rows(), rows()["species"]], axis=1)
    with pytest.raises(DataError, match="the columns species more than once"):
        validate(twice)


def test_columns_that_are_not_configured_may_be_there_twice() -> None:
    note = pd.Series("x", index=range(60), name="note")
    assert validate(pd.concat([rows(), note, note], axis=1)).report.rows == 60


def test_no_rows_are_an_error() -> None:
    with pytest.raises(DataError, match="iris has no rows"):
        validate(rows().iloc[:0])


def test_classes_with_too_few_rows_are_named() -> None:
    with pytest.raises(DataError, match="min_rows_per_class = 20 rows: setosa 19, virginica 0"):
        validate(rows().query("species != 'virginica'").iloc[1:])


def test_class_counts_are_not_reported_while_rows_are_invalid() -> None:
    raw = rows()
    raw.loc[0, "species"] = "rose"
    with pytest.raises(DataError) as caught:
        validate(raw)
    assert "min_rows_per_class" not in str(caught.value)


def test_regression_needs_two_different_targets() -> None:
    dataset = config(
        dataset={
            "target": "petal_width",
            "features": {"petal_length": {}},
            "classes": None,
            "min_rows_per_class": None,
            "target_range": {},
        },
        gate={"metric": "r2"},
    ).dataset
    assert validate(rows(), dataset).frame["petal_width"].dtype == np.float64
    with pytest.raises(DataError, match="petal_width: the same number in every row"):
        validate(rows().assign(petal_width="1"), dataset)


def test_optional_column_without_any_value_is_an_error() -> None:
    features = {name: {"missing": True} for name in DATASET.features}
    with pytest.raises(DataError, match="sepal_width: no row has a value"):
        validate(rows().assign(sepal_width=""), config(dataset={"features": features}).dataset)


def test_optional_booleans_stay_booleans_with_missing_values() -> None:
    dataset = config(dataset={"features": {"sepal_length": {"type": "boolean", "missing": True}}}).dataset
    found = validate(
        rows().assign(sepal_length=["true", "", *["false"] * 58]), dataset.model_copy(update={"duplicates": "keep"})
    )
    assert found.frame["sepal_length"].to_list()[:3] == [True, None, False]


def test_files_that_are_left_for_the_next_run_are_reported() -> None:
    files = (DataFile(name="a.csv", rows=60),)
    report = check_rows(RawData(rows(), files, ("b.csv", "c.csv")), DATASET).report
    assert report.skipped_files == ["b.csv", "c.csv"]
    assert report.summary() == "60 rows from iris; files left for the next run: 2"


# -- duplicates


def repeated() -> pd.DataFrame:
    """Valid rows with the second and the third once more, the one in other spellings of the numbers."""
    again = rows().iloc[[1, 2]].copy()
    again.iloc[0, 0] = " 1.010"
    return pd.concat([rows(), again], ignore_index=True)


def test_duplicates_are_kept_dropped_or_refused_as_configured() -> None:
    kept = validate(repeated(), config(dataset={"duplicates": "keep"}).dataset)
    assert (len(kept.frame), kept.report.duplicate_rows) == (62, 0)
    dropped = validate(repeated(), config(dataset={"duplicates": "drop"}).dataset)
    assert (len(dropped.frame), dropped.report.duplicate_rows) == (60, 2)
    between = pd.concat([repeated().iloc[60:], rows()], ignore_index=True)
    assert list(validate(between, config(dataset={"duplicates": "drop"}).dataset).frame.index) == list(range(60))
    with pytest.raises(DataError, match=r"repeats an earlier row in every column: 2 rows \(61, 62\)"):
        validate(repeated(), config(dataset={"duplicates": "error"}).dataset)


def test_rows_of_different_ids_are_no_duplicates() -> None:
    raw = repeated().assign(key=[str(number) for number in range(62)])
    assert len(validate(raw, config(dataset={"id": ["key"]}).dataset).frame) == 62


def test_dropped_rows_repeat_nothing_and_places_stay_right() -> None:
    raw = repeated()
    raw.loc[0, "sepal_length"] = "wide"
    with pytest.raises(DataError, match=r"every column: 2 rows \(61, 62\)"):
        validate(raw, with_policy("drop", duplicates="error"))


# -- invalid rows


def with_invalid_cells() -> pd.DataFrame:
    raw = rows(per_class=25)
    raw.loc[[3, 4], "sepal_length"] = "wide"
    raw.loc[4, "sepal_width"] = "99"
    raw.loc[30, "species"] = "rose"
    return raw


def test_invalid_rows_are_dropped_counted_and_listed() -> None:
    found = validate(with_invalid_cells(), with_policy("drop"), ("a.csv", 10), ("b.csv", 65))
    assert list(found.frame.index) == list(range(72))
    assert found.frame["sepal_length"].iloc[[2, 3]].to_list() == [1.02, 1.05]
    assert (found.report.invalid_rows, found.report.dropped_rows) == (3, 3)
    assert found.report.problems == [
        "sepal_length: not a finite number: 2 rows (a.csv 4, a.csv 5)",
        "sepal_width: outside 0.1 to 20: 1 row (a.csv 5)",
        "species: not one of dataset.classes ('rose'): 1 row (b.csv 21)",
    ]
    assert found.invalid.to_numpy().tolist() == [
        ["a.csv", 4, "sepal_length", "not a finite number"],
        ["a.csv", 5, "sepal_length", "not a finite number"],
        ["a.csv", 5, "sepal_width", "outside 0.1 to 20"],
        ["b.csv", 21, "species", "not one of dataset.classes"],
    ]
    assert found.report.summary().startswith(
        "72 rows from 2 files; 3 invalid rows left out, 0 kept with missing values (sepal_length: not"
    )


def test_invalid_cells_of_optional_columns_may_count_as_missing() -> None:
    features = {name: {"minimum": 0.1, "maximum": 20.0, "missing": name == "sepal_length"} for name in DATASET.features}
    found = validate(with_invalid_cells(), with_policy("missing", features=features))
    assert (found.report.invalid_rows, found.report.dropped_rows, len(found.frame)) == (3, 2, 73)
    assert found.frame["sepal_length"].isna().sum() == 1
    assert np.isnan(found.frame["sepal_length"].iloc[3])
    assert len(found.invalid) == 4
    only = rows().assign(sepal_length=["wide", *rows()["sepal_length"][1:]])
    assert validate(only, with_policy("missing", features=features)).report.summary() == (
        "60 rows from iris; 0 invalid rows left out, 1 kept with missing values "
        "(sepal_length: not a finite number: 1 row (1))"
    )
    dropped = validate(with_invalid_cells(), with_policy("drop", features=features))
    assert (dropped.report.dropped_rows, dropped.frame["sepal_length"].isna().sum()) == (3, 0)


@pytest.mark.parametrize("policy", ["drop", "missing"])
def test_more_invalid_rows_than_the_share_stop_the_training(policy: str) -> None:
    assert validate(with_invalid_cells(), with_policy(policy, 3 / 75)).report.rows == 72
    with pytest.raises(DataError) as caught:
        validate(with_invalid_cells(), with_policy(policy, 0.0399))
    assert "3 of 75 rows are invalid, more than dataset.invalid_rows.max_share 0.0399 allows" in str(caught.value)
    assert "sepal_length: not a finite number: 2 rows (4, 5)" in str(caught.value)


def test_no_row_left_is_an_error() -> None:
    with pytest.raises(DataError, match="no valid row is left"):
        validate(rows().assign(sepal_length="wide"), with_policy("drop"))


def test_list_of_invalid_cells_is_bounded() -> None:
    raw = pd.concat([rows(), rows().assign(sepal_length="wide", sepal_width="").sample(9_000, replace=True)])
    found = validate(raw.reset_index(drop=True), with_policy("drop"))
    assert (found.report.invalid_rows, len(found.invalid)) == (9_000, 10_000)
    assert found.invalid["row"].to_list()[:3] == [61, 61, 62]


@pytest.mark.parametrize(
    "index",
    [[f"r{number}" for number in range(60)], [*range(30), *range(30)], range(1, 61), range(-1, 59)],
    ids=["texts", "twice", "from 1", "from -1"],
)
def test_rows_with_a_new_index_have_no_file(index: Sequence[Any]) -> None:
    raw = rows()
    raw.loc[5, "sepal_length"] = "wide"
    raw.index = pd.Index(index)
    found = validate(raw, with_policy("drop", min_rows_per_class=2), ("a.csv", 30), ("b.csv", 30))
    assert found.invalid.to_numpy().tolist() == [["", 6, "sepal_length", "not a finite number"]]
    assert found.report.problems == ["sepal_length: not a finite number: 1 row (6)"]
