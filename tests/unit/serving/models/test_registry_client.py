import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.errors import ConnectionFailedError, LoopError, RegistryError
from src.serving.models import mlflow_http
from src.serving.models.model_version import ModelVersion
from src.serving.models.registry_client import RegistryClient
from tests.support.fake_mlflow import ARTIFACTS, REGISTERED_AT_MS, FakeMlflow

pytestmark = pytest.mark.anyio

ALIAS = "/api/2.0/mlflow/registered-models/alias"
URI = "/api/2.0/mlflow/model-versions/get-download-uri"

NEEDED = ("MLmodel", "manifest.json", "model.onnx", "golden_rows.json", "drift_reference.json")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def client(mlflow: FakeMlflow, **options: Any) -> RegistryClient:
    return RegistryClient("http://user:hunter2@mlflow:5000", "iris", timeout=5, transport=mlflow.transport, **options)


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


async def test_download_brings_the_files_byte_for_byte(
    mlflow: FakeMlflow, version: ModelVersion, models: Any, tmp_path: Path
) -> None:
    await client(mlflow).download(version, tmp_path)
    expected = contents(models["first"][0])
    assert contents(tmp_path) == {name: expected[name] for name in NEEDED}


@pytest.mark.parametrize(
    "name", ["../evil", "..", "/etc/passwd", "a/b", "a\\b", "", ".", "nul\0", None, 5, "models/../../x"]
)
async def test_download_refuses_names_that_leave_the_folder(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, name: Any
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json={"files": [{"path": name, "is_dir": False, "file_size": 1}]})
    with pytest.raises(RegistryError, match="refused"):
        await client(mlflow).download(version, tmp_path)
    assert mlflow.downloads == []


@pytest.mark.parametrize(
    "listing", [{"files": 5}, {"files": [5]}, {"files": [{}]}, {"files": [{"path": "a", "file_size": "x"}]}]
)
async def test_download_with_a_wrong_listing_is_refused(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, listing: Any
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json=listing)
    with pytest.raises(RegistryError, match="listing"):
        await client(mlflow).download(version, tmp_path)


@pytest.mark.parametrize(
    "location",
    [
        "s3://bucket/model",
        "file:///models/m-1",
        "/models/m-1",
        "http://elsewhere/m-1",
        "mlflow-artifacts://elsewhere:5000/1/models/m-1/artifacts",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/1/../2",
        "mlflow-artifacts:/",
        "",
        None,
        5,
    ],
)
async def test_download_from_outside_the_proxy_is_refused(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path, location: Any
) -> None:
    mlflow.override[URI] = httpx.Response(200, json={"artifact_uri": location})
    with pytest.raises(RegistryError, match=r"artifact proxy|unusable"):
        await client(mlflow).download(version, tmp_path)
    assert not [path for path in mlflow.paths if path.startswith(ARTIFACTS)]


async def test_download_takes_a_location_that_names_the_server_itself(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    mlflow.override[URI] = httpx.Response(
        200, json={"artifact_uri": "mlflow-artifacts://mlflow:5000/1/models/m-1/artifacts"}
    )
    await client(mlflow).download(version, tmp_path)


async def test_download_is_capped_by_what_is_announced(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match="larger than 5000 bytes"):
        await client(mlflow, max_model_bytes=5000).download(version, tmp_path)
    assert mlflow.downloads == [f"{ARTIFACTS}/1/models/m-1/artifacts/MLmodel"]


async def test_download_is_capped_by_what_comes(mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path) -> None:
    listing = {"files": [{"path": name, "is_dir": False, "file_size": 1} for name in NEEDED]}
    mlflow.override[ARTIFACTS] = httpx.Response(200, json=listing)
    with pytest.raises(RegistryError, match="larger than 5000 bytes"):
        await client(mlflow, max_model_bytes=5000).download(version, tmp_path)
    assert sum(map(len, contents(tmp_path).values())) <= 5000


async def test_download_of_a_version_without_a_needed_file_names_it(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    mlflow.override[ARTIFACTS] = httpx.Response(200, json={"files": [{"path": "MLmodel", "is_dir": False}]})
    with pytest.raises(
        RegistryError, match=r"lacks manifest\.json, model\.onnx, golden_rows\.json, drift_reference\.json"
    ):
        await client(mlflow).download(version, tmp_path)


async def test_download_that_breaks_off_is_a_failed_connection(
    mlflow: FakeMlflow, version: ModelVersion, tmp_path: Path
) -> None:
    def fail(path: str) -> None:
        if path.endswith("model.onnx"):
            raise httpx.ReadError("connection reset")

    mlflow.before_answer = fail
    with pytest.raises(ConnectionFailedError, match="ReadError"):
        await client(mlflow).download(version, tmp_path)


async def test_connection_that_was_idle_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mlflow_http.KEEPALIVE_SECONDS < 5, "the server closes idle connections then"
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
        monkeypatch.setattr(mlflow_http, "KEEPALIVE_SECONDS", 0.0)  # any idleness is too long
        assert await connections_of_two_looks(url) == 2
