"""Shows how far a run is: one line that is updated on a terminal, or a line now and then elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from src.core.counting import counted

WIDTH = 24
SECONDS_BETWEEN_LINES = 10.0
MINUTE, HOUR = 60, 3600


@dataclass
class Progress:
    """The progress of a run over so many files of so many bytes.

    Args:
        files: the number of files.
        size: their bytes, by which the time left is estimated.
        stream: where it is shown.
        clock: a time in seconds.
    """

    files: int
    size: int
    stream: TextIO
    clock: Callable[[], float] = time.monotonic
    rows: int = 0
    _done_files: int = 0
    _done_size: int = 0
    _started: float = field(init=False)
    _shown: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self._shown = self.clock()

    def add(self, rows: int, size: int) -> None:
        """Count a finished file."""
        self.rows += rows
        self._done_files += 1
        self._done_size += size
        is_last = self._done_files == self.files
        if self.stream.isatty():
            self.stream.write("\r\x1b[K" + self.line() + ("\n" if is_last else ""))
            self.stream.flush()
        elif is_last or self.clock() - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = self.clock()
            self.stream.write(self.line() + "\n")
            self.stream.flush()

    def line(self) -> str:
        """The progress so far."""
        seconds = max(self.clock() - self._started, 1e-9)
        share = self._done_size / self.size if self.size else 1.0
        bar = "#" * round(WIDTH * share)
        left = seconds * (self.size - self._done_size) / self._done_size if self._done_size else 0.0
        ending = f"{duration(left)} left" if self._done_files < self.files else f"in {duration(seconds)}"
        return (
            f"[{bar:<{WIDTH}}] {self._done_files} of {counted(self.files, 'file')}, {self.rows:,} rows, "
            f"{self.rows / seconds:,.0f} rows/s, {ending}"
        )


def duration(seconds: float) -> str:
    """A time for people: seconds below a minute, minutes below an hour."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
