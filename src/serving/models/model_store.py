"""Follows the champion alias: downloads, verifies and swaps models; on any error the current model stays in service."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, get_args

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


class StoreMetrics(Protocol):
    """Records what the store did."""

    def reload(self, outcome: ReloadOutcome, /) -> None:
        """Count an attempt to serve another version."""

    def model_loaded(self, predictor: Predictor) -> None:
        """This model is served from now on."""

    def mlflow_reachable(self, value: float) -> None:
        """Whether the last look-up of the champion succeeded."""

    def serves_champion(self, value: float) -> None:
        """Whether the served model is the champion."""


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


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


@dataclass(frozen=True)
class _Failure:
    """A version that could not be served, and when to retry it (monotonic seconds)."""

    version: ModelVersion
    reason: str
    count: int
    retry_at: float


class ModelStore:
    """Holds the served model, if any, as ``current``. Use from one event loop.

    ``is_training`` says whether a training is running; it is called in a thread and may raise OSError.

    Attributes:
        mlflow_reachable: whether the last poll of MLflow succeeded; None before the first.
        polled_at: when that was.
        last_error: why the served model is not the champion; None if it is.
    """

    def __init__(
        self,
        registry: RegistryClient,
        cache: ModelCache,
        metrics: StoreMetrics,
        backoff: Backoff,
        is_training: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._metrics = metrics
        self._backoff = backoff
        self._is_training = is_training
        self._wake = asyncio.Event()
        self._next_look_ended = asyncio.Event()
        self._failed: _Failure | None = None
        self._failed_looks = 0
        self.current: Predictor | None = None
        self.mlflow_reachable: bool | None = None
        self.polled_at: datetime | None = None
        self.last_error: str | None = None

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
            version = await asyncio.to_thread(self._cache.read_current)
            predictor = version and await self._load_cached(version)
        except OSError as error:
            logger.error("cannot read the model cache (%s); the model is read from MLflow", error)  # noqa: TRY400 - one line
        else:
            if predictor:
                self._swap(predictor)

    async def follow(self) -> None:
        """Poll the alias until cancelled."""
        while True:
            self._wake.clear()
            ended, self._next_look_ended = self._next_look_ended, asyncio.Event()
            try:
                pause = await self.look()
            except Exception:  # the outermost loop: the next poll may succeed
                logger.exception("following the champion failed")
                self._metrics.reload("error")
                pause = self._fail("unexpected failure while following the champion; the log has the details")
            ended.set()
            await self._backoff.wait(self._wake, pause)

    async def look(self) -> float:
        """Poll the alias once and follow it; return the seconds until the next poll."""
        try:
            champion = await self._registry.champion()
        except LoopError as error:
            self._polled(reachable=False)
            return self._fail(str(error))
        self._polled(reachable=True)
        failed = self._failed
        if champion is None:
            is_training = False
            with contextlib.suppress(OSError):  # the shared volume cannot be read
                is_training = await asyncio.to_thread(self._is_training)
            self._report(FIRST_TRAINING if is_training else NO_CHAMPION)
        elif self.current is not None and self.current.version.key == champion.key:
            self._failed = None
            self._report(None)
        elif failed is not None and failed.version == champion and self._backoff.clock() < failed.retry_at:
            self._report(failed.reason)
        else:
            await self._serve(champion)
        self._failed_looks = 0
        return self._backoff.poll

    async def _serve(self, version: ModelVersion) -> None:
        """Serve this version, or record why it cannot be served and keep the current one."""
        try:
            predictor = await self._load_cached(version) or await self._download(version)
        except (LoopError, OSError) as error:
            count = self._failed.count + 1 if self._failed and self._failed.version == version else 1
            problem = f"version {version.version} cannot be served: {error}"
            self._failed = _Failure(version, problem, count, self._backoff.clock() + self._backoff.after(count))
            self._metrics.reload("invalid" if isinstance(error, InvalidModelError) else "download_failed")
            self._report(problem)
            return
        self._swap(predictor)
        self._failed = None
        self._report(None)
        self._metrics.reload("success")
        try:
            await asyncio.to_thread(self._cache.write_current, version)
        except OSError as error:
            logger.warning("cannot record the served version in the model cache: %s", error)

    async def _load_cached(self, version: ModelVersion) -> Predictor | None:
        """The version from the cache, or None if it has no good copy. Raises OSError."""
        try:
            return await asyncio.to_thread(self._cache.load, version, "cache")
        except FileNotFoundError:  # no copy, or another process has just deleted it
            return None
        except InvalidModelError as error:
            logger.error("dropping version %s from the model cache: %s", version.version, error)  # noqa: TRY400 - one line
            return None

    async def _download(self, version: ModelVersion) -> Predictor:
        """The version from MLflow, stored in the cache. Raises LoopError and OSError."""
        folder = await asyncio.to_thread(self._cache.stage)
        try:
            await self._registry.download(version, folder)
            if not version.verified:
                await asyncio.to_thread(write_manifest, folder, LOCAL_MANIFEST_FILE)
            # Loaded from its final folder, because a model's code may keep paths and read files later.
            await asyncio.to_thread(self._cache.adopt, folder, version)
        except BaseException:  # also after cancellation, no partial download may remain
            await asyncio.shield(asyncio.to_thread(self._cache.drop, folder))
            raise
        return await asyncio.to_thread(self._cache.load, version, "registry")

    def _swap(self, predictor: Predictor) -> None:
        self._metrics.model_loaded(predictor)
        self.current = predictor
        version, engine = predictor.version, predictor.engine.name
        details = (version.name, version.version, predictor.source, engine, predictor.engine_reason)
        logger.info("serving %s version %s, from the %s, on %s: %s", *details)
        if not version.verified:
            logger.warning(
                "version %s is unverified: it was not registered by the training pipeline, so no manifest covers "
                "its files and no golden rows test its answers",
                version.version,
            )

    def _polled(self, *, reachable: bool) -> None:
        self.mlflow_reachable, self.polled_at = reachable, datetime.now(UTC)
        self._metrics.mlflow_reachable(reachable)

    def _fail(self, problem: str) -> float:
        """Report a failed look; return the pause after it."""
        self._report(problem)
        self._failed_looks += 1
        return self._backoff.after(self._failed_looks)

    def _report(self, problem: str | None) -> None:
        """Keep the last error for /health (None: the champion is served); log it only when it changes."""
        self._metrics.serves_champion(problem is None)
        if problem is not None and problem != self.last_error:
            serving = f"still serving version {self.current.version.version}" if self.current else "serving nothing"
            logger.warning("%s (%s)", problem, serving)
        self.last_error = problem
