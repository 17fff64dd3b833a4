"""The queue's database: what it does when the database is away, of another version, or slow, and what it says."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, select, text

from src.core.errors import LeaseLostError, SpoolUnavailableError, TrainerBusyError
from src.core.retrain_database import DatabaseQueue
from src.core.retrain_record import Outcome, RetrainRecord, RetrainResult, State, Step, new_id
from src.core.retrain_tables import QueueDatabase, requests, schema_version
from src.core.trainer_lease import TrainerLease, this_process
from tests.support.mysql_server import PASSWORD, USER, MySqlServer
from tests.support.retrain_carriers import Rows
from tests.support.running import free_port, wait_until

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PROMOTED = RetrainResult(outcome=Outcome.PROMOTED, reason="better", finished_at=NOW)


@pytest.fixture
def queue(database: QueueDatabase, tmp_path: Path) -> DatabaseQueue:
    return DatabaseQueue(tmp_path, database, lease=TrainerLease(database, "one", 30))


@pytest.fixture
def other(database: QueueDatabase, tmp_path: Path) -> DatabaseQueue:
    return DatabaseQueue(tmp_path, database, lease=TrainerLease(database, "two", 30))


@pytest.fixture
def version(database: QueueDatabase) -> Iterator[QueueDatabase]:
    """The database, whose schema's version a test may change."""
    yield database
    run(database, "DELETE FROM retrain_schema")
    run(database, "INSERT INTO retrain_schema VALUES ('0001')")


def run(database: QueueDatabase, statement: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(statement))


def expire(database: QueueDatabase) -> None:
    run(database, "UPDATE retrain_lease SET expires_at = UTC_TIMESTAMP(6)")


def lease_seconds(database: QueueDatabase) -> float:
    with database.transaction() as connection:
        left = "SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at) / 1e6 FROM retrain_lease"
        return float(connection.execute(text(left)).scalar_one())


# -- the lease -----------------------------------------------------------------------------------------


def test_lease_is_held_for_its_time_by_the_clock_of_the_database(database: QueueDatabase, queue: DatabaseQueue) -> None:
    with queue.lock():
        assert 25 < lease_seconds(database) <= 30


def test_lease_that_has_expired_is_free_and_its_former_owner_changes_nothing(
    database: QueueDatabase, queue: DatabaseQueue, other: DatabaseQueue
) -> None:
    submitted = queue.submit("api")
    with queue.lock():
        [record] = queue.claim()
        later = other.submit("api")
        expire(database)
        for change in (
            queue.claim,
            queue.claimed,
            lambda: queue.update(record.at_step(Step.TRAIN)),
            lambda: queue.finish(record, PROMOTED),
        ):
            with pytest.raises(LeaseLostError, match="another process may serve its requests"):
                change()
        assert other.has_waiting()
        with other.lock():
            assert other.claimed() == [submitted]
            assert other.claim() == [submitted, later]
            with pytest.raises(LeaseLostError):
                queue.finish(record, PROMOTED)
    assert queue.get(submitted.id) == submitted


def test_former_owner_does_not_release_the_lease_of_the_next_one(
    database: QueueDatabase, queue: DatabaseQueue, other: DatabaseQueue
) -> None:
    former = queue.lock()
    former.__enter__()
    expire(database)
    with other.lock():
        former.__exit__(None, None, None)
        with pytest.raises(TrainerBusyError), queue.lock():
            raise AssertionError("two holders")


def test_lease_is_renewed_while_it_is_held(database: QueueDatabase, tmp_path: Path) -> None:
    lease = TrainerLease(database, "one", 1.2)
    queue = DatabaseQueue(tmp_path, database, lease=lease)
    with queue.lock():
        ends = threading.Event()
        # Longer than the lease.
        ends.wait(1.8)
        queue.claim()
        assert 0 < lease_seconds(database) <= 1.2


