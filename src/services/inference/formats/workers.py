"""Processes that read and write Arrow and Parquet for the service; started when they are first needed."""

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
from src.services.inference.formats.worker_messages import End, Message, receive, send

ROOT = Path(__file__).parents[4]
MODULE = "src.services.inference.formats.run_worker"
# What a worker needs of the environment; secrets are none of its business.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
# How long one part may take to read or to write: a library that runs out of memory may wait for itself for ever.
PATIENCE_SECONDS = 10.0
PIPE_BYTES = 1 << 16


class WorkerLostError(LoopError):
    """A worker ended, or was ended, in the middle of its task."""


class Worker:
    """One process. Its methods block: call them in a thread; only ``kill`` may be called meanwhile.

    Args:
        memory_bytes: how much memory a task may take.
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
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        os.set_blocking(self._process.stdin.fileno(), False)
        self._lock = threading.Lock()
        self._is_closed = False
        # Whoever lends it says that it is not; the end of its task says that it is.
        self.is_free = False

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended by itself, or by want of memory."""
        if self._process.poll() is None:
            return True
        self.kill()
        return False

    def begin(self, task: Message, body: bytearray | None = None) -> None:
        """Give it a task, with the body that belongs to it.

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
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        with self._lock:  # a thread that was in the middle of a call sees the pipe's end at once
            self._is_closed = True
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None  # noqa: S101 - both were asked for
                pipe.close()

    def _send(self, message: Message) -> None:
        send(lambda content: self._write(memoryview(content)), message)

    def _read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
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
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._check_open()
        descriptor = self._process.stdin.fileno()
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            while content:
                _wait_for(descriptor, select.POLLOUT, deadline)
                with contextlib.suppress(BlockingIOError):  # less room than a pipe writes at once
                    content = content[os.write(descriptor, content[:PIPE_BYTES]) :]
        except OSError as error:
            raise WorkerLostError("the worker ended") from error

    def _check_open(self) -> None:
        if self._is_closed:
            raise WorkerLostError("the worker was ended")


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe may be read or written; any number of descriptors may be open."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise WorkerLostError("the worker took too long")


class Workers:
    """A few workers, of which one is kept when nobody needs any.

    Args:
        count: most that work at once; who wants one more waits.
        memory_bytes: how much memory a task may take.
    """

    def __init__(self, *, count: int, memory_bytes: int) -> None:
        self._slots = asyncio.Semaphore(count)
        self._memory_bytes = memory_bytes
        self._kept: Worker | None = None

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Worker]:
        """A worker for one task; it is ended where the task was not."""
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
        # In a thread: it takes longer than the event loop has.
        starting = asyncio.ensure_future(asyncio.to_thread(Worker, self._memory_bytes))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda started: started.result().kill())
            raise

    def close(self) -> None:
        """End the one that is kept."""
        if self._kept is not None:
            self._kept.kill()
            self._kept = None
