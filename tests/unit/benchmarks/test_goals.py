import pytest

from benchmarks.goals import FORMATS, LARGE, Goal, goals
from benchmarks.load.figures import Figures
from benchmarks.measure import Measurement
from benchmarks.results import Outcome, Results
from tests.unit.benchmarks.test_report import machine


def figures(per_second: float = 1.0, p50: float = 1.0, p99: float = 1.0, maximum: float = 1.0) -> Figures:
    return Figures(1, per_second, p50, p99, p99, maximum, {}, client_cpu=0.1)


def outcome(name: str, per_second: float, *, large_ms: float, health_ms: float = 1.0, start: float = 1.0) -> Outcome:
    """Requests/s of single rows, ms of a large request, the longest of /health beside it, and the start in seconds."""
    closed = {count: figures(per_second, p99=2.0) for count in (1, 16, 64)}
    health = {LARGE: figures(maximum=health_ms)}
    one = Measurement(start, 100_000_000, closed, {}, {LARGE: figures(p50=large_ms)}, None, health)
    return Outcome(name, name.title(), "", [one])


def found(*outcomes: Outcome) -> dict[str, Goal]:
    return {goal.what: goal for goal in goals(Results(machine(), "make bench", 1, 1.0, list(outcomes)))}


def test_every_goal_is_named_before_anything_is_measured() -> None:
    every = found()
    assert len(every) == 7 + 1 + 2 + len(FORMATS) + 1 + 2
    assert all(goal.met is None for goal in every.values())


def test_throughput_is_that_of_each_route_against_the_echo_and_the_fastest_peer() -> None:
    peers = [outcome("slow", 1, large_ms=900), outcome("fast", 10, large_ms=900)]
    ours = outcome("ours", 190, large_ms=100), outcome("ours-v2", 20, large_ms=100)
    bare = outcome("echo", 40, large_ms=1), outcome("constant", 400, large_ms=1), outcome("asgi", 400, large_ms=1)
    every = found(*ours, *bare, *peers, outcome("before", 180, large_ms=1), outcome("before-v2", 180, large_ms=1))
    shares = {what: (goal.measured, goal.met) for what, goal in every.items()}
    assert shares["`/predict` against FastAPI's echo, 16 conn."] == (4.75, True)
    assert shares["`/predict` against FastAPI's echo, 64 conn."] == (4.75, False)
    assert shares["V2 `infer` against FastAPI's echo, 64 conn."] == (0.5, False)
    assert shares["`/predict` against the fastest peer (Fast), 64 conn."] == (19.0, True)
    assert shares["`/predict`, p99 against p50, 16 conn."] == (2.0, True)


@pytest.mark.parametrize(("form", "met"), [("records", False), ("Parquet", True)])
def test_a_large_table_costs_at_most_what_the_best_peer_s_does(form: str, *, met: bool) -> None:
    ours = outcome("ours", 1, large_ms=250), outcome("ours-parquet", 1, large_ms=150)
    every = found(*ours, outcome("best", 1, large_ms=200), outcome("other", 1, large_ms=300))
    goal = every[f"100,000 rows as {form} against the best peer (Best)"]
    assert goal.limit == pytest.approx(2.0)
    assert goal.met is met


def test_health_start_and_memory_are_the_worst_of_all_routes() -> None:
    every = found(
        outcome("ours", 1, large_ms=1, health_ms=20, start=1.0),
        outcome("ours-mlflow", 1, large_ms=1, health_ms=51, start=1.6),
    )
    health = every["`/health` beside 100,000 rows in any of these formats"]
    assert (health.measured, health.met) == (51, False)
    start, memory = every["start to the first answer"], every["memory after single rows"]
    assert (start.measured, start.met) == (1.6, False)
    assert (memory.measured, memory.met) == (100, True)
