from pathlib import Path

import pytest

from src.core.errors import SpoolUnavailableError
from src.core.new_data import NewAmount, read_new_data, write_new_data

AMOUNT = NewAmount(kind="labels", new=1310, needed=20000, since="version 7")


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_new_data(tmp_path, "iris", [AMOUNT])
    assert read_new_data(tmp_path, "iris") == [AMOUNT]
    assert str(AMOUNT) == "1,310 of 20,000 new labels since version 7"


def test_figures_of_another_model_and_damaged_ones_are_not_shown(tmp_path: Path) -> None:
    assert read_new_data(tmp_path, "iris") == []
    write_new_data(tmp_path, "wine", [AMOUNT])
    assert read_new_data(tmp_path, "iris") == []
    (tmp_path / "new_data.json").write_text("{")
    assert read_new_data(tmp_path, "iris") == []


def test_a_volume_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "new_data.json").mkdir()
    with pytest.raises(SpoolUnavailableError, match="the retrain spool cannot be used"):
        read_new_data(tmp_path, "iris")