def test_lease_that_expired_in_an_outage_is_renewed_unless_another_one_has_it(
    database: QueueDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = DatabaseQueue(tmp_path, database, lease=TrainerLease(database, "one", 0.6))
    with queue.lock():
        expire(database)
        wait_until("it is renewed", lambda: lease_seconds(database) > 0, seconds=5)
        run(database, "UPDATE retrain_lease SET owner = 'two'")
        wait_until("the loss is noticed", lambda: "another process has taken it" in caplog.text, seconds=5)
        with pytest.raises(LeaseLostError):
            queue.claim()


def test_lock_waits_for_a_short_holder(queue: DatabaseQueue, other: DatabaseQueue) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with queue.lock():
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    threading.Timer(0.2, release.set).start()
    with other.lock(patience=10):
        assert release.is_set()
    holder.join()


def test_all_queues_of_a_process_share_its_lease(database: QueueDatabase, tmp_path: Path) -> None:
    """The steps of a training report their progress through a queue of their own."""
    holder, step = DatabaseQueue(tmp_path, database), DatabaseQueue(tmp_path, database)
    holder.submit("api")
    with holder.lock():
        [record] = holder.claim()
        step.update(record.at_step(Step.TRAIN))
        assert holder.claimed()[0].step is Step.TRAIN
        with pytest.raises(TrainerBusyError), step.lock():
            raise AssertionError("two holders")
    with pytest.raises(LeaseLostError):
        step.update(record)
    assert this_process() == this_process()


def test_takeover_waits_for_a_change_that_has_passed_the_fence(database: QueueDatabase, other: DatabaseQueue) -> None:
    taken = threading.Event()

    def take() -> None:
        with other.lock(patience=10):
            taken.set()

    run(
        database,
        "UPDATE retrain_lease SET owner = 'one', expires_at = TIMESTAMPADD(MICROSECOND, 500000, UTC_TIMESTAMP(6))",
    )
    with database.transaction() as connection:
        TrainerLease(database, "one", 30).fence(connection)
        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.wait(1.5)  # although it has expired by now
    thread.join(10)
    assert taken.is_set()


# -- rows ----------------------------------------------------------------------------------------------


def test_request_that_is_not_claimed_is_not_changed(queue: DatabaseQueue) -> None:
    waiting = queue.submit("api")
    with queue.lock():
        with pytest.raises(LeaseLostError, match=f"{waiting.id} is not claimed; it stays as it is"):
            queue.update(waiting.at_step(Step.TRAIN))
        [record] = queue.claim()
        ended = queue.finish(record, PROMOTED)
        with pytest.raises(LeaseLostError):
            queue.finish(record, PROMOTED.model_copy(update={"outcome": Outcome.FAILED}))
    assert queue.get(waiting.id) == ended


def test_claim_leaves_out_a_request_that_is_being_submitted(database: QueueDatabase, queue: DatabaseQueue) -> None:
    record = RetrainRecord(id=new_id(), source="api", submitted_at=NOW)
    with queue.lock():
        with database.transaction() as connection:
            row = {"id": record.id, "state": "new", "record": record.model_dump_json()}
            connection.execute(insert(requests).values(**row))
            assert queue.claim() == []
        assert queue.claim() == [record]


def test_claim_does_not_stop_a_submission(database: QueueDatabase, queue: DatabaseQueue) -> None:
    first = queue.submit("api")
    with database.transaction() as connection:
        pending = select(requests.c.id).where(requests.c.state == "new").with_for_update(skip_locked=True)
        assert connection.execute(pending).scalars().all() == [first.id]
        queue.submit("api")


@pytest.mark.parametrize(
    ("content", "trouble"),
    [("{", "not a retrain record: Invalid JSON"), ('{"command": "rm"}', "not a retrain record"), ("", "not a retrain")],
)
def test_unreadable_record_is_kept_with_the_reason(
    database: QueueDatabase, queue: DatabaseQueue, content: str, trouble: str
) -> None:
    request_id = queue.submit("api").id
    with database.transaction() as connection:
        connection.execute(requests.update().values(record=content))
    with queue.lock():
        assert queue.claim() == []
    with database.transaction() as connection:
        [row] = connection.execute(requests.select()).all()
    assert (row.id, row.state, row.record) == (request_id, "bad", content)
    assert row.trouble.startswith(trouble)


def test_record_of_another_request_is_unreadable(database: QueueDatabase, queue: DatabaseQueue) -> None:
    first, second = queue.submit("api"), queue.submit("api")
    with database.transaction() as connection:
        content = requests.select().where(requests.c.id == second.id)
        copied = connection.execute(content).one().record
        connection.execute(requests.update().where(requests.c.id == first.id).values(record=copied))
    with queue.lock():
        assert queue.claim() == [second]
    found = queue.get(first.id)
    assert found is not None
    assert found.state is State.FAILED


def test_row_whose_id_is_none_is_shown_to_nobody(database: QueueDatabase, queue: DatabaseQueue) -> None:
    with database.transaction() as connection:
        connection.execute(insert(requests).values(id="forged", state="new", record="{}"))
    assert queue.recent(5) == []


def test_largest_possible_record_can_be_read_again(queue: DatabaseQueue) -> None:
    queue.submit("api")
    widest = "\U0001f600" * 2000
    scores = {f"{number:03d}".ljust(64, "m"): -1.2345678901234567e-300 for number in range(50)}
    result = RetrainResult(outcome=Outcome.REJECTED, reason=widest, challenger=scores, champion=scores, finished_at=NOW)
    with queue.lock():
        [record] = queue.claim()
        given = record.model_dump(exclude={"cause", "last_error", "progress"})
        full = RetrainRecord(**given, cause=widest, last_error=widest, progress=widest)
        queue.update(full)
        assert queue.claimed() == [full]
        ended = queue.finish(full, result)
    assert queue.get(record.id) == ended


# -- the schema and the connection ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("0000", r"the older version 0000 instead of 0001: run python -m src\.services\.queue\.migrate"),
        ("0002", "the newer version 0002 instead of 0001: update this service"),
    ],
)
def test_schema_of_another_version_is_refused_with_what_to_do(
    version: QueueDatabase, queue: DatabaseQueue, found: str, said: str
) -> None:
    with version.engine.begin() as connection:
        connection.execute(schema_version.update().values(version_num=found))
    with pytest.raises(SpoolUnavailableError, match=said):
        queue.submit("api")
    with pytest.raises(SpoolUnavailableError, match=said):
        queue.get(new_id())


