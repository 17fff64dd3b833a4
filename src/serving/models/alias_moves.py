"""Moves the model's aliases, one caller at a time among all replicas and trainings that share the volume."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from src.core.errors import LoopError, RegistryError, SpoolUnavailableError
from src.core.file_lock import lock_at_once
from src.core.model_registry import PREVIOUS, TAG_PENDING_PREVIOUS
from src.serving.models.registry_client import RegistryClient

# How long a request waits for the new champion to be loaded.
CATCH_UP_SECONDS = 5.0
BUSY = "another promotion or rollback is in progress; check the versions, then try again"


class ChangeRefusedError(LoopError):
    """The aliases cannot be moved as requested, or not now; none was moved."""


class ChangeUnfinishedError(RegistryError):
    """MLflow failed while the aliases were moved: the message says what was done, or may have been."""


@dataclass(frozen=True)
class AliasMoves:
    """What rollbacks and approvals have in common.

    MLflow moves one alias at a time. The version that becomes champion is first tagged with where ``previous`` must
    point; the next rollback, approval or training (``training/alias_moves.py``) completes an interrupted move.
    ``lock_file`` is held meanwhile.
    """

    registry: RegistryClient
    lock_file: Path
    _moving: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def complete(self, champion: str, previous: str) -> None:
        """The second half of a move; the champion's tag is then no longer needed."""
        await self.registry.move(PREVIOUS, previous)
        await self.registry.untag(champion, TAG_PENDING_PREVIOUS)

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the lock for the block.

        Raises ChangeRefusedError (it is held elsewhere) and SpoolUnavailableError.
        """
        # Of two requests at once, also to one process, the second must not wait: it would undo the first.
        if self._moving.locked():
            raise ChangeRefusedError(BUSY)
        async with self._moving:
            locking = asyncio.create_task(asyncio.to_thread(lock_at_once, self.lock_file))
            try:
                if await asyncio.shield(locking) is None:
                    raise ChangeRefusedError(BUSY)
                yield
            except OSError as error:
                raise SpoolUnavailableError(
                    f"the shared volume cannot be used ({error.strerror}); nothing was changed"
                ) from error
            finally:
                with contextlib.suppress(OSError):
                    # Awaited here too, because a request may be cancelled while the thread opens the file.
                    if (descriptor := await locking) is not None:
                        await asyncio.to_thread(os.close, descriptor)
