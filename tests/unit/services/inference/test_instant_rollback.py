"""A promoted version that fails or is slow, in the real application: it is rolled back without labels."""

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from src.core.feature_table import FeatureTable
from src.core.rollout_record import PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.fake_mlflow import FakeMlflow
from tests.support.faulty_engine import Faulty, always, on_wide_sepals
from tests.support.models import COLUMNS, SETOSA

pytestmark = pytest.mark.anyio
# Enough for a rollback where every request fails.
SUFFICIENT = 14


@pytest.fixture
def mlflow(mlflow: FakeMlflow) -> FakeMlflow:
    """Version 2 is champion, and 1 was it before."""
    mlflow.aliases |= {"champion": "2", "previous": "1"}
    return mlflow


def slowly(table: FeatureTable) -> None:
    time.sleep(0.006 * len(table))


async def promote(served: Any, before: Callable[[FeatureTable], None], **given: Any) -> Rollouts:
    """Watch the promotion of version 2, with a fault in its engine, and load the shadow."""
    store = served.service.store
    store.current = dataclasses.replace(store.current, engine=Faulty(store.current.engine, before))
    rollouts = Rollouts(served.service.settings.rollouts_dir)
    now = datetime.now(UTC)
    known = {"model": "iris", "version": "2", "previous": "1", "started": now, "until": now + timedelta(hours=1)}
    rollouts.begin(Rollout(**known | {"max_slowdown": 3.0} | given))
    await served.service.shadowing.look()
    # As after a failure some time ago: errors are not checked in the second of the first one.
    served.service.log.shadow.checks._alarmed_until = float("inf")  # noqa: SLF001
    return rollouts


async def a_second_later(served: Any) -> None:
    """What the service does once a second, and every few seconds."""
    served.service.metrics.traffic.work_off()
    served.service.log.write()
    await served.service.shadowing.look()


def flower(number: int, width: float = 3.0) -> dict[str, float]:
    return SETOSA | {"sepal_length": 5.0 + number / 1000, "sepal_width": width}


async def test_a_version_that_always_fails_is_rolled_back_at_once(served: Any) -> None:
    rollouts = await promote(served, always)
    for number in range(SUFFICIENT):
        assert (await served.client.post("/predict", json=flower(number))).status_code == 500
    await a_second_later(served)
    (record,) = rollouts.recent("iris", 1)
    assert (record.state, record.by, record.requested) == (RolloutState.ROLLED_BACK, "automatic, inference", True)
    assert record.reason == (
        "version 2 fails on rows that version 1 answers: 14 of 14 rows on which only one of them fails "
        "(evidence 909, needed 400)"
    )
    answer = (await served.client.post("/predict", json=SETOSA)).json()
    assert answer["model"]["version"] == "1"
    assert served.mlflow.aliases["champion"] == "1"
    await a_second_later(served)
    assert served.service.log.shadow.version is None
    assert await served.metric("inference_rollout_pairs_total", criterion="errors", result="worse") == SUFFICIENT


async def test_the_first_failure_begins_the_checks(served: Any) -> None:
    rollouts = await promote(served, always)
    served.service.log.shadow.checks._alarmed_until = float("-inf")  # noqa: SLF001
    for second in range(2):
        assert rollouts.watched("iris") is not None
        for number in range(SUFFICIENT):
            await served.client.post("/predict", json=flower(number + 100 * second))
        await a_second_later(served)
    assert rollouts.watched("iris") is None


