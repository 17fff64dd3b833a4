from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from src.core.retrain_database import DatabaseQueue
from src.core.retrain_record import RetrainRecord, Step
from src.core.retrain_signal import RetrainSpool
from src.core.retrain_tables import QueueDatabase
from src.training.served_requests import MAX_REPORTED, ServedRequests
from tests.support.training import VERDICT

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


def claim(spool: RetrainSpool, number: int) -> list[str]:
    for _ in range(number):
        spool.submit("api")
    for record in spool.claim():
        spool.update(record.model_copy(update={"attempts": 1, "started_at": NOW}))
    return [record.id for record in spool.claimed()]


def get(spool: RetrainSpool, request_id: str) -> RetrainRecord:
    record = spool.get(request_id)
    assert record is not None
    return record


def test_report_shows_the_progress_in_every_request_that_is_served_and_in_no_other(spool: RetrainSpool) -> None:
    ids = claim(spool, 3)
    ServedRequests(ids=ids[:2], retrain_dir=str(spool.root)).report("search: 12 of 20 trials")
    assert [get(spool, i).progress for i in ids] == ["search: 12 of 20 trials"] * 2 + [None]
    assert get(spool, ids[0]).attempts == 1


def test_step_replaces_the_one_before_and_its_progress(spool: RetrainSpool) -> None:
    ids = claim(spool, 2)
    served = ServedRequests(ids=ids[:1], retrain_dir=str(spool.root))
    served.report_step(Step.TRAIN)
    served.report("search: 12 of 20 trials")
    assert (get(spool, ids[0]).step, get(spool, ids[0]).progress) == (Step.TRAIN, "search: 12 of 20 trials")
    served.report_step(Step.EVALUATE)
    assert (get(spool, ids[0]).step, get(spool, ids[0]).progress) == (Step.EVALUATE, None)
    assert get(spool, ids[1]).step is None


def test_report_clips_what_is_too_long_for_a_record(spool: RetrainSpool) -> None:
    ids = claim(spool, 1)
    ServedRequests(ids=ids, retrain_dir=str(spool.root)).report("x" * 1000)
    assert get(spool, ids[0]).progress == "x" * 99 + "…"


def test_report_writes_a_bounded_number_of_files(spool: RetrainSpool) -> None:
    ids = claim(spool, MAX_REPORTED + 1)
    ServedRequests(ids=ids, retrain_dir=str(spool.root)).report("train")
    assert [get(spool, i).progress for i in ids] == ["train"] * MAX_REPORTED + [None]


def test_report_does_not_bring_back_a_request_that_is_gone_or_has_not_started(spool: RetrainSpool) -> None:
    waiting = spool.submit("api").id
    (spool.root / "new" / f"{waiting}.json").rename(spool.root / "cur" / f"{waiting}.json")
    (gone,) = (record.id for record in [spool.submit("api")])
    (spool.root / "new" / f"{gone}.json").unlink()
    ServedRequests(ids=[gone, waiting], retrain_dir=str(spool.root)).report("train")
    assert spool.get(gone) is None
    assert get(spool, waiting).progress is None


def test_training_continues_where_its_progress_cannot_be_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServedRequests(ids=["019acf3c-6d80-7000-8000-000000000000"], retrain_dir=str(tmp_path / "gone"))
    served.report("train")
    assert "could not report the progress 'train'" in caplog.text


def test_finished_request_has_no_step_and_no_progress(spool: RetrainSpool) -> None:
    (request_id,) = claim(spool, 1)
    served = ServedRequests(ids=[request_id], retrain_dir=str(spool.root))
    served.report_step(Step.PROMOTE)
    served.report("train")
    ended = spool.finish(get(spool, request_id), VERDICT.to_result(NOW, {}))
    assert (ended.step, ended.progress) == (None, None)


def test_progress_goes_to_the_database_of_the_environment_while_the_process_holds_the_lease(
    database: QueueDatabase,
    queue_url: SecretStr,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RETRAIN_QUEUE", "database")
    monkeypatch.setenv("RETRAIN_DATABASE_URL", queue_url.get_secret_value())
    queue = DatabaseQueue(tmp_path, database)
    served = ServedRequests(ids=[queue.submit("api").id], retrain_dir=str(tmp_path))
    with queue.lock():
        [record] = queue.claim()
        queue.update(record.model_copy(update={"attempts": 1, "started_at": NOW}))
        served.report_step(Step.TRAIN)
        served.report("search: 12 of 20 trials")
    shown = queue.get(record.id)
    assert shown is not None
    assert (shown.step, shown.progress) == (Step.TRAIN, "search: 12 of 20 trials")
    served.report("late")
    assert queue.get(record.id) == shown
    assert "could not report the progress 'late': the lease of the trainer lock has expired" in caplog.text
