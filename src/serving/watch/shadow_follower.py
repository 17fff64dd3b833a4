"""Follows the records of promotions: loads and releases the shadow, and passes on what it has found."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from src.core.errors import LoopError
from src.core.rollout_record import Rollout
from src.serving.models.predictor import Predictor
from src.serving.models.rollback import Rollback
from src.serving.watch.instant_rollback import InstantRollback
from src.serving.watch.shadow import Shadow

# How often the records of promotions are read, and the pause after a failure.
LOOK_SECONDS, RETRY_SECONDS = 5.0, 15.0

logger = logging.getLogger(__name__)


class ShadowFollower:
    """Loads and releases the shadow as the records of promotions say, and rolls back at once where it must.

    Args:
        shadow: uses what is loaded.
        rollback: the served model, the records, and what rolls back.
        clock: the current time.
        wait: waits so many seconds.
    """

    def __init__(
        self,
        shadow: Shadow,
        rollback: Rollback,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shadow = shadow
        self._rollback = rollback
        self._instant = InstantRollback(rollback)
        self._followed: str | None = None  # the id of the record for which the shadow was loaded
        self._clock = clock
        self._wait = wait

    async def follow(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            pause = LOOK_SECONDS
            try:
                await self.look()
            except (LoopError, OSError) as error:
                logger.warning("the previous champion cannot answer as a shadow: %s", error)
                pause = RETRY_SECONDS
            except Exception:  # the outermost loop: the next look may succeed
                logger.exception("following the records of promotions failed")
                pause = RETRY_SECONDS
            await self._wait(pause)

    async def look(self) -> None:
        """Load, question or release the shadow once. Raises LoopError and OSError if that fails."""
        rollouts, model = self._rollback.rollouts, self._rollback.model
        rollout = await asyncio.to_thread(rollouts.watched, model)
        served = self._served_of(rollout)
        if rollout is None or served is None:
            if self._shadow.version is not None:
                logger.info("version %s no longer answers as a shadow", self._shadow.version)
                self._shadow.release()
            if rollout is not None:
                await self._rollback.settle(rollout)
        elif self._shadow.version is None or self._followed != rollout.id:
            predictor = await self._rollback.store.load_previous(rollout.previous)
            # The served version may have changed meanwhile.
            served = self._served_of(rollout)
            if predictor is not None and served is not None:
                self._shadow.use(predictor, served, rollout.max_slowdown)
                self._followed = rollout.id
                logger.info(
                    "version %s is the shadow of version %s: it answers the logged rows too",
                    rollout.previous,
                    rollout.version,
                )
        else:
            await self._decide(rollout)

    async def _decide(self, rollout: Rollout) -> None:
        """Pass on what the shadow has counted since the last look."""
        checks = self._shadow.checks
        if checks is None:
            return
        errors, latency = checks.take()
        try:
            await self._instant.step(rollout, errors, latency)
        except (LoopError, OSError) as error:
            logger.warning("errors and latency of version %s cannot be recorded: %s", rollout.version, error)

    def _served_of(self, rollout: Rollout | None) -> Predictor | None:
        """The served model, if it is the watched version and the watch goes on."""
        current = self._rollback.store.current
        if rollout is None or current is None or current.version.version != rollout.version:
            return None
        return current if self._clock() < rollout.until else None
