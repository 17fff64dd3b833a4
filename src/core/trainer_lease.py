"""The trainer lock as a lease in the database: it has an owner and an expiry, and it fences the queue's rows."""

import contextlib
import functools
import logging
import os
import socket
import threading
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Update, func, literal_column, or_, select, update

from src.core.carrier_rules import take_trainer_lock
from src.core.errors import LeaseLostError, SpoolUnavailableError
from src.core.retrain_record import new_id
from src.core.retrain_tables import NOW, TRAINER, QueueDatabase, leases

LEASE_SECONDS = 30.0
# How many times a lease is renewed before it would expire.
RENEWALS = 6
PAUSE_SECONDS = 0.05
_MICROSECOND: ColumnElement[str] = literal_column("MICROSECOND")

logger = logging.getLogger(__name__)


@functools.cache
def this_process() -> str:
    """The owner of this process's leases, unique among all processes that ever run."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{new_id()}"


class TrainerLease:
    """Held by one owner at a time, by the database's clock. A killed owner's lease ends when it expires.

    Args:
        database: where the lease is.
        owner: all queues of a process have the same, so that the steps of a training may report its progress.
        seconds: how long a lease lasts without a renewal.
    """

    def __init__(self, database: QueueDatabase, owner: str, seconds: float) -> None:
        self._database = database
        self._owner = owner
        self._seconds = seconds

    @contextlib.contextmanager
    def held(self, patience: float) -> Iterator[None]:
        """Hold the lease, renewed by a thread. Raises TrainerBusyError, SpoolUnavailableError."""
        take_trainer_lock(self._take, patience, PAUSE_SECONDS)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(ended,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self._release()

    def fence(self, connection: Connection) -> None:
        """Keep the lease until the transaction ends: nobody else can take it before. Raises LeaseLostError."""
        held = select(leases.c.owner).where(*self._is_mine(), leases.c.expires_at > NOW).with_for_update()
        if connection.execute(held).first() is None:
            raise LeaseLostError("the lease of the trainer lock has expired; another process may serve its requests")

    def _is_mine(self) -> tuple[ColumnElement[bool], ...]:
        return leases.c.name == TRAINER, leases.c.owner == self._owner

    def _take(self) -> bool:
        is_free = or_(leases.c.owner == "", leases.c.expires_at <= NOW)
        with self._database.transaction() as connection:
            taken = connection.execute(self._until_expiry().where(leases.c.name == TRAINER, is_free))
        return taken.rowcount == 1

    def _renew(self) -> bool:
        """Renew the lease, also one that has expired and that nobody else has taken; False if somebody has."""
        with self._database.transaction() as connection:
            renewed = connection.execute(self._until_expiry().where(*self._is_mine()))
        return renewed.rowcount == 1

    def _until_expiry(self) -> Update:
        expiry = func.timestampadd(_MICROSECOND, round(self._seconds * 1e6), NOW)
        return update(leases).values(owner=self._owner, expires_at=expiry)

    def _renew_until(self, ended: threading.Event) -> None:
        while not ended.wait(self._seconds / RENEWALS):
            try:
                if not self._renew():
                    logger.error("the lease of the trainer lock was lost: another process has taken it")
                    return
            except SpoolUnavailableError as error:
                logger.warning("the lease of the trainer lock cannot be renewed: %s", error)

    def _release(self) -> None:
        """Give the lease back, if it is still held; where the database is away, it expires."""
        try:
            with self._database.transaction() as connection:
                connection.execute(update(leases).where(*self._is_mine()).values(owner=""))
        except SpoolUnavailableError as error:
            logger.warning("the lease of the trainer lock is not given back and expires instead: %s", error)
