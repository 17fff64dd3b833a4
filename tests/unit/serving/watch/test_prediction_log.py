"""The log's own limits: the second, the rows that may wait, the disk, and the end."""

import asyncio
import contextlib
import resource
import threading
from collections.abc import AsyncIterator
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
from src.serving.tables.answers import Answer
from src.serving.watch.prediction_log import MAX_WAITING, WRITE_ROWS, PredictionLog
from tests.support.logged import Segment, segments_in

pytestmark = pytest.mark.anyio
SCHEMA = FeatureSchema((Column("x"), Column("n", ColumnType.INTEGER, required=False, mlflow_type="long")))
ANSWER = Answer("b", {"a": 0.25, "b": 0.75})
INFO = "rows and their predictions are kept in"


class Model:
    """As much of a predictor as the log reads."""

    role = Role.CHAMPION

    def __init__(self, classes: tuple[str, ...] = ("a", "b"), version: str = "1") -> None:
        self.schema, self.classes = SCHEMA, classes
        self.version: Any = type("Version", (), {"name": "iris", "version": version})


class World:
    """A log, the seconds that pass for it, and what it has written."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "quality" / "segments"
        self.registry = CollectorRegistry()
        self.model: Any = Model()
        self.now = 1_800_000_000.0
        self.passes = asyncio.Queue[asyncio.Event]()
        chosen = PredictionLogSettings(_env_file=None, **{"prediction_log_rate": 1e9, **settings})  # type: ignore[call-arg]
        self.log = PredictionLog(chosen, self.registry, self.folder, lambda: self.now, self._wait)

    async def _wait(self, seconds: float) -> None:
        assert seconds == 1
        event = asyncio.Event()
        self.passes.put_nowait(event)
        await event.wait()

    async def second(self) -> None:
        """Let a second pass, and wait for the log to have written."""
        (await self.passes.get()).set()
        following = await self.passes.get()
        self.passes.put_nowait(following)

    def add(self, *ids: str) -> None:
        """Requests for one row each."""
        count = len(ids)
        self.log.add_rows(self.model, ids, [self.now] * count, [(1.5, None)] * count, [ANSWER] * count)

    def add_table(self, rows: int, request_id: str = "t") -> None:
        batch = self.log.batch(self.model, request_id, rows)
        table = FeatureTable.from_columns(SCHEMA, [np.arange(rows, dtype=np.float64), np.ones(rows, dtype=np.int64)])
        self.log.add_part(batch, table, Predictions(None, np.array([[0.25, 0.75]] * rows), ("a", "b")), {})

    def segments(self) -> list[Segment]:
        self.log.close()
        return segments_in(self.folder)

    def ids(self) -> list[str]:
        return [row["id"] for segment in self.segments() for row in segment.rows]

    def counts(self) -> tuple[float, ...]:
        """The rows that were written, not sampled and dropped."""
        name = "inference_prediction_log_rows_total"
        results = ("written", "not_sampled", "dropped")
        return tuple(self.registry.get_sample_value(name, {"result": result}) or 0 for result in results)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@contextlib.asynccontextmanager
async def running(world: World, gather: Any = lambda: None) -> AsyncIterator[None]:
    task = asyncio.create_task(world.log.run(gather))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_rows_are_gathered_and_written_every_second(world: World) -> None:
    notes = ["1", "2"]
    thread = threading.get_ident()

    def gather() -> None:
        assert threading.get_ident() == thread
        if notes:
            world.add(notes.pop(0))

    async with running(world, gather):
        for expected in (1, 2):
            await world.second()
            assert world.counts() == (expected, 0, 0)
            (path,) = world.folder.iterdir()
            assert path.name.endswith(".open")
            assert len(path.read_bytes().splitlines()) == 1 + expected
        world.now += 10
        await world.second()
        assert len(segments_in(world.folder)[0].rows) == 2


async def test_seconds_bring_the_rate_back(tmp_path: Path) -> None:
    world = World(tmp_path, prediction_log_rate=10)
    async with running(world):
        world.add_table(1000)
        assert world.registry.get_sample_value("inference_prediction_log_rate") == 0.0625
        for _ in range(10):
            await world.second()
        assert world.registry.get_sample_value("inference_prediction_log_rate") == 0.0625
        await world.second()
        assert world.registry.get_sample_value("inference_prediction_log_rate") == 1


async def test_first_start_says_that_rows_are_kept_and_later_ones_do_not(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(world):
        world.add("1")
        await world.second()
    assert [message.startswith(f"{INFO} {world.folder}, ") for message in caplog.messages] == [True]
    assert all(name in caplog.text for name in ("PREDICTION_LOG=false", "PREDICTION_LOG_OMIT", "PREDICTION_LOG_HASH"))
    async with running(world):
        await world.second()
    assert len(caplog.messages) == 1


async def test_failure_of_a_pass_is_logged_and_the_next_one_writes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [ValueError("a defect")]

    def gather() -> None:
        if failures:
            raise failures.pop()
        world.add("2")

    async with running(world, gather):
        world.add("1")
        await world.second()
        assert "a defect" in caplog.text
        await world.second()
    assert world.ids() == ["1", "2"]


def test_only_so_many_rows_wait_and_further_ones_are_dropped(world: World) -> None:
    world.add(*map(str, range(MAX_WAITING - 2)))
    world.add_table(3)
    world.add("late")
    world.add_table(2, "late")
    assert world.counts() == (0, 0, 4)
    ids = world.ids()
    assert len(ids) == MAX_WAITING
    assert ids[-2:] == ["t", "t/1"]
    world.add("there is room again")
    assert world.ids()[-1] == "there is room again"
    assert world.counts() == (MAX_WAITING + 1, 0, 4)


def test_rows_that_are_not_sampled_take_no_room(tmp_path: Path) -> None:
    world = World(tmp_path, prediction_log_rate=MAX_WAITING / 20)
    world.add_table(MAX_WAITING)
    written = len(world.ids())
    assert abs(written - MAX_WAITING / 2) < 500
    assert world.counts() == (written, MAX_WAITING - written, 0)


def test_blocks_of_the_same_model_and_rate_share_a_segment(tmp_path: Path) -> None:
    world = World(tmp_path, prediction_log_rate=0.4)
    batches = [world.log.batch(world.model, "abc"[place], rows) for place, rows in enumerate([1, 7, 1])]
    assert [batch.rate for batch in batches] == [1, 0.5, 0.25]
    other: Any = Model(version="2")
    table = FeatureTable.from_rows(SCHEMA, [(1.0, 1)] * 50)
    found = Predictions(["a"] * 50)
    for batch in (*batches, *reversed(batches), world.log.batch(other, "d", 50)):
        world.log.add_part(batch, table, found, {})
    kinds = [(segment.header.version, segment.header.rate) for segment in world.segments()]
    assert kinds == [("1", 0.25), ("1", 0.5), ("1", 1), ("2", 2**-4)]


def test_missing_values_and_types_survive_both_ways(world: World) -> None:
    world.add("row")
    batch = world.log.batch(world.model, "table", 2)
    table = FeatureTable.from_columns(SCHEMA, [np.array([np.nan, 2.5]), np.array([3.0, np.nan])])
    world.log.add_part(batch, table, Predictions(["b", "a"]), {})
    rows = [(row["values"], row["prediction"], row["probabilities"]) for row in world.segments()[0].rows]
    assert rows == [
        ([1.5, None], "b", [0.25, 0.75]),
        ([None, 3], "b", None),
        ([2.5, None], "a", None),
    ]
    assert isinstance(rows[1][0][1], int)


def test_probabilities_are_logged_as_they_are_answered(world: World) -> None:
    batch = world.log.batch(world.model, "t", 2)
    table = FeatureTable.from_rows(SCHEMA, [(1.0, 1)] * 2)
    shares = np.array([[0.123456789, 0.876543211], [0.4999999, 0.5000001]])
    world.log.add_part(batch, table, Predictions(None, shares, ("a", "b")), {})
    rows = [(row["prediction"], row["probabilities"]) for row in world.segments()[0].rows]
    assert rows == [("b", [0.12346, 0.87654]), ("a", [0.5, 0.5])]


def test_numbers_of_a_regression_and_names_of_classes_that_are_no_text(world: World) -> None:
    table = FeatureTable.from_rows(SCHEMA, [(1.0, 1)])
    for model, given in ((Model(classes=()), 1.25), (Model(classes=("0", "1")), 1), (Model(("False", "True")), True)):
        world.log.add_part(world.log.batch(model, "t", 1), table, Predictions([given]), {})
        world.log.add_rows(model, ["r"], [world.now], [(1.0, 1)], [Answer(given)])
    found = [(segment.header.classes, [row["prediction"] for row in segment.rows]) for segment in world.segments()]
    assert found == [([], [1.25, 1.25]), (["0", "1"], ["1", "1"]), (["False", "True"], ["True", "True"])]


def test_time_is_that_of_the_answer_in_microseconds(world: World) -> None:
    world.log.add_rows(world.model, ["r"], [1_700_000_000.25], [(1.0, 1)], [ANSWER])
    world.now = 1_800_000_000.5
    world.add_table(1)
    assert [row["time"] for row in world.segments()[0].rows] == [1_700_000_000_250_000, 1_800_000_000_500_000]


def test_full_disk_drops_what_it_cannot_take(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITE_ROWS * 100, hard))
    try:
        world.add_table(WRITE_ROWS + 1)
        world.log.close()
        written, _, dropped = world.counts()
        assert (written, dropped) == (1, WRITE_ROWS)
        world.add("more")
        world.log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert world.counts() == (2, 0, WRITE_ROWS)
    assert world.ids()[-2:] == [f"t/{WRITE_ROWS}", "more"]
    failed, working = caplog.messages
    assert "File too large" in failed
    assert working == "the prediction log is working again"


def test_disk_is_not_called_good_before_something_is_written(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world.folder.parent.mkdir()
    world.folder.touch()
    world.add("1")
    world.log.close()
    world.log.close()
    assert len(caplog.messages) == 1
    world.folder.unlink()
    world.log.close()
    assert len(caplog.messages) == 1


def test_rows_added_by_many_threads_are_all_counted_and_written(world: World) -> None:
    def add(name: str) -> None:
        for number in range(50):
            world.add_table(5, f"{name}-{number}")

    threads = [threading.Thread(target=add, args=(f"{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        world.log.close()
    ids = world.ids()
    assert len(ids) == len(set(ids)) == 2000
    assert world.counts() == (2000, 0, 0)


def test_rows_that_cannot_be_encoded_leave_room_for_the_next_ones(world: World) -> None:
    wrong = Answer(object(), None)  # type: ignore[arg-type] # no JSON
    world.log.add_rows(Model(classes=()), ["wrong"], [world.now], [(1.5, None)], [wrong])  # type: ignore[arg-type]
    world.add_table(MAX_WAITING - 1)
    with pytest.raises(TypeError):
        world.log.write()
    world.add("next", "last")
    assert world.ids() == ["next", "last"]
