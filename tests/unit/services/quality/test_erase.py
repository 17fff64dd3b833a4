"""``python -m src.services.quality.erase``, on real stores."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from src.core.prediction_log import keyed_hash
from src.core.quality_settings import QualitySettings
from src.quality.stores import label_store, log_store
from src.services.quality import erase
from src.services.quality.tasks import StoreTasks
from tests.support.configuration import CONFIG_FILE
from tests.support.quality_arrivals import write_feedback, write_segment

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def stored(settings: QualitySettings, monkeypatch: pytest.MonkeyPatch) -> QualitySettings:
    """A request of two rows with the key 7, and another request; both with labels."""
    for name, value in (("DATA_DIR", settings.data_dir), ("MODEL_NAME", "iris"), ("PIPELINE_CONFIG", CONFIG_FILE)):
        monkeypatch.setenv(name, str(value))
    write_segment(settings.quality_dir, [("a", "setosa"), ("a/1", "setosa")], NOW, key="7")
    write_segment(settings.quality_dir, [("b", "setosa")], NOW)
    write_feedback(settings.quality_dir, {"a/1": "setosa", "b": "setosa"}, NOW)
    take_in(settings)
    return settings


def take_in(settings: QualitySettings) -> None:
    tasks = StoreTasks(settings)
    tasks.take_in_rows(NOW)
    tasks.take_in_feedback(NOW)


def counts(settings: QualitySettings) -> tuple[int, int]:
    stores = (log_store(settings.quality_dir, "iris"), label_store(settings.quality_dir, "iris"))
    rows, labels = (store.manifest.rows for store in stores)
    return rows, labels


@pytest.mark.parametrize(
    ("given", "said", "left"),
    [
        ("a", "erased 2 rows and 1 label", (1, 1)),
        (" a/1 ", "erased 1 row and 1 label", (2, 1)),
        ("7", "erased 2 rows and 1 label", (1, 1)),
        ("nobody", "erased 0 rows and 0 labels", (3, 2)),
    ],
)
def test_erase_says_how_much_it_has_deleted(
    stored: QualitySettings, capsys: pytest.CaptureFixture[str], given: str, said: str, left: tuple[int, int]
) -> None:
    assert erase.main([given]) == 0
    hint = f"{erase.NOTHING}\n" if given == "nobody" else ""
    assert capsys.readouterr().out == f"{said}; models: iris\n{hint}"
    assert counts(stored) == left


def test_what_arrives_later_is_left_out(stored: QualitySettings) -> None:
    assert erase.main(["a"]) == 0
    write_segment(stored.quality_dir, [("a/2", "setosa")], NOW)
    write_feedback(stored.quality_dir, {"a": "setosa"}, NOW)
    take_in(stored)
    assert counts(stored) == (1, 1)


def test_labels_of_rows_that_are_not_taken_in_yet_are_erased_by_the_key(
    stored: QualitySettings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_segment(stored.quality_dir, [("new", "setosa")], NOW, key="9")
    write_feedback(stored.quality_dir, {"new": "setosa"}, NOW)
    StoreTasks(stored).take_in_feedback(NOW)
    assert erase.main(["9"]) == 0
    assert capsys.readouterr().out.startswith("erased 1 row and 1 label")
    take_in(stored)
    assert counts(stored) == (3, 2)


def test_totals_are_those_of_all_models(stored: QualitySettings, capsys: pytest.CaptureFixture[str]) -> None:
    write_segment(stored.quality_dir, [("a", "setosa"), ("c", "setosa")], NOW, model="former")
    assert erase.main(["a"]) == 0
    assert capsys.readouterr().out == "erased 3 rows and 1 label; models: former, iris\n"
    assert log_store(stored.quality_dir, "former").manifest.rows == 1


@pytest.mark.parametrize("hashed", ["", "number"])
def test_hashed_key_is_found_also_if_it_is_no_longer_hashed(
    stored: QualitySettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hashed: str
) -> None:
    key = "0123456789abcdef"
    monkeypatch.setenv("PREDICTION_LOG_KEY", key)
    monkeypatch.setenv("PREDICTION_LOG_HASH", hashed)
    write_segment(stored.quality_dir, [("hidden", "setosa")], NOW, key=keyed_hash(key, "7"))
    assert erase.main(["7"]) == 0
    assert capsys.readouterr().out.startswith("erased 3 rows and 1 label;")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("arguments", [[], [""], [" "], ["a", "b"]])
def test_erase_needs_one_id(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert erase.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: give one id")


def test_damaged_store_is_one_line(stored: QualitySettings, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(log_store(stored.quality_dir, "iris").folder) / "manifest.json").write_text("{")
    assert erase.main(["a"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
