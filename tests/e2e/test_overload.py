"""Ten times the connections that saturate the service: it answers what it can in time, and says so to the others."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.inference_process import without_mlflow
from tests.support.load import Load, keep_asking, request
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.e2e

SATURATING = 64
SECONDS = 30
MEGABYTE = 1 << 20


async def load_for(port: int, connections: int, seconds: int, meanwhile: Callable[[], Any] = lambda: None) -> Load:
    """Ask for so long, and do something else each second, in a thread."""
    async with keep_asking(port, connections) as load:
        for _ in range(seconds):
            await asyncio.gather(asyncio.sleep(1), asyncio.to_thread(meanwhile))
    return load


def test_ten_times_the_capacity(tmp_path: Path, record_testsuite_property: Callable[[str, object], None]) -> None:
    inference = without_mlflow(tmp_path)
    resident: list[int] = []

    def look() -> None:
        """Health and metrics are answered, on connections of their own."""
        for path in ("/health", "/metrics"):
            with RawClient(inference.port) as client:
                client.send(request("GET", path))
                assert client.answer().status == 200
        resident.append(psutil.Process(child.pid).memory_info().rss)

    async def storm() -> tuple[Load, Load, Load]:
        before = await load_for(inference.port, SATURATING, 3)
        during = await load_for(inference.port, 10 * SATURATING, SECONDS, look)
        await asyncio.sleep(1)
        return before, during, await load_for(inference.port, SATURATING, 3)

    with inference.serving() as child:
        before, during, after = asyncio.run(storm())
        shed = httpx.get(f"{inference.url}/metrics").text
    record_testsuite_property("answers per second before and after", (len(before.answers) / 3, len(after.answers) / 3))
    record_testsuite_property("p99 in seconds", {status: during.seconds(0.99, status) for status in during.statuses()})
    record_testsuite_property("statuses", dict(during.statuses()))
    assert set(before.statuses()) == set(after.statuses()) == {200}
    assert set(during.statuses()) <= {200, 429, 503}
    assert during.statuses()[200] > 1000
    assert not during.dropped
    assert during.seconds(0.99) <= 1
    assert max(resident) - resident[5] < 20 * MEGABYTE
    counts = re.findall(r"^inference_http_requests_shed_total{.*} (.*)$", shed, re.MULTILINE)
    assert sum(map(float, counts)) == during.statuses()[503]
