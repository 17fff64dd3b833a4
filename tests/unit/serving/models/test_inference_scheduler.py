"""Rows that come together share a call; slow models and big tables leave the event loop to others."""

import asyncio
import contextlib
import dataclasses
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.core.feature_schema import FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.predictions import Predictions
from src.serving.models import inference_scheduler
from src.serving.models.inference_scheduler import (
    INLINE_BYTES,
    TABLE_SECONDS,
    TURN_SECONDS,
    InferenceScheduler,
    Steps,
    available_cores,
)
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Cost, Predictor
from src.serving.tables.records import RecordDecoder

pytestmark = pytest.mark.anyio
SCHEMA = FeatureSchema.of_numbers("x")
QUICK, SLOW = Cost(1e-6, 1e-6), Cost(1.0, 0.02)


class Doubling:
    """A regression that doubles, refuses negative rows, notes its calls and may be held up."""

    name = "onnx"
    is_parallel = True
    classes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.threads: set[int] = set()
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def predict(self, table: FeatureTable) -> Predictions:
        self.calls.append(len(table))
        self.threads.add(threading.get_ident())
        self.called.set()
        assert self.go_on.wait(30)
        values = table.matrix(np.float64)[:, 0]
        if (values < 0).any():
            raise ValueError("negative")
        return Predictions((values * 2).tolist())


def predictor(cost: Cost = QUICK, version: str = "1") -> Predictor:
    return Predictor(
        version=ModelVersion(name="m", version=version, manifest_sha256="0" * 64),
        schema=SCHEMA,
        engine=Doubling(),
        engine_reason="a test",
        decoder=RecordDecoder(SCHEMA),
        example={"x": 1.0},
        reference=None,
        source="cache",
        loaded_at=datetime.now(UTC),
        cost=cost,
    )


@pytest.fixture
def scheduler() -> Iterator[InferenceScheduler]:
    made = InferenceScheduler()
    yield made
    made.close()


def engine(of: Predictor) -> Any:
    return of.engine


async def answers(scheduler: InferenceScheduler, model: Predictor, *values: float) -> list[Any]:
    found = await asyncio.gather(*(scheduler.answer(model, (value,)) for value in values), return_exceptions=True)
    return [item if isinstance(item, BaseException) else item.prediction for item in found]


async def turn() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("cost", [QUICK, SLOW])
async def test_rows_of_one_turn_share_one_call(scheduler: InferenceScheduler, cost: Cost) -> None:
    model = predictor(cost)
    assert await answers(scheduler, model, 1, 2, 3) == [2, 4, 6]
    assert engine(model).calls == [3]


async def test_many_rows_of_a_quick_model_take_several_turns_and_no_thread(scheduler: InferenceScheduler) -> None:
    model = predictor(Cost(0.0, 0.0005))
    values = [float(value) for value in range(10)]
    assert await answers(scheduler, model, *values) == [2 * value for value in values]
    assert engine(model).calls == [4, 4, 2]
    assert engine(model).threads == {threading.get_ident()}


async def test_a_slow_model_is_never_called_on_the_event_loop(scheduler: InferenceScheduler) -> None:
    model = predictor(SLOW)
    assert await answers(scheduler, model, 1) == [2]
    assert await asyncio.wait_for(answers(scheduler, model, 3), 30) == [6]
    await scheduler.predict(model, FeatureTable.from_rows(SCHEMA, [(1.0,)] * 3))
    assert threading.get_ident() not in engine(model).threads


async def test_rows_gather_while_a_slow_call_runs(scheduler: InferenceScheduler) -> None:
    model = predictor(SLOW)
    engine(model).go_on.clear()
    first = asyncio.ensure_future(scheduler.answer(model, (1.0,)))
    await turn()
    await turn()
    others = [asyncio.ensure_future(scheduler.answer(model, (float(value),))) for value in range(2, 7)]
    await turn()
    await turn()
    engine(model).go_on.set()
    assert [item.prediction for item in await asyncio.gather(first, *others)] == [2, 4, 6, 8, 10, 12]
    assert engine(model).calls == [1, 5]


async def test_a_row_that_the_model_refuses_spoils_no_other(scheduler: InferenceScheduler) -> None:
    for cost in (QUICK, SLOW):
        first, second, third = await answers(scheduler, predictor(cost), 1, -1, 3)
        assert (first, third) == (2, 6)
        assert isinstance(second, ValueError)


async def test_a_client_that_left_takes_no_answer_from_others(scheduler: InferenceScheduler) -> None:
    model = predictor(SLOW)
    gone = asyncio.ensure_future(scheduler.answer(model, (1.0,)))
    await turn()
    gone.cancel()
    assert await answers(scheduler, model, 2) == [4]


