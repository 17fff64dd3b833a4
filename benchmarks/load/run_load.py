"""Entry point: one job as JSON on standard input, its figures as JSON on standard output."""

import asyncio
import gc
import selectors
import sys
import time

import msgspec
import uvloop

from benchmarks.load.connection import Connection, request_bytes
from benchmarks.load.figures import Figures, Job, Tally
from benchmarks.load.loops import ClosedLoop, OpenLoop

RECONNECT_SECONDS = 0.05
# How long an open loop waits for responses after its end.
GRACE_SECONDS = 5.0


def main() -> int:
    """Run one job; return the exit code."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    # The client's garbage collection would look like a stall of the server.
    gc.disable()
    try:
        sys.stdout.buffer.write(msgspec.json.encode(run(job)))
    except KeyboardInterrupt:  # the whole run is stopped
        return 130
    return 0


def run(job: Job) -> Figures:
    """Run the job's load on the server."""
    factory = _precise_loop if job.rate is not None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(Load(job).run())


def _precise_loop() -> asyncio.AbstractEventLoop:
    """A loop with timers of microseconds: those of epoll, poll and uvloop have a resolution of 1 ms."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


class Load:
    """A running job; the owner of its connections."""

    def __init__(self, job: Job) -> None:
        self._job = job
        start = time.perf_counter()
        begin = start + job.warm_up
        self._tally = Tally(begin, begin + job.seconds)
        requests = [request_bytes(job, body) for body in job.bodies]
        self._loop: ClosedLoop | OpenLoop
        if job.rate is None:
            self._loop = ClosedLoop(requests, self._tally, time.perf_counter)
        else:
            self._loop = OpenLoop(requests, job.rate, start, self._tally, time.perf_counter)
        self._connections: set[Connection] = set()
        self._dialling: set[asyncio.Task[None]] = set()

    async def run(self) -> Figures:
        """Connect, send until the end, and count."""
        for _ in range(self._job.connections):
            self._dial()
        cpu, wall = time.process_time(), time.perf_counter()
        if isinstance(self._loop, OpenLoop):
            await self._loop.keep_sending()
            await self._loop.wait_for_answers(GRACE_SECONDS)
        else:
            await asyncio.sleep(self._tally.end - time.perf_counter())
        client_cpu = (time.process_time() - cpu) / (time.perf_counter() - wall)
        self._loop.finish()
        for task in self._dialling:
            task.cancel()
        for connection in self._connections:
            connection.close()
        return self._tally.figures(client_cpu)

    def ready(self, connection: Connection) -> None:
        """The connection is ready for a request."""
        self._connections.add(connection)
        self._loop.ready(connection)

    def answered(self, connection: Connection, status: int) -> None:
        """The response to its request is complete."""
        self._loop.answered(connection, status)

    def lost(self, connection: Connection) -> None:
        """The connection was lost, possibly with a request in flight."""
        self._loop.lost(connection)
        self.ended(connection)

    def ended(self, connection: Connection) -> None:
        """The connection was closed without a request in flight."""
        self._connections.discard(connection)
        self._dial()

    def _dial(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect(self) -> None:
        """Connect, and retry while the server refuses; a refusal counts as an error."""
        event_loop = asyncio.get_running_loop()
        while True:
            try:
                await event_loop.create_connection(lambda: Connection(self), "127.0.0.1", self._job.port)
            except OSError:
                self._tally.errors["connection refused"] += 1
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                return


if __name__ == "__main__":
    sys.exit(main())
