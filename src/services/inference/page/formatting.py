"""Formats numbers and times for people."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

# Shown for a missing value.
NONE = "—"
MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Moment:
    """A time: relative (``shown``), absolute (``full``) and as ISO 8601 (``iso``)."""

    shown: str
    full: str
    iso: str


def moment(at: datetime | None, now: datetime) -> Moment | None:
    """A time relative to now, rounded to minutes so that the page rarely changes; None for None."""
    if at is None:
        return None
    utc, seconds = at.astimezone(UTC), (now - at).total_seconds()
    shown = "just now" if seconds < MINUTE else f"{lasting(seconds)} ago"
    return Moment(shown, f"{utc:%Y-%m-%d %H:%M:%S} UTC", utc.isoformat(timespec="seconds"))


def lasting(seconds: float) -> str:
    """A duration in its largest unit: ``42 s``, ``5 min``, ``3 h``, ``12 d``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def coarsely(seconds: float) -> str:
    """A duration so far, in steps of five seconds, so that the page rarely changes."""
    return lasting(seconds // 5 * 5 if seconds < MINUTE else seconds)


def number(value: float) -> str:
    """A number with four significant digits, or a dash if it is not finite."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.4g}"


def score(value: float | None) -> str:
    """A model's score with the gate's number of decimals, or a dash for None."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"  # noqa: PLR2004 - an error in the target's unit


def percent(share: float) -> str:
    """A share, from 0 to 1, in percent."""
    return f"{share * 100:.1f} %"
