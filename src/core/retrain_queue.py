"""The retrain queue: what inference, monitor and trainer may do with requests, whatever carries them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

from src.core.audit_log import AuditLog
from src.core.errors import ConfigError
from src.core.retrain_record import RetrainRecord, RetrainResult, Source
from src.core.retrain_signal import RetrainSpool
from src.core.settings import CommonSettings


class RetrainQueue(Protocol):
    """Requests on their way: pending (``new``), claimed by a training run (``cur``), and finished (``done``).

    Many processes submit and read; only the holder of the trainer lock may claim, update and finish. An accepted id is
    in exactly one state at any time, even if a process is killed at any point. All methods may raise
    SpoolUnavailableError or OSError: the queue cannot be used now.
    """

    @property
    def root(self) -> Path:
        """The folder on the shared volume in which processes keep locks and notes beside the queue."""

    def create(self) -> Self:
        """Create missing folders and return self."""

    def submit(self, source: Source, *, cause: str | None = None, by: str | None = None) -> RetrainRecord:
        """Accept a request durably. Raises SpoolBusyError if too many are pending, and SpoolFullError."""

    def get(self, request_id: str) -> RetrainRecord | None:
        """The request with this id, or None. Any string is a safe argument."""

    def recent(self, limit: int) -> list[RetrainRecord]:
        """The newest requests in any state, newest first."""

    def has_waiting(self) -> bool:
        """Whether any request is pending."""

    def lock(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Hold the trainer lock; wait for it for ``patience`` seconds. Raises TrainerBusyError: it is held."""

    def claim(self) -> list[RetrainRecord]:
        """Claim all pending requests; return all that are claimed and have no outcome, oldest first."""

    def claimed(self) -> list[RetrainRecord]:
        """The claimed requests without an outcome, oldest first; completes what a killed holder has begun."""

    def update(self, record: RetrainRecord) -> None:
        """Replace a claimed record."""

    def finish(self, record: RetrainRecord, result: RetrainResult) -> RetrainRecord:
        """Record a claimed request's outcome; return its last record."""

    def unfinished(self) -> set[str]:
        """The ids of all requests without an outcome."""

    def finished_before(self, moment: datetime) -> list[str]:
        """The ids of requests that ended before a time, oldest first."""

    def forget(self, request_ids: Iterable[str]) -> None:
        """Delete finished requests."""

    def sweep(self, now: datetime) -> int:
        """Delete what killed submitters have left behind for over an hour; return its number."""

    def poisoned(self) -> int:
        """The number of unreadable records that were set aside."""

    def depths(self) -> dict[str, int]:
        """The number of records that are ``new``, ``cur`` and ``bad``."""


def open_queue(settings: CommonSettings, *, max_pending: int = 1000, audit: AuditLog | None = None) -> RetrainQueue:
    """The carrier that RETRAIN_QUEUE names; neither folders nor tables are created, and nothing is connected.

    Args:
        settings: the shared volume and, if it is the carrier, the database.
        max_pending: the maximum number of pending requests.
        audit: where requests and their outcomes are recorded; None if this process neither submits nor ends any.

    Raises:
        ConfigError: the database's driver is not installed, or RETRAIN_DATABASE_URL is invalid.
    """
    if settings.retrain_database_url is None or settings.retrain_queue == "file":
        return RetrainSpool(settings.retrain_dir, max_pending=max_pending, audit=audit)
    try:
        from src.core.retrain_database import DatabaseQueue  # noqa: PLC0415 - installed only where it is used
        from src.core.retrain_tables import QueueDatabase  # noqa: PLC0415 - as above

        database = QueueDatabase(settings.retrain_database_url)
    except ModuleNotFoundError as error:
        raise ConfigError(f"RETRAIN_QUEUE=database needs {error.name}: uv sync with --group queue") from error
    return DatabaseQueue(settings.retrain_dir, database, max_pending=max_pending, audit=audit)
