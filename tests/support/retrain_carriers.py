"""Both carriers of the retrain queue, as tests see them: open it as another process, look inside, break it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import pymysql
from sqlalchemy import select, text, update

from src.core.audit_log import AuditLog
from src.core.retrain_database import DatabaseQueue
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_signal import RetrainSpool
from src.core.retrain_tables import QueueDatabase, requests
from src.core.trainer_lease import TrainerLease
from tests.support.faults import Fault, Killed


class Carrier(Protocol):
    """One queue; ``open`` is how a process sees it."""

    root: Path

    def open(self, process: str = "one", *, max_pending: int = 1000, audit: AuditLog | None = None) -> RetrainQueue:
        """The queue as a process of this name opens it."""

    def states(self) -> dict[str, list[str]]:
        """The states of each id."""

    def spoil(self, request_id: str) -> None:
        """Make the record of a request unreadable."""

    def expire_lock(self) -> None:
        """What time does to the lock of a holder that was killed."""

    def fault(self, at: int, when: str, *, kills: bool) -> contextlib.AbstractContextManager[None]:
        """Strike at the ``at``-th access of the carrier, before or after it takes effect."""


class Files:
    """The spool."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, process: str = "one", *, max_pending: int = 1000, audit: AuditLog | None = None) -> RetrainQueue:
        del process
        return RetrainSpool(self.root, max_pending=max_pending, audit=audit).create()

    def states(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for state in ("new", "cur", "done", "bad"):
            for path in (self.root / state).glob("*.json"):
                found.setdefault(path.stem, []).append(state)
        return found

    def spoil(self, request_id: str) -> None:
        for state in ("new", "cur"):
            if (path := self.root / state / f"{request_id}.json").exists():
                path.write_text("{")

    def expire_lock(self) -> None:
        """Nothing: the kernel has released it."""

    @contextlib.contextmanager
    def fault(self, at: int, when: str, *, kills: bool) -> Iterator[None]:
        with Fault(at, when, error=None if kills else 5).injected():
            yield


class Rows:
    """The table."""

    def __init__(self, root: Path, database: QueueDatabase, lease_seconds: float = 30) -> None:
        self.root, self._database, self._seconds = root, database, lease_seconds
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM retrain_request")
            connection.exec_driver_sql("UPDATE retrain_lease SET owner = ''")

    def open(self, process: str = "one", *, max_pending: int = 1000, audit: AuditLog | None = None) -> RetrainQueue:
        lease = TrainerLease(self._database, process, self._seconds)
        return DatabaseQueue(self.root, self._database, max_pending=max_pending, audit=audit, lease=lease).create()

    def states(self) -> dict[str, list[str]]:
        with self._database.transaction() as connection:
            return {found: [state] for found, state in connection.execute(select(requests.c.id, requests.c.state))}

    def spoil(self, request_id: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(update(requests).where(requests.c.id == request_id).values(record="{"))

    def expire_lock(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(text("UPDATE retrain_lease SET expires_at = UTC_TIMESTAMP(6)"))

    @contextlib.contextmanager
    def fault(self, at: int, when: str, *, kills: bool) -> Iterator[None]:
        """Strikes at a statement or a commit of this thread; the connection is lost, or the process killed."""
        calls, struck = 0, False

        def faulty(real: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal calls, struck
                if threading.current_thread() is not threading.main_thread():
                    return real(*arguments, **options)
                if struck and kills:
                    raise Killed
                number, calls = calls, calls + 1
                if number != at:
                    return real(*arguments, **options)
                struck = True
                if when == "after":
                    real(*arguments, **options)
                raise Killed if kills else pymysql.err.OperationalError(2013, "Lost connection to MySQL server")

            return call

        execute, commit = pymysql.cursors.Cursor.execute, pymysql.connections.Connection.commit
        with (
            patch.object(pymysql.cursors.Cursor, "execute", faulty(execute)),
            patch.object(pymysql.connections.Connection, "commit", faulty(commit)),
        ):
            yield
