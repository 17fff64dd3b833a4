"""What MLflow says of the aliases, for any number of pages at the price of one: asked seldom, not waited for long."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from src.core.errors import LoopError
from src.services.inference.model.alias_client import AliasClient, Aliases

# How old an answer may be, and how long a page waits for one.
FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """The last answer there was, and why there is no newer one, if so."""

    aliases: Aliases | None = None
    problem: str | None = None


class KnownAliases:
    """Asks once for all who want to know within ``FRESH_SECONDS``. Use from one event loop.

    Args:
        client: asks MLflow.
        clock: monotonic seconds.
        patience: seconds to wait for its answer.
    """

    def __init__(
        self,
        client: AliasClient,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._client = client
        self._clock = clock
        self._patience = patience
        self._asking = asyncio.Lock()
        self._known = Known()
        self._asked_at: float | None = None
        self._moves = 0

    async def read(self) -> Known:
        """What is known now. Never raises for MLflow."""
        async with self._asking:
            if self._asked_at is None or self._clock() - self._asked_at >= FRESH_SECONDS:
                moves = self._moves
                self._known = await self._ask()
                # An answer under way while they moved may be of before.
                self._asked_at = self._clock() if moves == self._moves else None
            return self._known

    def forget(self) -> None:
        """The aliases have moved: the next one who wants to know asks again."""
        self._asked_at = None
        self._moves += 1

    async def _ask(self) -> Known:
        try:
            async with asyncio.timeout(self._patience):
                return Known(await self._client.read())
        except LoopError as error:
            return Known(self._known.aliases, str(error))
        except TimeoutError:
            return Known(self._known.aliases, "MLflow did not answer in time; this is what it said last")
