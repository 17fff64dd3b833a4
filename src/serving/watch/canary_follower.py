"""Follows the records of rollouts: loads and releases the canary, and passes on what is counted of it.

The canary and the champion answer each other's logged rows as shadows, so that labels are compared on the same rows.
On the rows of requests that the canary answers, or fails on, errors and latency of both are compared too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from src.core.canary_config import CanaryConfig
from src.core.rollout_record import Decision, PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.models.version_choice import Canary, VersionChoice
from src.serving.watch.following import follow, leave_to_person, load_or_explain, obstacle_of
from src.serving.watch.instant_rollback import finding_of
from src.serving.watch.shadow import Shadow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanaryShadows:
    """The shadows beside a canary: what answers the champion's rows, and what answers the canary's."""

    canary: Shadow
    champion: Shadow

    def use(self, canary: Canary, max_slowdown: float | None) -> None:
        """Have both versions answer the other one's rows."""
        self.canary.use_challenger(canary.predictor, canary.champion)
        self.champion.use(canary.champion, canary.predictor, max_slowdown)

    def release(self) -> None:
        """Answer no more rows."""
        self.canary.release()
        self.champion.release()


class CanaryFollower:
    """Loads and releases the canary as the records say, and at once where errors or latency prove that it is worse.

    Args:
        choice: routes a share of the requests to what is loaded.
        shadows: of both versions.
        store: the served model.
        rollouts: the records.
        model: the registered model's name.
        take_rows: how many rows a version has answered as a canary since the last call.
        clock: the current time.
        wait: waits so many seconds.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        choice: VersionChoice,
        shadows: CanaryShadows,
        store: ModelStore,
        rollouts: Rollouts,
        model: str,
        *,
        take_rows: Callable[[str], int],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._choice = choice
        self._shadows = shadows
        self._store = store
        self._rollouts = rollouts
        self._model = model
        self._take_rows = take_rows
        self._clock = clock
        self._wait = wait

    async def follow(self) -> None:
        """Look every few seconds until cancelled."""
        await follow(
            self.look, self._wait, logger, problem="the canary cannot be followed", fault="following the canary failed"
        )

    async def look(self) -> None:
        """Load, count or release the canary once. Raises LoopError and OSError if that fails."""
        rollout = await asyncio.to_thread(self._rollouts.waiting, self._model)
        used = self._choice.canary
        if rollout is not None and used is not None and used.rollout_id == rollout.id:
            rollout = await self._counted(rollout)
        champion = self._champion_of(rollout)
        if used is not None and (rollout is None or used.rollout_id != rollout.id or used.champion is not champion):
            self._release(used)
        if rollout is not None and champion is not None and self._choice.canary is None:
            await self._use(rollout, champion)

    async def _counted(self, rollout: Rollout) -> Rollout:
        """Add to the record of the canary what this replica has counted since the last look."""
        checks, answered = self._shadows.champion.checks, self._take_rows(rollout.version)
        errors, latency = checks.take() if checks is not None else (PairCount(), PairCount())
        return await asyncio.to_thread(self._rollouts.count, rollout, errors, latency, answered) or rollout

    def _champion_of(self, rollout: Rollout | None) -> Predictor | None:
        """The served model, if a canary has to answer beside it now."""
        current, until = self._store.current, rollout.canary_until if rollout is not None else None
        if rollout is None or current is None or until is None or rollout.state is not RolloutState.CANARY:
            return None
        # All replicas read the same counts: each stops by itself, before the record ends.
        is_over = self._clock() >= until or rollout.decision is Decision.REJECTED or finding_of(rollout) is not None
        is_hindered = rollout.shadow_problem is not None
        return None if is_over or is_hindered or current.version.version != rollout.previous else current

    async def _use(self, rollout: Rollout, champion: Predictor) -> None:
        """Have the version answer from now on. If it never can, its record says so."""
        config, until = rollout.canary, rollout.canary_until
        if config is None or until is None:
            return
        found = await load_or_explain(self._store, rollout.version)
        if self._champion_of(rollout) is not champion:
            return
        problem = found if isinstance(found, str) else _obstacle(found, champion, config)
        if problem is not None:
            await leave_to_person(self._rollouts, rollout, problem, "a canary")
        elif not isinstance(found, str):
            canary = Canary.of(rollout.id, found, champion, config, until.timestamp())
            self._take_rows(rollout.version)  # of an earlier record
            self._shadows.use(canary, rollout.max_slowdown)
            self._choice.canary = canary
            share = f"{config.share:.2%}"
            logger.info("version %s answers %s of the requests as a canary", rollout.version, share)

    def _release(self, used: Canary) -> None:
        self._choice.canary = None
        self._shadows.release()
        logger.info("version %s no longer answers as a canary", used.predictor.version.version)


def _obstacle(predictor: Predictor, champion: Predictor, config: CanaryConfig) -> str | None:
    """Why a version can never answer the champion's requests."""
    if config.key_column is not None and config.key_column not in champion.schema.names:
        return f"has no column {config.key_column}, by which rollout.canary chooses requests"
    if (problem := obstacle_of(predictor, champion)) is not None:
        return problem
    # It would refuse rows without such a value, and the champion's answers would hide that.
    pairs = zip(predictor.schema.columns, champion.schema.columns, strict=True)
    newly = [new.name for new, old in pairs if new.required and not old.required]
    return f"requires values that version {champion.version.version} does not: {', '.join(newly)}" if newly else None
