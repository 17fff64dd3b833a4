"""Labels that were received from a time on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from src.quality.ingest_labels import LabelRules, ingest_feedback
from src.quality.label_count import labels_since
from src.quality.live_quality import Resources
from src.quality.parquet_store import ParquetStore
from src.quality.stores import label_store
from tests.support.labelled_log import LabelledLog
from tests.support.quality_arrivals import write_feedback

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> ParquetStore:
    return label_store(tmp_path, "iris")


def receive(store: ParquetStore, at: datetime, *ids: str) -> None:
    folder = store.folder.parents[1]
    write_feedback(folder, dict.fromkeys(ids, "setosa"), at)
    with store.locked():
        ingest_feedback(store, folder / "feedback", LabelRules())


def count(store: ParquetStore, since: datetime) -> int:
    return labels_since(store, since, Resources(100_000_000, store.folder / "spill", 1))


def test_there_are_none_in_an_empty_store(store: ParquetStore) -> None:
    assert count(store, NOW) == 0


def test_labels_from_that_time_on_are_counted(store: ParquetStore) -> None:
    receive(store, NOW - SECOND, "early")
    receive(store, NOW, "a", "b/1")
    receive(store, NOW + 40 * 86400 * SECOND, "late")
    for since, number in ((-1, 4), (0, 3), (1, 1), (40 * 86400, 1), (40 * 86400 + 1, 0)):
        assert count(store, NOW + since * SECOND) == number, since


def test_earlier_labels_in_a_joined_file_are_not_counted(store: ParquetStore) -> None:
    receive(store, NOW - SECOND, "early", "earlier")
    receive(store, NOW + SECOND, "late")
    with store.locked():
        store.compact()
    assert len(store.paths()) == 1
    assert count(store, NOW) == 1


def test_label_that_is_sent_again_counts_once(store: ParquetStore) -> None:
    receive(store, NOW, "a", "b")
    receive(store, NOW + SECOND, "a")
    assert count(store, NOW) == 2


def test_labels_by_key_count_once_for_each_key(tmp_path: Path) -> None:
    log = LabelledLog(tmp_path, [], now=NOW)
    for key in ("A-1", "A-2", "A-1"):
        log.label("setosa", key=key)
    log.label("setosa", request_id="A-1")
    assert count(label_store(tmp_path, "iris"), NOW) == 3


def test_labels_of_another_model_are_not_counted(store: ParquetStore) -> None:
    receive(store, NOW, "a")
    assert count(label_store(store.folder.parents[1], "wine"), NOW) == 0
