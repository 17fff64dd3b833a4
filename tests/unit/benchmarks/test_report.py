from pathlib import Path

import msgspec
import pytest

from benchmarks.goals import TIMES
from benchmarks.load.figures import Figures
from benchmarks.machine import Machine
from benchmarks.measure import ONE_ROW_ONLY, Measurement
from benchmarks.picture import draw
from benchmarks.report import NONE, markdown
from benchmarks.results import Outcome, Results


def figures(per_second: float, p50: float | None, **errors: int) -> Figures:
    return Figures(100, per_second, p50, 2.0, 3.0, 4.0, errors, client_cpu=0.5, sent_late_p99=0.125)


def measurement(per_second: float, *, batch: float | None = None, refused: str | None = None) -> Measurement:
    return Measurement(
        start_seconds=1.25,
        memory_bytes=95_000_000,
        closed={1: figures(per_second, 0.25), 16: figures(2 * per_second, 1.5)},
        open={25.0: figures(25, 0.75)},
        batches={} if batch is None else {1000: figures(10, batch)},
        refused=refused,
    )


def machine(*, load: float = 0.1) -> Machine:
    return Machine("a processor", 2, 8 * 2**30, "Linux 6", "3.11.7", load, "2026-11-24 12:00 UTC")


def results(*outcomes: Outcome, load: float = 0.1) -> Results:
    return Results(machine(load=load), "make bench", rounds=3, seconds=4.0, outcomes=list(outcomes))


def row(page: str, title: str, *, table: int = 0) -> list[str]:
    """The cells of a title's row in the page's table of that number among those that have it."""
    rows = [line for line in page.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")]


OURS = Outcome("ours", "this service", "", [measurement(3000, batch=5), measurement(9000, batch=4), measurement(4000)])
ECHO = Outcome("echo", "an echo", "", [measurement(2000, refused=ONE_ROW_ONLY)])


def test_table_has_medians_over_the_rounds() -> None:
    page = markdown(results(OURS, ECHO))
    assert row(page, "this service") == [
        "this service", "4,000", "0.25", "3.00", "8,000", "1.50", "3.00", "1.2", "95",
    ]  # fmt: skip
    assert row(page, "this service", table=1) == ["this service", "0.75", "2.00", "3.00", "4.00"]
    assert row(page, "this service", table=2) == ["this service", "4.50"]
    assert row(page, "this service", table=3) == ["this service", "4.50"]
    assert "late by at most 0.12 ms" in page


def test_ratios_say_how_many_times_faster_this_service_is() -> None:
    before = Outcome("before", "this service, before", "", [measurement(1000)])
    page = markdown(results(OURS, before, ECHO))
    assert "- this service against an echo: 2.00 at 1, 2.00 at 16" in page
    assert "- this service against this service, before: 4.00 at 1, 4.00 at 16" in page
    assert "Multiples" not in markdown(results(ECHO))


def test_health_beside_large_requests_is_the_worst_of_all_rounds() -> None:
    rounds = [measurement(1), measurement(1), measurement(1)]
    for one, longest in zip(rounds[:2], (7.0, 21.5), strict=True):
        one.health[1000] = msgspec.structs.replace(figures(50, 1.0), maximum=longest)
    page = markdown(results(Outcome("ours", "this service", "", rounds), ECHO))
    assert row(page.partition("## `/health`")[2], "this service") == ["this service", "21.5"]
    rounds[2].health[1000] = figures(50, 1.0, **{"status 503": 2})
    page = markdown(results(Outcome("ours", "this service", "", rounds), ECHO))
    assert row(page.partition("## `/health`")[2], "this service") == ["this service", "inf"]
    assert "- this service: status 503: 2" in page


def test_goals_say_whether_they_are_met() -> None:
    page = markdown(results(OURS, ECHO))
    assert row(page, "`/predict` against FastAPI's echo, 1 conn.")[1:] == [f"≥ 1.50 {TIMES}", "2.00", "yes"]
    assert row(page, "`/predict` against FastAPI's echo, 16 conn.")[1:] == [f"≥ 4.50 {TIMES}", "2.00", "**no**"]
    assert row(page, "`/invocations` against FastAPI's echo, 16 conn.")[2:] == [NONE, NONE]


def test_a_busy_machine_is_named_in_the_page() -> None:
    assert "0.10 (idle)" in markdown(results(OURS))
    assert "3.50 (**not idle" in markdown(results(OURS, load=3.5))


def test_a_server_that_failed_is_shown_with_its_log_and_has_no_row() -> None:
    page = markdown(results(OURS, Outcome("peer", "a peer", "", failure="it ended with exit code 1\nImportError: x")))
    assert "- a peer failed:\n\n  ```text\n  it ended with exit code 1\n  ImportError: x\n  ```" in page
    assert "| a peer |" not in page


def test_remarks_tell_notes_errors_and_why_there_are_no_batches() -> None:
    erring = measurement(10, refused="status 422 for 1000 rows")
    erring.closed[1] = figures(10, None, **{"status 503": 7})
    page = markdown(results(Outcome("peer", "a peer", "one worker", [erring]), ECHO))
    assert "- a peer: one worker; not all batches: status 422 for 1000 rows; status 503: 7" in page
    assert "- an echo" not in page
    assert row(page, "a peer")[2] == "\N{EN DASH}"


@pytest.mark.parametrize("outcomes", [[], [OURS, ECHO]])
def test_picture_shows_every_server(tmp_path: Path, outcomes: list[Outcome]) -> None:
    draw(results(*outcomes), tmp_path / "results.svg")
    picture = (tmp_path / "results.svg").read_text()
    assert picture.count("<!-- this service -->") == (2 if outcomes else 0)  # an axis and the legend
    assert picture.count("<!-- an echo -->") == (1 if outcomes else 0)
