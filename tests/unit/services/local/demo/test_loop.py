"""The environment of the demo's loop, and what it reads from its services."""

import os
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from src.services.local.demo.loop import Loop, inherited

METRICS = """\
# HELP inference_model_score Scores on the holdout by name, greater is better
# TYPE inference_model_score gauge
inference_model_score{metric="f1_macro"} 0.8
inference_model_score{metric="accuracy"} 0.9
"""


def loop_of(tmp_path: Path, answer: httpx.Response | None) -> Loop:
    def handle(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("refused", request=request)
        return answer

    client = httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(handle))
    return Loop(client, {"inference": 1}, tmp_path / "log", SimpleNamespace())  # type: ignore[arg-type]


def test_settings_of_another_loop_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("WRITE_API_KEY", "PREDICTION_LOG", "DATASET_URL", "ZENML_STORE_URL", "MLFLOW_RUN_ID", "RETRAIN_SCHEDULE")
    for name in others:
        monkeypatch.setenv(name, "of another loop")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.setenv("ENV_FILE", ".env")
    found = inherited()
    assert not set(others) & set(found)
    assert found["TMPDIR"] == "/elsewhere"
    assert found["ENV_FILE"] == os.devnull
    assert "127.0.0.1" in found["NO_PROXY"]


def test_the_holdout_score_is_that_of_the_metric(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, httpx.Response(200, text=METRICS))
    assert loop.held_out_score("accuracy") == 0.9
    assert loop.held_out_score("recall") is None


@pytest.mark.parametrize("answer", [None, httpx.Response(503, json={"model": None})])
def test_only_a_good_answer_counts(tmp_path: Path, answer: httpx.Response | None) -> None:
    assert loop_of(tmp_path, answer).get("/health") is None


def test_a_good_answer_is_read(tmp_path: Path) -> None:
    assert loop_of(tmp_path, httpx.Response(200, json={"a": 1})).get("/health") == {"a": 1}
