"""The shadow: while a promotion is watched, the previous champion answers the logged rows too, for the log alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from src.core.errors import LoopError
from src.core.feature_schema import FeatureSchema
from src.core.prediction_log import Role
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.rollout_record import Rollout, Rollouts
from src.serving.models.model_store import ModelStore
from src.serving.models.predictor import Predictor
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.segment_writer import SegmentWriter

# How often the records of promotions are read, and the pause after a shadow that could not be loaded.
LOOK_SECONDS, RETRY_SECONDS = 5.0, 15.0
# The shadow's share of a second: rows beyond it are skipped, so that a slow model does not slow down the served one.
MAX_SECONDS = 0.05
PREDICTED, SKIPPED, FAILED = "predicted", "skipped", "failed"

logger = logging.getLogger(__name__)


class Shadow:
    """Answers logged rows with the previous champion. ``use`` and ``answers`` may be called from different threads.

    Args:
        settings: of the prediction log.
        registry: of the metrics.
    """

    def __init__(self, settings: PredictionLogSettings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._used: tuple[Predictor, RowLayout, str] | None = None
        self._is_failing = False
        name, documentation = "inference_shadow_rows", "Logged rows by what the shadow did with them"
        rows = Counter(name, documentation, ["result"], registry=registry)
        self._count = {result: rows.labels(result).inc for result in (PREDICTED, SKIPPED, FAILED)}
        active = Gauge(
            "inference_shadow_active", "1 while the previous champion answers as a shadow", registry=registry
        )
        active.set_function(lambda: float(self._used is not None))

    @property
    def version(self) -> str | None:
        """The shadow's version, while there is one."""
        used = self._used
        return used[0].version.version if used else None

    def use(self, predictor: Predictor | None, beside: str) -> None:
        """Answer the rows of the version ``beside`` with this model from now on; None for none."""
        used = None if predictor is None else (predictor, RowLayout(predictor, self._settings, Role.SHADOW), beside)
        self._used = used

    def write(self, blocks: Iterable[LoggedRows], writer: SegmentWriter) -> list[OSError]:
        """Write the answers to the rows of a second, as far as there is time; return the errors."""
        errors: list[OSError] = []
        seconds = MAX_SECONDS
        for block in blocks:
            answered, seconds = self.answers(block, seconds)
            if answered is not None:
                try:
                    writer.write(answered.source, answered.lines())
                except OSError as error:
                    errors.append(error)
        return errors

    def answers(self, block: LoggedRows, seconds: float) -> tuple[LoggedRows | None, float]:
        """The shadow's answers to as many of the rows as it has time for, and the seconds that are left."""
        used = self._used
        if used is None or used[2] != block.source.version or not _takes(used[0].schema, block.layout.schema):
            return None, seconds
        predictor, layout, _ = used
        rows = min(len(block.ids), int(seconds / predictor.cost.of(1)))
        self._count[SKIPPED](len(block.ids) - rows)
        if not rows:
            return None, seconds
        table = block.table.part(0, rows)
        try:
            found = predictor.engine.predict(table)
        except Exception as error:  # noqa: BLE001 - a model may raise errors of any type, and the served one must not mind
            self._count[FAILED](rows)
            if not self._is_failing:
                logger.warning("the shadow, version %s, fails: %s", predictor.version.version, type(error).__name__)
            self._is_failing = True
            return None, seconds
        self._is_failing = False
        self._count[PREDICTED](rows)
        source = layout.source(block.source.rate)
        answered = LoggedRows(layout, source, block.ids[:rows], block.times[:rows], table, found, block.keys[:rows])
        return answered, seconds - predictor.cost.of(rows)


class ShadowFollower:
    """Loads and releases the shadow as the records of promotions say.

    Args:
        shadow: uses what is loaded.
        store: the served model, and where others are loaded from.
        rollouts: the records.
        model: the registered model's name.
        clock: the current time.
        wait: waits so many seconds.
    """

    def __init__(  # noqa: PLR0913 - the last two are for tests
        self,
        shadow: Shadow,
        store: ModelStore,
        rollouts: Rollouts,
        model: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shadow = shadow
        self._store = store
        self._rollouts = rollouts
        self._model = model
        self._clock = clock
        self._wait = wait

    async def follow(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            pause = LOOK_SECONDS
            try:
                await self.look()
            except (LoopError, OSError) as error:
                logger.warning("the previous champion cannot answer as a shadow: %s", error)
                pause = RETRY_SECONDS
            except Exception:  # the outermost loop: the next look may succeed
                logger.exception("following the records of promotions failed")
                pause = RETRY_SECONDS
            await self._wait(pause)

    async def look(self) -> None:
        """Load or release the shadow once. Raises LoopError and OSError if it cannot be loaded."""
        rollout = await asyncio.to_thread(self._rollouts.watched, self._model)
        if rollout is None or not self._is_beside(rollout):
            if self._shadow.version is not None:
                logger.info("version %s no longer answers as a shadow", self._shadow.version)
                self._shadow.use(None, "")
        elif self._shadow.version != rollout.previous:
            predictor = await self._store.load_previous(rollout.previous)
            # The served version may have changed meanwhile.
            if predictor is not None and self._is_beside(rollout):
                self._shadow.use(predictor, rollout.version)
                logger.info(
                    "version %s is the shadow of version %s: it answers the logged rows too",
                    rollout.previous,
                    rollout.version,
                )

    def _is_beside(self, rollout: Rollout) -> bool:
        """Whether the watched version is served, and the watch goes on."""
        current = self._store.current
        return current is not None and current.version.version == rollout.version and self._clock() < rollout.until


def _takes(schema: FeatureSchema, rows: FeatureSchema) -> bool:
    """Whether a model with this schema takes the rows of another one."""
    return [(column.name, column.type) for column in schema.columns] == [
        (column.name, column.type) for column in rows.columns
    ]
