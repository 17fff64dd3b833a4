"""When a training is requested, how often a request is tried, and how long to wait in between."""

from dataclasses import dataclass
from datetime import datetime

from src.core.monitor_settings import MonitorSettings
from src.core.retrain_record import RetrainRecord
from src.services.monitor.schedule import Schedule

# A failed start is retried soon, because no event says that it would succeed now.
START_PAUSE_MAX_SECONDS = 15.0


@dataclass(frozen=True)
class RetrainPolicy:
    """The policy's numbers; times in seconds. ``schedule`` is None where no training is scheduled."""

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float
    poll_seconds: float
    schedule: Schedule | None = None

    @classmethod
    def from_settings(cls, settings: MonitorSettings) -> "RetrainPolicy":
        """The policy from the environment's settings. Raises ConfigError: the schedule is invalid."""
        text = settings.retrain_schedule
        return cls(
            max_attempts=settings.retrain_max_attempts,
            backoff_seconds=settings.retrain_backoff_seconds,
            backoff_max_seconds=settings.retrain_backoff_max_seconds,
            poll_seconds=settings.monitor_poll_seconds,
            schedule=None if text is None else Schedule.parse(text),
        )

    def backoff(self, attempts: int) -> float:
        """Seconds from the start of attempt number ``attempts`` to the next."""
        doublings = min(attempts - 1, 60)  # a larger exponent would exceed a float's range
        return float(min(self.backoff_max_seconds, self.backoff_seconds * 2**doublings))

    def start_pause_left(self, failures: int, failed_at: datetime | None, now: datetime) -> float:
        """Seconds until the next start after so many consecutive failed starts."""
        if not failures or failed_at is None:
            return 0.0
        return _left(min(self.backoff(failures), START_PAUSE_MAX_SECONDS), failed_at, now)

    def pause_left(self, record: RetrainRecord, now: datetime) -> float:
        """Remaining seconds of backoff of a request whose last attempt ended without an outcome, else 0."""
        if record.attempts == 0 or record.started_at is None:
            return 0.0
        return _left(self.backoff(record.attempts), record.started_at, now)


def _left(pause: float, since: datetime, now: datetime) -> float:
    """The rest of a pause, in seconds; it is 0 if the clock was set back."""
    elapsed = (now - since).total_seconds()
    return max(0.0, pause - elapsed) if elapsed >= 0 else 0.0
