"""The retrain queue as a table in MySQL, for processes on several hosts (ADR 26).

A transaction takes the place of a rename, and a lease that of the file lock. Each transaction that changes a claimed
request first locks the lease's row: a holder whose lease has expired changes nothing.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, delete, func, insert, select, update

from src.core.audit_log import AuditLog
from src.core.carrier_rules import parse_record, require_room
from src.core.errors import LeaseLostError
from src.core.folders import make_folder
from src.core.retrain_audit import entries_of_end, entry_of_request
from src.core.retrain_record import ID_PATTERN, RetrainRecord, RetrainResult, Source, new_id
from src.core.retrain_tables import QueueDatabase, requests
from src.core.trainer_lease import LEASE_SECONDS, TrainerLease, this_process

_COUNTED = ("new", "cur", "bad")


class DatabaseQueue:
    """The queue in a database whose tables exist; methods raise SpoolUnavailableError where it cannot be used.

    Args:
        root: the folder on the shared volume for locks and notes beside the queue.
        database: where the requests are.
        max_pending: the maximum number of pending requests.
        audit: where requests and their outcomes are recorded; None if this process neither submits nor ends any.
        lease: the trainer lock; None: one of this process.
    """

    def __init__(
        self,
        root: Path,
        database: QueueDatabase,
        *,
        max_pending: int = 1000,
        audit: AuditLog | None = None,
        lease: TrainerLease | None = None,
    ) -> None:
        self.root = root
        self._database = database
        self._max_pending = max_pending
        self._audit = audit
        self._lease = lease or TrainerLease(database, this_process(), LEASE_SECONDS)

    def create(self) -> Self:
        """Create the folder beside the queue and return self; the tables are created by a command of their own."""
        make_folder(self.root, mode=0o770)
        return self

    # -- submitting (inference) ------------------------------------------------------------------------

    def submit(self, source: Source, *, cause: str | None = None, by: str | None = None) -> RetrainRecord:
        """Accept a request durably; see ``RetrainQueue``.

        Raises:
            SpoolBusyError: ``max_pending`` requests are pending.
            SpoolUnavailableError: nothing was accepted, unless the connection was lost in the commit.
        """
        record = RetrainRecord(id=new_id(), source=source, submitted_at=datetime.now(UTC), cause=cause)
        with self._database.transaction() as connection:
            waiting = _depths(connection).get("new", 0)
            require_room(waiting, self._max_pending)
            connection.execute(insert(requests).values(id=record.id, state="new", record=_json_of(record)))
        if self._audit is not None:
            self._audit.append(entry_of_request(record, by))
        return record

    # -- reading (anyone) ------------------------------------------------------------------------------

    def get(self, request_id: str) -> RetrainRecord | None:
        """The request with this id, or None. Any string is a safe argument."""
        if not ID_PATTERN.fullmatch(request_id):
            return None
        with self._database.transaction() as connection:
            text = connection.execute(select(requests.c.record).where(requests.c.id == request_id)).scalar()
        return None if text is None else _shown(request_id, text)

    def recent(self, limit: int) -> list[RetrainRecord]:
        """The newest requests in any state, newest first, at most ``limit``."""
        newest = select(requests.c.id, requests.c.record).order_by(requests.c.id.desc()).limit(limit)
        with self._database.transaction() as connection:
            rows = connection.execute(newest).all()
        return [_shown(request_id, text) for request_id, text in rows if ID_PATTERN.fullmatch(request_id)]

    def has_waiting(self) -> bool:
        """Whether any request is pending, readable or not."""
        with self._database.transaction() as connection:
            return bool(_depths(connection).get("new"))

    def lock(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Hold the trainer lock as a lease; see ``RetrainQueue``."""
        return self._lease.held(patience)

    # -- claiming and ending (holder of the lease) -----------------------------------------------------

    def claim(self) -> list[RetrainRecord]:
        """Claim all pending requests and return the claimed ones, oldest first. Raises LeaseLostError."""
        with self._database.transaction() as connection:
            self._lease.fence(connection)
            # One that is being submitted at this moment waits for the next claim.
            pending = select(requests.c.id).where(requests.c.state == "new").with_for_update(skip_locked=True)
            ids = connection.execute(pending).scalars().all()
            connection.execute(update(requests).where(requests.c.id.in_(ids)).values(state="cur"))
        return self.claimed()

    def claimed(self) -> list[RetrainRecord]:
        """The claimed requests without an outcome, oldest first. Raises LeaseLostError.

        Also completes what a killed holder has begun, and sets unreadable records aside.
        """
        mine = select(requests.c.id, requests.c.record).where(requests.c.state == "cur").order_by(requests.c.id)
        with self._database.transaction() as connection:
            self._lease.fence(connection)
            rows = connection.execute(mine).all()
        records = []
        for request_id, text in rows:
            try:
                record = _record_of(request_id, text)
            except ValueError as error:
                self._change(request_id, state="bad", trouble=str(error)[:1000])
                continue
            if record.result is not None:
                self._move_to_done(record)
            else:
                records.append(record)
        return records

    def update(self, record: RetrainRecord) -> None:
        """Replace a claimed record. Raises LeaseLostError."""
        self._change(record.id, record=_json_of(record))

    def finish(self, record: RetrainRecord, result: RetrainResult) -> RetrainRecord:
        """Record a claimed request's outcome, then its end. Raises LeaseLostError."""
        ended = record.ended(result)
        self.update(ended)
        self._move_to_done(ended)
        return ended

    def _move_to_done(self, record: RetrainRecord) -> None:
        """Record the end, then change the state: after a crash between them, ``claimed`` does both again."""
        if self._audit is not None:
            self._audit.append(*entries_of_end(record))
        finished_at = None if record.result is None else _as_stored(record.result.finished_at)
        self._change(record.id, state="done", finished_at=finished_at)

    def _change(self, request_id: str, **values: object) -> None:
        is_claimed = requests.c.id == request_id, requests.c.state == "cur"
        with self._database.transaction() as connection:
            self._lease.fence(connection)
            if connection.execute(update(requests).where(*is_claimed).values(**values)).rowcount != 1:
                raise LeaseLostError(f"retrain request {request_id} is not claimed; it stays as it is")

    # -- retention and metrics -------------------------------------------------------------------------

    def unfinished(self) -> set[str]:
        """The ids of all requests without an outcome."""
        with self._database.transaction() as connection:
            return set(connection.execute(select(requests.c.id).where(requests.c.state.in_(["new", "cur"]))).scalars())

    def finished_before(self, moment: datetime) -> list[str]:
        """The ids of requests that ended before a time, oldest first."""
        ended = requests.c.state == "done", requests.c.finished_at < _as_stored(moment)
        with self._database.transaction() as connection:
            return list(connection.execute(select(requests.c.id).where(*ended).order_by(requests.c.id)).scalars())

    def forget(self, request_ids: Iterable[str]) -> None:
        """Delete finished requests."""
        ended = requests.c.state == "done", requests.c.id.in_(list(request_ids))
        with self._database.transaction() as connection:
            connection.execute(delete(requests).where(*ended))

    def sweep(self, now: datetime) -> int:  # noqa: ARG002 - the interface's
        """Nothing: a killed submitter leaves nothing behind."""
        return 0

    def poisoned(self) -> int:
        """The number of unreadable records."""
        return self.depths()["bad"]

    def depths(self) -> dict[str, int]:
        """The number of records that are ``new``, ``cur`` and ``bad``."""
        with self._database.transaction() as connection:
            found = _depths(connection)
        return {state: found.get(state, 0) for state in _COUNTED}


def _depths(connection: Connection) -> dict[str, int]:
    counted = select(requests.c.state, func.count()).where(requests.c.state.in_(_COUNTED)).group_by(requests.c.state)
    return dict(connection.execute(counted).tuples().all())


def _json_of(record: RetrainRecord) -> str:
    return record.model_dump_json(exclude_none=True)


def _record_of(request_id: str, text: str) -> RetrainRecord:
    """The record of a row. Raises ValueError if it is not valid."""
    record = parse_record(text)
    if record.id != request_id:
        raise ValueError("its id is not that of its row")
    return record


def _shown(request_id: str, text: str) -> RetrainRecord:
    try:
        return _record_of(request_id, text)
    except ValueError:
        return RetrainRecord.unreadable(request_id)


def _as_stored(moment: datetime) -> datetime:
    """UTC without a zone, as MySQL keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
