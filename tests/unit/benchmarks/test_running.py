"""Servers that are started, compared and ended: small real processes in the peers' place."""

import contextlib
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.measure import ONE_ROW_ONLY, Loader, Plan, compare_alone, compare_together, measure
from benchmarks.running import Running, ServerFailedError, running
from benchmarks.servers.server import Server
from tests.unit.benchmarks.small_server import material, small_server


def is_running(pid: int) -> bool:
    """A zombie is not: nothing but its parent can be rid of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def started_as(small: Server, folder: Path) -> contextlib.AbstractContextManager[Running]:
    return running(small, Path(sys.executable), material(folder))


def test_measures_a_server_and_leaves_no_process_behind(tmp_path: Path) -> None:
    told: list[str] = []
    plan = Plan(connections=(1, 2), rates=(5.0, 1e9), sizes=(1, 10), seconds=0.2)
    with started_as(small_server(tmp_path), tmp_path) as started:
        assert started.start_seconds > 0
        found = measure(started, material(tmp_path), plan, told.append)
        child = int((tmp_path / "child").read_text())
        assert is_running(child)
    assert set(found.closed) == {1, 2}
    assert all(figures.answers > 0 and not figures.errors for figures in found.closed.values())
    assert set(found.open) == {5.0}  # a billion a second is beyond it
    assert set(found.batches) == {1, 10}
    assert found.refused is None
    assert found.memory_bytes > 1_000_000
    assert started.process.poll() is not None
    assert not is_running(child)


def test_a_size_that_is_refused_ends_the_batches_and_nothing_else(tmp_path: Path) -> None:
    plan = Plan(connections=(1,), rates=(), sizes=(1, 10, 100), seconds=0.1)
    with started_as(small_server(tmp_path, most=5), tmp_path) as started:
        found = measure(started, material(tmp_path), plan, lambda _: None)
    assert set(found.batches) == {1}
    assert found.refused == "status 413 for 10 rows"
    assert set(found.closed) == {1}


def test_health_is_measured_while_the_largest_requests_are_answered(tmp_path: Path) -> None:
    plan = Plan(connections=(), rates=(), sizes=(1, 10), seconds=0.2)
    with started_as(small_server(tmp_path, health="/health"), tmp_path) as started:
        found = measure(started, material(tmp_path), plan, lambda _: None)
    assert set(found.health) == {10}
    assert found.health[10].answers > 5
    assert not found.health[10].errors
    methods = (tmp_path / "child.log").read_text().split()
    first, last = methods.index("GET"), len(methods) - methods[::-1].index("GET")
    assert "POST" in methods[first:last]


def test_errors_of_the_health_route_and_beside_it_are_counted(tmp_path: Path) -> None:
    with started_as(small_server(tmp_path, most=5), tmp_path) as started:
        found = Loader(started, material(tmp_path), 0.2).health_beside(10, "/none")
    assert set(found.errors) == {"status 404", "status 413"}


def test_wrong_labels_are_no_answers(tmp_path: Path) -> None:
    with started_as(small_server(tmp_path, labels="abb"), tmp_path) as started:
        with pytest.raises(ServerFailedError, match="3 labels for 3 rows, 1 of them wrong"):
            compare_together(started, material(tmp_path))
        with pytest.raises(ServerFailedError, match=r"predicts \['b'\] for \[2.0, 1.0\], and the model c"):
            compare_alone(started, material(tmp_path))


def test_a_server_of_single_rows_is_not_asked_for_more(tmp_path: Path) -> None:
    with started_as(small_server(tmp_path, most=1, takes_batches=False), tmp_path) as started:
        assert compare_together(started, material(tmp_path)) == ONE_ROW_ONLY
    with started_as(small_server(tmp_path, most=1), tmp_path) as started:
        assert compare_together(started, material(tmp_path)) == "status 413 for 3 rows"


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    dying = small_server(tmp_path, "$python", "-c", "raise SystemExit('no such model')")
    with pytest.raises(ServerFailedError, match="exit code 1\nno such model"), started_as(dying, tmp_path):
        pass


def test_a_server_is_ended_when_the_run_is_stopped(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        started = stack.enter_context(started_as(small_server(tmp_path), tmp_path))
        raise KeyboardInterrupt
    assert not is_running(started.process.pid)
