"""Starts the time of a canary, and ends it: by a proof, or at its time. Any replica may, and the first one does."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from src.core.canary_end import canary_end
from src.core.durable_file import explaining_unusable
from src.core.rollout_findings import WITHOUT_LOG
from src.core.rollout_record import Decision, Rollout
from src.serving.models.approval import RECORDS, Approval
from src.serving.watch.instant_rollback import finding_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanaryEnds:
    """Follows the record of a canary.

    Attributes:
        approval: promotes or aborts the version.
        clock: the current time.
    """

    approval: Approval
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def step(self, canary: Rollout) -> None:
        """Look once. Raises ChangeRefusedError and the other errors of ``Approval``."""
        with explaining_unusable(RECORDS):
            known = await asyncio.to_thread(self._begin_or_find, canary)
        end = canary_end(known, self.clock()) if known is not None else None
        if end is not None:
            decide = self.approval.approve if end.decision is Decision.APPROVED else self.approval.reject
            await decide(canary.id, by=end.by, reason=end.reason, automatic=True)

    def _begin_or_find(self, canary: Rollout) -> Rollout | None:
        """Record what is known of a canary; return its record, None if it does not answer requests yet."""
        rollouts = self.approval.rollouts
        if not self.approval.has_log:
            rollouts.hinder(canary, f"{WITHOUT_LOG}: a person decides")
            return None
        if canary.canary_started is None:
            watched = rollouts.watched(canary.model)
            # A version is compared with one other at a time.
            if canary.shadow_problem is None and (watched is None or self.clock() >= watched.until):
                logger.info("version %s answers a share of the requests from now on", canary.version)
                rollouts.begin_answers(canary.id, self.clock())
            return None
        if canary.finding is None and (finding := finding_of(canary)) is not None:
            rollouts.find(canary, finding)
            return rollouts.get(canary.id)
        return canary
