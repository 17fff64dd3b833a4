"""Inference, monitor, quality and Prometheus as real processes, and a small history for Prometheus to see."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from src.core.model_registry import TAG_SCORE
from src.core.rollout_record import Rollout
from src.core.rollouts import Rollouts
from src.services.local.processes import LocalProcess
from tests.support.configuration import CONFIG_FILE
from tests.support.inference_client import FLOWER, InferenceClient
from tests.support.inference_process import Inference
from tests.support.models import CLASSES, build_model, register_model
from tests.support.prometheus import Prometheus, running_prometheus
from tests.support.prometheus_tools import tool_path
from tests.support.running import free_port, running, wait_until

TOKEN = "a token of thirty-two characters"  # noqa: S105 - of these tests alone
NOTIFICATION = {
    "version": "4",
    "groupKey": '{}:{alertname="FeatureDrift"}',
    "alerts": [{"status": "firing", "labels": {"action": "retrain"}}],
}
MONITOR = "import sys; from src.services.monitor.run_monitor import serve; \
from src.core.monitor_settings import MonitorSettings; \
serve(MonitorSettings(), (sys.executable, *sys.argv[1:]))"

# In the training's place: takes the lock and the requests, moves the alias and tells the verdict, as run_pipeline.py
# does. It waits for the verdict.
TRAINING = """
import json, pathlib, sys, threading
from datetime import UTC, datetime
import httpx
sys.path.insert(0, ".")
from src.core.retrain_record import RetrainResult
from src.core.retrain_signal import RetrainSpool
folder, mlflow, name = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
spool = RetrainSpool(folder / "data/retrain")
with spool.lock(patience=5):
    pause = threading.Event()
    while not (folder / "verdict.json").exists():
        pause.wait(0.01)
    verdict = json.loads((folder / "verdict.json").read_text())
    if verdict["outcome"] == "promoted":
        alias = {"name": name, "alias": "champion", "version": verdict["model_version"]}
        httpx.post(f"{mlflow}/api/2.0/mlflow/registered-models/alias", json=alias).raise_for_status()
    for record in spool.claimed():
        spool.finish(record, RetrainResult(finished_at=datetime.now(UTC), **verdict))
