"""Arrow and Parquet bodies that are made to exhaust memory or time are refused, and the service keeps answering."""

import asyncio
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from src.serving.tables.parts import Format
from tests.support.batches import parquet_of, stream_of
from tests.support.models import COLUMNS, SETOSA

pytestmark = pytest.mark.anyio

URL = "/predict/batch?extra_columns=keep"
ROWS = 20_000


def plain(rows: int = ROWS) -> pa.Table:
    return pa.table({name: np.arange(rows, dtype=np.float64) % 7 for name in COLUMNS})


def repeated_strings() -> bytes:
    """100,000 rows with the same text of 1 MB."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(100_000, dtype=np.int32), ["x" * 1_000_000])
    return parquet_of(plain(100_000).append_column("note", texts), compression="zstd", write_statistics=False)


def many_rows() -> bytes:
    """50 million values in about 200 KB."""
    sink, rows = io.BytesIO(), pa.table({name: np.zeros(12_500_000 // 5) for name in COLUMNS})
    with pyarrow.parquet.ParquetWriter(sink, rows.schema, compression="zstd") as writer:
        for _ in range(5):
            writer.write_table(rows)
    return sink.getvalue()


def lying_stream(claimed: int) -> bytes:
    """The batch's header claims another number of rows than there are."""
    good = stream_of(plain())
    body = good.replace(ROWS.to_bytes(8, "little"), claimed.to_bytes(8, "little", signed=True))
    assert body != good
    return body


def lying_parquet() -> bytes:
    """The footer and the pages claim 50 times as many rows as there are."""
    good = parquet_of(plain())
    body = good.replace(_varint(ROWS), _varint(50 * ROWS))
    assert body != good
    return body


def _varint(value: int) -> bytes:
    """A number as Thrift's compact protocol writes it: zigzag, in groups of 7 bits."""
    rest, found = 2 * value, b""
    while rest > 127:
        found, rest = found + bytes([rest & 127 | 128]), rest >> 7
    return found + bytes([rest])


def wide() -> pa.Table:
    return pa.table({**{name: [1.0] for name in COLUMNS}, **{f"c{index}": [1.0] for index in range(100_000)}})


def repeated_flowers() -> bytes:
    """20,000 rows of 3,200 characters, or 12,800 bytes, each: fewer characters than a body may have bytes."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(ROWS, dtype=np.int32), ["🌷" * 3200])
    return parquet_of(plain().append_column("note", texts), row_group_size=4000, compression="zstd")


# name -> (format, function that builds the body, the accepted statuses)
BODIES: Mapping[str, tuple[Format, Callable[[], bytes], set[int]]] = {
    "repeated strings": (Format.PARQUET, repeated_strings, {422}),
    "repeated flowers": (Format.PARQUET, repeated_flowers, {413}),
    "many rows": (Format.PARQUET, many_rows, {413}),
    "stream that claims more rows": (Format.ARROW_STREAM, lambda: lying_stream(2**40), {422}),
    "stream that claims fewer than no rows": (Format.ARROW_STREAM, lambda: lying_stream(-1), {422}),
    "Parquet that claims more rows": (Format.PARQUET, lying_parquet, {422}),
    "stream of 100,000 columns": (Format.ARROW_STREAM, lambda: stream_of(wide()), {200, 422}),
    "Parquet of 100,000 columns": (Format.PARQUET, lambda: parquet_of(wide()), {200, 422}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_hostile_body_is_refused_while_health_answers(served: Any, name: str) -> None:
    kind, build, statuses = BODIES[name]
    body = await asyncio.to_thread(build)
    asking = asyncio.create_task(served.client.post(URL, content=body, headers={"Content-Type": kind}))
    longest, answered = 0.0, 0
    while not asking.done():
        begun = time.perf_counter()
        assert (await served.client.get("/health")).status_code == 200
        await asyncio.sleep(0)  # the batch's turn
        longest, answered = max(longest, time.perf_counter() - begun), answered + 1
    response = await asking
    assert response.status_code in statuses, response.text[:1000]
    assert answered > 1
    assert longest < 2, longest
    good = await served.client.post(URL, content=stream_of(plain(2)), headers={"Content-Type": Format.ARROW_STREAM})
    assert good.status_code == 200


async def test_many_hostile_bodies_at_once_leave_the_service_answering(served: Any) -> None:
    body = await asyncio.to_thread(repeated_strings)
    headers = {"Content-Type": Format.PARQUET}
    hostile = [asyncio.create_task(served.client.post(URL, content=body, headers=headers)) for _ in range(6)]
    good = served.client.post(URL, json=[SETOSA], headers={"Accept": Format.ARROW_FILE})
    assert (await asyncio.wait_for(good, 60)).status_code == 200
    assert {response.status_code for response in await asyncio.gather(*hostile)} <= {422, 503}
