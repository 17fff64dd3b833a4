"""Follows the version that waits: completes interrupted decisions, ends canaries, and shows if a person is needed.

It also aborts the version once the champion is another one, as after a move of the alias in MLflow.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge

from src.core.rollout_record import Rollout, RolloutState
from src.serving.models.alias_moves import ChangeRefusedError
from src.serving.models.approval import Approval
from src.serving.watch.canary_ends import CanaryEnds
from src.serving.watch.following import follow

logger = logging.getLogger(__name__)


class ApprovalFollower:
    """Looks every few seconds.

    Args:
        approval: carries out decisions.
        registry: of the metrics.
        wait: waits so many seconds.
    """

    def __init__(
        self,
        approval: Approval,
        registry: CollectorRegistry,
        *,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._approval = approval
        self._canaries = CanaryEnds(approval, approval.clock)
        self._wait = wait
        self._since = Gauge(
            "inference_approval_waiting_since_timestamp_seconds",
            "Since when a version has waited for a person; 0 if none does",
            registry=registry,
        )

    async def follow(self) -> None:
        """Look until cancelled."""
        problem = "the decision about a version is not carried out yet"
        fault = "following the version that awaits approval failed"
        await follow(self._look_without_refusal, self._wait, logger, problem=problem, fault=fault)

    async def look(self) -> None:
        """Look once. Raises LoopError if a decision cannot be completed, or the records cannot be read."""
        waiting = await self._approval.waiting()
        self._since.set(waiting.judged_since.timestamp() if waiting is not None and waiting.needs_person else 0)
        if waiting is not None and waiting.decision is not None:
            await self._approval.resume(waiting)
        elif waiting is not None and self._is_overtaken(waiting):
            await self._approval.abort_overtaken(waiting)
        elif waiting is not None and waiting.state is RolloutState.CANARY:
            await self._canaries.step(waiting)

    async def _look_without_refusal(self) -> None:
        try:
            await self.look()
        except ChangeRefusedError as error:  # a replica or a training is at it, or the version was aborted
            logger.info("the decision about a version was not carried out: %s", error)

    def _is_overtaken(self, waiting: Rollout) -> bool:
        """Whether, as far as is known, the champion is another one than the version was compared with."""
        store = self._approval.store
        served = store.current.version.version if store.current is not None and store.serves_champion else None
        return served not in {None, waiting.previous, waiting.version}
