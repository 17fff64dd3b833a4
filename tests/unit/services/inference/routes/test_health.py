import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from src.core.file_lock import locked_file

pytestmark = pytest.mark.anyio


async def test_health_reports_what_is_served(served: Any) -> None:
    answer = await served.client.get("/health")
    told = answer.json()
    assert answer.status_code == 200
    assert (told["live"], told["ready"], told["last_error"]) == (True, True, None)
    loaded_at = told["model"].pop("loaded_at")
    assert told["model"] == {
        "name": "iris",
        "version": "1",
        "task": "classification",
        "engine": "onnx",
        "engine_reason": "the model has an ONNX flavour",
        "verified": True,
        "source": "registry",
    }
    assert told["mlflow"]["reachable"] is True
    for moment in (loaded_at, told["mlflow"]["checked_at"]):
        assert datetime.now(UTC) - datetime.fromisoformat(moment) < timedelta(minutes=1)


async def test_health_needs_no_thread(served: Any) -> None:
    threads = anyio.to_thread.current_default_thread_limiter()
    threads.total_tokens = 1
    async with threads:
        assert (await asyncio.wait_for(served.client.get("/health"), 10)).status_code == 200


async def test_health_is_503_with_a_reason_until_a_model_is_loaded(unready: Any) -> None:
    answer = await unready.client.get("/health")
    told = answer.json()
    assert answer.status_code == 503
    assert (told["live"], told["ready"], told["model"]) == (True, False, None)
    assert told["mlflow"]["reachable"] is True
    assert "POST /retrain" in told["last_error"]
    unready.mlflow.promote("1")
    await unready.look()
    assert (await unready.client.get("/health")).status_code == 200


async def test_health_and_the_page_say_that_the_first_training_is_running(unready: Any, tmp_path: Path) -> None:
    with locked_file(tmp_path / "data/retrain/training.lock"):
        await unready.look()
        assert (await unready.client.get("/health")).json()["last_error"].endswith("a training is running")
        page = (await unready.client.get("/")).text
    assert "a training is running" in page
    assert "The first model is served once it has passed the gate." in page
    assert "requests a training" not in page


async def test_health_reports_that_mlflow_is_down_and_stays_ready(served: Any) -> None:
    served.mlflow.down = True
    await served.look()
    answer = await served.client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["mlflow"]["reachable"] is False
    assert "cannot be reached" in answer.json()["last_error"]


async def test_health_asks_nothing_of_mlflow(served: Any) -> None:
    asked = len(served.mlflow.paths)
    for path in ("/health", "/v2/health/live", "/v2/health/ready", "/metrics"):
        await served.client.get(path)
    assert len(served.mlflow.paths) == asked


async def test_open_inference_health(served: Any) -> None:
    live, ready = [await served.client.get(f"/v2/health/{name}") for name in ("live", "ready")]
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


async def test_open_inference_health_without_a_model(unready: Any) -> None:
    live, ready = [await unready.client.get(f"/v2/health/{name}") for name in ("live", "ready")]
    assert live.status_code == 200
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
