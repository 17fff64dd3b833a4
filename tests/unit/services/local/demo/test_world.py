"""The demo's customers, and the files that the tutorial sends."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.core.pipeline_config import load_pipeline_config
from src.services.local.demo.world import AFTER, BEFORE, SOURCE_ROWS, customers, write_live_rows, write_source


def test_the_change_reverses_what_a_charge_means_and_nothing_else() -> None:
    for changed, sign in ((False, 1), (True, -1)):
        rows = customers(4000, seed=5, changed=changed)
        left = (rows["left"] == "yes").to_numpy(dtype=float)
        assert sign * np.corrcoef(rows["monthly_charge"], left)[0, 1] > 0.3
        assert np.corrcoef(rows["support_calls"], left)[0, 1] > 0.3
        assert 0.3 < left.mean() < 0.7


def test_equal_seeds_give_equal_customers_and_others_have_other_ids() -> None:
    pd.testing.assert_frame_equal(customers(10, seed=1), customers(10, seed=1))
    assert not set(customers(10, seed=1)["customer"]) & set(customers(10, seed=2)["customer"])


def test_the_configuration_fits_the_table(tmp_path: Path) -> None:
    config = load_pipeline_config(write_source(tmp_path))
    table = pd.read_csv(config.dataset.source)
    assert len(table) == SOURCE_ROWS
    assert set(config.dataset.columns) == set(table.columns)
    assert set(config.dataset.classes or ()) == set(table["left"])
    assert config.dataset.feedback.use


@pytest.mark.parametrize(("name", "count"), [("before", BEFORE), ("after", AFTER)])
def test_rows_and_labels_belong_together(tmp_path: Path, name: str, count: int) -> None:
    write_live_rows(tmp_path)
    rows, labels = (pd.read_csv(tmp_path / f"{kind}-{name}.csv") for kind in ("rows", "labels"))
    assert len(rows) == count
    assert "left" not in rows.columns
    assert list(labels.columns) == ["id", "label"]
    assert list(rows["customer"]) == list(labels["id"])
    yes = labels.loc[rows["monthly_charge"] > 80, "label"] == "yes"
    assert yes.mean() > 0.7 if name == "before" else yes.mean() < 0.3


def test_no_id_is_in_two_tables(tmp_path: Path) -> None:
    write_source(tmp_path)
    write_live_rows(tmp_path)
    tables = [
        pd.read_csv(tmp_path / name)["customer"] for name in ("customers.csv", "rows-before.csv", "rows-after.csv")
    ]
    assert len(set().union(*tables)) == sum(map(len, tables))
    assert re.fullmatch(r"c\d+-\d+", tables[0][0])
