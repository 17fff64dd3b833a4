import http.client
import json
import signal
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import httpx
import mlflow
import pytest

from src.core.model_registry import CHAMPION, PREVIOUS
from tests.support.inference_process import NOWHERE, Inference
from tests.support.models import SETOSA, build_model, register_model
from tests.support.running import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def registered(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model on the real server with two good versions and one that is damaged in the store."""
    name = f"iris's, 100 % ü {uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("registered")
    for seed in (1, 2, 3):
        build_model(folder / str(seed), seed=seed)
        assert register_model(mlflow_url, name, folder / str(seed)) == str(seed)
    client = mlflow.MlflowClient(mlflow_url)
    client.set_model_version_tag(name, "3", "manifest.sha256", "0" * 64)
    return name


@pytest.fixture
def inference(registered: str, mlflow_url: str, tmp_path: Path) -> Inference:
    return Inference(tmp_path, mlflow_url, registered)


def promote(inference: Inference, version: str) -> None:
    mlflow.MlflowClient(inference.mlflow_url).set_registered_model_alias(inference.model_name, CHAMPION, version)


class Load(threading.Thread):
    """One connection that predicts without a pause and notes every answer."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._halt = stop
        self.statuses: Counter[int | str] = Counter()
        self.versions: Counter[str] = Counter()

    def run(self) -> None:
        body = json.dumps(SETOSA)
        while not self._halt.is_set():
            try:
                self._connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = self._connection.getresponse()
                told = json.loads(answer.read())
                self.statuses[answer.status] += 1
                self.versions[told["model"]["version"]] += 1
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.statuses[repr(error)] += 1
        self._connection.close()


def test_service_follows_the_alias_without_a_failed_request(inference: Inference) -> None:
    promote(inference, "1")
    with inference.started():
        wait_until("version 1 is served", lambda: inference.served() == "1")
        stop = threading.Event()
        load = [Load(inference.port, stop) for _ in range(4)]
        for thread in load:
            thread.start()
        try:
            for version in (*("2", "1") * 10, "2"):
                promote(inference, version)
                wait_until(f"version {version} is served", lambda v=version: inference.served() == v, seconds=15)
            promote(inference, "3")
            wait_until("the damaged version is refused", lambda: "version 3" in str(inference.health()["last_error"]))
        finally:
            stop.set()
            for thread in load:
                thread.join()
        assert inference.predict()["model"]["version"] == "2"
    statuses = sum((thread.statuses for thread in load), Counter())
    versions = sum((thread.versions for thread in load), Counter())
    assert set(statuses) == {200}, statuses
    assert statuses[200] > 100
    assert set(versions) == {"1", "2"}


def test_rollback_moves_the_aliases_of_a_real_registry_and_serves_without_a_failed_request(
    inference: Inference,
) -> None:
    client = mlflow.MlflowClient(inference.mlflow_url)
    promote(inference, "2")
    client.set_registered_model_alias(inference.model_name, PREVIOUS, "1")
    # So seldom does it look by itself that only the roll back can have it loaded.
    with inference.started(MODEL_POLL_SECONDS="60", WRITE_API_KEY="k" * 16):
        wait_until("version 2 is served", lambda: inference.served() == "2")
        url, key = f"{inference.url}/rollback", {"Authorization": f"Bearer {'k' * 16}"}
        assert httpx.post(url).status_code == 401
        stop = threading.Event()
        load = Load(inference.port, stop)
        load.start()
        try:
            for to, back in (("1", "2"), ("2", "1"), ("1", "2")):
                told = httpx.post(url, headers=key, timeout=20).raise_for_status().json()
                assert told == {"champion": to, "previous": back, "served": to, "last_error": None}
                assert client.get_model_version_by_alias(inference.model_name, CHAMPION).version == to
                assert client.get_model_version_by_alias(inference.model_name, PREVIOUS).version == back
                tags = client.get_model_version(inference.model_name, back).tags
                assert tags["rollback.to"] == to
                assert tags["rollback.by"].startswith("key holder, api, 127.0.0.1, request ")
        finally:
            stop.set()
            load.join()
        assert set(load.statuses) == {200}, load.statuses
        page = httpx.get(inference.url, timeout=20)
        assert "was rolled back" in page.text
        client.delete_registered_model_alias(inference.model_name, PREVIOUS)
        refused = httpx.post(url, headers=key, timeout=20)
        assert (refused.status_code, inference.served()) == (409, "1")
        assert "nothing to go back to" in refused.json()["detail"]


def test_service_stops_in_time_with_idle_connections_and_serves_again_without_mlflow(inference: Inference) -> None:
    promote(inference, "1")
    with inference.started() as child, httpx.Client(base_url=inference.url) as keep_alive:
        wait_until("version 1 is served", lambda: inference.served() == "1")
        keep_alive.post("/predict", json=SETOSA).raise_for_status()
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        assert time.monotonic() - began < 5
    with inference.started(MLFLOW_TRACKING_URI=NOWHERE):
        told = wait_until("the cached model is served", inference.health)
        assert told["ready"]
        assert told["model"]["source"] == "cache"
        assert inference.predict()["model"]["version"] == "1"
        wait_until("MLflow is seen to be down", lambda: inference.health()["mlflow"]["reachable"] is False)
        assert httpx.post(f"{inference.url}/retrain").status_code == 202
    log = (inference.folder / "inference.log").read_text()
    assert "Traceback" not in log


def test_service_stops_in_time_while_a_client_sends_slowly(inference: Inference) -> None:
    promote(inference, "1")
    with inference.started() as child:
        wait_until("version 1 is served", lambda: inference.served() == "1")
        slow = http.client.HTTPConnection("127.0.0.1", inference.port)
        slow.putrequest("POST", "/predict")
        slow.putheader("Content-Length", "100")
        slow.endheaders(b'{"sepal_length"')
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        assert time.monotonic() - began < 5
        assert slow.getresponse().status == 503
        slow.close()
    assert "Traceback" not in (inference.folder / "inference.log").read_text()


def test_service_without_a_champion_is_live_and_becomes_ready(inference: Inference, mlflow_url: str) -> None:
    fresh = Inference(inference.folder, mlflow_url, f"new-{uuid.uuid4().hex[:8]}")
    with fresh.started():
        told = wait_until("the service answers", fresh.health)
        assert (told["live"], told["ready"]) == (True, False)
        # A model without the alias is told in another way than no model at all.
        build_model(fresh.folder / "model", seed=1)
        register_model(mlflow_url, fresh.model_name, fresh.folder / "model")
        wait_until("MLflow is looked at", lambda: "champion" in str(fresh.health()["last_error"]))
        assert httpx.post(f"{fresh.url}/predict", json=SETOSA).status_code == 503
        promote(fresh, "1")
        wait_until("version 1 is served", lambda: fresh.served() == "1")


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
def test_service_without_mlflow_and_cache_still_stops_well(inference: Inference, signal_name: str) -> None:
    with inference.started(MLFLOW_TRACKING_URI=NOWHERE) as child:
        wait_until("the service answers", inference.health)
        child.send_signal(getattr(signal, signal_name))
        assert child.wait(10) == 0
    assert "Traceback" not in (inference.folder / "inference.log").read_text()
