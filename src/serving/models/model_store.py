"""Follows the champion alias: downloads, verifies and swaps models; on any error the current model stays in service."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from src.core.errors import InvalidModelError, LoopError, ModelNotLoadedError
from src.serving.models.backoff import Backoff, wait_for_event
from src.serving.models.model_cache import ModelCache
from src.serving.models.model_source import ModelSource, Registry
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from src.serving.models.store_metrics import DOWNLOAD_FAILED, ERROR, INVALID, SUCCESS, StoreMetrics

NO_CHAMPION = "no version is champion yet; wait for the first training, or request one with POST /retrain"
FIRST_TRAINING = "no version is champion yet; a training is running"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastLook:
    """The result of the last poll of MLflow; ``reachable`` is None before the first."""

    reachable: bool | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class _Failure:
    """A version that could not be served, and when to retry it (monotonic seconds)."""

    version: ModelVersion
    reason: str
    count: int
    retry_at: float


class ModelStore:
    """Holds the served model. Use from one event loop.

    Args:
        registry: names the champion and provides its files.
        cache: keeps the files.
        metrics: records every change.
        backoff: how often to poll.
        is_training: whether a training is running; called in a thread, may raise OSError.
    """

    def __init__(
        self,
        registry: Registry,
        cache: ModelCache,
        metrics: StoreMetrics,
        backoff: Backoff,
        is_training: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._source = ModelSource(registry, cache)
        self._metrics = metrics
        self._backoff = backoff
        self._is_training = is_training
        self._wake = asyncio.Event()
        self._next_look_ended = asyncio.Event()
        self._current: Predictor | None = None
        self._failed: _Failure | None = None
        self._failed_looks = 0
        self.last_look = LastLook()
        self.last_error: str | None = None

    # -- called by the routes ---------------------------------------------------------------------------

    @property
    def current(self) -> Predictor | None:
        """The served model, if any."""
        return self._current

    def require(self) -> Predictor:
        """The served model. Raises ModelNotLoadedError."""
        if self._current is None:
            training = self.last_error == FIRST_TRAINING
            raise ModelNotLoadedError(FIRST_TRAINING if training else "no model is loaded yet; GET /health says why")
        return self._current

    def poke(self) -> None:
        """Poll the alias now. A version that failed keeps its backoff."""
        self._wake.set()

    async def catch_up(self, *, seconds: float) -> None:
        """Poll now, and wait until a poll that began after this call has ended, at most so long."""
        ended = self._next_look_ended
        self.poke()
        await wait_for_event(ended, seconds)

    # -- following the alias ---------------------------------------------------------------------------

    async def restore(self) -> None:
        """Serve the last good version from the cache, if there is one. Does not raise if the cache is damaged."""
        try:
            version = await asyncio.to_thread(self._cache.read_current)
            if version is not None:
                predictor = await self._source.from_cache(version)
                if predictor is not None:
                    self._swap(predictor)
        except OSError as error:
            logger.error("cannot read the model cache (%s); the model is read from MLflow", error)  # noqa: TRY400 - one line

    async def follow(self) -> None:
        """Poll the alias until cancelled."""
        while True:
            self._wake.clear()
            ended, self._next_look_ended = self._next_look_ended, asyncio.Event()
            try:
                pause = await self.look()
            except Exception:  # the outermost loop: the next poll may succeed
                logger.exception("following the champion failed")
                self._metrics.reload(ERROR)
                self._metrics.serves_champion(served=False)
                self.last_error = "unexpected failure while following the champion; the log has the details"
                self._failed_looks += 1
                pause = self._backoff.after(self._failed_looks)
            ended.set()
            await self._backoff.wait(self._wake, pause)

    async def look(self) -> float:
        """Poll the alias once and follow it; return the seconds until the next poll."""
        try:
            champion = await self._registry.champion()
        except LoopError as error:
            self._saw_mlflow(reachable=False)
            self._report(str(error))
            self._failed_looks += 1
            return self._backoff.after(self._failed_looks)
        self._saw_mlflow(reachable=True)
        if champion is None:
            self._report(await self._why_no_champion())
        elif self._current is not None and _same_content(self._current.version, champion):
            self._failed = None
            self._report(None)
        elif (
            self._failed is not None
            and self._failed.version == champion
            and self._backoff.clock() < self._failed.retry_at
        ):
            self._report(self._failed.reason)
        else:
            await self._serve(champion)
        self._failed_looks = 0
        return self._backoff.poll

    async def _why_no_champion(self) -> str:
        try:
            return FIRST_TRAINING if await asyncio.to_thread(self._is_training) else NO_CHAMPION
        except OSError:  # the shared volume cannot be read
            return NO_CHAMPION

    async def _serve(self, version: ModelVersion) -> None:
        """Serve this version, or record why it cannot be served and keep the current one."""
        try:
            predictor = await self._source.load(version)
        except InvalidModelError as error:
            self._note_failure(version, INVALID, str(error))
        except (LoopError, OSError) as error:
            self._note_failure(version, DOWNLOAD_FAILED, str(error))
        else:
            self._swap(predictor)
            self._failed = None
            self._report(None)
            self._metrics.reload(SUCCESS)
            try:
                await asyncio.to_thread(self._cache.write_current, version)
            except OSError as error:
                logger.warning("cannot record the served version in the model cache: %s", error)

    def _swap(self, predictor: Predictor) -> None:
        self._metrics.model_loaded(predictor)
        previous, self._current = self._current, predictor
        if previous is not None:
            _collect_after(previous)
        version, engine = predictor.version, predictor.engine.name
        details = (version.name, version.version, predictor.source, engine, predictor.engine_reason)
        logger.info("serving %s version %s, from the %s, on %s: %s", *details)
        if not version.verified:
            logger.warning(
                "version %s is unverified: it was not registered by the training pipeline, so no manifest covers "
                "its files and no golden rows test its answers",
                version.version,
            )

    def _note_failure(self, version: ModelVersion, outcome: str, reason: str) -> None:
        count = self._failed.count + 1 if self._failed and self._failed.version == version else 1
        problem = f"version {version.version} cannot be served: {reason}"
        self._failed = _Failure(version, problem, count, self._backoff.clock() + self._backoff.after(count))
        self._metrics.reload(outcome)
        self._report(problem)

    def _saw_mlflow(self, *, reachable: bool) -> None:
        self.last_look = LastLook(reachable, datetime.now(UTC))
        self._metrics.mlflow_reachable(reachable=reachable)

    def _report(self, problem: str | None) -> None:
        """Keep the last error for /health (None: the champion is served); log it only when it changes."""
        self._metrics.serves_champion(served=problem is None)
        if problem == self.last_error:
            return
        self.last_error = problem
        if problem is not None:
            serving = f"still serving version {self._current.version.version}" if self._current else "serving nothing"
            logger.warning("%s (%s)", problem, serving)


def _collect_after(predictor: Predictor) -> None:
    """Collect garbage once no request uses a predictor: cyclic references in its model would stay for long."""
    loop = asyncio.get_running_loop()
    released = weakref.finalize(predictor, lambda: loop.is_closed() or loop.call_soon_threadsafe(gc.collect))
    released.atexit = False


def _same_content(served: ModelVersion, champion: ModelVersion) -> bool:
    return (served.name, served.key, served.digest) == (champion.name, champion.key, champion.digest)
