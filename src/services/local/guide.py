"""Reports the loop's progress on the terminal, and requests the first training run."""

import json
import shlex
import threading
from collections.abc import Callable

import httpx

from src.core.errors import LoopError
from src.core.local_settings import LocalSettings
from src.core.model_registry import CHAMPION
from src.core.retrain_queue import RetrainQueue
from src.core.retrain_record import RetrainRecord, State
from src.services.local.processes import base_url

POLL_SECONDS = 0.2


def shown(url: str) -> str:
    """The URL with localhost in place of a loopback address."""
    return url.replace("//127.0.0.1:", "//localhost:")


class Guide:
    """Watches the loop's start through its HTTP interfaces.

    Args:
        settings: where the processes listen.
        spool: the first training run is requested here.
        say: prints one line.
    """

    def __init__(self, settings: LocalSettings, spool: RetrainQueue, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._say = say
        self._settings = settings
        self._inference = base_url(settings.inference_host, settings.inference_port)
        self._mlflow = f"http://127.0.0.1:{settings.mlflow_port}"
        self._alias = f"{self._mlflow}/api/2.0/mlflow/registered-models/alias"
        self._champion = {"name": settings.model_name, "alias": CHAMPION}

    def run(self, stop: threading.Event) -> None:
        """Report until a model is served (then print what to try) or ``stop`` is set."""
        try:
            self._follow(stop)
        except (LoopError, OSError) as error:
            self._say(f"cannot request the first training run: {error}")

    def _follow(self, stop: threading.Event) -> None:
        with httpx.Client(timeout=5, trust_env=False) as client:
            self._say(
                "starting MLflow, inference, monitor and quality; connection errors until all are up are expected"
            )
            first_training: RetrainRecord | None = None
            reported: State | None = None
            while not stop.wait(POLL_SECONDS):
                if self._is_ready(client):
                    for line in self._banner(self._example(client)):
                        self._say(line)
                    return
                if first_training is None:
                    first_training = self._ask_for_training(client)
                    continue
                record = self._spool.get(first_training.id) or first_training
                if record.state != reported:
                    reported = record.state
                    self._report(record)

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self._inference}/health").is_success
        except httpx.TransportError:
            return False

    def _example(self, client: httpx.Client) -> str | None:
        """An example record of the served model, as JSON, if its OpenAPI document has one."""
        try:
            document = client.get(f"{self._inference}/openapi.json").raise_for_status().json()
            return json.dumps(document["components"]["schemas"]["PredictRequest"]["example"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None

    def _banner(self, example: str | None) -> list[str]:
        settings, host = self._settings, shown(self._inference)
        lines = [
            "",
            f"ready: {settings.model_name} is served; Ctrl-C stops everything",
            f"  inference  {host}/",
            f"  MLflow     {shown(self._mlflow)}",
            f"  monitor    {shown(base_url(settings.monitor_host, settings.monitor_port))}/metrics",
            f"  quality    {shown(base_url(settings.quality_host, settings.quality_port))}/metrics",
            "try:",
        ]
        if example is not None:
            header = "-H 'Content-Type: application/json'"
            lines.append(f"  curl -X POST {header} -d {shlex.quote(example)} {host}/predict")
        lines += [f"  curl {host}/health", f"  curl -X POST {host}/retrain"]
        if settings.mlflow_tracking_uri.port != settings.mlflow_port:
            # A training that is started by hand needs MLflow's port.
            lines.append(f"  MLFLOW_TRACKING_URI={self._mlflow} .venv/bin/python run_pipeline.py")
        return [*lines, ""]

    def _ask_for_training(self, client: httpx.Client) -> RetrainRecord | None:
        """Once MLflow reports that there is no champion, request a training run, or find the current one."""
        try:
            answer = client.get(self._alias, params=self._champion)
        except httpx.TransportError:
            return None
        # MLflow answers 404 for a model that does not exist and 400 for one without this alias.
        if answer.status_code not in {httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST}:
            return None
        unfinished = [record for record in self._spool.recent(10) if record.result is None]
        return unfinished[-1] if unfinished else self._spool.submit("bootstrap", by="make local")

    def _report(self, record: RetrainRecord) -> None:
        if record.state is State.QUEUED:
            self._say("no model yet: the first training run was requested")
        elif record.state is State.RUNNING:
            self._say("the first training run has started; it takes about half a minute")
        elif record.result is not None:
            self._say(f"the first training run ended: {record.state} ({record.result.reason})")
            if record.state is not State.PROMOTED:
                self._say(f"fix the cause, then: curl -X POST {shown(self._inference)}/retrain")
