"""How often a request may be tried, and how long to wait in between."""

from dataclasses import dataclass
from datetime import datetime

from src.core.retrain_record import RetrainRecord
from src.core.settings import MonitorSettings


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

    def pause_left(self, record: RetrainRecord, now: datetime) -> float:
        """Seconds of backoff left to a request whose last attempt ended without an outcome, else 0."""
        if record.attempts == 0 or record.started_at is None:
            return 0.0
        elapsed = (now - record.started_at).total_seconds()
        # A clock that was set back must not make anybody wait for the old time to come round again.
        return max(0.0, self.backoff(record.attempts) - elapsed) if elapsed >= 0 else 0.0
