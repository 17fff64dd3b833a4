"""The newest retrain requests for the page: the shared volume is read once for any number of open pages."""

import asyncio
import functools
import time
from collections.abc import Callable

from src.core.retrain_record import RetrainRecord
from src.core.retrain_signal import RetrainSpool
from src.services.inference.page.fresh import Fresh

# The greatest age of an answer.
FRESH_SECONDS = 1.0


class KnownRequests(Fresh[list[RetrainRecord]]):
    """The newest requests, newest first; ``read`` raises SpoolUnavailableError.

    Args:
        spool: holds the requests.
        limit: how many of the newest.
        clock: monotonic seconds.
    """

    def __init__(self, spool: RetrainSpool, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(functools.partial(asyncio.to_thread, spool.recent, limit), FRESH_SECONDS, clock)
