"""Follows the records of rollouts: loads and releases the shadow, and passes on what it has found.

There is one shadow at a time: while a promotion is watched, a version that waits does not answer yet.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from src.core.errors import LoopError
from src.core.rollout_record import Rollout, RolloutState
from src.serving.models.predictor import Predictor
from src.serving.models.rollback import Rollback
from src.serving.watch.following import follow, leave_to_person, load_or_explain, obstacle_of
from src.serving.watch.instant_rollback import InstantRollback
from src.serving.watch.shadow import Shadow

logger = logging.getLogger(__name__)


class ShadowFollower:
    """Loads and releases the shadow as the records say, and rolls back at once where it must.

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
        self._followed: tuple[str, RolloutState] | None = None  # the record for which the shadow was loaded
        self._clock = clock
        self._wait = wait

    async def follow(self) -> None:
        """Look every few seconds until cancelled."""
        problem, fault = "no version can answer as a shadow", "following the records of promotions failed"
        await follow(self.look, self._wait, logger, problem=problem, fault=fault)

    async def look(self) -> None:
        """Load, question or release the shadow once. Raises LoopError and OSError if that fails."""
        rollout = await asyncio.to_thread(self._record)
        served = self._served_of(rollout)
        if rollout is None or served is None:
            if self._shadow.version is not None:
                logger.info("version %s no longer answers as a shadow", self._shadow.version)
                self._shadow.release()
            if rollout is not None and rollout.state is RolloutState.WATCHING:
                await self._rollback.settle(rollout)
        elif self._shadow.version is None or self._followed != (rollout.id, rollout.state):
            is_watched = rollout.state is RolloutState.WATCHING
            used = await (self._use_previous(rollout) if is_watched else self._use_challenger(rollout))
            if used is not None:
                self._followed = rollout.id, rollout.state
                logger.info("version %s is the shadow of version %s: it answers the logged rows too", *used)
        elif rollout.state is RolloutState.WATCHING:
            await self._decide(rollout)
        elif self._shadow.failure is not None:
            await self._hinder(rollout, f"fails on a row that version {rollout.previous} answers")

    def _record(self) -> Rollout | None:
        """The promotion that is watched, or else the version that has to answer rows before it is promoted."""
        rollouts, model = self._rollback.rollouts, self._rollback.model
        watched = rollouts.watched(model)
        waiting = rollouts.waiting(model) if watched is None else None
        return waiting if waiting is not None and waiting.is_shadowed else watched

    async def _use_previous(self, rollout: Rollout) -> tuple[str, str] | None:
        """Have the previous champion answer; return the shadow's and the served version, or None if that fails."""
        predictor = await self._rollback.store.load_previous(rollout.previous)
        # The served version may have changed meanwhile.
        served = self._served_of(rollout)
        if predictor is None or served is None:
            return None
        self._shadow.use(predictor, served, rollout.max_slowdown)
        return rollout.previous, rollout.version

    async def _use_challenger(self, rollout: Rollout) -> tuple[str, str] | None:
        """Have the version that waits answer; as above. If it never can, its record says so."""
        self._shadow.release()  # of another record
        found = await load_or_explain(self._rollback.store, rollout.version)
        served = self._served_of(rollout)
        if served is None:
            return None
        problem = found if isinstance(found, str) else obstacle_of(found, served)
        if problem is not None:
            await self._hinder(rollout, problem)
        elif not isinstance(found, str):
            self._shadow.use_challenger(found, served)
            return rollout.version, rollout.previous
        return None

    async def _hinder(self, rollout: Rollout, problem: str) -> None:
        await leave_to_person(self._rollback.rollouts, rollout, problem, "a shadow")

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
        """The served model, if it is the one beside which the shadow has to answer now."""
        current = self._rollback.store.current
        if rollout is None or current is None:
            return None
        is_watched = rollout.state is RolloutState.WATCHING
        if current.version.version != (rollout.version if is_watched else rollout.previous):
            return None
        return current if not is_watched or self._clock() < rollout.until else None
