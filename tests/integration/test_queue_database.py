"""The retrain queue in a database, between real processes: killed ones, and a database that goes away."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from src.core.retrain_database import DatabaseQueue
from src.core.retrain_record import State
from src.core.retrain_tables import QueueDatabase
from src.services.local.processes import REPOSITORY, LocalProcess
from src.services.queue.migrate import migrate
from tests.support.inference_process import Inference, without_mlflow
from tests.support.models import SETOSA
from tests.support.mysql_server import MySqlServer
from tests.support.running import free_port, running, wait_until

pytestmark = pytest.mark.integration

# The long runs: QUEUE_KILLS=30 QUEUE_OUTAGE_SECONDS=60.
KILLS = int(os.environ.get("QUEUE_KILLS", "6"))
OUTAGE_SECONDS = float(os.environ.get("QUEUE_OUTAGE_SECONDS", "4"))

HEAD = """
import pathlib, sys, threading
from datetime import UTC, datetime
from pydantic import SecretStr
from src.core.errors import LoopError
from src.core.retrain_database import DatabaseQueue
from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_tables import QueueDatabase
from src.core.trainer_lease import TrainerLease, this_process
root, url = sys.argv[1:]
database = QueueDatabase(SecretStr(url))
queue = DatabaseQueue(pathlib.Path(root), database, max_pending=10**6, lease=TrainerLease(database, this_process(), 1))
pause = threading.Event()
"""
SUBMITTER = HEAD + "while not pause.wait(0.01): print(queue.submit('api').id, flush=True)"
CLAIMER = (
    HEAD
    + """
while not pause.wait(0.01):
    try:
        with queue.lock():
            for record in queue.claim():
                result = RetrainResult(outcome=Outcome.PROMOTED, reason="ok", finished_at=datetime.now(UTC))
                queue.finish(record, result)
                print(record.id, flush=True)
    except LoopError:
        pass
"""
)
RUN_MONITOR = "import sys; from src.services.monitor.run_monitor import serve; \
from src.core.monitor_settings import MonitorSettings; serve(MonitorSettings(), (sys.executable, '-c', sys.argv[1]))"
# In run_pipeline.py's place.
TRAINING = """
import sys
from datetime import UTC, datetime
from src.core.errors import LoopError
from src.core.retrain_queue import open_queue
from src.core.retrain_record import Outcome, RetrainResult
from src.core.settings import CommonSettings, load_settings
queue = open_queue(load_settings(CommonSettings))
result = RetrainResult(outcome=Outcome.PROMOTED, reason="ok", finished_at=datetime.now(UTC))
try:
    with queue.lock(patience=5):
        for record in queue.claimed():
            queue.finish(record, result)
except LoopError as error:
    sys.exit(f"error: {error}")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySqlServer]:
    started = MySqlServer(tmp_path_factory.mktemp("mysql"))
    yield started
    started.kill()


@pytest.fixture
def url(server: MySqlServer) -> SecretStr:
    fresh = server.database("queue")
    migrate(fresh)
    return fresh


@pytest.fixture
def queue(url: SecretStr, tmp_path: Path) -> Iterator[DatabaseQueue]:
    database = QueueDatabase(url)
    yield DatabaseQueue(tmp_path, database)
    database.engine.dispose()


def lines_of(files: list[Path]) -> list[str]:
    """Whole lines: the last one of a killed process may be a part."""
    return [line for file in files for line in file.read_text().split("\n")[:-1]]


