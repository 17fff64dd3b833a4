"""Rolls a watched promotion back at once when errors or latency prove that it is worse; no labels are needed."""

import asyncio
import logging
from dataclasses import dataclass, field

from src.core.errors import LoopError
from src.core.evidence import ERRORS_ALPHA, LATENCY_ALPHA, count_evidence, evidence_in_words
from src.core.rollout_record import PairCount, Rollout
from src.serving.models.rollback import Rollback

BY = "automatic, inference"

logger = logging.getLogger(__name__)


@dataclass
class InstantRollback:
    """Adds what this replica has counted to the promotion's record, and decides by the sums of all replicas.

    Attributes:
        rollback: what ``POST /rollback`` uses.
    """

    rollback: Rollback
    _reported: str | None = field(default=None, init=False)

    async def step(self, rollout: Rollout, errors: PairCount, latency: PairCount) -> None:
        """Record the counts, and roll back if they prove enough.

        Raises:
            OSError, SpoolFullError: the record cannot be changed; the counts are not recorded.
        """
        rollouts = self.rollback.rollouts
        if (errors, latency) != (PairCount(), PairCount()):
            counted = await asyncio.to_thread(rollouts.count, rollout, errors, latency)
            if counted is None:
                return
            rollout = counted
        # A proof stays one, whatever is counted later.
        finding = rollout.finding or finding_of(rollout)
        if finding is None:
            return
        if rollout.finding is None:
            await asyncio.to_thread(rollouts.find, rollout, finding)
        obstacle = await asyncio.to_thread(rollouts.obstacle, rollout)
        if obstacle is not None:
            self._report(f"{finding}; it is not rolled back: {obstacle}")
            return
        await self._roll_back(rollout, finding)

    async def _roll_back(self, rollout: Rollout, finding: str) -> None:
        # First: a rollback whose answer is lost counts as an automatic one.
        if not await asyncio.to_thread(self.rollback.rollouts.request, rollout.id):
            return
        try:
            await self.rollback.run(by=BY, expected=rollout.version, reason=finding)
        except LoopError as error:  # the next step tries again, unless another replica was first
            self._report(f"{finding}, and cannot be rolled back: {error}")

    def _report(self, text: str) -> None:
        if text != self._reported:
            logger.warning("%s", text)
        self._reported = text


def finding_of(rollout: Rollout) -> str | None:
    """What the counts prove of the promoted version, in a sentence; None if they prove nothing."""
    new, previous = f"version {rollout.version}", f"version {rollout.previous}"
    fails = f"{new} fails on rows that {previous} answers"
    slow = f"{new} takes more than {rollout.max_slowdown or 0:g} times as long as {previous}"
    for pairs, alpha, what, unit in (
        (rollout.errors, ERRORS_ALPHA, fails, "rows on which only one of them fails"),
        (rollout.latency, LATENCY_ALPHA, slow, "timed predictions"),
    ):
        evidence = count_evidence(pairs.worse, pairs.better)
        if evidence >= 1 / alpha:
            total = pairs.worse + pairs.better
            found = f"evidence {evidence_in_words(evidence)}, needed {1 / alpha:,.0f}"
            return f"{what}: {pairs.worse:,} of {total:,} {unit} ({found})"
    return None
