import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.errors import SpoolUnavailableError
from src.core.retrain_record import RetrainRecord
from src.core.retrain_signal import RetrainSpool
from src.services.inference.page.known_requests import FRESH_SECONDS, KnownRequests

pytestmark = pytest.mark.anyio


class CountingSpool(RetrainSpool):
    """Counts how often it is read, and has something happen meanwhile."""

    reads = 0
    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def recent(self, limit: int) -> list[RetrainRecord]:
        self.reads += 1
        found = super().recent(limit)
        self.meanwhile()
        return found


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def spool(tmp_path: Path) -> CountingSpool:
    return CountingSpool(tmp_path / "retrain").create()


async def test_many_pages_read_once(spool: CountingSpool) -> None:
    ids = [spool.submit("api").id for _ in range(3)]
    clock = Clock()
    known = KnownRequests(spool, 2, clock)
    found = await asyncio.gather(*(known.read() for _ in range(50)))
    assert {tuple(record.id for record in records) for records in found} == {(ids[2], ids[1])}
    assert spool.reads == 1
    clock.now = FRESH_SECONDS
    await known.read()
    assert spool.reads == 2


async def test_own_request_is_seen_at_once(spool: CountingSpool) -> None:
    known = KnownRequests(spool, 2, Clock())
    assert await known.read() == []
    record = spool.submit("api")
    known.forget()
    assert await known.read() == [record]


async def test_what_was_read_before_a_request_is_not_kept(spool: CountingSpool) -> None:
    known = KnownRequests(spool, 2, Clock())
    spool.meanwhile = known.forget
    await known.read()
    record = spool.submit("api")
    assert await known.read() == [record]


async def test_volume_that_is_gone_is_reported_and_read_again_once_it_is_back(spool: CountingSpool) -> None:
    known = KnownRequests(spool, 2, Clock())
    gone = spool.root.rename(spool.root.with_name("gone"))
    with pytest.raises(SpoolUnavailableError):
        await known.read()
    gone.rename(spool.root)
    assert await known.read() == []
