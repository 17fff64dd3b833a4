"""Approves or rejects a version that has passed the gate and waits: for a person, for its rows, or as a canary."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from src.core.durable_file import explaining_unusable
from src.core.errors import LoopError
from src.core.model_registry import (
    BEST,
    CHAMPION,
    PREVIOUS,
    TAG_FINGERPRINT,
    TAG_PENDING_PREVIOUS,
    TAG_REASON,
    TAG_ROLLBACK_AT,
    TAG_VERDICT,
    TAGS_ROLLBACK,
)
from src.core.retrain_record import Outcome
from src.core.rollout_findings import WITHOUT_LOG
from src.core.rollout_record import WAITING, Decision, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models.alias_moves import CATCH_UP_SECONDS, AliasMoves, ChangeRefusedError, ChangeUnfinishedError
from src.serving.models.decision_rules import automatic_decider, require_undecided
from src.serving.models.model_store import ModelStore

RECORDS = "the folder with the records of promotions"
# The states of an approved version that is, or was until a later promotion, champion.
SERVES = frozenset({RolloutState.WATCHING, RolloutState.KEPT})

logger = logging.getLogger(__name__)


class UnknownRolloutError(LoopError):
    """No version of the served model has a record with this id."""


@dataclass(frozen=True)
class Approval:
    """Carries out a decision about a version, one at a time among all replicas and trainings.

    An approval is recorded before anything else, and moves the aliases in the order in which a training does
    (``src.training.promote_model``). One that was interrupted is completed by the next request, or by ``resume``.

    Attributes:
        moves: moves the aliases.
        store: serves the champion.
        rollouts: the records.
        model: the registered model's name.
        has_log: whether rows are logged; else no canary can be judged.
        clock: the current time.
    """

    moves: AliasMoves
    store: ModelStore
    rollouts: Rollouts
    model: str
    has_log: bool = True
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def approve(
        self, rollout_id: str, *, by: str, reason: str, automatic: bool = False, promote: bool = False
    ) -> Rollout:
        """Make the version champion, load it, and begin its watch; a repeated approval changes nothing.

        A version that has to be a canary first becomes one instead, and is left alone while it is one; with ``promote``
        it becomes champion at once. An ``automatic`` approval is the quality service's, after the version's rows as a
        shadow, or ends a canary.

        Raises UnknownRolloutError, ChangeRefusedError (the version does not await approval, its rows do not allow an
        automatic one, or the champion is another one than it was compared with), ChangeUnfinishedError (MLflow failed
        after the approval was recorded), ConnectionFailedError or RegistryError (MLflow failed before that), and
        SpoolUnavailableError.
        """
        async with self.moves.locked():
            with explaining_unusable(RECORDS):
                rollout = await self._find(rollout_id)
                if rollout.decision is Decision.APPROVED and rollout.state in SERVES:
                    return rollout
                require_undecided(rollout, Decision.APPROVED)
                by = automatic_decider(rollout, Decision.APPROVED, self.clock()) if automatic else by
                ends = promote or (automatic and rollout.state is RolloutState.CANARY)
                if rollout.canary is not None and not ends and await self._is_or_becomes_canary(rollout, by, reason):
                    return await self._find(rollout_id)
                try:
                    if await self._champion() != rollout.version:
                        await self._require_same_champion(rollout, by)
                        await self._decide(rollout, Decision.APPROVED, by, reason)
                        await self._promote(rollout)
                    else:  # the aliases were moved before
                        await self._decide(rollout, Decision.APPROVED, by, reason)
                finally:
                    # A request without an answer may have been carried out.
                    self.store.poke()
                await asyncio.to_thread(self.rollouts.approve, rollout.id, self.clock())
        logger.warning("version %s was approved and is champion now, for %s", rollout.version, by)
        await self.store.catch_up(seconds=CATCH_UP_SECONDS)
        return await self._find(rollout_id)

    async def reject(self, rollout_id: str, *, by: str, reason: str, automatic: bool = False) -> Rollout:
        """Abort the version; a repeated rejection changes nothing.

        A canary answers no more requests as soon as that is recorded.

        Raises UnknownRolloutError, ChangeRefusedError (the version does not wait, was approved, or its rows do not
        allow an ``automatic`` rejection), ConnectionFailedError or RegistryError (MLflow failed; the version still
        waits, and the rejection of a canary is recorded), and SpoolUnavailableError.
        """
        async with self.moves.locked():
            with explaining_unusable(RECORDS):
                rollout = await self._find(rollout_id)
                if rollout.decision is Decision.REJECTED and rollout.state is RolloutState.ABORTED:
                    return rollout
                require_undecided(rollout, Decision.REJECTED)
                by = automatic_decider(rollout, Decision.REJECTED, self.clock()) if automatic else by
                if rollout.state is RolloutState.CANARY:  # it must not answer on while MLflow is away
                    await self._decide(rollout, Decision.REJECTED, by, reason)
                if await self.moves.registry.tags_of(rollout.version) is not None:
                    tags = {TAG_VERDICT: Outcome.REJECTED.value, TAG_REASON: f"rejected by {by}: {reason}"}
                    await self.moves.registry.tag(rollout.version, tags)
                await self._decide(rollout, Decision.REJECTED, by, reason)
                await self._abort(rollout, by, reason)
        logger.warning("version %s was rejected, for %s", rollout.version, by)
        return await self._find(rollout_id)

    async def waiting(self) -> Rollout | None:
        """The version that awaits approval or is a canary, if any. Raises SpoolUnavailableError."""
        with explaining_unusable(RECORDS):
            return await asyncio.to_thread(self.rollouts.waiting, self.model)

    async def resume(self, waiting: Rollout) -> None:
        """Complete a recorded decision that was interrupted. Raises as ``approve`` and ``reject``."""
        by, reason = waiting.decided_by or "unknown", waiting.decision_reason or "unknown"
        if waiting.decision is Decision.APPROVED:
            await self.approve(waiting.id, by=by, reason=reason, promote=True)
        else:
            await self.reject(waiting.id, by=by, reason=reason)

    async def abort_overtaken(self, waiting: Rollout) -> None:
        """Abort a version if the champion is another one than it was compared with.

        Raises ChangeRefusedError (it was aborted, or not now), ConnectionFailedError, RegistryError and
        SpoolUnavailableError.
        """
        async with self.moves.locked():
            with explaining_unusable(RECORDS):
                rollout = await self._find(waiting.id)
                is_undecided = rollout.state in WAITING and rollout.decision is None
                if is_undecided and await self._champion() != rollout.version:
                    await self._require_same_champion(rollout, "inference")

    async def _find(self, rollout_id: str) -> Rollout:
        with explaining_unusable(RECORDS):
            rollout = await asyncio.to_thread(self.rollouts.get, rollout_id)
        if rollout is None or rollout.model != self.model:
            raise UnknownRolloutError("no version has this id; GET /rollouts lists the newest")
        return rollout

    async def _champion(self) -> str | None:
        """The champion, once an interrupted move of the aliases is complete."""
        champion = await self.moves.registry.version_of(CHAMPION)
        if champion is not None and champion.pending_previous is not None:
            await self.moves.complete(champion.version, champion.pending_previous)
        return champion.version if champion is not None else None

    async def _require_same_champion(self, rollout: Rollout, by: str) -> None:
        """Abort a version whose comparison no longer holds, or that is gone."""
        champion = await self.moves.registry.version_of(CHAMPION)
        tags = await self.moves.registry.tags_of(rollout.version)
        if champion is None or champion.version != rollout.previous:
            now = f"version {champion.version} is champion now" if champion else "no version is champion now"
            problem = f"it was compared with version {rollout.previous}, and {now}"
            # Without its verdict, the next request on the same data trains.
            await self.moves.registry.untag(rollout.version, TAG_VERDICT)
        elif tags is None:
            problem = "it was deleted from MLflow"
        elif TAG_ROLLBACK_AT in tags:  # it had become champion before its approval was interrupted
            problem = "it was rolled back"
        else:
            return
        await self._abort(rollout, by, f"{problem}; train again")
        raise ChangeRefusedError(f"version {rollout.version} cannot be approved: {problem}; train again")

    async def _is_or_becomes_canary(self, rollout: Rollout, by: str, reason: str) -> bool:
        """Have a version answer a share of the requests; False if it is champion already, as after a move in MLflow."""
        if rollout.state is RolloutState.CANARY:
            return True
        if not self.has_log:
            raise ChangeRefusedError(
                f"version {rollout.version} cannot be a canary: {WITHOUT_LOG}; promote it with promote=true, "
                "or reject it"
            )
        if await self._champion() == rollout.version:
            return False
        await self._require_same_champion(rollout, by)
        start = self.rollouts.start_canary
        await asyncio.to_thread(start, rollout.id, self.clock(), by=by, reason=reason)
        logger.warning("version %s was approved as a canary, for %s", rollout.version, by)
        return True

    async def _decide(self, rollout: Rollout, decision: Decision, by: str, reason: str) -> None:
        await asyncio.to_thread(self.rollouts.decide, rollout.id, decision, by=by, reason=reason)

    async def _abort(self, rollout: Rollout, by: str, reason: str) -> None:
        end = self.rollouts.end
        await asyncio.to_thread(end, rollout.id, RolloutState.ABORTED, now=self.clock(), by=by, reason=reason)

    async def _promote(self, rollout: Rollout) -> None:
        try:
            await self._move_aliases(rollout)
        except LoopError as error:
            raise ChangeUnfinishedError(
                f"the approval of version {rollout.version} is recorded, and not carried out yet: {error}. It is "
                "completed as soon as MLflow answers; GET /rollouts shows it"
            ) from error

    async def _move_aliases(self, rollout: Rollout) -> None:
        """Tags and aliases in the order of a training's promotion."""
        registry, version, champion = self.moves.registry, rollout.version, rollout.previous
        reason = f"{rollout.verdict}; approved" if rollout.verdict else "approved"
        await registry.tag(version, {TAG_VERDICT: Outcome.PROMOTED.value, TAG_REASON: reason})
        if rollout.best is not None and await registry.tags_of(rollout.best) is not None:
            await registry.move(BEST, rollout.best)
        new, old = await registry.tags_of(version) or {}, await registry.tags_of(champion) or {}
        for key in TAGS_ROLLBACK:
            if key in old:  # the champion has returned since
                await registry.untag(champion, key)
        is_twin = TAG_FINGERPRINT in new and new[TAG_FINGERPRINT] == old.get(TAG_FINGERPRINT)
        # A rollback to the same model would change nothing.
        if is_twin and await registry.version_of(PREVIOUS) is not None:
            await registry.move(CHAMPION, version)
            return
        await registry.tag(version, {TAG_PENDING_PREVIOUS: champion})
        await registry.move(CHAMPION, version)
        await self.moves.complete(version, champion)
