"""Rolls back to the version under ``previous``; a second rollback returns."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel

from src.core.audit_log import AuditLog, Entry, Event
from src.core.errors import LoopError, SpoolFullError
from src.core.model_registry import (
    CHAMPION,
    PREVIOUS,
    TAG_PENDING_PREVIOUS,
    TAG_ROLLBACK_AT,
    TAG_ROLLBACK_BY,
    TAG_ROLLBACK_TO,
    TAG_VERDICT,
)
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models.alias_moves import CATCH_UP_SECONDS, AliasMoves, ChangeRefusedError, ChangeUnfinishedError
from src.serving.models.model_store import ModelStore
from src.serving.models.model_version import RegisteredVersion

NOTHING = "there is nothing to go back to"

logger = logging.getLogger(__name__)


class RollbackRefusedError(ChangeRefusedError):
    """There is no version to go back to, or the champion is not the expected one; nothing was changed."""


class RollbackUnfinishedError(ChangeUnfinishedError):
    """MLflow failed while the aliases were moved: the message says what was done, or may have been."""


class RollbackAnswer(BaseModel):
    """The versions after a rollback: ``served`` is the champion, unless it cannot be loaded; see ``last_error``."""

    champion: str
    previous: str
    served: str | None
    last_error: str | None


@dataclass(frozen=True)
class Rollback:
    """Makes the previous champion champion again.

    The record of the promotion that is taken back, in ``rollouts``, ends, and ``audit`` gets an entry. A version that
    awaits approval is aborted: it was compared with the champion that is replaced.
    """

    moves: AliasMoves
    store: ModelStore
    rollouts: Rollouts
    audit: AuditLog
    model: str

    async def run(self, *, by: str, expected: str | None = None, reason: str = "requested") -> RollbackAnswer:
        """Make the previous champion champion again, and load it.

        ``by`` says who requests it, for the version's tags, and ``reason`` why, for the record of its promotion;
        ``expected``, if given, must be champion.

        Raises ChangeRefusedError (not possible, or not now), RollbackUnfinishedError (MLflow failed, and an alias was
        moved, or may have been), ConnectionFailedError or RegistryError (MLflow failed before that), and
        SpoolUnavailableError.
        """
        async with self.moves.locked():
            champion, previous = await self._pair(expected)
            # The tags first, so that the version is marked as rolled back even if a later step fails.
            at = datetime.now(UTC).isoformat(timespec="seconds")
            record = {TAG_ROLLBACK_AT: at, TAG_ROLLBACK_TO: previous.version, TAG_ROLLBACK_BY: by}
            await self.moves.registry.tag(champion.version, record)
            await self.moves.registry.tag(previous.version, {TAG_PENDING_PREVIOUS: champion.version})
            entry = Entry(
                event=Event.ROLLED_BACK,
                model=self.model,
                version=champion.version,
                previous=previous.version,
                by=by,
                reason=reason,
            )
            try:
                await self._move(champion.version, previous.version)
                await asyncio.to_thread(self.audit.append, entry)
            except RollbackUnfinishedError as error:
                changes = {"event": Event.ROLLBACK_UNFINISHED, "reason": f"{reason}; {error}"}
                await asyncio.to_thread(self.audit.append, Entry(**entry.model_dump() | changes))
                raise
            finally:
                # A request without an answer may have been carried out.
                self.store.poke()
            # Still locked: or else an interrupted approval could be completed, which would undo the rollback.
            await asyncio.to_thread(self._end_watch, champion.version, by, reason)
            await self._abort_waiting(champion.version, by)
        logger.warning("rolled back from version %s to %s, for %s", champion.version, previous.version, by)
        await self.store.catch_up(seconds=CATCH_UP_SECONDS)
        current = self.store.current
        return RollbackAnswer(
            champion=previous.version,
            previous=champion.version,
            served=current and current.version.version,
            last_error=self.store.last_error,
        )

    async def settle(self, watched: Rollout) -> None:
        """End a watch whose version was rolled back without a record of it; any other watch goes on.

        A process that is killed during a rollback leaves such a watch, and so does a failure of MLflow. Raises
        ConnectionFailedError, RegistryError and SpoolUnavailableError.
        """
        current = self.store.current
        if current is None or current.version.version != watched.previous:
            return
        champion = await self.moves.registry.version_of(CHAMPION)
        if champion is None or champion.version != watched.previous:
            return
        # Not while a rollback is in progress, which will record it; the next look tries again.
        with contextlib.suppress(ChangeRefusedError):
            async with self.moves.locked():
                await asyncio.to_thread(self._end_lost_watch, watched.version, watched.previous)

    def _end_watch(self, version: str, by: str, reason: str) -> None:
        """End the watch of the version that was rolled back; the rollback stands even if that fails."""
        try:
            waiting = self.rollouts.waiting(self.model)
            if waiting is not None and waiting.version == version:
                self.rollouts.approve(waiting.id, datetime.now(UTC))  # interrupted after it had become champion
            watched = self.rollouts.watched(self.model)
            if watched is not None and watched.version == version:
                state = RolloutState.ROLLED_BACK
                self.rollouts.end(watched.id, state, now=datetime.now(UTC), by=by, reason=reason)
        except (OSError, SpoolFullError) as error:
            logger.error("cannot record the rollback of version %s: %s", version, error)  # noqa: TRY400 - one line

    async def _abort_waiting(self, version: str, by: str) -> None:
        """Abort a version that awaits approval and was compared with the one that was rolled back.

        Without its verdict, the next request on the same data trains. The rollback stands even if that fails.
        """
        try:
            waiting = await asyncio.to_thread(self.rollouts.waiting, self.model)
            if waiting is None or waiting.previous != version:
                return
            await self.moves.registry.untag(waiting.version, TAG_VERDICT)
            reason = f"version {version}, with which it was compared, was rolled back; train again"
            end = self.rollouts.end
            await asyncio.to_thread(end, waiting.id, RolloutState.ABORTED, now=datetime.now(UTC), by=by, reason=reason)
        except (OSError, LoopError) as error:  # an approval is refused all the same
            logger.warning("cannot abort a version that awaits approval: %s", error)

    def _end_lost_watch(self, version: str, champion: str) -> None:
        """End the watch of a version whose rollback was not recorded: the one before it is champion again."""
        with contextlib.suppress(OSError, SpoolFullError):  # a repeated request tries again
            watched = self.rollouts.watched(self.model)
            if watched is not None and (watched.version, watched.previous) == (version, champion):
                state, reason = RolloutState.ROLLED_BACK, f"version {champion} is champion again"
                self.rollouts.end(watched.id, state, now=datetime.now(UTC), by="an earlier rollback", reason=reason)

    async def _pair(self, expected: str | None) -> tuple[RegisteredVersion, RegisteredVersion]:
        """The champion and the version to go back to."""
        champion, previous = await asyncio.gather(*map(self.moves.registry.version_of, (CHAMPION, PREVIOUS)))
        if champion is None:
            raise RollbackRefusedError("no version is champion, so there is nothing to roll back")
        if champion.pending_previous is not None:
            # Not followed by a rollback: a client that repeats an interrupted request wants one step back, not two.
            await self.moves.complete(champion.version, champion.pending_previous)
            raise RollbackRefusedError(
                f"an interrupted promotion or rollback was completed: version {champion.version} is champion and "
                f"{champion.pending_previous} is {PREVIOUS}; check the versions, then try again"
            )
        # Checked before ``expected``: a client that retries after an unfinished rollback must get this message.
        if previous is not None and previous.version == champion.version:
            raise RollbackRefusedError(
                f"{NOTHING}: the alias {PREVIOUS} points to the champion, version {champion.version}, itself; in "
                f"MLflow, point it to the version that was rolled back (its tag {TAG_ROLLBACK_TO} names "
                f"{champion.version}), or to another one"
            )
        if expected is not None and expected != champion.version:
            await asyncio.to_thread(self._end_lost_watch, expected, champion.version)
            raise RollbackRefusedError(
                f"the champion is version {champion.version} now, not {expected}; check the versions, then try again"
            )
        if previous is None:
            raise RollbackRefusedError(f"{NOTHING}: version {champion.version} is the first champion")
        return champion, previous

    async def _move(self, back_from: str, back_to: str) -> None:
        # After a time-out or a lost answer, it is unknown what MLflow has done.
        state = f"version {back_to} may or may not be champion again in place of {back_from}"
        state += f", and the alias {PREVIOUS} was not moved"
        advice = "Check which version is champion before you go on"
        try:
            await self.moves.registry.move(CHAMPION, back_to)
            state = f"version {back_to} is champion again, but the alias {PREVIOUS} may or may not point to {back_from}"
            advice = "The next rollback or training corrects it"
            await self.moves.complete(back_to, back_from)
        except LoopError as error:
            raise RollbackUnfinishedError(f"{state}: {error}. {advice}") from error
