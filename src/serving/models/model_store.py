"""Follows the champion alias: downloads, verifies and swaps models; on any error the current model stays in service."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

from src.core.errors import InvalidModelError, LoopError, ModelNotLoadedError
from src.core.model_registry import LOCAL_MANIFEST_FILE, write_manifest
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from src.serving.models.registry_client import RegistryClient

NO_CHAMPION = "no version is champion yet; wait for the first training, or request one with POST /retrain"
FIRST_TRAINING = "no version is champion yet; a training is running"
# How an attempt to serve another version ends.
ReloadOutcome = Literal["success", "download_failed", "invalid", "error"]
RELOAD_OUTCOMES: tuple[ReloadOutcome, ...] = get_args(ReloadOutcome)

logger = logging.getLogger(__name__)


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


@dataclass(frozen=True)
class Backoff:
    """Seconds between two polls, at most ``retry_max`` after failures; the pause ends early when the event is set."""

    poll: float
    retry_max: float
    wait: Callable[[asyncio.Event, float], Awaitable[None]] = wait_for_event
    clock: Callable[[], float] = time.monotonic

    def after(self, failures: int) -> float:
        """The pause after so many consecutive failures: it doubles from ``poll`` up to ``retry_max``."""
        return max(self.poll, min(self.poll * 2.0 ** min(failures, 30), self.retry_max))


class _Failure(NamedTuple):
    """A version that could not be served, and when to retry it (monotonic seconds)."""

    key: str
    reason: str
    failures: int
    retry_at: float


@dataclass(eq=False)
class ModelStore:
    """Holds the served model. Use from one event loop."""

    registry: RegistryClient
    cache: ModelCache
    backoff: Backoff
    is_training: Callable[[], bool]  # whether a training is running; called in a thread, and may raise OSError
    on_load: Callable[[Predictor], None]  # called with a model before it is served
    on_reload: Callable[[ReloadOutcome], None]  # called after an attempt to serve another version
    current: Predictor | None = field(default=None, init=False)
    mlflow_reachable: bool | None = field(default=None, init=False)  # in the last poll, at ``polled_at``
    polled_at: datetime | None = field(default=None, init=False)
    serves_champion: bool = field(default=False, init=False)  # as far as is known from the last poll
    last_error: str | None = field(default=None, init=False)  # why the champion is not served

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._next_look_ended = asyncio.Event()
        self._failed: _Failure | None = None
        self._failed_looks = 0

    def require(self) -> Predictor:
        """The served model. Raises ModelNotLoadedError."""
        if self.current is None:
            training = self.last_error == FIRST_TRAINING
            raise ModelNotLoadedError(FIRST_TRAINING if training else "no model is loaded yet; GET /health says why")
        return self.current

    def poke(self) -> None:
        """Poll the alias now. A version that failed keeps its backoff."""
        self._wake.set()

    async def catch_up(self, *, seconds: float) -> None:
        """Poll now, and wait until a poll that began after this call has ended, at most so long."""
        ended = self._next_look_ended
        self.poke()
        await wait_for_event(ended, seconds)

    async def restore(self) -> None:
        """Serve the last good version from the cache, if there is one. Does not raise if the cache is damaged."""
        try:
            version = await asyncio.to_thread(self.cache.read_current)
            predictor = version and await self._load_cached(version)
        except OSError as error:
            logger.error("cannot read the model cache (%s); the model is read from MLflow", error)  # noqa: TRY400 - one line
        else:
            if predictor:
                self._swap(predictor)

    async def load_previous(self, version: str) -> Predictor | None:
        """The version under the alias ``previous``; None if that is another one. Raises LoopError and OSError."""
        found = await self.registry.previous()
        if found is None or found.version != version:
            return None
        return await self._load_cached(found) or await self._download(found)

    async def load_version(self, version: str) -> Predictor | None:
        """A version by its number; None if it was deleted. Raises LoopError and OSError."""
        found = await self.registry.servable(version)
        if found is None:
            return None
        return await self._load_cached(found) or await self._download(found)

    async def follow(self) -> None:
        """Poll the alias until cancelled."""
        while True:
            self._wake.clear()
            ended, self._next_look_ended = self._next_look_ended, asyncio.Event()
            try:
                pause = await self.look()
            except Exception:  # the outermost loop: the next poll may succeed
                logger.exception("following the champion failed")
                self.on_reload("error")
                pause = self._fail("unexpected failure while following the champion; the log has the details")
            ended.set()
            await self.backoff.wait(self._wake, pause)

    async def look(self) -> float:
        """Poll the alias once and follow it; return the seconds until the next poll."""
        try:
            champion = await self.registry.champion()
        except LoopError as error:
            self.mlflow_reachable, self.polled_at = False, datetime.now(UTC)
            return self._fail(str(error))
        self.mlflow_reachable, self.polled_at = True, datetime.now(UTC)
        if champion is None:
            is_training = False
            with contextlib.suppress(OSError):  # the shared volume cannot be read
                is_training = await asyncio.to_thread(self.is_training)
            self._report(FIRST_TRAINING if is_training else NO_CHAMPION)
        elif self.current and self.current.version.key == champion.key:
            self._failed = None
            self._report(None)
        elif self._failed and self._failed.key == champion.key and self.backoff.clock() < self._failed.retry_at:
            self._report(self._failed.reason)
        else:
            await self._serve(champion)
        self._failed_looks = 0
        return self.backoff.poll

    async def _serve(self, version: ModelVersion) -> None:
        """Serve this version, or record why it cannot be served and keep the current one."""
        try:
            predictor = await self._load_cached(version) or await self._download(version)
        except (LoopError, OSError) as error:
            failures = 1 + (self._failed.failures if self._failed and self._failed.key == version.key else 0)
            problem = f"version {version.version} cannot be served: {error}"
            self._failed = _Failure(version.key, problem, failures, self.backoff.clock() + self.backoff.after(failures))
            self.on_reload("invalid" if isinstance(error, InvalidModelError) else "download_failed")
            self._report(problem)
            return
        self._swap(predictor)
        self._failed = None
        self._report(None)
        self.on_reload("success")
        try:
            await asyncio.to_thread(self.cache.write_current, version)
        except OSError as error:
            logger.warning("cannot record the served version in the model cache: %s", error)

    async def _load_cached(self, version: ModelVersion) -> Predictor | None:
        """The version from the cache, or None if it has no good copy. Raises OSError."""
        try:
            return await asyncio.to_thread(self.cache.load, version, "cache")
        except FileNotFoundError:  # no copy, or another process has just deleted it
            return None
        except InvalidModelError as error:
            logger.error("dropping version %s from the model cache: %s", version.version, error)  # noqa: TRY400 - one line
            return None

    async def _download(self, version: ModelVersion) -> Predictor:
        """The version from MLflow, stored in the cache. Raises LoopError and OSError."""
        staging = asyncio.create_task(asyncio.to_thread(self.cache.stage))
        try:
            folder = await asyncio.shield(staging)
            await self.registry.download(version, folder)
            if not version.verified:
                await asyncio.to_thread(write_manifest, folder, LOCAL_MANIFEST_FILE)
            # Loaded from its final folder, because a model's code may keep paths and read files later.
            await asyncio.to_thread(self.cache.adopt, folder, version)
        except BaseException:  # also after cancellation, even while the folder is made, no partial download may remain
            await asyncio.shield(asyncio.to_thread(self.cache.drop, await staging))
            raise
        return await asyncio.to_thread(self.cache.load, version, "registry")

    def _swap(self, predictor: Predictor) -> None:
        self.on_load(predictor)
        self.current = predictor
        version = predictor.version
        details = (version.name, version.version, predictor.source, predictor.engine.name, predictor.engine_reason)
        logger.info("serving %s version %s, from the %s, on %s: %s", *details)
        if not version.verified:
            logger.warning(
                "version %s is unverified: it was not registered by the training pipeline, so no manifest covers "
                "its files and no golden rows test its answers",
                version.version,
            )

    def _fail(self, problem: str) -> float:
        """Report a failed look; return the pause after it."""
        self._report(problem)
        self._failed_looks += 1
        return self.backoff.after(self._failed_looks)

    def _report(self, problem: str | None) -> None:
        """Keep the last error for /health (None: the champion is served); log it only when it changes."""
        self.serves_champion = problem is None
        if problem is not None and problem != self.last_error:
            serving = f"still serving version {self.current.version.version}" if self.current else "serving nothing"
            logger.warning("%s (%s)", problem, serving)
        self.last_error = problem
