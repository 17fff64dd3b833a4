"""A canary in the real application: which requests it answers, how it is named, and that no request fails with it."""

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.canary_config import CanaryConfig
from src.core.feature_table import FeatureTable
from src.core.prediction_log import Role
from src.core.rollout_record import PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.services.inference.page.form import mark_of
from tests.support.faulty_engine import Faulty, always, on_wide_sepals
from tests.support.logged import logged
from tests.support.models import COLUMNS, SETOSA
from tests.support.served import note_routed, request

pytestmark = pytest.mark.anyio
ROLLOUT = "019ad3a0-0000-7000-8000-000000000000"
VALUES = list(SETOSA.values())
BODY = json.dumps(SETOSA).encode()
TENSOR = {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP64", "data": VALUES}]}
INFER = "/v2/models/iris/infer"
# A request for one row, and one for two, of every route.
SINGLE = {
    "/predict": SETOSA,
    "/invocations": {"dataframe_records": [SETOSA]},
    INFER: TENSOR,
}
SEVERAL: dict[str, Any] = {
    "/predict": [SETOSA, SETOSA],
    "/predict/batch": [SETOSA, SETOSA],
    "/invocations": {"dataframe_split": {"columns": list(COLUMNS), "data": [VALUES, VALUES]}},
    INFER: {"inputs": [{"name": "features", "shape": [2, 4], "datatype": "FP64", "data": VALUES * 2}]},
}


async def begin(served: Any, before: Callable[[FeatureTable], None] | None = None, **config: Any) -> Rollouts:
    """Have version 2 answer half of the requests beside version 1, with a fault in its engine."""
    rollouts, now = Rollouts(served.service.settings.rollouts_dir), datetime.now(UTC)
    if rollouts.waiting("iris") is None:
        rollouts.begin(
            Rollout(
                id=ROLLOUT,
                model="iris",
                version="2",
                previous="1",
                state=RolloutState.CANARY,
                started=now,
                until=now + timedelta(hours=1),
                canary=CanaryConfig(**{"share": 0.5, "key_header": "x-customer"} | config),
                canary_started=now,
            )
        )
    await served.service.canaries.look()
    choice = served.service.choice
    assert choice.canary is not None
    if before is not None:
        found = choice.canary.predictor
        found = dataclasses.replace(found, engine=Faulty(found.engine, before))
        choice.canary = dataclasses.replace(choice.canary, predictor=found)
        served.service.log.champion_as_shadow.use(choice.canary.champion, found, None)
        # As after a failure some time ago: errors are not checked in the second of the first one.
        served.service.log.champion_as_shadow.checks._alarmed_until = float("inf")  # noqa: SLF001
    return rollouts


def customers(served: Any) -> tuple[str, str]:
    """Customers of the canary and of the champion."""
    canary = served.service.choice.canary
    by_version: dict[bool, str] = {}
    for name in map(str, range(1000)):
        by_version.setdefault(canary.takes([(b"x-customer", name.encode())], "r", lambda _: None), name)
    return by_version[True], by_version[False]


async def post(served: Any, path: str, body: Any, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await served.client.post(path, json=body, headers=given)
    assert answer.status_code == 200, answer.text
    return answer


def named(answer: Any) -> tuple[str, str | None]:
    return answer.headers["x-model-version"], answer.headers.get("x-model-role")


CANARY, CHAMPION = ("2", "canary"), ("1", None)


@pytest.mark.parametrize(("path", "body"), [*SINGLE.items(), *SEVERAL.items()])
async def test_every_route_answers_a_customer_with_the_customers_version(served: Any, path: str, body: Any) -> None:
    await begin(served)
    of_canary, of_champion = customers(served)
    for _ in range(2):
        assert named(await post(served, path, body, x_customer=of_canary)) == CANARY
        assert named(await post(served, path, body, x_customer=of_champion)) == CHAMPION
        assert named(await post(served, path, body)) == CHAMPION


async def test_the_canarys_answer_is_its_own(served: Any) -> None:
    await begin(served)
    answer = (await post(served, "/predict", SETOSA, x_customer=customers(served)[0])).json()
    canary = served.service.choice.canary.predictor
    assert answer["model"]["version"] == "2"
    assert answer["probabilities"] == canary.answer([tuple(VALUES)])[0].probabilities


async def test_the_fast_path_chooses_as_the_routes_do(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(served)
    of_canary, of_champion = customers(served)
    routed = note_routed(served.app, monkeypatch)
    for path, body in SINGLE.items():
        async with await served.connect() as connection:
            for customer, expected in ((of_canary, CANARY), (of_champion, CHAMPION)) * 2:
                connection.send(request(json.dumps(body).encode(), target=path, x_customer=customer))
                assert named(await connection.answer()) == expected
    assert routed == []


async def test_a_known_head_does_not_remember_a_version(served: Any) -> None:
    async with await served.connect() as connection:

        async def version(customer: str) -> tuple[str, str | None]:
            connection.send(request(BODY, x_customer=customer))
            return named(await connection.answer())

        before = [await version(str(number)) for number in range(10)]
        rollouts = await begin(served)
        of_canary, _ = customers(served)
        during = [await version(of_canary) for _ in range(2)]
        (record,) = rollouts.recent("iris", 1)
        rollouts_dir = served.service.settings.rollouts_dir
        aborted = record.model_copy(update={"state": RolloutState.ABORTED})
        (rollouts_dir / f"{record.id}.json").write_text(aborted.model_dump_json())
        await served.service.canaries.look()
        assert (before, during, await version(of_canary)) == ([CHAMPION] * 10, [CANARY] * 2, CHAMPION)


async def test_two_replicas_answer_the_same_requests_alike(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    ids = [f"id-{number}" for number in range(200)]
    async with serving(tmp_path, mlflow) as first, serving(tmp_path, mlflow) as second:
        for served in (first, second):
            await begin(served, share=0.25, key_header=None)
        plain = [named(await first.post_plainly(BODY, x_request_id=name)) for name in ids]
        routed = [named(await post(second, "/predict", SETOSA, x_request_id=name)) for name in ids]
    assert plain == routed
    assert abs(plain.count(CANARY) - 50) < 5 * math.sqrt(200 * 0.25 * 0.75)


async def test_a_column_is_the_key_of_single_rows_and_batches_are_the_champions(served: Any) -> None:
    await begin(served, key_header=None, key_column="sepal_length")
    seen = set()
    for number in range(12):
        values = [5.0 + number / 100, *VALUES[1:]]
        row = dict(zip(COLUMNS, values, strict=True))
        tensor = {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP64", "data": values}]}
        bodies = {"/predict": row, "/invocations": {"dataframe_records": [row]}, INFER: tensor}
        found = {named(await post(served, path, body)) for path, body in bodies.items()}
        for path, body in bodies.items():
            async with await served.connect() as connection:
                connection.send(request(json.dumps(body).encode(), target=path))
                found.add(named(await connection.answer()))
        assert len(found) == 1
        seen |= found
        for path in ("/predict", "/predict/batch"):
            assert named(await post(served, path, [row])) == CHAMPION
    assert seen == {CANARY, CHAMPION}


async def test_a_request_for_a_version_gets_it_and_the_form_the_champion(served: Any) -> None:
    await begin(served)
    of_canary, _ = customers(served)
    explicit = "/v2/models/iris/versions/1/infer"
    assert named(await post(served, explicit, TENSOR, x_customer=of_canary)) == CHAMPION
    form = {"form": mark_of(served.service.store.current)} | {f"f{n}": str(value) for n, value in enumerate(VALUES)}
    answer = await served.client.post("/page/predict", data=form, headers={"x-customer": of_canary})
    assert "version 1" in answer.text
    assert {segment.header.role for segment in logged(served)} == {Role.CHAMPION}


@pytest.mark.parametrize(("path", "body"), [*SINGLE.items(), *SEVERAL.items()])
async def test_where_the_canary_fails_the_champion_answers(
    served: Any, path: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rollouts = await begin(served, always)
    of_canary, _ = customers(served)
    assert named(await post(served, path, body, x_customer=of_canary)) == CHAMPION
    assert "is answered by the champion: the canary, version 2, raised ValueError" in caplog.text
    served.service.log.write()
    await served.service.canaries.look()
    assert rollouts.recent("iris", 1)[0].errors.worse == 1  # the rows are the same


@pytest.mark.parametrize("path", SINGLE)
@pytest.mark.parametrize("key", ["x-customer", None])
async def test_failures_in_the_fast_path_are_answered_and_count(served: Any, path: str, key: str | None) -> None:
    rollouts = await begin(served, always, key_header=key)
    of_canary = customers(served)[0] if key else "any"
    fails = 0
    for number in range(20):
        canary = served.service.choice.canary
        request_id = f"id-{number}"
        fails += canary.takes([(b"x-customer", of_canary.encode())], request_id, lambda _: None)
        values = [5.0 + number / 1000, *VALUES[1:]]
        row = dict(zip(COLUMNS, values, strict=True))
        tensor = {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP64", "data": values}]}
        body = {"/predict": row, "/invocations": {"dataframe_records": [row]}, INFER: tensor}[path]
        async with await served.connect() as connection:
            content = json.dumps(body).encode()
            connection.send(request(content, target=path, x_customer=of_canary, x_request_id=request_id))
            assert named(await connection.answer()) == CHAMPION
    served.service.log.write()
    await served.service.canaries.look()
    assert 0 < rollouts.recent("iris", 1)[0].errors.worse == fails


async def test_a_failure_counts_even_if_the_routes_own_id_chooses_the_champion(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = await begin(served, always, key_header=None)
    canary = served.service.choice.canary
    by_version = {canary.takes([], f"id-{number}", lambda _: None): f"id-{number}" for number in range(50)}
    monkeypatch.setattr("src.serving.http.fast_predict.new_request_id", lambda: by_version[True])
    monkeypatch.setattr("src.serving.http.middleware.new_request_id", lambda: by_version[False])
    assert named(await served.post_plainly(BODY)) == CHAMPION
    served.service.log.write()
    await served.service.canaries.look()
    assert rollouts.recent("iris", 1)[0].errors == PairCount(worse=1)


async def test_a_row_on_which_the_canary_fails_does_not_change_the_version_of_others(served: Any) -> None:
    await begin(served, on_wide_sepals)
    of_canary, _ = customers(served)
    wide = json.dumps(SETOSA | {"sepal_width": 4.2}).encode()
    async with await served.connect() as one, await served.connect() as other:
        one.send(request(wide, x_customer=of_canary))
        other.send(request(BODY, x_customer=of_canary))
        assert (named(await one.answer()), named(await other.answer())) == (CHAMPION, CANARY)


async def test_a_canary_that_fails_is_released_by_its_failures(served: Any) -> None:
    rollouts = await begin(served, always)
    of_canary, _ = customers(served)
    for number in range(20):
        row = SETOSA | {"sepal_length": 5.0 + number / 1000}
        assert named(await post(served, "/predict", row, x_customer=of_canary)) == CHAMPION
    served.service.log.write()
    await served.service.canaries.look()
    assert rollouts.recent("iris", 1)[0].errors == PairCount(worse=20)
    assert served.service.choice.canary is None


async def test_an_invalid_request_is_refused_as_without_a_canary(served: Any) -> None:
    body = {"sepal_length": "long"}
    without = await served.client.post("/predict", json=body)
    await begin(served)
    of_canary, _ = customers(served)
    refused = await served.client.post("/predict", json=body, headers={"x-customer": of_canary})
    assert (refused.status_code, refused.json()["detail"]) == (422, without.json()["detail"])
    assert named(refused) == CHAMPION


async def test_a_slow_canary_answers(served: Any) -> None:
    await begin(served)
    choice = served.service.choice
    found = choice.canary.predictor
    slow = dataclasses.replace(found, cost=dataclasses.replace(found.cost, call=1.0))
    choice.canary = dataclasses.replace(choice.canary, predictor=slow)
    of_canary, of_champion = customers(served)
    assert named(await served.post_plainly(BODY, x_customer=of_canary)) == CANARY
    assert named(await served.post_plainly(BODY, x_customer=of_champion)) == CHAMPION


async def test_no_request_fails_while_the_champion_is_swapped(served: Any) -> None:
    await begin(served)
    of_canary, _ = customers(served)
    async with await served.connect() as connection:
        connection.send(request(BODY, x_customer=of_canary))
        assert named(await connection.answer()) == CANARY
        served.mlflow.promote("2")
        await served.look()
        connection.send(request(BODY, x_customer=of_canary))
        assert named(await connection.answer()) == ("2", None)
    assert named(await post(served, "/predict", SETOSA, x_customer=of_canary)) == ("2", None)
    await served.service.canaries.look()
    assert served.service.choice.canary is None


async def test_the_log_has_the_answers_of_both_versions_to_every_row(served: Any) -> None:
    await begin(served)
    of_canary, of_champion = customers(served)
    await post(served, "/predict", SETOSA, x_customer=of_canary, x_request_id="canary")
    await post(served, "/predict/batch", [SETOSA, SETOSA], x_customer=of_canary, x_request_id="batch")
    await post(served, "/predict", SETOSA, x_customer=of_champion, x_request_id="champion")
    served.service.metrics.traffic.work_off()
    served.service.log.write()
    found = {(one.header.version, one.header.role): {row["id"] for row in one.rows} for one in logged(served)}
    of_the_canary = {"canary", "batch", "batch/1"}
    assert found == {
        ("2", Role.CANARY): of_the_canary,
        ("1", Role.SHADOW): of_the_canary,
        ("1", Role.CHAMPION): {"champion"},
        ("2", Role.SHADOW): {"champion"},
    }


async def test_rows_of_the_canary_are_counted_apart(served: Any) -> None:
    rollouts = await begin(served)
    of_canary, of_champion = customers(served)
    await post(served, "/predict", SETOSA, x_customer=of_canary)
    await post(served, "/predict/batch", [SETOSA, SETOSA], x_customer=of_canary)
    await post(served, "/predict", SETOSA, x_customer=of_champion)
    assert await served.metric("inference_canary_rows_total") == 3
    assert await served.metric("inference_predictions_total", **{"class": "setosa"}) == 1
    assert await served.metric("inference_prediction_confidence_count") == 1
    assert await served.metric("inference_drift_window_rows") == 1
    for _ in range(2):
        await served.service.canaries.look()
    assert rollouts.recent("iris", 1)[0].answered == 3


async def test_notes_of_the_canary_wait_for_the_log(served: Any) -> None:
    await begin(served)
    of_canary, _ = customers(served)
    traffic = served.service.metrics.traffic
    traffic.work_off()
    for _ in range(3):
        await served.post_plainly(BODY, x_customer=of_canary)
    assert len(traffic._notes) == 3  # noqa: SLF001 - counting each alone would cost as much as a prediction


async def test_the_canary_is_listed_as_a_shadow_of_the_champions_rows_while_it_answers(served: Any) -> None:
    await begin(served)

    async def is_shadow() -> bool:
        return bool((await served.client.get("/rollouts")).json()["rollouts"][0]["shadow"])

    assert await is_shadow()
    served.mlflow.promote("2")
    await served.look()
    await served.service.canaries.look()
    assert not await is_shadow()


async def test_without_a_prediction_log_there_is_no_canary(serving: Any, tmp_path: Path, mlflow: Any) -> None:
    async with serving(tmp_path, mlflow, prediction_log=False) as served:
        assert served.service.canaries is None
        assert served.service.choice.canary is None