def test_database_without_tables_is_refused_with_what_to_do(mysql: MySqlServer, tmp_path: Path) -> None:
    empty = QueueDatabase(mysql.database("queue_empty"))
    with pytest.raises(SpoolUnavailableError, match=r"no tables yet: run python -m src\.services\.queue\.migrate"):
        DatabaseQueue(tmp_path, empty).submit("api")
    empty.engine.dispose()


def test_table_of_versions_that_is_empty_counts_as_no_tables(version: QueueDatabase, queue: DatabaseQueue) -> None:
    run(version, "DELETE FROM retrain_schema")
    with pytest.raises(SpoolUnavailableError, match="no tables yet"):
        queue.recent(1)


@pytest.mark.parametrize(
    ("password", "name", "said"),
    [
        ("wrong-s3cret", "queue", "access denied; check user and password"),
        (PASSWORD, "queue_none", "there is no such database"),
        (PASSWORD, "mysql", "the user has no access to this database"),
    ],
)
def test_refusal_says_why_without_the_address(
    mysql: MySqlServer, tmp_path: Path, password: str, name: str, said: str
) -> None:
    url = f"mysql+pymysql://{USER}:{password.replace(' ', '%20')}@127.0.0.1:{mysql.port}/{name}"
    database = QueueDatabase(SecretStr(url))
    with pytest.raises(SpoolUnavailableError, match=said) as caught:
        DatabaseQueue(tmp_path, database).submit("api")
    assert not {password, USER, "127.0.0.1", str(mysql.port)} & set(str(caught.value).replace("'", " ").split())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    database.engine.dispose()


def test_database_that_is_away_is_reported_at_once(tmp_path: Path) -> None:
    url = SecretStr(f"mysql+pymysql://ann:s3cret@127.0.0.1:{free_port()}/queue")
    queue = DatabaseQueue(tmp_path, QueueDatabase(url))
    with pytest.raises(SpoolUnavailableError, match=r"\(it cannot be reached\); try again"):
        queue.submit("api")
    with pytest.raises(SpoolUnavailableError), queue.lock():
        raise AssertionError("held")


def test_connection_that_is_lost_at_once_is_not_taken_for_missing_tables(
    database: QueueDatabase, tmp_path: Path
) -> None:
    rows = Rows(tmp_path, database)
    queue = rows.open()
    with rows.fault(0, "before", kills=False), pytest.raises(SpoolUnavailableError, match="the connection was lost"):
        queue.submit("api")
    assert rows.states() == {}


def test_lost_connections_are_replaced(database: QueueDatabase, queue: DatabaseQueue) -> None:
    queue.submit("api")
    with database.engine.connect() as connection:
        own = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
    killer = QueueDatabase(SecretStr(database.engine.url.render_as_string(hide_password=False)))
    run(killer, f"KILL {own}")
    killer.engine.dispose()
    assert len(queue.recent(5)) == 1


def test_holder_goes_on_after_an_outage(mysql: MySqlServer, queue: DatabaseQueue) -> None:
    record = queue.submit("api")
    with queue.lock():
        assert queue.claim() == [record]
        mysql.kill()
        with pytest.raises(SpoolUnavailableError):
            queue.finish(record, PROMOTED)
        mysql.start()
        queue.finish(record, PROMOTED)
    found = queue.get(record.id)
    assert found is not None
    assert found.state is State.PROMOTED
    with queue.lock():
        assert queue.claim() == []
