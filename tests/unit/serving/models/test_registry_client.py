import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from src.core.errors import ConnectionFailedError, LoopError, RegistryError
from src.serving.models import registry_client
from src.serving.models.model_version import Aliases, ModelVersion, RegisteredVersion
from src.serving.models.registry_client import RegistryClient
from tests.support.fake_mlflow import REGISTERED_AT_MS, FakeMlflow

pytestmark = pytest.mark.anyio

ALIAS = "/api/2.0/mlflow/registered-models/alias"
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"
DELETE_TAG = "/api/2.0/mlflow/model-versions/delete-tag"


def client(mlflow: FakeMlflow) -> RegistryClient:
    return RegistryClient("http://user:hunter2@mlflow:5000", "iris", timeout=5, transport=mlflow.transport)


@pytest.fixture
def version(models: Any) -> ModelVersion:
    registered_at = datetime.fromtimestamp((REGISTERED_AT_MS + 1) / 1000, UTC)
    digest = models["first"][1]
    return ModelVersion(name="iris", version="1", manifest_sha256=digest, run_id="run1", registered_at=registered_at)


async def test_champion_is_read_with_its_digest_and_run(mlflow: FakeMlflow, version: ModelVersion) -> None:
    assert await client(mlflow).champion() == version


async def test_champion_is_none_without_a_model_or_without_an_alias(mlflow: FakeMlflow) -> None:
    mlflow.aliases.clear()
    assert await client(mlflow).champion() is None
    mlflow.versions.clear()
    assert await client(mlflow).champion() is None


async def test_version_without_our_tag_is_known_by_where_it_is_stored(mlflow: FakeMlflow) -> None:
    mlflow.versions["1"].tags.clear()
    first = await client(mlflow).champion()
    assert first is not None
    assert (first.verified, first.manifest_sha256) == (False, None)
    assert await client(mlflow).champion() == first
    mlflow.versions["1"].delay = 1
    again = await client(mlflow).champion()
    assert again is not None
    assert again.key != first.key


async def test_reason_of_training_for_leaving_onnx_out_is_read(mlflow: FakeMlflow) -> None:
    mlflow.versions["1"].tags["onnx.parity"] = "labels differ"
    champion = await client(mlflow).champion()
    assert champion is not None
    assert champion.onnx_parity == "labels differ"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(403, text="Invalid Host header"), ConnectionFailedError, "--allowed-hosts"),
        (httpx.Response(401), ConnectionFailedError, "credentials"),
        (httpx.Response(500, text="oops"), RegistryError, "answers 500"),
        (httpx.Response(302, headers={"Location": "http://evil"}), RegistryError, "answers 302"),
        (httpx.Response(404, text="<html>"), RegistryError, "answers 404"),
        (httpx.Response(404, json={"error_code": "ENDPOINT_NOT_FOUND"}), RegistryError, "answers 404"),
        (
            httpx.Response(400, json={"error_code": "INVALID_PARAMETER_VALUE", "message": "bad name"}),
            RegistryError,
            "400",
        ),
        (httpx.Response(404, json=[]), RegistryError, "answers 404"),
        (httpx.Response(200, text="<html>"), RegistryError, "is it an MLflow server"),
        (httpx.Response(200, content=b"\xff"), RegistryError, "is it an MLflow server"),
        (httpx.Response(200, json=[]), RegistryError, "is it an MLflow server"),
        (httpx.Response(200, json={}), RegistryError, "is it an MLflow server"),
        (httpx.Response(200, json={"model_version": {"version": "one"}}), RegistryError, "manifest.sha256"),
        (httpx.Response(200, json={"model_version": {"version": "1", "tags": [{}]}}), RegistryError, "manifest.sha256"),
        (httpx.Response(200, json={"model_version": {"version": "1", "tags": 5}}), RegistryError, "manifest.sha256"),
        (
            httpx.Response(
                200,
                json={"model_version": {"version": "../x", "tags": [{"key": "manifest.sha256", "value": "0" * 64}]}},
            ),
            RegistryError,
            "manifest.sha256",
        ),
    ],
)
async def test_champion_with_a_wrong_answer_says_what_to_do(
    mlflow: FakeMlflow, answer: httpx.Response, error: type[LoopError], says: str
) -> None:
    mlflow.override[ALIAS] = answer
    with pytest.raises(error, match=says) as caught:
        await client(mlflow).champion()
    assert "hunter2" not in str(caught.value)


async def test_champion_of_an_unreachable_server_names_the_setting_and_no_password(mlflow: FakeMlflow) -> None:
    mlflow.down = True
    with pytest.raises(ConnectionFailedError, match="MLFLOW_TRACKING_URI") as caught:
        await client(mlflow).champion()
    assert "http://mlflow:5000" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_lookup_that_drips_for_ever_times_out() -> None:
    class Drip(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    slow = RegistryClient("http://mlflow:5000", "iris", timeout=0.01, transport=Drip())
    with pytest.raises(ConnectionFailedError, match="TimeoutError"):
        await slow.champion()


async def test_aliases_are_read_with_what_people_want_to_know(mlflow: FakeMlflow) -> None:
    mlflow.aliases["previous"] = "2"
    mlflow.versions["2"].tags |= {
        "score.rmse": "0.5", "score.mae": "nan", "score.odd": "odd", "score.other": "1", "zenml.run_id": "z",
        "gate.verdict": "promoted",
        "gate.reason": "good", "rollback.at": "2026-11-24T12:00:00+00:00", "rollback.to": "1",
        "pending.previous": "1",
    }  # fmt: skip
    found = await client(mlflow).aliases()
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
    assert await client(mlflow).aliases() == Aliases(None, None, None)


async def test_alias_is_moved_and_version_is_tagged_and_untagged(mlflow: FakeMlflow) -> None:
    registry = client(mlflow)
    await registry.move("previous", "2")
    await registry.tag("2", {"a": "1", "b": "2"})
    assert mlflow.aliases["previous"] == "2"
    assert {"a": "1", "b": "2"}.items() <= mlflow.versions["2"].tags.items()
    await registry.untag("2", "a")
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
        await client(mlflow).aliases()
    assert "hunter2" not in str(caught.value)


async def test_tag_of_a_version_that_does_not_exist_needs_no_deletion(mlflow: FakeMlflow) -> None:
    await client(mlflow).untag("9", "a")
    with pytest.raises(RegistryError):
        await client(mlflow).tag("9", {"a": "1"})


@pytest.mark.parametrize(("status", "error"), [(403, ConnectionFailedError), (404, RegistryError)])
async def test_refused_changes_are_reported(mlflow: FakeMlflow, status: int, error: type[LoopError]) -> None:
    mlflow.override |= dict.fromkeys((ALIAS, SET_TAG, DELETE_TAG), httpx.Response(status))
    with pytest.raises(error):
        await client(mlflow).move("champion", "2")
    with pytest.raises(error):
        await client(mlflow).tag("2", {"a": "1"})
    with pytest.raises(error):
        await client(mlflow).untag("2", "a")


async def test_connection_that_was_idle_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry_client.KEEPALIVE_SECONDS < 5, "the server closes idle connections then"
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def connections_of_two_looks(url: str) -> int:
        before = connections
        asking = RegistryClient(url, "iris", timeout=5)
        assert [await asking.champion(), await asking.champion()] == [None, None]
        await asking.aclose()
        return connections - before

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await connections_of_two_looks(url) == 1
        monkeypatch.setattr(registry_client, "KEEPALIVE_SECONDS", 0.0)  # any idleness is too long
        assert await connections_of_two_looks(url) == 2