async def test_two_models_in_one_turn_each_answer_their_own(scheduler: InferenceScheduler) -> None:
    old, new = predictor(SLOW), predictor(SLOW, version="2")
    found = await asyncio.gather(
        scheduler.answer(old, (1.0,)), scheduler.answer(new, (2.0,)), scheduler.answer(old, (3.0,))
    )
    assert [item.prediction for item in found] == [2, 4, 6]
    assert (engine(old).calls, engine(new).calls) == ([2], [1])


async def test_a_big_table_is_answered_in_parts_in_its_order(scheduler: InferenceScheduler) -> None:
    model = dataclasses.replace(predictor(), cost=Cost(0.0, 0.002))
    rows = [(float(value),) for value in range(90)]
    found = await scheduler.predict(model, FeatureTable.from_rows(SCHEMA, rows))
    assert found.values == [2 * value for (value,) in rows]
    assert engine(model).calls == [10] * 9
    assert threading.get_ident() not in engine(model).threads


class Meeting(Doubling):
    """Notes how many calls run at the same time: each waits for ``expected`` of them."""

    def __init__(self, expected: int, *, is_parallel: bool) -> None:
        super().__init__()
        self.is_parallel = is_parallel
        self.meeting = threading.Barrier(expected)

    def predict(self, table: FeatureTable) -> Predictions:
        self.meeting.wait(30)
        return super().predict(table)


@pytest.mark.parametrize(("is_parallel", "at_once"), [(True, 3), (False, 1)])
async def test_parts_of_the_only_table_are_predicted_at_the_same_time(*, is_parallel: bool, at_once: int) -> None:
    engine = Meeting(at_once, is_parallel=is_parallel)
    model = dataclasses.replace(predictor(), cost=Cost(0.0, 0.002), engine=engine)
    scheduler = InferenceScheduler(3)
    for _ in range(2):
        found = await scheduler.predict(model, table_of(*range(60)))
        assert found.values == [2 * value for value in range(60)]
    assert len(engine.threads) == at_once
    scheduler.close()


async def test_parts_of_several_tables_take_turns() -> None:
    model = dataclasses.replace(predictor(), cost=Cost(0.0, 0.002), engine=Meeting(1, is_parallel=True))
    scheduler = InferenceScheduler(3)
    first, second = await asyncio.gather(
        scheduler.predict(model, table_of(*range(60))), scheduler.predict(model, table_of(*range(60, 90)))
    )
    assert first.values + second.values == [2 * value for value in range(90)]
    scheduler.close()


async def test_only_one_table_has_all_threads() -> None:
    scheduler, first, second = InferenceScheduler(2), predictor(SLOW), predictor(SLOW)
    engine(first).go_on.clear()
    running = asyncio.create_task(scheduler.predict(first, table_of(1.0, 2.0)))
    await turn()
    tables = map(table_of, range(9))
    async with contextlib.aclosing(scheduler.each(second, tables)) as found:
        assert (await anext(found)).given == [0]
        assert len(list(tables)) == 8
    engine(first).go_on.set()
    assert (await running).values == [2.0, 4.0]
    scheduler.close()


async def test_tables_are_predicted_ahead_of_their_reader() -> None:
    scheduler, model = InferenceScheduler(2), predictor(SLOW)
    tables = iter([table_of(1.0), table_of(2.0, 3.0), table_of(4.0), table_of(5.0)])
    async with contextlib.aclosing(scheduler.each(model, tables)) as found:
        assert (await anext(found)).given == [2.0]
        assert len(list(tables)) == 2  # the second was taken before the first was
        assert (await anext(found)).given == [4.0, 6.0]
    assert sum(engine(model).calls) == 3
    scheduler.close()


async def test_tables_that_are_no_longer_wanted_leave_the_threads_to_others() -> None:
    scheduler = InferenceScheduler(2)
    async with contextlib.aclosing(scheduler.each(predictor(SLOW), map(table_of, range(9)))) as found:
        await anext(found)
    await turn()
    both = dataclasses.replace(predictor(), cost=Cost(0.0, 0.002), engine=Meeting(2, is_parallel=True))
    assert (await scheduler.predict(both, table_of(*range(20)))).values == [2 * value for value in range(20)]
    scheduler.close()


