"""The shadow: whose rows it answers, how many, and when it is loaded and released."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from src.core.errors import ConnectionFailedError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.prediction_log import Role
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.predictions import Predictions
from src.core.rollout_record import Rollout, Rollouts, RolloutState
from src.serving.models.predictor import Cost
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.prediction_log import PredictionLog
from src.serving.watch.segment_writer import SegmentWriter
from src.serving.watch.shadow import LOOK_SECONDS, MAX_SECONDS, RETRY_SECONDS, Shadow, ShadowFollower
from tests.support.logged import segments_in

pytestmark = pytest.mark.anyio
SCHEMA = FeatureSchema((Column("x"),))
CLASSES = ("a", "b")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Model:
    """As much of a predictor as the shadow reads; it answers with the class that it prefers."""

    def __init__(self, version: str, prefers: str = "a", schema: FeatureSchema = SCHEMA, cost: float = 1e-6) -> None:
        self.schema, self.classes, self.prefers = schema, CLASSES, prefers
        self.cost = Cost(0.0, cost)
        self.engine = self
        self.version: Any = type("Version", (), {"name": "iris", "version": version})
        self.fails = False

    def predict(self, table: FeatureTable) -> Predictions:
        if self.fails:
            raise ValueError("made up")
        shares = [0.75, 0.25] if self.prefers == "a" else [0.25, 0.75]
        return Predictions(None, np.array([shares] * len(table)), CLASSES)


def settings() -> PredictionLogSettings:
    return PredictionLogSettings(_env_file=None, prediction_log_rate=1e9)  # type: ignore[call-arg]


def block_of(rows: int, version: str = "2", schema: FeatureSchema = SCHEMA) -> LoggedRows:
    served: Any = Model(version, schema=schema)
    layout = RowLayout(served, settings())
    table = FeatureTable.from_rows(schema, [(float(row),) * len(schema.columns) for row in range(rows)])
    ids = [f"r{row}" for row in range(rows)]
    return LoggedRows(
        layout, layout.source(0.5), ids, [1.0] * rows, table, served.predict(table), ["k", *[None] * (rows - 1)]
    )


class World:
    """A shadow and its counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.shadow = Shadow(settings(), self.registry)

    def counts(self) -> tuple[float, ...]:
        """The rows that were predicted, skipped and failed."""
        name, results = "inference_shadow_rows_total", ("predicted", "skipped", "failed")
        return tuple(self.registry.get_sample_value(name, {"result": result}) or 0 for result in results)

    @property
    def active(self) -> float | None:
        return self.registry.get_sample_value("inference_shadow_active")


@pytest.fixture
def world() -> World:
    return World()


def use(world: World, model: Model, beside: str = "2") -> None:
    predictor: Any = model
    world.shadow.use(predictor, beside)


def test_nobody_answers_before_a_promotion(world: World) -> None:
    assert world.shadow.answers(block_of(3), 1.0) == (None, 1.0)
    assert (world.shadow.version, world.active, world.counts()) == (None, 0, (0, 0, 0))


def test_the_previous_champion_answers_the_same_rows(world: World) -> None:
    use(world, Model("1", prefers="b"))
    answered, left = world.shadow.answers(block_of(3), 1.0)
    assert answered is not None
    assert answered.source.version == "1"
    assert answered.source.role == "shadow"
    assert answered.source.rate == 0.5
    assert (answered.ids, answered.times, answered.keys) == (["r0", "r1", "r2"], [1.0] * 3, ["k", None, None])
    assert isinstance(answered.found, Predictions)
    assert answered.found.values == ["b"] * 3
    assert left == pytest.approx(1.0 - 3e-6)
    assert (world.shadow.version, world.active, world.counts()) == ("1", 1, (3, 0, 0))


def test_rows_of_another_version_are_not_answered(world: World) -> None:
    use(world, Model("1"))
    assert world.shadow.answers(block_of(3, version="3"), 1.0) == (None, 1.0)
    assert world.counts() == (0, 0, 0)


@pytest.mark.parametrize(
    "columns",
    [
        (Column("y"),),
        (Column("x", ColumnType.INTEGER, mlflow_type="long"),),
        (Column("x"), Column("y")),
    ],
)
def test_rows_with_other_columns_are_not_answered(world: World, columns: tuple[Column, ...]) -> None:
    use(world, Model("1"))
    assert world.shadow.answers(block_of(1, schema=FeatureSchema(columns)), 1.0) == (None, 1.0)


def test_a_slow_shadow_answers_as_many_rows_as_it_has_time_for(world: World) -> None:
    use(world, Model("1", cost=0.01))
    answered, left = world.shadow.answers(block_of(7), 0.0501)
    assert answered is not None
    assert answered.ids == ["r0", "r1", "r2", "r3", "r4"]
    assert len(answered.table) == len(answered.times) == len(answered.keys) == 5
    assert left == pytest.approx(0.0001)
    assert world.shadow.answers(block_of(2), left) == (None, left)
    assert world.counts() == (5, 4, 0)


def test_a_shadow_that_fails_is_counted_and_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    model = Model("1")
    use(world, model)
    model.fails = True
    for _ in range(2):
        assert world.shadow.answers(block_of(2), 1.0) == (None, 1.0)
    assert world.counts() == (0, 0, 4)
    assert caplog.text.count("the shadow, version 1, fails: ValueError") == 1
    model.fails = False
    assert world.shadow.answers(block_of(1), 1.0)[0] is not None
    model.fails = True
    world.shadow.answers(block_of(2), 1.0)
    assert caplog.text.count("fails") == 2


