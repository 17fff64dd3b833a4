from datetime import UTC, datetime

import httpx
import pytest

from src.core.errors import ConnectionFailedError, LoopError, RegistryError
from src.serving.models.alias_client import AliasClient, Aliases, RegisteredVersion
from tests.support.fake_mlflow import REGISTERED_AT_MS, FakeMlflow

pytestmark = pytest.mark.anyio

ALIAS = "/api/2.0/mlflow/registered-models/alias"
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"
DELETE_TAG = "/api/2.0/mlflow/model-versions/delete-tag"


def client(mlflow: FakeMlflow) -> AliasClient:
    return AliasClient("http://user:hunter2@mlflow:5000", "iris", timeout=5, transport=mlflow.transport)


async def test_aliases_are_read_with_what_people_want_to_know(mlflow: FakeMlflow) -> None:
    mlflow.aliases["previous"] = "2"
    mlflow.versions["2"].tags |= {
        "score.rmse": "0.5", "score.mae": "nan", "score.other": "1", "zenml.run_id": "z", "gate.verdict": "promoted",
        "gate.reason": "good", "rollback.at": "2026-11-24T12:00:00+00:00", "rollback.to": "1",
        "pending.previous": "1",
    }  # fmt: skip
    found = await client(mlflow).read()
    assert found.challenger is None
    assert found.champion is not None
    assert found.champion.version == "1"
    assert found.previous == RegisteredVersion(
        version="2",
        run_id="run2",
        zenml_run_id="z",
        registered_at=datetime.fromtimestamp((REGISTERED_AT_MS + 2) / 1000, UTC),
        scores={"rmse": 0.5, "other": 1.0},
        verdict="promoted",
        reason="good",
        rolled_back_to="1",
        pending_previous="1",
    )


async def test_aliases_of_no_model_point_nowhere(mlflow: FakeMlflow) -> None:
    mlflow.versions.clear()
    assert await client(mlflow).read() == Aliases(None, None, None)


async def test_alias_is_moved_and_version_is_tagged_and_untagged(mlflow: FakeMlflow) -> None:
    aliases = client(mlflow)
    await aliases.move("previous", "2")
    await aliases.tag("2", {"a": "1", "b": "2"})
    assert mlflow.aliases["previous"] == "2"
    assert {"a": "1", "b": "2"}.items() <= mlflow.versions["2"].tags.items()
    await aliases.untag("2", "a")
    assert "a" not in mlflow.versions["2"].tags
    assert mlflow.versions["2"].tags["b"] == "2"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={}),
        httpx.Response(200, json={"model_version": None}),
        httpx.Response(200, json={"model_version": {"version": "1", "tags": [1]}}),
        httpx.Response(200, json={"model_version": {"version": "1", "creation_timestamp": "soon"}}),
        httpx.Response(200, text="<html>"),
        httpx.Response(500),
    ],
)
async def test_other_answers_than_mlflows_are_reported_without_its_password(
    mlflow: FakeMlflow, answer: httpx.Response
) -> None:
    mlflow.override[ALIAS] = answer
    with pytest.raises(RegistryError, match="MLflow at http://mlflow:5000") as caught:
        await client(mlflow).read()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("status", "error"), [(403, ConnectionFailedError), (404, RegistryError)])
async def test_refused_changes_are_reported(mlflow: FakeMlflow, status: int, error: type[LoopError]) -> None:
    mlflow.override |= dict.fromkeys((ALIAS, SET_TAG, DELETE_TAG), httpx.Response(status))
    with pytest.raises(error):
        await client(mlflow).move("champion", "2")
    with pytest.raises(error):
        await client(mlflow).tag("2", {"a": "1"})
    with pytest.raises(error):
        await client(mlflow).untag("2", "a")
