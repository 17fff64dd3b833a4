"""Runs one server at a time: starts it, waits for it, measures its memory, and ends all its processes."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.material import Material
from benchmarks.servers.server import Place, Rows, Server
from src.services.local.processes import without_proxy

READY_SECONDS = 90.0
RETRY_SECONDS = 0.01
ANSWER_SECONDS = 60.0
END_SECONDS = 10.0
# How long to wait for killed processes to disappear.
GONE_SECONDS = 1.0
LOG_LINES = 15
OK = 200


class ServerFailedError(Exception):
    """A server does not start or does not respond as expected; the message shows why."""


@dataclass(frozen=True)
class Running:
    """A server after its first successful response, ``start_seconds`` after its start."""

    server: Server
    port: int
    process: "subprocess.Popen[bytes]"
    start_seconds: float

    def ask(self, columns: tuple[str, ...], rows: Rows) -> tuple[int, bytes]:
        """Send one request on a new connection; return the response's status and body.

        Raises:
            ServerFailedError: there is no response.
        """
        try:
            return _post(self.server, self.port, self.server.encode(columns, rows), ANSWER_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            raise ServerFailedError(f"no answer to {len(rows):,} rows: {error}") from error

    def labels(self, body: bytes) -> list[str] | None:
        """The labels in a response's body, or None for a server without a model.

        Raises:
            ServerFailedError: the body has an unexpected format.
        """
        if self.server.labels is None:
            return None
        try:
            return self.server.labels(body)
        except (ValueError, LookupError, TypeError) as error:
            raise ServerFailedError(f"its response has an unexpected format: {_excerpt(body)}") from error

    def memory_bytes(self) -> int:
        """The total resident memory of the server's processes."""
        return memory_of(self.process.pid)


@contextlib.contextmanager
def running(server: Server, python: Path, material: Material) -> Iterator[Running]:
    """Start a server and yield it once it responds; all its processes are ended afterwards.

    Raises:
        ServerFailedError: with the last lines of its log.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = _place(python, material, Path(folder))
        for name, content in server.files.items():
            (place.work / name).write_text(place.fill(content))
        log, started = Path(folder) / "log", time.perf_counter()
        command = [place.fill(part) for part in server.command]
        with process_of(command, server.code, _environment(server, place), log) as process:
            try:
                _wait_for_answer(server, place.port, process, material)
                yield Running(server, place.port, process, time.perf_counter() - started)
            except ServerFailedError as error:
                raise ServerFailedError(f"{error}\n{tail(log)}".strip()) from error


@contextlib.contextmanager
def process_of(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a session of its own, its output in ``log``; all its processes are ended afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the project's own processes, and commands of the catalogue
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def memory_of(pid: int) -> int:
    """The total resident memory of a process and its children; 0 if it has ended."""
    return sum(_resident(process) for process in _family(pid))


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process that leads its session to stop, then kill what is left of its family."""
    family = _family(process.pid)
    if process.poll() is None:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    # Children that were started after the family was listed.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=GONE_SECONDS)


def _place(python: Path, material: Material, folder: Path) -> Place:
    work = folder / "work"
    work.mkdir()
    port, second_port, third_port = free_ports(3)
    return Place(
        python=python,
        port=port,
        second_port=second_port,
        third_port=third_port,
        model=material.model,
        pipeline=material.pipeline,
        cache=material.cache,
        work=work,
        apps=Path(__file__).parent / "apps",
    )


def _environment(server: Server, place: Place) -> dict[str, str]:
    # Commands on PATH, such as uvicorn for MLflow, come from the server's own environment.
    path = {"PATH": f"{place.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    variables = {name: place.fill(value) for name, value in server.variables.items()}
    return {**os.environ, **without_proxy(os.environ), **path, **variables}


def _wait_for_answer(server: Server, port: int, process: "subprocess.Popen[bytes]", material: Material) -> None:
    body = server.encode(material.columns, material.take(1))
    deadline = time.monotonic() + READY_SECONDS
    last = "nothing listened"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailedError(f"it ended with exit code {process.returncode}")
        try:
            status, answer = _post(server, port, body, READY_SECONDS)
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        else:
            if status == OK:
                return
            last = f"status {status}: {_excerpt(answer)}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(RETRY_SECONDS)
    raise ServerFailedError(f"no good answer within {READY_SECONDS:g} s; the last: {last}")


def _excerpt(body: bytes) -> str:
    return body[:300].decode(errors="replace")


def _post(server: Server, port: int, body: bytes, seconds: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", server.path, body, {"content-type": server.content_type, **server.headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        memory: Any = process.memory_info()
        return int(memory.rss)
    return 0
