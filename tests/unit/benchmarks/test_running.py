"""Servers that are started, compared and ended: small real processes in the peers' place."""

import contextlib
import json
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.material import Material
from benchmarks.measure import ONE_ROW_ONLY, Plan, compare_alone, compare_together, measure
from benchmarks.running import Running, ServerFailedError, running
from benchmarks.servers.server import PROJECT, Server, row_lists

# Answers each row with the label at its first value's place, from a child process that outlives its parent's SIGTERM.
SERVER = """
import http.server, json, os, signal, sys
LABELS = json.loads(os.environ["LABELS"])
MOST = int(os.environ["MOST"])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["rows"]
        body = json.dumps([LABELS[int(row[0])] for row in rows]).encode()
        self.send_response(200 if len(rows) <= MOST else 413)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.environ["CHILD"], "w").write(str(os.getpid()))
    signal.pause()
server.serve_forever()
"""
ROWS = [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]


@pytest.fixture
def material(tmp_path: Path) -> Material:
    return Material(tmp_path, ("x", "y"), ROWS, ["a", "b", "c"])


def server(tmp_path: Path, *command: str, labels: str = "abc", most: int = 1000, takes_batches: bool = True) -> Server:
    return Server(
        name="small",
        title="small",
        environment=PROJECT,
        command=command or ("$python", "$work/server.py", "$port"),
        path="/predict",
        encode=row_lists,
        labels=json.loads,
        variables={"LABELS": json.dumps(list(labels)), "MOST": str(most), "CHILD": str(tmp_path / "child")},
        files={"server.py": SERVER},
        takes_batches=takes_batches,
    )


def is_running(pid: int) -> bool:
    """A zombie is not: nothing but its parent can be rid of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def started_as(small: Server, material: Material) -> contextlib.AbstractContextManager[Running]:
    return running(small, Path(sys.executable), material)


def test_measures_a_server_and_leaves_no_process_behind(tmp_path: Path, material: Material) -> None:
    told: list[str] = []
    plan = Plan(connections=(1, 2), rates=(5.0, 1e9), sizes=(1, 10), seconds=0.2)
    with started_as(server(tmp_path), material) as started:
        assert started.start_seconds > 0
        found = measure(started, material, plan, told.append)
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


def test_a_size_that_is_refused_ends_the_batches_and_nothing_else(tmp_path: Path, material: Material) -> None:
    plan = Plan(connections=(1,), rates=(), sizes=(1, 10, 100), seconds=0.1)
    with started_as(server(tmp_path, most=5), material) as started:
        found = measure(started, material, plan, lambda _: None)
    assert set(found.batches) == {1}
    assert found.refused == "status 413 for 10 rows"
    assert set(found.closed) == {1}


def test_wrong_labels_are_no_answers(tmp_path: Path, material: Material) -> None:
    with started_as(server(tmp_path, labels="abb"), material) as started:
        with pytest.raises(ServerFailedError, match="3 labels to 3 rows, 1 not the model's"):
            compare_together(started, material)
        with pytest.raises(ServerFailedError, match=r"says \['b'\] of \[2.0, 1.0\], and the model c"):
            compare_alone(started, material)


def test_a_server_of_single_rows_is_not_asked_for_more(tmp_path: Path, material: Material) -> None:
    with started_as(server(tmp_path, most=1, takes_batches=False), material) as started:
        assert compare_together(started, material) == ONE_ROW_ONLY
    with started_as(server(tmp_path, most=1), material) as started:
        assert compare_together(started, material) == "status 413 for 3 rows"


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path, material: Material) -> None:
    dying = server(tmp_path, "$python", "-c", "raise SystemExit('no such model')")
    with pytest.raises(ServerFailedError, match="exit code 1\nno such model"), started_as(dying, material):
        pass


def test_a_server_is_ended_when_the_run_is_stopped(tmp_path: Path, material: Material) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        started = stack.enter_context(started_as(server(tmp_path), material))
        raise KeyboardInterrupt
    assert not is_running(started.process.pid)
