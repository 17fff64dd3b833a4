"""Processes that read and write Arrow and Parquet for the service; they are started when needed."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from multiprocessing import Pipe
from pathlib import Path
from typing import TypeVar

from src.core.errors import InvalidInputError, LoopError
from src.core.feature_table import FeatureTable
from src.serving.tables.parts import Part, Rows
from src.serving.tables.problems import InvalidRecordError, malformed
from src.serving.tables.worker_messages import End, Message, Problems, ReadTask, Table, receive, send

ROOT = Path(__file__).parents[3]
MODULE = "src.serving.tables.run_worker"
# The environment variables of a worker, which gets no secrets.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
# The longest time for reading or writing one part: a library that runs out of memory may hang.
PART_SECONDS = 10.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class WorkerLostError(LoopError):
    """A worker ended, or was killed, during its task."""


class WorkerNotStartedError(LoopError):
    """The system has no process, descriptor or memory left for a worker."""


class Worker:
    """One process, with a pipe to it; ``memory_bytes`` is the memory limit of a task.

    It is not a ``multiprocessing.Process``: that would inherit the environment with its secrets, and import the
    service's entry point.
    """

    def __init__(self, memory_bytes: int) -> None:
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        # Never closed explicitly: a thread may be in a call. When the process ends, its calls end too.
        self._pipe, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, with a module of ours
                [sys.executable, "-m", MODULE, str(theirs.fileno()), str(memory_bytes)],
                cwd=ROOT,
                env={**kept, "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        # Cleared when the worker is borrowed, set when its task has ended.
        self.is_free = False

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Call a function that tells or hears, in a thread. Raises WorkerLostError if the worker ends or hangs."""
        timer = asyncio.get_running_loop().call_later(PART_SECONDS, self.kill)
        try:
            return await asyncio.to_thread(call, *arguments)
        except (OSError, EOFError) as error:
            raise WorkerLostError("the worker ended, or took too long") from error
        finally:
            timer.cancel()

    def tell(self, message: Message, body: bytearray | None = None) -> None:
        """Send a message, and the body of a task. Blocks: see ``run``."""
        send(self._pipe, message)
        if body is not None:
            self._pipe.send_bytes(body)

    def hear(self) -> Message:
        """The next message of the task. Blocks: see ``run``."""
        message = receive(self._pipe)
        self.is_free = isinstance(message, End)
        return message

    async def parts(self, task: ReadTask, body: bytearray) -> AsyncGenerator[Part, None]:
        """Read the parts of a body; InvalidRecordError if the worker ends, most likely because of the body."""
        try:
            await self.run(self.tell, task, body)
            while not isinstance(message := await self.run(self.hear), End):
                if isinstance(message, Table):
                    yield Rows(FeatureTable.from_columns(task.schema, message.arrays()), message.kept)
                elif isinstance(message, Problems):
                    found = message.problems
                    yield InvalidRecordError([InvalidInputError(t, kind=k, field=f, row=r) for t, k, f, r in found])
        except WorkerLostError as error:
            logger.warning("a body of %d bytes as %s was not read: %s", len(body), task.form, error)
            raise malformed(
                "the body is not a complete file of the declared format, or takes too much memory or time "
                "to read; send smaller batches"
            ) from None

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()


class Workers:
    """A pool of workers, of which one is kept while idle; ``slot`` is entered while one is borrowed, to limit them."""

    def __init__(self, slot: Callable[[], AbstractAsyncContextManager[None]], *, memory_bytes: int) -> None:
        self._slot = slot
        self._memory_bytes = memory_bytes
        self._kept: Worker | None = None

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Worker]:
        """Borrow a worker for one task; it is killed if the task did not end. Raises WorkerNotStartedError."""
        async with self._slot():
            worker, self._kept = self._kept, None
            if worker is None or worker.process.poll() is not None:
                try:
                    worker = Worker(self._memory_bytes)
                except OSError as error:
                    message = "no process for Arrow and Parquet can be started; send it again"
                    raise WorkerNotStartedError(message) from error
            worker.is_free = False
            try:
                yield worker
            finally:
                if worker.is_free and self._kept is None:
                    self._kept = worker
                else:
                    worker.kill()

    def close(self) -> None:
        """Kill the idle worker."""
        if self._kept is not None:
            self._kept.kill()
            self._kept = None
