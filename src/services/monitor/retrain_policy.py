"""How often a request may be tried, and how long to wait in between."""

from dataclasses import dataclass
from datetime import datetime

from src.core.retrain_record import RetrainRecord
from src.core.settings import MonitorSettings

# What cannot be started is looked at again soon: nothing tells the monitor that it can be.
START_PAUSE_MAX_SECONDS = 15.0


@dataclass(frozen=True)
class RetrainPolicy:
    """The policy's numbers; times in seconds."""

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float
    poll_seconds: float

    @classmethod
    def from_settings(cls, settings: MonitorSettings) -> "RetrainPolicy":
        """The numbers that the environment sets."""
        return cls(
            max_attempts=settings.retrain_max_attempts,
            backoff_seconds=settings.retrain_backoff_seconds,
            backoff_max_seconds=settings.retrain_backoff_max_seconds,
            poll_seconds=settings.monitor_poll_seconds,
        )

    def backoff(self, attempts: int) -> float:
        """Seconds from the start of attempt number ``attempts`` to the next."""
        doublings = min(attempts - 1, 60)  # more would leave a float's range
        return float(min(self.backoff_max_seconds, self.backoff_seconds * 2**doublings))

    def start_pause_left(self, failures: int, failed_at: datetime | None, now: datetime) -> float:
        """Seconds until a training may be started again after so many starts in a row that did not come about."""
        if not failures or failed_at is None:
            return 0.0
        return _left(min(self.backoff(failures), START_PAUSE_MAX_SECONDS), failed_at, now)

    def pause_left(self, record: RetrainRecord, now: datetime) -> float:
        """Seconds of backoff left to a request whose last attempt ended without an outcome, else 0."""
        if record.attempts == 0 or record.started_at is None:
            return 0.0
        return _left(self.backoff(record.attempts), record.started_at, now)


def _left(pause: float, since: datetime, now: datetime) -> float:
    """What is left of a pause, in seconds; a clock that was set back ends it rather than stretching it."""
    elapsed = (now - since).total_seconds()
    return max(0.0, pause - elapsed) if elapsed >= 0 else 0.0
