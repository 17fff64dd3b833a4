"""What those that follow the records of rollouts have in common."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from src.core.errors import InvalidModelError, LoopError
from src.core.rollout_record import Rollout
from src.core.rollouts import Rollouts
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.watch.shadow import MAX_SECONDS, takes_rows

# How often the records are read, and the pause after a failure.
LOOK_SECONDS, RETRY_SECONDS = 5.0, 15.0

logger = logging.getLogger(__name__)


async def follow(
    look: Callable[[], Awaitable[None]],
    wait: Callable[[float], Awaitable[None]],
    log: logging.Logger,
    *,
    problem: str,
    fault: str,
) -> None:
    """Look every few seconds until cancelled.

    Args:
        look: looks once.
        wait: waits so many seconds.
        log: of the caller.
        problem: what an expected error means, for people.
        fault: what an unexpected error means.
    """
    while True:
        pause = LOOK_SECONDS
        try:
            await look()
        except (LoopError, OSError) as error:
            log.warning("%s: %s", problem, error)
            pause = RETRY_SECONDS
        except Exception:  # the outermost loop: the next look may succeed
            log.exception("%s", fault)
            pause = RETRY_SECONDS
        await wait(pause)


async def load_or_explain(store: ModelStore, version: str) -> Predictor | str:
    """A version, or why it never can be loaded. Raises LoopError and OSError if trying again may help."""
    try:
        found = await store.load_version(version)
    except InvalidModelError as error:
        return f"cannot be loaded ({error})"
    return "was deleted from MLflow" if found is None else found


def obstacle_of(predictor: Predictor, served: Predictor) -> str | None:
    """Why a version can never answer the rows of the served one."""
    if not takes_rows(predictor.schema, served.schema):
        return f"takes other columns or types than version {served.version.version}"
    return f"takes more than {MAX_SECONDS * 1000:g} ms for a row" if predictor.cost.of(1) > MAX_SECONDS else None


async def leave_to_person(rollouts: Rollouts, rollout: Rollout, problem: str, role: str) -> None:
    """Record that a version cannot answer in a role, such as ``a shadow``."""
    text = f"version {rollout.version} {problem}, so that it cannot answer as {role}: a person decides"
    logger.warning("%s", text)
    await asyncio.to_thread(rollouts.hinder, rollout, text)