async def test_a_version_that_fails_on_few_rows_is_rolled_back(served: Any) -> None:
    rollouts = await promote(served, on_wide_sepals)
    wide, chance = 0, np.random.default_rng(0)
    while wide < SUFFICIENT:
        for number in range(100):
            is_wide = bool(chance.random() < 0.02)
            wide += is_wide
            answer = await served.client.post("/predict", json=flower(number + 1000 * wide, 4.2 if is_wide else 3.0))
            assert answer.status_code == (500 if is_wide else 200)
        assert rollouts.watched("iris") is not None
        await a_second_later(served)
    (record,) = rollouts.recent("iris", 1)
    assert (record.state, record.errors) == (RolloutState.ROLLED_BACK, PairCount(worse=wide))


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/v2/models/iris/infer", "/invocations"])
async def test_failures_of_tables_count_by_row_on_every_route(served: Any, path: str) -> None:
    rollouts = await promote(served, on_wide_sepals)
    rows = [flower(number, 4.2 if number % 2 else 3.0) for number in range(20)]
    body: Any = rows
    matrix = [list(row.values()) for row in rows]
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "features", "shape": [20, 4], "datatype": "FP64", "data": matrix}]}
    elif path == "/invocations":
        body = {"dataframe_split": {"columns": list(COLUMNS), "data": matrix}}
    assert (await served.client.post(path, json=body)).status_code == 500
    await a_second_later(served)
    assert rollouts.recent("iris", 1)[0].errors == PairCount(worse=10)


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_failures_of_a_slow_model_count(served: Any, path: str) -> None:
    store = served.service.store
    store.current = dataclasses.replace(store.current, cost=dataclasses.replace(store.current.cost, call=1.0))
    rollouts = await promote(served, on_wide_sepals)
    for number in range(3):
        body = flower(number, 4.2) if path == "/predict" else [flower(number, 4.2), flower(number)]
        assert (await served.client.post(path, json=body)).status_code == 500
    await a_second_later(served)
    assert rollouts.recent("iris", 1)[0].errors == PairCount(worse=3)


async def test_a_failure_in_the_fast_path_counts_once(served: Any) -> None:
    rollouts = await promote(served, on_wide_sepals)
    body = b'{"sepal_length": 5.1, "sepal_width": 4.2, "petal_length": 1.4, "petal_width": 0.2}'
    assert (await served.post_plainly(body)).status_code == 500
    await a_second_later(served)
    assert rollouts.recent("iris", 1)[0].errors == PairCount(worse=1)


async def test_a_version_that_is_much_slower_is_rolled_back(served: Any) -> None:
    rollouts = await promote(served, slowly)
    await served.client.post("/predict/batch", json=[flower(number) for number in range(20)])
    served.service.metrics.traffic.work_off()
    blocks = list(served.service.log._blocks)  # noqa: SLF001 - so that they are checked for many seconds
    checked = 0
    while rollouts.watched("iris") is not None and checked < 60:
        served.service.log.shadow.write(blocks, served.service.log._writers)  # noqa: SLF001
        await served.service.shadowing.look()
        checked += 1
    (record,) = rollouts.recent("iris", 1)
    assert record.state is RolloutState.ROLLED_BACK
    assert record.latency.better == 0
    assert str(record.reason).startswith("version 2 takes more than 3 times as long as version 1: ")


@pytest.mark.parametrize("before", [lambda _: None, always])
async def test_where_nothing_is_proved_the_version_stays(served: Any, before: Callable[[FeatureTable], None]) -> None:
    rollouts = await promote(served, before)
    for number in range(SUFFICIENT - 2):
        await served.client.post("/predict", json=flower(number))
    await a_second_later(served)
    watched = rollouts.watched("iris")
    assert watched is not None
    assert (watched.finding, watched.requested) == (None, False)


async def test_switched_off_it_only_reports(served: Any) -> None:
    rollouts = await promote(served, always, automatic=False)
    for number in range(SUFFICIENT):
        await served.client.post("/predict", json=flower(number))
    await a_second_later(served)
    watched = rollouts.watched("iris")
    assert watched is not None
    assert str(watched.finding).startswith("version 2 fails on rows that version 1 answers")
    assert not watched.requested
    listed = (await served.client.get("/rollouts")).json()["rollouts"]
    assert listed[0]["finding"] == watched.finding


async def test_errors_of_clients_are_no_evidence(served: Any) -> None:
    rollouts = await promote(served, lambda _: None)
    for number in range(SUFFICIENT):
        assert (await served.client.post("/predict", json={"sepal_length": number})).status_code == 422
    await a_second_later(served)
    watched = rollouts.watched("iris")
    assert watched is not None
    assert watched.errors == PairCount()


async def test_without_a_watch_failures_are_not_kept(served: Any) -> None:
    store = served.service.store
    store.current = dataclasses.replace(store.current, engine=Faulty(store.current.engine, always))
    for number in range(SUFFICIENT):
        assert (await served.client.post("/predict", json=flower(number))).status_code == 500
    rollouts = await promote(served, lambda _: None)
    await a_second_later(served)
    watched = rollouts.watched("iris")
    assert watched is not None
    assert watched.errors == PairCount()
