"""The shadow: whose rows it answers, how many, and what is checked beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.prediction_log import Role
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.predictions import Predictions
from src.core.rollout_record import PairCount
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.prediction_log import PredictionLog
from src.serving.watch.segment_writer import SegmentWriter
from src.serving.watch.shadow import MAX_SECONDS, Shadow, ShadowMetrics
from tests.support.logged import segments_in
from tests.support.watched_models import SCHEMA, Model


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
        self.shadow = Shadow(settings(), ShadowMetrics(self.registry))

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


def use(world: World, model: Model, served: Model | None = None, max_slowdown: float | None = None) -> None:
    new: Any = served or Model("2")
    previous: Any = model
    world.shadow.use(previous, new, max_slowdown)


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


def test_one_of_several_shadows_suffices_to_be_active() -> None:
    metrics = ShadowMetrics(registry := CollectorRegistry())
    first, second = Shadow(settings(), metrics), Shadow(settings(), metrics)
    found = []
    for shadow in (first, second):
        shadow.use_challenger(Model("1"), Model("2"))  # type: ignore[arg-type]
        found.append(registry.get_sample_value("inference_shadow_active"))
        shadow.release()
        found.append(registry.get_sample_value("inference_shadow_active"))
    assert found == [1, 0, 1, 0]


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
        assert world.shadow.answers(block_of(2), 1.0) == (None, pytest.approx(1.0 - 4e-6))
    assert world.counts() == (0, 0, 4)
    assert caplog.text.count("the shadow, version 1, fails: ValueError") == 1
    model.fails = False
    assert world.shadow.answers(block_of(1), 1.0)[0] is not None
    model.fails = True
    world.shadow.answers(block_of(2), 1.0)
    assert caplog.text.count("fails") == 2


def test_a_shadow_that_fails_on_a_row_answers_the_others(world: World) -> None:
    model = Model("1", prefers="b")
    model.fails_above = 1.0
    use(world, model)
    answered, _ = world.shadow.answers(block_of(3), 1.0)
    assert answered is not None
    assert (answered.ids, answered.times, answered.keys) == (["r0", "r1"], [1.0] * 2, ["k", None])
    assert [b'"prediction":"b"' in line for line in answered.lines()] == [True, True]
    assert answered.table.row(1) == (1.0,)
    assert world.counts() == (2, 0, 1)


def test_rows_of_a_failed_block_are_tried_alone_as_far_as_there_is_time(world: World) -> None:
    model = Model("1", cost=0.01)
    model.fails = True
    use(world, model)
    # 4 rows at once, and 2 alone.
    assert world.shadow.answers(block_of(4), 0.0601) == (None, pytest.approx(0.0001))
    assert world.counts() == (0, 2, 2)
    assert world.shadow.answers(block_of(4), 0.0101) == (None, pytest.approx(-0.0099))
    assert world.counts() == (0, 5, 3)


def taken(world: World) -> tuple[PairCount, PairCount]:
    checks = world.shadow.checks
    assert checks is not None
    return checks.take()


def failed(rows: int, schema: FeatureSchema = SCHEMA) -> FeatureTable:
    return FeatureTable.from_rows(schema, [(float(row),) * len(schema.columns) for row in range(rows)])


def alarm(world: World, served: Any, folder: Path) -> None:
    """A failure some time ago."""
    world.shadow.add_failed(served, failed(1), 1.0)
    write(world, folder)


def write(world: World, folder: Path, *blocks: LoggedRows) -> None:
    assert world.shadow.write(blocks, SegmentWriter(folder, lambda: 1.0)) == []


def test_rows_on_which_the_served_version_fails_are_checked_within_the_second(world: World, tmp_path: Path) -> None:
    served: Any = Model("2")
    served.fails = True
    use(world, Model("1"), served)
    alarm(world, served, tmp_path)
    world.shadow.add_failed(served, failed(3), 1.0)
    write(world, tmp_path)
    assert taken(world) == (PairCount(worse=3), PairCount())
    write(world, tmp_path)
    assert taken(world) == (PairCount(), PairCount())


@pytest.mark.parametrize(("version", "columns"), [("3", (Column("x"),)), ("2", (Column("y"),))])
def test_failures_that_cannot_be_compared_are_not_checked(
    world: World, tmp_path: Path, version: str, columns: tuple[Column, ...]
) -> None:
    served: Any = Model("2")
    served.fails = True
    use(world, Model("1"), served)
    alarm(world, served, tmp_path)
    other: Any = Model(version)
    world.shadow.add_failed(other, failed(3, FeatureSchema(columns)), 1.0)
    write(world, tmp_path)
    assert taken(world) == (PairCount(), PairCount())


def test_without_a_shadow_failures_are_forgotten(world: World, tmp_path: Path) -> None:
    served: Any = Model("2")
    served.fails = True
    world.shadow.add_failed(served, failed(3), 1.0)
    use(world, Model("1"), served)
    write(world, tmp_path)
    write(world, tmp_path, block_of(3))
    assert taken(world) == (PairCount(), PairCount())
    assert served.rows == 0


def test_the_log_passes_failures_on_at_its_rate(tmp_path: Path) -> None:
    rare = PredictionLogSettings(_env_file=None, prediction_log_rate=1e-9)  # type: ignore[call-arg]
    for chosen, found in ((settings(), 2), (rare, 0)):
        log = PredictionLog(chosen, CollectorRegistry(), tmp_path)
        served: Any = Model("2")
        previous: Any = Model("1")
        served.fails = True
        log.shadow.use(previous, served, None)
        log.shadow.add_failed(served, failed(1), 1.0)
        log.write()
        log.batch(served, "t", 1000)  # sets the rate
        log.add_failed(served, failed(2))
        log.write()
        assert log.shadow.checks is not None
        assert log.shadow.checks.take() == (PairCount(worse=found), PairCount())


def test_logged_rows_are_timed(world: World, tmp_path: Path) -> None:
    use(world, Model("1"), max_slowdown=3.0)
    write(world, tmp_path, block_of(3), block_of(3, version="9"))
    errors, latency = taken(world)
    assert (errors, latency.worse + latency.better) == (PairCount(), 3)  # a busy machine may make one slow
    write(world, tmp_path, block_of(3, version="9"))
    assert taken(world) == (PairCount(), PairCount())


def test_checks_take_at_most_half_of_the_time(world: World, tmp_path: Path) -> None:
    served: Any = Model("2")
    use(world, Model("1", cost=MAX_SECONDS / 10.5), served, max_slowdown=3.0)
    checks: Any = world.shadow.checks
    checks._clock = iter(range(1000)).__next__  # noqa: SLF001 - each look at the clock takes a second
    write(world, tmp_path, block_of(20))
    assert world.counts() == (5, 15, 0)


def test_a_released_shadow_answers_nothing(world: World) -> None:
    use(world, Model("1"))
    world.shadow.release()
    assert world.shadow.answers(block_of(3), 1.0) == (None, 1.0)
    assert (world.shadow.version, world.active) == (None, 0)


def test_the_log_has_both_answers_of_a_row(tmp_path: Path) -> None:
    log = PredictionLog(settings(), CollectorRegistry(), tmp_path)
    served: Any = Model("2")
    previous: Any = Model("1", prefers="b", cost=MAX_SECONDS / 2.5)
    log.shadow.use(previous, served, None)
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
    use(world, Model("1", cost=MAX_SECONDS / 4.5))
    writer = SegmentWriter(tmp_path, lambda: 1.0)
    assert world.shadow.write([block_of(3), block_of(3), block_of(3)], writer) == []
    writer.close()
    (segment,) = segments_in(tmp_path)
    assert [row["id"] for row in segment.rows] == ["r0", "r1", "r2", "r0"]
    assert world.counts() == (4, 5, 0)


def test_answers_that_cannot_be_written_are_errors(world: World, tmp_path: Path) -> None:
    use(world, Model("1"))
    (tmp_path / "file").touch()
    (error, other) = world.shadow.write([block_of(1), block_of(1)], SegmentWriter(tmp_path / "file", lambda: 1.0))
    assert isinstance(error, OSError)
    assert isinstance(other, OSError)


def test_a_challenger_answers_the_champions_rows_and_nothing_else_is_compared(world: World) -> None:
    challenger: Any = Model("3", prefers="b")
    champion: Any = Model("2")
    world.shadow.use_challenger(challenger, champion)
    table = FeatureTable.from_rows(SCHEMA, [(1.0,)])
    world.shadow.add_failed(champion, table, 1.0)
    assert world.shadow.checks is None
    rows = champion.rows
    answered, _ = world.shadow.answers(block_of(3), 1.0)
    assert answered is not None
    assert (answered.source.version, answered.source.role, champion.rows) == ("3", "shadow", rows)


def test_a_challengers_answers_are_written(world: World, tmp_path: Path) -> None:
    challenger: Any = Model("3", prefers="b")
    champion: Any = Model("2")
    world.shadow.use_challenger(challenger, champion)
    writer = SegmentWriter(tmp_path, lambda: 1.0)
    assert world.shadow.write([block_of(3)], writer) == []
    assert world.counts() == (3, 0, 0)


def test_a_row_on_which_the_shadow_alone_fails_is_remembered_until_another_one_is_used(world: World) -> None:
    model: Any = Model("3")
    champion: Any = Model("2")
    world.shadow.use_challenger(model, champion)
    world.shadow.answers(block_of(3), 1.0)
    assert world.shadow.failure is None
    model.fails_above = 1.0
    world.shadow.answers(block_of(3), 1.0)
    model.fails_above = float("inf")
    world.shadow.answers(block_of(3), 1.0)
    assert world.shadow.failure == "ValueError"
    world.shadow.use_challenger(Model("4"), champion)  # type: ignore[arg-type]
    assert world.shadow.failure is None