def test_a_released_shadow_answers_nothing(world: World) -> None:
    use(world, Model("1"))
    world.shadow.use(None, "")
    assert world.shadow.answers(block_of(3), 1.0) == (None, 1.0)
    assert (world.shadow.version, world.active) == (None, 0)


def test_the_log_has_both_answers_of_a_row(tmp_path: Path) -> None:
    log = PredictionLog(settings(), CollectorRegistry(), tmp_path)
    served: Any = Model("2")
    previous: Any = Model("1", prefers="b", cost=MAX_SECONDS / 2.5)
    log.shadow.use(previous, "2")
    answers = served.predict(FeatureTable.from_rows(SCHEMA, [(1.0,)] * 3))
    batch = log.batch(served, "t", 3)
    log.add_part(batch, FeatureTable.from_columns(SCHEMA, [np.ones(3)]), answers, {})
    log.write()
    log.close()
    found = {segment.header.role: segment for segment in segments_in(tmp_path)}
    assert [row["id"] for row in found[Role.CHAMPION].rows] == ["t", "t/1", "t/2"]
    assert [(row["id"], row["prediction"]) for row in found[Role.SHADOW].rows] == [("t", "b"), ("t/1", "b")]
    assert (found[Role.SHADOW].header.version, found[Role.CHAMPION].header.version) == ("1", "2")


def test_the_time_of_a_second_is_shared_by_its_blocks(world: World, tmp_path: Path) -> None:
    world.shadow.use(Model("1", cost=MAX_SECONDS / 4.5), "2")  # type: ignore[arg-type]
    writer = SegmentWriter(tmp_path, lambda: 1.0)
    assert world.shadow.write([block_of(3), block_of(3), block_of(3)], writer) == []
    writer.close()
    (segment,) = segments_in(tmp_path)
    assert [row["id"] for row in segment.rows] == ["r0", "r1", "r2", "r0"]
    assert world.counts() == (4, 5, 0)


def test_answers_that_cannot_be_written_are_errors(world: World, tmp_path: Path) -> None:
    world.shadow.use(Model("1"), "2")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    (error, other) = world.shadow.write([block_of(1), block_of(1)], SegmentWriter(tmp_path / "file", lambda: 1.0))
    assert isinstance(error, OSError)
    assert isinstance(other, OSError)


class Store:
    """Serves a version, and loads others unless it fails."""

    def __init__(self) -> None:
        self.current: Any = Model("2")
        self.loaded: list[str] = []
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.has_previous = True

    async def load_previous(self, version: str) -> Any:
        self.loaded.append(version)
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return Model(version) if self.has_previous else None


class Followed:
    """A follower of records in a folder, on a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.shadow, self.rollouts, self.now = Shadow(settings(), CollectorRegistry()), Rollouts(folder), NOW
        self.store: Any = Store()
        self.pauses = asyncio.Queue[float]()
        self.follower = ShadowFollower(
            self.shadow, self.store, self.rollouts, "iris", clock=lambda: self.now, wait=self._wait
        )

    async def _wait(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await asyncio.sleep(0)

    def promote(self, version: str = "2", previous: str = "1") -> Rollout:
        until = NOW + timedelta(hours=1)
        rollout = Rollout(model="iris", version=version, previous=previous, started=NOW, until=until)
        self.rollouts.begin(rollout)
        return rollout


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


async def test_a_watched_promotion_loads_the_previous_champion_once(followed: Followed) -> None:
    await followed.follower.look()
    assert followed.shadow.version is None
    followed.promote()
    for _ in range(2):
        await followed.follower.look()
    assert followed.shadow.version == "1"
    assert followed.store.loaded == ["1"]


async def test_the_shadow_is_released_when_the_watch_ends(followed: Followed) -> None:
    rollout = followed.promote()
    await followed.follower.look()
    followed.rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="test", reason="over")
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_the_shadow_is_released_at_the_end_of_the_time_even_if_nobody_ends_the_watch(followed: Followed) -> None:
    rollout = followed.promote()
    followed.now = rollout.until - timedelta(seconds=1)
    await followed.follower.look()
    assert followed.shadow.version == "1"
    followed.now = rollout.until
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_version_that_is_not_served_yet_has_no_shadow(followed: Followed) -> None:
    followed.promote("3", "2")
    await followed.follower.look()
    assert (followed.shadow.version, followed.store.loaded) == (None, [])
    followed.store.current = None
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_model_that_was_swapped_while_the_shadow_was_loaded_has_none(followed: Followed) -> None:
    followed.promote()
    followed.store.meanwhile = lambda: setattr(followed.store, "current", Model("9"))
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_where_another_version_is_previous_there_is_no_shadow(followed: Followed) -> None:
    followed.promote()
    followed.store.has_previous = False
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_later_promotion_brings_another_shadow(followed: Followed) -> None:
    followed.promote()
    await followed.follower.look()
    followed.promote("3", "2")
    followed.store.current = Model("3")
    await followed.follower.look()
    assert followed.shadow.version == "2"


async def test_a_shadow_that_cannot_be_loaded_is_tried_again_later(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.promote()
    followed.store.error = ConnectionFailedError("MLflow is away")
    task = asyncio.create_task(followed.follower.follow())
    assert await followed.pauses.get() == RETRY_SECONDS
    assert "cannot answer as a shadow: MLflow is away" in caplog.text
    followed.store.error = ZeroDivisionError("a fault")
    while "following the records of promotions failed" not in caplog.text:
        assert await followed.pauses.get() == RETRY_SECONDS
    followed.store.error = None
    while await followed.pauses.get() != LOOK_SECONDS:
        pass
    assert followed.shadow.version == "1"
    task.cancel()