async def test_rows_that_wait_for_a_slow_model_are_cancelled_at_the_end(scheduler: InferenceScheduler) -> None:
    first, second = predictor(SLOW), predictor(SLOW, version="2")
    engine(first).go_on.clear()
    running = asyncio.create_task(scheduler.predict(first, table_of(1, 2)))
    await asyncio.to_thread(engine(first).called.wait, 30)
    waiting = asyncio.create_task(scheduler.answer(second, (1.0,)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scheduler.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 30)
    engine(first).go_on.set()
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], RuntimeError)


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1), ("1600000 100000", 8), (None, 8)]
)
def test_cores_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(inference_scheduler, "CPU_LIMIT", tmp_path / "cpu.max")
    if limit:
        (tmp_path / "cpu.max").write_text(limit)
    assert available_cores() == cores


def table_of(*values: float) -> FeatureTable:
    return FeatureTable.from_rows(SCHEMA, [(value,) for value in values])


def steps(threads: set[int], *tables: FeatureTable) -> Steps[list[float]]:
    """All answers; notes the threads in which it was asked for a step."""
    found: list[float] = []
    threads.add(threading.get_ident())
    for table in tables:
        answers: Predictions = yield table
        threads.add(threading.get_ident())
        found += answers.values
    return found


HERE = {threading.get_ident()}


@pytest.mark.parametrize(
    ("cost", "size", "at_once", "called_here"),
    [
        (QUICK, 100, True, True),
        (QUICK, INLINE_BYTES + 1, False, False),
        (Cost(0.0, TABLE_SECONDS), 100, False, False),
    ],
    ids=["small", "large body", "many rows"],
)
async def test_tables_are_answered_on_the_event_loop_where_that_is_quick(
    scheduler: InferenceScheduler, cost: Cost, size: int, *, at_once: bool, called_here: bool
) -> None:
    model = predictor(cost)
    threads: set[int] = set()
    found = await scheduler.run(model, size, steps(threads, table_of(1, 2), table_of(3, 4)))
    assert found == [2, 4, 6, 8]
    assert (engine(model).threads == HERE, threads == HERE) == (called_here, at_once)


async def test_tables_that_come_together_are_spread_over_turns_of_the_event_loop_in_their_order(
    scheduler: InferenceScheduler,
) -> None:
    model = predictor(Cost(TURN_SECONDS * 0.4, 1e-9))
    running = [asyncio.create_task(scheduler.run(model, 100, steps(set(), table_of(n, n)))) for n in range(8)]
    done = []
    while not all(task.done() for task in running):
        await turn()
        done.append(sum(task.done() for task in running))
        assert [task.done() for task in running] == [True] * done[-1] + [False] * (8 - done[-1])
    assert done == [3, 6, 8]
    assert [task.result() for task in running] == [[2 * n, 2 * n] for n in range(8)]
    assert engine(model).threads == HERE


@pytest.mark.parametrize("size", [100, INLINE_BYTES + 1])
async def test_errors_of_the_model_and_of_the_steps_come_through(scheduler: InferenceScheduler, size: int) -> None:
    def failing() -> Steps[None]:
        yield table_of(1, 2)
        raise KeyError("mine")

    with pytest.raises(ValueError, match="negative"):
        await scheduler.run(predictor(), size, steps(set(), table_of(-1, 2)))
    with pytest.raises(KeyError, match="mine"):
        await scheduler.run(predictor(), size, failing())


async def test_tables_of_one_row_gather_while_a_slow_call_runs(scheduler: InferenceScheduler) -> None:
    model = predictor(SLOW)
    engine(model).go_on.clear()
    tables = [FeatureTable.from_columns(SCHEMA, [np.array([float(value)])]) for value in range(5)]
    found = [asyncio.create_task(scheduler.predict(model, table)) for table in tables[:1]]
    await turn()
    await turn()
    found += [asyncio.create_task(scheduler.predict(model, table)) for table in tables[1:]]
    await turn()
    await turn()
    engine(model).go_on.set()
    assert [list((await item).values) for item in found] == [[0.0], [2.0], [4.0], [6.0], [8.0]]
    assert engine(model).calls == [1, 4]


async def test_table_of_one_row_keeps_its_probabilities(scheduler: InferenceScheduler) -> None:
    class Sure(Doubling):
        classes = ("a", "b")

        def predict(self, table: FeatureTable) -> Predictions:
            return Predictions(None, np.array([[0.25, 0.75]] * len(table)), self.classes)

    model = dataclasses.replace(predictor(SLOW), engine=Sure())
    found = await scheduler.predict(model, FeatureTable.from_rows(SCHEMA, [(1.0,)]))
    assert list(found.values) == ["b"]
    assert np.asarray(found.probabilities).tolist() == [[0.25, 0.75]]
