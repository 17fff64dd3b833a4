"""A proposal is tried on its own data before it is written."""

from pathlib import Path

import pandas as pd
import pytest

from src.core.pipeline_config import load_pipeline_config
from src.training.propose import try_out
from src.training.propose.propose_config import Wanted, propose
from src.training.sources import read
from src.training.splitting import split_rows

pytestmark = pytest.mark.slow


def few_of_a_class(file: Path, offset: int) -> Path:
    rows = range(60)
    sold = ["yes" if row % 6 == 0 else "no" for row in rows]
    pd.DataFrame({"key": [f"k{row + offset}" for row in rows], "size": [row / 7 for row in rows], "sold": sold}).to_csv(
        file, index=False
    )
    return file


def test_seed_is_one_under_which_the_rows_can_be_split(tmp_path: Path) -> None:
    out, seeds = tmp_path / "pipeline.yaml", set()
    for offset in range(0, 1200, 60):
        written = propose(Wanted(str(few_of_a_class(tmp_path / "a.csv", offset)), "sold"))
        out.write_text(written.text, encoding="utf-8")
        config = load_pipeline_config(out)
        split_rows(read(config.dataset).frame, config, None)
        assert written.checks == []
        seeds.add(config.split.seed)
    assert seeds > {42}
    assert seeds <= {42, *range(1, 20)}


def test_table_that_cannot_be_split_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    users = ["one"] * 120 + [f"u{row % 60}" for row in range(120)]
    sold = ["yes", "no", "no"] * 80
    pd.DataFrame({"user_id": users, "size": [row / 7 for row in range(240)], "sold": sold}).to_csv(file, index=False)
    monkeypatch.setattr(try_out, "SEEDS", (42, 1))
    written = propose(Wanted(str(file), "sold"))
    assert "by: group" in written.text
    assert "seed: 42" in written.text
    assert written.checks[0].startswith("the data set cannot be split by group of user_id, seed 42")


def test_rows_that_fail_validation_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    born = ["1990-01-31"] * 30 + ["1991-01-31"] * 29 + ["9999-13-01"]
    sold = ["yes", "no"] * 30
    pd.DataFrame({"created_at": born, "size": [row / 7 for row in range(60)], "sold": sold}).to_csv(file, index=False)
    assert not any("fails validation" in check for check in propose(Wanted(str(file), "sold")).checks)
    written = propose(Wanted(str(file), "sold", time="created_at"))
    assert "fails validation: created_at: not an ISO 8601 date" in written.checks[0]
