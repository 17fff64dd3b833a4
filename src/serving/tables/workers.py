"""Processes that read and write Arrow and Parquet for the service; they are started when needed."""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from src.core.errors import LoopError
from src.serving.tables.worker_messages import End, Message, receive, send

ROOT = Path(__file__).parents[3]
MODULE = "src.serving.tables.run_worker"
# The environment variables of a worker, which gets no secrets.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
# The longest time for reading or writing one part: a library that runs out of memory may hang.
PATIENCE_SECONDS = 10.0
PIPE_BYTES = 1 << 16


class WorkerLostError(LoopError):
    """A worker ended, or was killed, during its task."""


class Worker:
    """One process. Its methods block: call them in a thread; only ``kill`` may be called meanwhile.

    Args:
        memory_bytes: the memory limit of a task.
    """

    def __init__(self, memory_bytes: int) -> None:
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with a module of ours
            [sys.executable, "-m", MODULE, str(memory_bytes)],
            bufsize=0,
            cwd=ROOT,
            env={**kept, "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        os.set_blocking(self._process.stdin.fileno(), False)
        self._lock = threading.Lock()
        self._is_closed = False
        # Cleared when the worker is borrowed, set when its task has ended.
        self.is_free = False

    @property
    def is_alive(self) -> bool:
        """Whether the process is still running."""
        if self._process.poll() is None:
            return True
        self.kill()
        return False

    def begin(self, task: Message, body: bytearray | None = None) -> None:
        """Give it a task, with the task's body.

        Raises:
            WorkerLostError: it has ended, or takes too long.
        """
        with self._lock:
            self._send(task)
            if body is not None:
                self._write(memoryview(body))

    def tell(self, message: Message) -> None:
        """Send a message of the task.

        Raises:
            WorkerLostError: it has ended, or takes too long.
        """
        with self._lock:
            self._send(message)

    def hear(self) -> Message:
        """The next message of the task.

        Raises:
            WorkerLostError: it has ended, or takes too long.
        """
        with self._lock:
            message = receive(self._read)
            self.is_free = isinstance(message, End)
        return message

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        with self._lock:  # a thread that is in a call sees the end of the pipe at once
            self._is_closed = True
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None  # noqa: S101 - both are pipes
                pipe.close()

    def _send(self, message: Message) -> None:
        send(lambda content: self._write(memoryview(content)), message)

    def _read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._check_open()
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE_SECONDS
        found = bytearray()
        while len(found) < size:
            _wait_for(descriptor, select.POLLIN, deadline)
            some = os.read(descriptor, min(size - len(found), PIPE_BYTES))
            if not some:
                raise WorkerLostError("the worker ended")
            found += some
        return bytes(found)

    def _write(self, content: memoryview) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._check_open()
        descriptor = self._process.stdin.fileno()
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            while content:
                _wait_for(descriptor, select.POLLOUT, deadline)
                with contextlib.suppress(BlockingIOError):  # the pipe has less room than an atomic write
                    content = content[os.write(descriptor, content[:PIPE_BYTES]) :]
        except OSError as error:
            raise WorkerLostError("the worker ended") from error

    def _check_open(self) -> None:
        if self._is_closed:
            raise WorkerLostError("the worker was killed")


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be read or written; uses poll, so any number of descriptors may be open."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise WorkerLostError("the worker took too long")


class Workers:
    """A pool of workers, of which one is kept while idle.

    Args:
        count: the most workers at once; further requests wait.
        memory_bytes: the memory limit of a task.
    """

    def __init__(self, *, count: int, memory_bytes: int) -> None:
        self._slots = asyncio.Semaphore(count)
        self._memory_bytes = memory_bytes
        self._kept: Worker | None = None

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Worker]:
        """Borrow a worker for one task; it is killed if the task did not end."""
        async with self._slots:
            worker, self._kept = self._kept, None
            if worker is None or not worker.is_alive:
                worker = await self._started()
            worker.is_free = False
            try:
                yield worker
            finally:
                if worker.is_free and self._kept is None:
                    self._kept = worker
                else:
                    worker.kill()

    async def _started(self) -> Worker:
        # In a thread, because it would block the event loop.
        starting = asyncio.ensure_future(asyncio.to_thread(Worker, self._memory_bytes))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda started: started.result().kill())
            raise

    def close(self) -> None:
        """Kill the idle worker."""
        if self._kept is not None:
            self._kept.kill()
            self._kept = None
