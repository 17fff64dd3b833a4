"""Numbers and times as people read them."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

# Where there is nothing to show.
NONE = "—"
MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Moment:
    """A time for people, ``shown``, in full on request, ``full``, and for machines, ``iso``."""

    shown: str
    full: str
    iso: str


def moment(at: datetime | None, now: datetime) -> Moment | None:
    """How long ago a time is, to the minute, so that what is shown changes seldom; None where there is none."""
    if at is None:
        return None
    utc, seconds = at.astimezone(UTC), (now - at).total_seconds()
    shown = "just now" if seconds < MINUTE else f"{lasting(seconds)} ago"
    return Moment(shown, f"{utc:%Y-%m-%d %H:%M:%S} UTC", utc.isoformat(timespec="seconds"))


def lasting(seconds: float) -> str:
    """A duration to its largest unit: ``42 s``, ``5 min``, ``3 h``, ``12 d``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def coarsely(seconds: float) -> str:
    """The same for what still goes on, in steps of five seconds, so that what is shown changes seldom."""
    return lasting(seconds // 5 * 5 if seconds < MINUTE else seconds)


def number(value: float) -> str:
    """A number to four significant digits, or a dash for none."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.4g}"


def score(value: float | None) -> str:
    """A model's score with as many decimals as the gate tells, or a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"  # noqa: PLR2004 - an error in the target's own unit


def percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share * 100:.1f} %"
