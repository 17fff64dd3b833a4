"""What the last training has read."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from src.core.errors import LoopError
from src.core.training_baseline import TrainingBaseline, read_baseline, write_baseline

BASELINE = TrainingBaseline(
    model="iris", version="7", started_at=datetime(2026, 11, 29, tzinfo=UTC), rows={"a.csv": 100, "b.csv": 20}
)


def test_record_is_read_as_it_was_written_and_replaced(tmp_path: Path) -> None:
    write_baseline(tmp_path, BASELINE.model_copy(update={"version": "6"}))
    write_baseline(tmp_path, BASELINE)
    assert read_baseline(tmp_path, "iris") == BASELINE


def test_there_is_none_before_the_first_training_of_a_model(tmp_path: Path) -> None:
    assert read_baseline(tmp_path, "iris") is None
    write_baseline(tmp_path, BASELINE)
    assert read_baseline(tmp_path, "wine") is None


def test_damaged_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "last_training.json").write_text("{}")
    with pytest.raises(LoopError, match=r"last_training\.json is damaged; the next training replaces it"):
        read_baseline(tmp_path, "iris")


@pytest.mark.parametrize(
    ("now", "new"),
    [
        ({"a.csv": 100, "b.csv": 20}, 0),
        ({"a.csv": 103, "b.csv": 21}, 4),
        ({"a.csv": 100, "b.csv": 20, "c.csv": 5}, 5),
        ({"b.csv": 20, "c.csv": 90}, 90),  # a.csv is gone
        ({"a.csv": 90, "b.csv": 25}, 5),
        ({}, 0),
    ],
)
def test_new_rows_are_those_that_files_have_more(now: dict[str, int], new: int) -> None:
    assert BASELINE.new_rows(now) == new
