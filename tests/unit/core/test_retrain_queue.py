"""What both carriers of the retrain queue promise."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import SecretStr

from src.core.audit_log import AuditLog, Event
from src.core.errors import ConfigError, SpoolBusyError, TrainerBusyError
from src.core.retrain_queue import RetrainQueue, open_queue
from src.core.retrain_record import Outcome, RetrainResult, State, Step
from src.core.retrain_signal import RetrainSpool
from src.core.settings import CommonSettings
from src.services.local.processes import REPOSITORY
from tests.support.retrain_carriers import Carrier, Files, Rows

NOW = datetime(2030, 1, 1, tzinfo=UTC)
# An id that no request has.
UNKNOWN = "01a22726-f7f2-7104-9972-81faa5b297a0"
PROMOTED = RetrainResult(outcome=Outcome.PROMOTED, reason="better", model_version="2", finished_at=NOW)


@pytest.fixture(params=["file", "database"])
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    if request.param == "file":
        return Files(tmp_path / "retrain")
    return Rows(tmp_path / "retrain", request.getfixturevalue("database"))


@pytest.fixture
def queue(carrier: Carrier) -> RetrainQueue:
    return carrier.open()


def test_request_goes_from_queued_to_running_to_its_outcome(carrier: Carrier, queue: RetrainQueue) -> None:
    submitted = queue.submit("alert", cause="drift")
    assert queue.get(submitted.id) == submitted
    assert (submitted.state, submitted.cause) == (State.QUEUED, "drift")
    assert queue.has_waiting()
    assert queue.unfinished() == {submitted.id}
    with queue.lock():
        assert queue.claim() == [submitted]
        assert not queue.has_waiting()
        assert queue.unfinished() == {submitted.id}
        assert queue.depths() == {"new": 0, "cur": 1, "bad": 0}
        running = submitted.model_copy(update={"attempts": 1, "started_at": NOW, "step": Step.TRAIN})
        queue.update(running)
        assert queue.claimed() == [running]
        assert queue.get(submitted.id) == running
        ended = queue.finish(running.with_error("disk"), PROMOTED)
    assert (ended.state, ended.step, ended.last_error) == (State.PROMOTED, None, None)
    assert carrier.open("two").get(submitted.id) == ended
    assert queue.unfinished() == set()
    assert carrier.states() == {submitted.id: ["done"]}
    assert queue.depths() == {"new": 0, "cur": 0, "bad": 0}


def test_claims_are_ordered_by_age_and_leave_out_what_has_ended(queue: RetrainQueue) -> None:
    ids = [queue.submit("api").id for _ in range(3)]
    with queue.lock():
        first, *_ = queue.claim()
        queue.finish(first, PROMOTED)
        later = queue.submit("api").id
        assert [record.id for record in queue.claim()] == [*ids[1:], later]


def test_recent_is_newest_first_in_any_state(queue: RetrainQueue) -> None:
    ids = [queue.submit("api").id for _ in range(2)]
    with queue.lock():
        queue.finish(queue.claim()[0], PROMOTED)
    ids.append(queue.submit("api").id)
    assert [record.id for record in queue.recent(10)] == ids[::-1]
    assert [record.id for record in queue.recent(2)] == ids[:0:-1]
    assert queue.recent(10)[-1].state is State.PROMOTED


@pytest.mark.parametrize("request_id", ["", "x", "../../etc/passwd", "\0", "a" * 5000, "' OR 1=1 -- ", UNKNOWN])
def test_get_of_an_unknown_id_is_none(queue: RetrainQueue, request_id: str) -> None:
    queue.submit("api")
    assert queue.get(request_id) is None


def test_only_pending_requests_count_against_the_limit(carrier: Carrier) -> None:
    queue = carrier.open(max_pending=2)
    queue.submit("api")
    queue.submit("api")
    with pytest.raises(SpoolBusyError, match="2 retrain requests are pending"):
        queue.submit("api")
    with queue.lock():
        queue.claim()
    queue.submit("api")
    assert len(carrier.states()) == 3


def test_lock_has_one_holder(carrier: Carrier, queue: RetrainQueue) -> None:
    other = carrier.open("two")
    with queue.lock():
        for second in (other, carrier.open()):
            with pytest.raises(TrainerBusyError, match="a training or a backup is running"), second.lock(patience=0.1):
                raise AssertionError("two holders")
    with other.lock():
        pass


@pytest.mark.parametrize("before", ["claim", "update"])
def test_unreadable_request_is_set_aside_and_blocks_no_other(
    carrier: Carrier, queue: RetrainQueue, before: str
) -> None:
    spoilt, sound = queue.submit("api"), queue.submit("api")
    with queue.lock():
        if before == "update":
            queue.claim()
        carrier.spoil(spoilt.id)
        assert queue.claim() == [sound]
    assert queue.poisoned() == 1
    assert queue.depths() == {"new": 0, "cur": 1, "bad": 1}
    failed = queue.get(spoilt.id)
    assert failed is not None
    assert failed.state is State.FAILED
    assert [record.state for record in queue.recent(5)] == [State.QUEUED, State.FAILED]


def test_finished_requests_are_forgotten_by_their_end_and_others_never(carrier: Carrier, queue: RetrainQueue) -> None:
    old, new, running, waiting = (queue.submit("api").id for _ in range(4))
    with queue.lock():
        records = {record.id: record for record in queue.claim()}
        # Two hours east of UTC: 23:59 there is before 22:00 UTC.
        east = (NOW - timedelta(minutes=1)).astimezone(timezone(timedelta(hours=2)))
        queue.finish(records[old], PROMOTED.model_copy(update={"finished_at": east}))
        queue.finish(records[new], PROMOTED)
        assert queue.finished_before(NOW) == [old]
        assert queue.finished_before(NOW + timedelta(days=9000)) == [old, new]
        queue.forget([old, running, waiting])
    assert queue.get(old) is None
    assert set(carrier.states()) == {new, running, waiting}
    queue.forget([])
    assert queue.sweep(NOW) == 0


def test_audit_log_has_each_request_and_its_end_once(carrier: Carrier, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    queue = carrier.open(audit=audit)
    record = queue.submit("api", by="ann")
    with queue.lock():
        [claimed] = queue.claim()
        # A holder that was killed between the outcome and its end.
        queue.update(claimed.model_copy(update={"result": PROMOTED}))
        assert queue.claimed() == []
        assert queue.claimed() == []
    entries = audit.recent(10).entries
    assert [(entry.event, entry.by) for entry in entries] == [
        (Event.RETRAIN_ENDED, None),
        (Event.RETRAIN_REQUESTED, "ann"),
    ]
    assert carrier.states() == {record.id: ["done"]}


def test_request_without_an_audit_log_of_its_submitter_is_recorded_when_it_ends(
    carrier: Carrier, tmp_path: Path
) -> None:
    carrier.open().submit("api")
    audit = AuditLog(tmp_path / "audit.ndjson")
    queue = carrier.open(audit=audit)
    with queue.lock():
        queue.finish(queue.claim()[0], PROMOTED)
    assert [entry.event for entry in audit.recent(10).entries] == [Event.RETRAIN_ENDED, Event.RETRAIN_REQUESTED]


def test_files_carry_the_queue_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    url = SecretStr("mysql+pymysql://ann:s3cret@host/queue")
    for settings in (
        CommonSettings(_env_file=None, data_dir=tmp_path),
        CommonSettings(_env_file=None, data_dir=tmp_path, retrain_database_url=url),
    ):
        queue = open_queue(settings, max_pending=1)
        assert isinstance(queue, RetrainSpool)
        assert queue.root == tmp_path / "retrain"
        queue.create().submit("api")
        with pytest.raises(SpoolBusyError):
            queue.submit("api")
        with queue.lock():
            queue.claim()


def test_settings_choose_the_database(tmp_path: Path, queue_url: SecretStr) -> None:
    settings = CommonSettings(
        _env_file=None, data_dir=tmp_path, retrain_queue="database", retrain_database_url=queue_url
    )
    audit = AuditLog(tmp_path / "audit.ndjson")
    queue = open_queue(settings, max_pending=1, audit=audit).create()
    record = queue.submit("api", by="ann")
    assert queue.root == tmp_path / "retrain"
    assert queue.root.is_dir()
    assert open_queue(settings).get(record.id) == record
    assert audit.recent(1).entries[0].by == "ann"
    with pytest.raises(SpoolBusyError):
        queue.submit("api")


def test_driver_that_is_not_installed_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue_url: SecretStr
) -> None:
    settings = CommonSettings(
        _env_file=None, data_dir=tmp_path, retrain_queue="database", retrain_database_url=queue_url
    )
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match="RETRAIN_QUEUE=database needs pymysql: uv sync with --group queue"):
        open_queue(settings)


def test_services_import_no_database_until_they_open_one() -> None:
    services = "src.services.inference.inference_service, src.services.monitor.run_monitor"
    script = f"import sys, {services}; print({{'sqlalchemy', 'pymysql', 'alembic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_url_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    settings = CommonSettings(
        _env_file=None,
        data_dir=tmp_path,
        retrain_queue="database",
        retrain_database_url="mysql+pymysql://ann:s3cret@host:port/x",
    )
    with pytest.raises(ConfigError, match="RETRAIN_DATABASE_URL is not a URL such as") as caught:
        open_queue(settings)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
