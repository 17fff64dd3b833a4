"""A body that kills the worker harms nobody else."""

import asyncio
import contextlib
import errno
import os
import random
import resource
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.models.admission import Admission
from src.serving.tables.parts import DOUBLE, ExtraColumns, Format
from src.serving.tables.parts import TEXT as TEXT_KIND
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.worker_messages import End, Piece, ReadTask, Table, WriteTask
from src.serving.tables.workers import WorkerLostError, WorkerNotStartedError, Workers
from tests.support.batches import MIXED, as_arrow, file_of, mixed_records, parquet_of, stream_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MEMORY = 200_000_000
NUMBER = FeatureSchema.of_numbers("a")
TEXT = FeatureSchema((Column("a", ColumnType.STRING),))
GOOD = stream_of(pa.table({"a": np.arange(5000.0)}))


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    slots = Admission(2, queue=9, seconds=600, on_shed=print)
    found = Workers(slots.slot, memory_bytes=MEMORY)
    yield found
    found.close()


def task_of(schema: FeatureSchema, form: Format) -> ReadTask:
    return ReadTask(form, schema, ExtraColumns.REFUSE)


async def read(workers: Workers, schema: FeatureSchema, form: Format, body: bytes) -> Any:
    """Rows, or problems."""
    tables, problems = [], []
    async with workers.one() as worker:
        try:
            async for part in worker.parts(task_of(schema, form), bytearray(body)):
                if isinstance(part, InvalidRecordError):
                    problems += part.problems
                else:
                    tables.append(part.table)
        except InvalidRecordError as error:
            problems += error.problems
    if problems:
        return [(problem.row, problem.field, problem.kind) for problem in problems]
    return [row for table in tables for row in zip(*(column.tolist() for column in table.columns), strict=True)]


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_worker_reads_every_type(workers: Workers) -> None:
    records = mixed_records(5000)
    body = parquet_of(as_arrow(records))
    expected = [tuple(record[name] for name in MIXED.names) for record in records]
    rows = await read(workers, MIXED, Format.PARQUET, body)
    np.testing.assert_equal(
        rows, [tuple(np.nan if v is None and i in (1, 3) else v for i, v in enumerate(row)) for row in expected]
    )


async def test_worker_reports_problems_and_goes_on(workers: Workers) -> None:
    bad = stream_of(pa.table({"a": [1.0, float("nan")]}))
    async with workers.one() as worker:
        first = worker.process.pid
        worker.is_free = True
    assert await read(workers, NUMBER, Format.ARROW_STREAM, bad) == [(1, "a", "not_finite")]
    assert await read(workers, NUMBER, Format.ARROW_STREAM, GOOD[:-3000]) == [(None, None, "malformed")]
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000
    async with workers.one() as worker:
        assert worker.process.pid == first


async def test_body_that_takes_too_much_memory_is_refused(workers: Workers) -> None:
    # One text, and 2,000 rows that repeat it.
    array = pa.DictionaryArray.from_arrays(np.zeros(2000, dtype=np.int32), ["x" * 200_000])
    body = stream_of(pa.table({"a": array}))
    assert len(body) < 250_000
    assert await read(workers, TEXT, Format.ARROW_STREAM, body) == [(None, None, "malformed")]
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_process_that_cannot_be_started_is_reported(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refuse)
        with pytest.raises(WorkerNotStartedError, match="send it again"):
            await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_worker_that_is_killed_in_its_idle_time_is_replaced(workers: Workers) -> None:
    await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)
    async with workers.one() as worker:
        pid = worker.process.pid
        worker.is_free = True
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_worker_whose_task_is_given_up_is_ended(workers: Workers) -> None:
    async with workers.one() as worker:
        pid = worker.process.pid
        async for _ in worker.parts(task_of(NUMBER, Format.ARROW_STREAM), bytearray(GOOD)):
            break
    assert not is_running(pid)
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_worker_is_ended_with_its_waiting_thread(workers: Workers) -> None:
    async def wait_for_nothing() -> None:
        async with workers.one() as worker:
            waiting.append(asyncio.ensure_future(worker.run(worker.hear)))
            begun.set()
            await asyncio.shield(waiting[0])

    waiting: list[asyncio.Future[Any]] = []
    begun = asyncio.Event()
    task = asyncio.create_task(wait_for_nothing())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(WorkerLostError):
        await asyncio.wait_for(waiting[0], 10)


@pytest.mark.parametrize("size", [0, 1 << 20])
async def test_worker_that_does_not_read_or_answer_is_killed(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("src.serving.tables.workers.PART_SECONDS", 0.1)
    async with workers.one() as worker:
        os.kill(worker.process.pid, signal.SIGSTOP)
        task = WriteTask(Format.PARQUET, {"prediction": DOUBLE}, {})

        def tell_and_hear() -> None:
            worker.tell(task, bytearray(size))
            worker.hear()

        with pytest.raises(WorkerLostError, match="too long"):
            await asyncio.wait_for(worker.run(tell_and_hear), 10)
        assert not is_running(worker.process.pid)
    monkeypatch.undo()
    assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_worker_is_heard_however_many_files_are_open(workers: Workers) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2048 if limits[1] == resource.RLIM_INFINITY else min(2048, limits[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, limits[0]), limits[1]))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        highest = 0
        while highest < 1024:
            highest = os.dup(0)
            stack.callback(os.close, highest)
        assert len(await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)) == 5000


