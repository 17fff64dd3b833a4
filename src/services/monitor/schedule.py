"""Requests trainings at the times of ``RETRAIN_SCHEDULE``, each time once."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from src.core.durable_file import replace_durably
from src.core.errors import ConfigError
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_record import State

HANDLED_FILE = "schedule.json"
FIELDS = 5
# A clock that is set back by more was wrong before: the times until then do not count as handled.
CLOCK_TOLERANCE = timedelta(hours=1)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """A cron expression in a time zone.

    On a day when the clocks change, it behaves as Debian's cron does. A fixed time that does not exist is the first
    one after the gap, and one that exists twice is its first occurrence. With ``*`` in the minutes or hours, the
    expression is compared with the clock as it is, so that ``0 * * * *`` is every hour that passes.
    """

    expression: str
    fields: str
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read five fields and optionally a time zone, such as ``0 3 * * 1 Europe/Berlin``; UTC without one.

        Raises:
            ConfigError: it is no cron expression, it never occurs, or the zone is unknown.
        """
        parts = text.split()
        fields = " ".join(parts[:FIELDS])
        try:
            zone = UTC if len(parts) <= FIELDS else ZoneInfo(" ".join(parts[FIELDS:]))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            name = " ".join(parts[FIELDS:])
            raise ConfigError(
                f"wrong environment: RETRAIN_SCHEDULE: there is no time zone {name!r}; after the five fields, write a "
                "name such as Europe/Berlin, or none for UTC (see .env.example)"
            ) from None
        schedule = cls(" ".join(parts), fields, zone)
        try:
            schedule.next_after(datetime.now(UTC))
        except (CronSimError, StopIteration) as error:
            reason = str(error) or "it never occurs"
            raise ConfigError(
                f"wrong environment: RETRAIN_SCHEDULE: {fields!r} is not a cron expression ({reason}); write minute, "
                "hour, day of month, month and day of week, such as 0 3 * * 1 (see .env.example)"
            ) from None
        return schedule

    def next_after(self, moment: datetime) -> datetime:
        """The first time after ``moment``, in UTC. Raises StopIteration if there is none within 50 years."""
        times = CronSim(self.fields, moment.astimezone(self.zone))
        # In the second of two equal hours, the first times are those of the first one.
        return next(found for time in times if (found := time.astimezone(UTC)) > moment)


class _Handled(BaseModel):
    """The times of an expression up to ``until`` are handled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: str
    until: AwareDatetime


class ScheduledRequests:
    """Submits one request when one or more times of a schedule have passed since the last step.

    What is handled is in ``schedule.json`` of the spool. If the monitor is killed after it has submitted a request and
    before it has recorded that, it submits another one after its restart, unless the first is still waiting.

    Args:
        spool: the retrain spool, whose folders exist.
        schedule: None: nothing is submitted, and what was handled is forgotten.
    """

    def __init__(self, spool: RetrainQueue, schedule: Schedule | None) -> None:
        self._spool = spool
        self._schedule = schedule
        self._file: Path = spool.root / HANDLED_FILE
        self._handled: _Handled | None = None
        self._is_read = False

    def step(self, now: datetime) -> datetime | None:
        """Submit a request if a time has come; return the next one, None without a schedule.

        Raises:
            LoopError: the request cannot be submitted; the next step tries again.
            OSError: the record cannot be read or written. Times are handled once all the same, until a restart.
        """
        if not self._is_read:
            self._handled = self._read()
            self._is_read = True
        schedule, handled = self._schedule, self._handled
        if schedule is None:
            if handled is not None:
                self._file.unlink(missing_ok=True)
                self._handled = None
            return None
        if handled is None or handled.expression != schedule.expression or handled.until - now > CLOCK_TOLERANCE:
            handled = self._record(schedule, now)
            logger.info("the next scheduled training: %s", schedule.next_after(now).isoformat())
        due = schedule.next_after(handled.until)
        if due > now:
            return due
        self._submit(schedule, due)
        self._record(schedule, now)
        return schedule.next_after(now)

    def _submit(self, schedule: Schedule, due: datetime) -> None:
        """Submit a request, unless one is waiting: its training will read the same data."""
        if any(self._is_waiting(request_id) for request_id in self._spool.unfinished()):
            logger.info("scheduled for %s: a retrain request is waiting already", due.isoformat())
            return
        record = self._spool.submit("schedule", cause=schedule.expression, by="monitor")
        logger.info("scheduled for %s: retrain request %s", due.isoformat(), record.id)

    def _is_waiting(self, request_id: str) -> bool:
        record = self._spool.get(request_id)
        return record is not None and record.state is State.QUEUED

    def _record(self, schedule: Schedule, until: datetime) -> _Handled:
        # In memory first: while the volume is full, a time must not be requested again in every step.
        self._handled = handled = _Handled(expression=schedule.expression, until=until)
        replace_durably(self._file, handled.model_dump_json().encode())
        return handled

    def _read(self) -> _Handled | None:
        try:
            return _Handled.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            logger.warning("%s is damaged; the schedule starts anew, and times until now are not requested", self._file)
            return None
