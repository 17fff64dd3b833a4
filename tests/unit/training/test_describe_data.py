"""The table of `make check-data`: what each column holds, and what is wrong with it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.dataset_config import DatasetConfig
from src.training.describe_data import as_table, describe_classes, describe_columns, describe_split
from src.training.splitting import SplitRule, split_by

RAW = pd.DataFrame(
    {
        "size": ["1.5", "2.5", "", "x", "40"],
        "visits": ["1", "2", "3", "2", ""],
        "member": ["yes", "no", "no", "true", ""],
        "region": ["north", "south", "north", "", "moon"],
        "born": ["1990-01-31", "", "2001-12-24", "1985-06-01T12:00:00Z", "soon"],
        "sold": ["yes", "no", "no", "", "maybe"],
        "key": ["a", "b", "c", "d", "e"],
        "at": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"],
        "unlisted": ["1", "2", "3", "4", "5"],
    }
)


def dataset(**changes: Any) -> DatasetConfig:
    raw: dict[str, Any] = {
        "source": "a.csv",
        "target": "sold",
        "features": {
            "size": {"type": "number", "maximum": 10.0, "missing": True},
            "visits": {"type": "integer"},
            "member": {"type": "boolean", "missing": True},
            "region": {"type": "category", "values": ["north", "south"], "missing": True},
            "born": {"type": "date", "missing": True},
        },
        "classes": ["no", "yes"],
        "min_rows_per_class": 2,
        "duplicates": "keep",
        "id": ["key"],
        "time": "at",
        "group": "visits",
    }
    return DatasetConfig.model_validate(raw | changes)


def test_each_column_is_described_by_its_valid_cells() -> None:
    found = [column.cells for column in describe_columns(RAW, dataset())]
    assert [cells[:5] for cells in found] == [
        ("size", "number", "20.0 %", "2", "1.5 to 2.5"),
        ("visits", "integer, group", "20.0 %", "3", "1 to 3"),
        ("member", "boolean", "20.0 %", "2", "'True' 50.0 %, 'False' 50.0 %"),
        ("region", "category", "20.0 %", "2", "'north' 66.7 %, 'south' 33.3 %"),
        ("born", "date", "20.0 %", "3", "1985-06-01T12:00:00Z to 2001-12-24"),
        ("sold", "target", "20.0 %", "2", "'no' 66.7 %, 'yes' 33.3 %"),
        ("key", "id", "", "5", "such as 'a'"),
        ("at", "time", "", "5", "2024-01-01 to 2024-01-05"),
    ]
    assert [cells[5] for cells in found] == [
        "not a finite number: 1; outside -3.40282e+38 to 10: 1",
        "missing: 1",
        "",
        "not one of dataset.features.region.values ('moon'): 1",
        "not an ISO 8601 date such as 2026-01-31 or 2026-01-31T08:30:00Z: 1",
        "missing: 1; not one of dataset.classes ('maybe'): 1",
        "",
        "",
    ]


def test_column_without_a_valid_cell_has_no_values() -> None:
    raw = RAW.assign(size="?", born="")
    found = {column.name: column for column in describe_columns(raw, dataset())}
    assert (found["size"].distinct, found["size"].values) == ("0", "")
    assert (found["born"].missing, found["born"].values) == ("100.0 %", "")


def test_table_lines_up_and_leaves_out_empty_columns() -> None:
    lines = [("a" * 3, "number", "", "1", "0 to 1", ""), ("b", "date", "", "22", "", "")]
    assert as_table(lines) == [
        "column  type    distinct  values",
        "aaa     number  1         0 to 1",
        "b       date    22",
    ]


@pytest.mark.parametrize(("length", "shown"), [(40, "x" * 40), (41, "x" * 39 + "…")])
def test_long_name_is_cut(length: int, shown: str) -> None:
    name = "x" * length
    features = {name: {"type": "number"}}
    found = describe_columns(
        pd.DataFrame({name: ["1"], "sold": ["no"]}), dataset(features=features, id=[], time=None, group=None)
    )
    assert found[0].cells[0] == shown


def test_classes_are_counted_the_most_frequent_first() -> None:
    assert describe_classes(pd.Series(["b", "a", "a", "a"])) == "a 3 (75.0 %), b 1 (25.0 %)"


def test_split_says_rule_rows_and_classes() -> None:
    frame = pd.DataFrame({"key": [f"k{row}" for row in range(1000)], "sold": ["no", "yes"] * 500})
    split = split_by(SplitRule(by="hash", columns=["key"], seed=7, share=0.25), frame)
    held = frame[split.mask]
    counts = held["sold"].value_counts()
    said = describe_split(split, dataset())
    assert said.startswith(f"{len(held)} of 1,000 rows are held out by hash of key, seed 7, share 0.25: ")
    assert f"yes {counts['yes']} (" in said
    regression = dataset(classes=None, min_rows_per_class=None, target_range={})
    assert describe_split(split, regression) == said.partition(": ")[0]


def test_split_by_all_features_does_not_list_them() -> None:
    frame = pd.DataFrame({"a": np.arange(100.0), "b": np.arange(100.0), "sold": ["no", "yes"] * 50})
    split = split_by(SplitRule(by="hash", columns=["a", "b"], seed=7, share=0.25), frame)
    features = {"a": {}, "b": {}}
    said = describe_split(split, dataset(features=features, id=[], time=None, group=None))
    assert "rows are held out by hash of all features: " in said
