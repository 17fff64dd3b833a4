"""The progress line: on a terminal, and elsewhere."""

import io

import pytest

from src.services.batch.progress import SECONDS_BETWEEN_LINES, Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_has_files_rows_speed_and_the_time_left_by_bytes() -> None:
    clock = Clock()
    progress = Progress(3, 400, io.StringIO(), clock)
    clock.now += 50
    progress.add(1000, 100)
    assert progress.line() == f"[{'#' * 6}{' ' * 18}] 1 of 3 files, 1,000 rows, 20 rows/s, 2 min 30 s left"
    clock.now += 50
    progress.add(3000, 100)
    assert progress.line() == f"[{'#' * 12}{' ' * 12}] 2 of 3 files, 4,000 rows, 40 rows/s, 1 min 40 s left"
    progress.add(0, 200)
    assert progress.line() == f"[{'#' * 24}] 3 of 3 files, 4,000 rows, 40 rows/s, in 1 min 40 s"


def test_terminal_has_one_line_that_is_updated_and_ends() -> None:
    stream = Terminal()
    progress = Progress(2, 2, stream, Clock())
    progress.add(1, 1)
    progress.add(1, 1)
    first, second = stream.getvalue().split("\r\x1b[K")[1:]
    assert first.startswith("[")
    assert "\n" not in first
    assert second.endswith("\n")
    assert "2 of 2 files" in second


def test_elsewhere_a_line_appears_now_and_then_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(5, 5, stream, clock)
    progress.add(1, 1)
    assert stream.getvalue() == ""
    clock.now += SECONDS_BETWEEN_LINES
    progress.add(1, 1)
    progress.add(1, 1)
    assert stream.getvalue().count("\n") == 1
    clock.now += SECONDS_BETWEEN_LINES
    progress.add(1, 1)
    progress.add(1, 1)
    lines = stream.getvalue().splitlines()
    assert [line[line.index("]") + 2 :].partition(" files")[0] for line in lines] == ["2 of 5", "4 of 5", "5 of 5"]


def test_files_without_bytes_are_no_division_by_zero() -> None:
    progress = Progress(2, 0, io.StringIO(), Clock())
    progress.add(0, 0)
    assert "1 of 2 files, 0 rows, 0 rows/s, 0 s left" in progress.line()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (7384, "2 h 3 min")],
)
def test_durations_are_in_units_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
