"""Tells the person at the terminal how far the loop is, and asks for the first training run."""

import threading
from collections.abc import Callable

import httpx

from src.core.errors import LoopError
from src.core.model_registry import CHAMPION
from src.core.retrain_record import RetrainRecord, State
from src.core.retrain_signal import RetrainSpool
from src.core.settings import LocalSettings

POLL_SECONDS = 0.2
FLOWER = '{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}'


class Guide:
    """Watches the loop come up, from outside, as a user would see it.

    Args:
        settings: where the processes listen.
        spool: where the first training run is asked for.
        say: prints one line.
    """

    def __init__(self, settings: LocalSettings, spool: RetrainSpool, say: Callable[[str], None]) -> None:
        self._spool = spool
        self._say = say
        host = f"http://localhost:{settings.inference_port}"
        self._health = f"{host}/health"
        self._mlflow = f"http://127.0.0.1:{settings.mlflow_port}"
        self._alias = f"{self._mlflow}/api/2.0/mlflow/registered-models/alias"
        self._champion = {"name": settings.model_name, "alias": CHAMPION}
        self._banner = (
            "",
            f"ready: {settings.model_name} is served; Ctrl-C stops everything",
            f"  inference  {host}/docs",
            f"  MLflow     http://localhost:{settings.mlflow_port}",
            f"  monitor    http://localhost:{settings.monitor_port}/metrics",
            "try:",
            f"  curl -X POST -H 'Content-Type: application/json' -d '{FLOWER}' {host}/predict",
            f"  curl {host}/health",
            f"  curl -X POST {host}/retrain",
            "",
        )

    def run(self, stop: threading.Event) -> None:
        """Report until a model is served (then print what to try) or ``stop`` is set."""
        try:
            self._follow(stop)
        except (LoopError, OSError) as error:
            self._say(f"cannot ask for the first training run: {error}")

    def _follow(self, stop: threading.Event) -> None:
        with httpx.Client(timeout=5) as client:
            self._say("starting MLflow, inference and monitor")
            first_training: RetrainRecord | None = None
            told: State | None = None
            while not stop.wait(POLL_SECONDS):
                if self._is_ready(client):
                    for line in self._banner:
                        self._say(line)
                    return
                if first_training is None:
                    first_training = self._ask_for_training(client)
                    continue
                record = self._spool.get(first_training.id) or first_training
                if record.state != told:
                    told = record.state
                    self._report(record)

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(self._health).is_success
        except httpx.TransportError:
            return False

    def _ask_for_training(self, client: httpx.Client) -> RetrainRecord | None:
        """Once MLflow answers that there is no champion, request a training run, or find the one under way."""
        try:
            answer = client.get(self._alias, params=self._champion)
        except httpx.TransportError:
            return None
        # MLflow answers 404 for a model that does not exist and 400 for one without this alias.
        if answer.status_code not in {httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST}:
            return None
        unfinished = [record for record in self._spool.recent(10) if record.result is None]
        return unfinished[-1] if unfinished else self._spool.submit("bootstrap")

    def _report(self, record: RetrainRecord) -> None:
        if record.state is State.QUEUED:
            self._say("no model yet: the first training run is requested")
        elif record.state is State.RUNNING:
            self._say("the first training run has started; it takes about half a minute")
        elif record.result is not None:
            self._say(f"the first training run ended: {record.state} ({record.result.reason})")
            if record.state is not State.PROMOTED:
                self._say(f"mend the cause, then: curl -X POST {self._health.removesuffix('/health')}/retrain")