async def test_no_more_than_so_many_work_at_once(workers: Workers) -> None:
    async with workers.one() as first, workers.one() as second:
        assert first.process.pid != second.process.pid
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(workers.one().__aenter__(), 0.1)
    async with workers.one(), workers.one():
        pass


async def test_close_leaves_no_process(workers: Workers) -> None:
    async with workers.one() as worker:
        pid = worker.process.pid
        worker.is_free = True
    assert is_running(pid)
    workers.close()
    assert not is_running(pid)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no descriptors of processes")
async def test_worker_ends_when_its_service_is_killed() -> None:
    starts = "from src.serving.tables.workers import Worker; print(Worker(10**9).process.pid, flush=True)"
    code = f"import signal; {starts}; signal.pause()"
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert service.stdout is not None
    worker = os.pidfd_open(int(await service.stdout.readline()))
    service.kill()
    await service.wait()
    ended, _, _ = await asyncio.to_thread(select.select, [worker], [], [], 30)
    os.close(worker)
    assert ended


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system does not tell it")
async def test_worker_knows_no_secrets_and_goes_first_when_memory_is_short(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITE_API_KEY", "zq7marker")
    await read(workers, NUMBER, Format.ARROW_STREAM, GOOD)  # it is up
    async with workers.one() as worker:
        folder = f"/proc/{worker.process.pid}"
        told = {
            name: await asyncio.to_thread(Path(folder, name).read_text)
            for name in ("environ", "oom_score_adj", "limits")
        }
    assert "zq7marker" not in told["environ"]
    assert told["oom_score_adj"].strip() == "1000"
    limits = {line[:25].strip(): line[25:].split()[0] for line in told["limits"].splitlines()}
    assert limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) > MEMORY


@pytest.mark.parametrize("form", [Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET])
async def test_damaged_bodies_are_read_or_refused(workers: Workers, form: Format) -> None:
    """Some of them end the worker: then the next is read by another."""
    table = as_arrow(mixed_records(60))
    writers = {Format.ARROW_STREAM: stream_of, Format.ARROW_FILE: file_of, Format.PARQUET: parquet_of}
    good = writers[form](table)
    chance = random.Random(5)  # noqa: S311 - the same damage each time
    damages = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\x01", b""]
    refused = 0
    for _ in range(25):
        place = chance.randrange(len(good))
        damage = chance.choice(damages)
        body = good[:place] + damage + good[place + max(1, len(damage)) :]
        found = await read(workers, MIXED, form, body)
        refused += not found or found[-1][-1] == "malformed"
    assert refused > 5
    assert len(await read(workers, MIXED, form, good)) == 60


@pytest.mark.parametrize("form", [Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET])
@pytest.mark.parametrize("body", [b"", b"PAR1", b"ARROW1\0\0", b"\xff" * 1000, b"\0" * 1000, GOOD[:500], b'[{"a":1}]'])
async def test_other_bodies_are_refused(workers: Workers, form: Format, body: bytes) -> None:
    assert await read(workers, NUMBER, form, body) == [(None, None, "malformed")]


@pytest.mark.parametrize("form", [Format.ARROW_STREAM, Format.ARROW_FILE, Format.PARQUET])
async def test_writer_gives_a_file_piece_by_piece(workers: Workers, form: Format) -> None:
    pieces = []
    async with workers.one() as worker:
        worker.tell(WriteTask(form, {"prediction": TEXT_KIND, "share": DOUBLE}, {"model_name": "iris"}))
        for start in range(3):
            columns = [np.array(["ß", "b"] * 1000, dtype=object), np.array([start, 0.5] * 1000)]
            worker.tell(Table.of(columns))
            message = worker.hear()
            assert isinstance(message, Piece)
            pieces.append(message.data)
        worker.tell(End())
        message = worker.hear()
        assert isinstance(message, End)
        pieces.append(message.data)
    sink = pa.BufferReader(b"".join(pieces))
    table = {
        Format.ARROW_STREAM: lambda: pa.ipc.open_stream(sink).read_all(),
        Format.ARROW_FILE: lambda: pa.ipc.open_file(sink).read_all(),
        Format.PARQUET: lambda: pa.parquet.read_table(sink),
    }[form]()
    shares = [share for start in range(3) for share in [start, 0.5] * 1000]
    assert table.to_pydict() == {"prediction": ["ß", "b"] * 3000, "share": shares}
    assert table.schema.metadata[b"model_name"] == b"iris"
    assert (b"" in pieces[1:3]) == (form is Format.PARQUET)