"""
GOOD = {"accuracy": 0.95, "f1_macro": 0.94, "neg_log_loss": -0.2}
STEPS = {"preprocess": 0.5, "train": 2.0}
BETTER = {"accuracy": 0.97, "f1_macro": 0.96, "neg_log_loss": -0.1}


@dataclass(frozen=True)
class WatchedLoop:
    """What the processes have gone through lies between ``start`` and ``end``, in seconds since the epoch."""

    prometheus: Prometheus
    start: float
    end: float


@dataclass(frozen=True)
class _Loop:
    folder: Path
    inference: Inference
    monitor_port: int
    quality_port: int

    @property
    def client(self) -> InferenceClient:
        return InferenceClient(self.inference.url)

    def train(self, prometheus: Prometheus, request_id: str, outcome: str, **verdict: Any) -> None:
        """Have the training that serves this request end so, once Prometheus has seen it run."""
        prometheus.wait_for('monitor_state{state="training"} == 1')
        file = self.folder / "verdict.json"
        whole = file.with_suffix(".new")
        whole.write_text(json.dumps({"outcome": outcome, "reason": "a test", **verdict}))
        whole.rename(file)
        assert self.client.wait_for_end(request_id)["state"] == outcome
        file.unlink()
        prometheus.wait_for('monitor_state{state="idle"} == 1')

    def watch_promotion(self, version: str, previous: str) -> None:
        """Record a promotion as a training does, and move the alias of the previous champion."""
        alias = {"name": self.inference.model_name, "alias": "previous", "version": previous}
        url = f"{self.inference.mlflow_url}/api/2.0/mlflow/registered-models/alias"
        httpx.post(url, json=alias).raise_for_status()
        now, rollouts = datetime.now(UTC), Rollouts(self.folder / "data" / "quality" / "rollouts")
        until = now + timedelta(hours=1)
        model = self.inference.model_name
        rollouts.begin(Rollout(model=model, version=version, previous=previous, started=now, until=until))

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        (self.folder / "training.py").write_text(TRAINING)
        of_training = (str(self.folder / "training.py"), str(self.folder))
        command = (sys.executable, "-c", MONITOR, *of_training, self.inference.mlflow_url, self.inference.model_name)
        environment = {
            "DATA_DIR": str(self.folder / "data"),
            "MONITOR_PORT": str(self.monitor_port),
        }
        alerts = {"ALERT_RETRAIN": "true", "ALERT_TOKEN": TOKEN, "DRIFT_WINDOW_ROWS": "200"}
        monitor = LocalProcess("monitor", command, environment)
        command = (sys.executable, "-m", "src.services.quality.run_quality")
        quality = LocalProcess("quality", command, {"QUALITY_PORT": str(self.quality_port), "QUALITY_SECONDS": "1"})
        shared = {"MODEL_NAME": self.inference.model_name, "PIPELINE_CONFIG": str(CONFIG_FILE)}
        with (
            running(monitor, self.folder / "monitor.log"),
            running(quality, self.folder / "quality.log", DATA_DIR=environment["DATA_DIR"], **shared),
            self.inference.started(**alerts),
        ):
            yield


@contextlib.contextmanager
def watched_loop(folder: Path, mlflow_url: str, name: str) -> Iterator[WatchedLoop]:
    """Two models, two trainings that are promoted, one that fails, all kinds of traffic, labels, a shadow; all scraped.

    Args:
        folder: of everything that is written; must exist.
        name: of the registered model; nobody else's.
    """
    binary = tool_path("prometheus")
    for seed, scores in ((1, GOOD), (2, BETTER)):
        _register(mlflow_url, name, folder / f"model-{seed}", seed, scores)
    loop = _Loop(folder, Inference(folder, mlflow_url, name), free_port(), free_port())
    ports = {"inference": loop.inference.port, "monitor": loop.monitor_port, "quality": loop.quality_port}
    addresses = {job: f"127.0.0.1:{port}" for job, port in ports.items()}
    start = time.time()
    with (
        loop.started(),
        running_prometheus(binary, folder, addresses) as prometheus,
        contextlib.ExitStack() as load,
    ):
        wait_until("inference answers", loop.inference.health)
        prometheus.wait_for('inference_model_loaded == 0 and on () monitor_state{state="idle"} == 1')
        assert httpx.post(f"{loop.inference.url}/predict", json=FLOWER, timeout=5).status_code == 503
        loop.train(prometheus, loop.client.request_retrain(), "promoted", model_version="1", challenger=GOOD)
        loop.client.wait_for_version("1")
        loop.client.predict_and_label([*["setosa"] * 180, *["virginica"] * 20])
        load.enter_context(loop.client.constant_load())
        _send_one_of_each(loop.inference.url)
        prometheus.wait_for("max(inference_feature_drifted) == 1")
        loop.train(prometheus, loop.client.request_retrain(), "failed")
        told = {"challenger": BETTER, "champion": GOOD, "step_seconds": STEPS}
        loop.train(prometheus, _alert(loop.inference.url), "promoted", model_version="2", **told)
        loop.client.wait_for_version("2")
        loop.watch_promotion("2", "1")
        prometheus.wait_for('inference_shadow_rows_total{result="predicted"} > 0')
        _send_one_of_each(loop.inference.url)
        prometheus.wait_for('monitor_last_run_score{model="champion", metric="f1_macro"} > 0')
        prometheus.wait_for('ALERTS{alertname="RetrainFailed", alertstate="firing"}')
        drifted = "max(inference_feature_drifted) == 1 and max(inference_prediction_drifted) == 1"
        prometheus.wait_for('quality_score_low{metric="accuracy", window="week"}')
        prometheus.wait_for(f'{drifted} and on () inference_model_info{{version="2"}}')
        yield WatchedLoop(prometheus, start, time.time())


def _register(mlflow_url: str, name: str, folder: Path, seed: int, scores: dict[str, float]) -> None:
    import mlflow  # noqa: PLC0415 - slow to import

    build_model(folder, seed=seed)
    version = register_model(mlflow_url, name, folder)
    client = mlflow.MlflowClient(mlflow_url)
    for metric, value in scores.items():
        client.set_model_version_tag(name, version, f"{TAG_SCORE}{metric}", str(value))


def _alert(url: str) -> str:
    """Ask for a training as Alertmanager does; return the request's id."""
    token = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.post(f"{url}/alerts", json=NOTIFICATION, headers=token, timeout=5)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["retrain"])


def _send_one_of_each(url: str) -> None:
    """A batch with every class, a row out of range, a body that is none, a path of no route."""
    rows = [FLOWER, {**FLOWER, "petal_length": 4.5, "petal_width": 1.4}, {**FLOWER, "petal_length": 60.0}]
    statuses = [
        httpx.post(f"{url}/predict/batch", json=rows * len(CLASSES), timeout=5).status_code,
        httpx.post(f"{url}/predict", json={"sepal_length": "long"}, timeout=5).status_code,
        httpx.get(f"{url}/nowhere", timeout=5).status_code,
    ]
    assert statuses == [200, 422, 404]
