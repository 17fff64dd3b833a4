"""The model's aliases in MLflow for the page: one query for any number of open pages, with a short time-out."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from src.core.errors import LoopError
from src.services.inference.page.fresh import Fresh
from src.serving.models.model_version import Aliases
from src.serving.models.registry_client import RegistryClient

# The greatest age of an answer, and how long a page waits for one.
FRESH_SECONDS = 2.0
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Known:
    """The last answer, and why there is no newer one, if so."""

    aliases: Aliases | None = None
    problem: str | None = None


class KnownAliases(Fresh[Known]):
    """The last known aliases; ``read`` does not raise if MLflow fails.

    Args:
        client: queries MLflow.
        clock: monotonic seconds.
        patience: seconds to wait for its answer.
    """

    def __init__(
        self,
        client: RegistryClient,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(self._ask, FRESH_SECONDS, clock)
        self._client = client
        self._patience = patience
        # MLflow's last answer, of any age.
        self._aliases: Aliases | None = None

    async def _ask(self) -> Known:
        try:
            async with asyncio.timeout(self._patience):
                self._aliases = await self._client.aliases()
        except LoopError as error:
            return Known(self._aliases, str(error))
        except TimeoutError:
            return Known(self._aliases, "MLflow did not answer in time; this is its last answer")
        return Known(self._aliases)