def test_no_request_is_lost_or_served_twice_whoever_is_killed(
    url: SecretStr, queue: DatabaseQueue, tmp_path: Path
) -> None:
    outputs: dict[str, list[Path]] = {"served": [], "accepted": []}

    def start(role: str) -> subprocess.Popen[bytes]:
        file = tmp_path / f"{role}-{len(outputs[role])}"
        outputs[role].append(file)
        script = CLAIMER if role == "served" else SUBMITTER
        command = [sys.executable, "-c", script, str(tmp_path), url.get_secret_value()]
        with file.open("wb") as output:
            return subprocess.Popen(command, cwd=REPOSITORY, stdout=output)

    def works(role: str) -> bool:
        return bool(outputs[role][-1].read_text())

    roles = ["served"] * 2 + ["accepted"] * 3
    processes = [start(role) for role in roles]
    chance, pause = random.Random(7), threading.Event()  # noqa: S311 - not for secrets
    try:
        for role in ("accepted", "served"):
            wait_until(f"the first is {role}", lambda role=role: works(role))  # type: ignore[misc]
        for _ in range(KILLS):
            pause.wait(chance.uniform(0.05, 0.6))
            victim = chance.randrange(len(processes))
            processes[victim].kill()
            processes[victim].wait()
            processes[victim] = start(roles[victim])
        wait_until("the last one started works", lambda: works(roles[victim]))
        for process in processes[2:]:
            process.kill()
            process.wait()
        wait_until("all are served", lambda: not queue.unfinished())
    finally:
        for process in processes:
            process.kill()
            process.wait()
    accepted, served = lines_of(outputs["accepted"]), Counter(lines_of(outputs["served"]))
    ended = {record.id for record in queue.recent(10**6) if record.state is State.PROMOTED}
    assert len(set(accepted)) == len(accepted) > 10
    assert set(accepted) <= ended
    assert set(served) <= ended
    assert set(served.values()) == {1}
    # Of those that have no line, their process was killed between the effect and the line.
    assert len(ended) - len(accepted) <= KILLS + 3
    assert len(ended) - len(served) <= KILLS + 2
    print(f"kills {KILLS}, accepted {len(accepted)}, ended {len(ended)}")  # noqa: T201 - a measured figure


class Clients:
    """Submits requests and asks for predictions, without a pause, until told to stop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.accepted: list[str] = []
        self.refused: list[tuple[int, str | None]] = []
        self.predicted: list[tuple[int, float]] = []
        self._threads = [threading.Thread(target=run) for run in (self._submit, self._submit, self._predict)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _submit(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._over.wait(0.05):
                answer = client.post("/retrain")
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.accepted.append(answer.json()["id"])
                else:
                    self.refused.append((answer.status_code, answer.headers.get("Retry-After")))

    def _predict(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._over.wait(0.01):
                started = time.monotonic()
                status = client.post("/predict", json=SETOSA).status_code
                self.predicted.append((status, time.monotonic() - started))


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_outage_of_the_database_loses_no_request_and_stops_no_prediction(
    server: MySqlServer, url: SecretStr, queue: DatabaseQueue, tmp_path: Path, outage: str
) -> None:
    inference: Inference = without_mlflow(tmp_path)
    chosen = {"RETRAIN_QUEUE": "database", "RETRAIN_DATABASE_URL": url.get_secret_value()}
    chosen |= {"RETRAIN_MAX_PENDING": "100000"}
    environment = {"DATA_DIR": str(tmp_path / "data"), "MONITOR_PORT": str(free_port()), **chosen}
    monitor = LocalProcess("monitor", (sys.executable, "-c", RUN_MONITOR, TRAINING), environment)
    with inference.serving(**chosen), running(monitor, tmp_path / "monitor.log"), Clients(inference.url) as clients:
        wait_until("a request has ended", lambda: any(r.state is State.PROMOTED for r in queue.recent(1000)))
        before = len(clients.predicted)
        if outage == "killed":
            server.kill()
        else:
            server.freeze()
        wait_until("a request is refused", lambda: clients.refused)
        during = len(clients.predicted)
        threading.Event().wait(OUTAGE_SECONDS)
        predicted = clients.predicted[before:]
        assert len(clients.predicted) > during
        known = len(clients.accepted)
        if outage == "killed":
            server.start()
        else:
            server.thaw()
        wait_until("requests are accepted again", lambda: len(clients.accepted) > known)
    with running(monitor, tmp_path / "monitor.log"):
        wait_until("all requests have ended", lambda: not queue.unfinished(), seconds=120)
    states = {record.id: record.state for record in queue.recent(10**6)}
    assert {states[request_id] for request_id in clients.accepted} == {State.PROMOTED}
    assert set(clients.refused) == {(503, "5")}
    assert {status for status, _ in clients.predicted} == {200}
    audit = (tmp_path / "data" / "audit" / "audit.ndjson").read_text().splitlines()
    ends = Counter(entry["request_id"] for entry in map(json.loads, audit) if entry["event"] == "retrain_ended")
    assert set(ends.values()) <= {1}
    slowest = max(seconds for _, seconds in predicted)
    print(  # noqa: T201 - measured figures
        f"{outage} for {OUTAGE_SECONDS:g} s: accepted {len(clients.accepted)}, refused {len(clients.refused)}, "
        f"predictions in the outage {len(predicted)}, slowest {slowest:.3f} s"
    )
