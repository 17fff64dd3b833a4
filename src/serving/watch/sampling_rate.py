"""The sampling rate of the prediction log: as high as the limit of logged rows per second allows."""

import math
from collections import deque

# The limit holds on average over so many seconds.
WINDOW_SECONDS = 10
# The rate is raised only if it would allow this much more, so that steady traffic near a limit does not move it.
MARGIN = 1.25


class SamplingRate:
    """A power of 1/2 that is lowered as soon as more rows are offered than may be logged, and raised once a second.

    Rates are powers of 1/2 because each change starts a new segment. Not thread-safe.

    Args:
        max_rows: rows to log per second, on average.
    """

    def __init__(self, max_rows: float) -> None:
        self._budget = max_rows * WINDOW_SECONDS
        self._past: deque[int] = deque([0] * WINDOW_SECONDS, maxlen=WINDOW_SECONDS)
        self._now = 0
        self.rate = 1.0

    def offer(self, rows: int) -> float:
        """Count rows that may be logged, and return the rate at which they are sampled."""
        self._now += rows
        # This second replaces the oldest one only when it has more rows, as it is not over yet.
        self.rate = min(self.rate, self._allowed(sum(self._past) + max(0, self._now - self._past[0])))
        return self.rate

    def tick(self) -> None:
        """A second has passed."""
        self._past.append(self._now)
        self._now = 0
        offered = sum(self._past)
        self.rate = min(self._allowed(offered), max(self.rate, self._allowed(MARGIN * offered)))

    def _allowed(self, offered: float) -> float:
        """The highest rate at which so many rows in a window do not exceed the limit."""
        if offered <= self._budget:
            return 1.0
        return float(2.0 ** -math.ceil(math.log2(offered / self._budget)))
