"""The monitor as a real process, with a small script in the training's place."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from src.core.errors import TrainerBusyError
from src.core.retrain_record import State
from src.core.retrain_signal import RetrainSpool
from src.services.local.processes import LocalProcess
from tests.support.running import free_port, running, wait_until

pytestmark = pytest.mark.integration

STOP_SECONDS = 5.0
NEXT_TIME = re.compile(r"^monitor_next_scheduled_timestamp_seconds 1\.\d+e\+09$", re.MULTILINE)
RUN = "import sys; from src.services.monitor.run_monitor import serve; from src.core.log import configure_logging; \
from src.core.monitor_settings import MonitorSettings; \
configure_logging('monitor', log_format='console', level='INFO'); \
serve(MonitorSettings(), (sys.executable, *sys.argv[1:]))"

# Takes the lock and the requests as run_pipeline.py does; ends once the file `go` exists, as the outcome in it says.
TRAINING = """
import pathlib, sys, threading
from datetime import UTC, datetime
sys.path.insert(0, ".")
from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_signal import RetrainSpool
folder = pathlib.Path(sys.argv[1])
spool = RetrainSpool(folder / "retrain")
with spool.lock(patience=5):
    records = spool.claimed()
    print("training", len(records), flush=True)
    pause = threading.Event()
    while not (folder / "go").exists():
        pause.wait(0.01)
    for record in records:
        spool.finish(record, RetrainResult(outcome=Outcome.PROMOTED, reason="ok", finished_at=datetime.now(UTC)))
"""


@dataclass
class Desk:
    """One data folder and the monitors over it."""

    folder: Path
    spool: RetrainSpool
    port: int
    schedule: str = ""

    @property
    def log(self) -> str:
        path = self.folder / "monitor.log"
        return path.read_text() if path.exists() else ""

    @contextlib.contextmanager
    def monitor(self, *command: str, poll: float = 0.5) -> Iterator[subprocess.Popen[bytes]]:
        arguments = command or (str(self.folder / "training.py"), str(self.folder))
        process = LocalProcess("monitor", (sys.executable, "-c", RUN, *arguments), self.environment(poll))
        with running(process, self.folder / "monitor.log") as child:
            wait_until("the monitor answers", lambda: self.metrics() or child.poll() is not None, seconds=30)
            assert child.poll() is None, self.log
            yield child

    def environment(self, poll: float = 0.5) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.folder),
            "MONITOR_PORT": str(self.port),
            "MONITOR_POLL_SECONDS": str(poll),
            "RETRAIN_BACKOFF_SECONDS": "0.1",
            "RETRAIN_SCHEDULE": self.schedule,
            "PYTHONUNBUFFERED": "1",
        }

    def metrics(self) -> str:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        return ""

    def wait_for(self, request_id: str, state: State) -> None:
        def reached() -> bool:
            record = self.spool.get(request_id)
            return record is not None and record.state is state

        wait_until(f"the request is {state}", reached, seconds=30, interval=0.005)

    def wait_for_trainer(self) -> psutil.Process:
        """The training process, once it holds the lock."""

        def locked() -> bool:
            try:
                with self.spool.lock():
                    return False
            except TrainerBusyError:
                return True

        wait_until("a training runs", lambda: self.trainers() and locked(), seconds=30)
        return self.trainers()[0]

    def trainers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                # The monitor's own command line names the script too, after its -c.
                if process.cmdline()[1:2] == [str(self.folder / "training.py")] and process.status() != "zombie":
                    found.append(process)
        return found

    def finish_trainings(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "training.py").write_text(TRAINING)
    desk = Desk(tmp_path, RetrainSpool(tmp_path / "retrain").create(), free_port())
    yield desk
    for process in desk.trainers():
        process.kill()


def test_monitor_serves_a_request_to_its_end_and_shows_the_trainings_output(desk: Desk) -> None:
    with desk.monitor():
        request_id = desk.spool.submit("api").id
        desk.wait_for_trainer()
        desk.finish_trainings()
        desk.wait_for(request_id, State.PROMOTED)
        wait_until("the run is counted", lambda: 'monitor_runs_total{outcome="promoted"} 1.0' in desk.metrics())
    assert "\ntraining 1\n" in desk.log
    assert "ended with exit code 0" in desk.log


def test_monitor_notices_a_request_by_its_file_event(desk: Desk) -> None:
    # Half a minute between looks: only a file event can be quicker than a third of it.
    with desk.monitor("-c", "raise SystemExit(1)", poll=30):
        request_id = desk.spool.submit("api").id
        before = time.monotonic()
        desk.wait_for(request_id, State.RUNNING)
        assert time.monotonic() - before < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_ends_monitor_and_training_in_time_and_keeps_the_request(
    desk: Desk, number: signal.Signals
) -> None:
    with desk.monitor() as child:
        request_id = desk.spool.submit("api").id
        desk.wait_for_trainer()
        before = time.monotonic()
        child.send_signal(number)
        assert child.wait(STOP_SECONDS * 2) == 0
        assert time.monotonic() - before < STOP_SECONDS
        assert desk.trainers() == []
    assert "Traceback" not in desk.log
    desk.finish_trainings()
    with desk.monitor():
        desk.wait_for(request_id, State.PROMOTED)


def test_killed_monitor_leaves_its_training_to_the_next_one(desk: Desk) -> None:
    with desk.monitor() as child:
        first = desk.spool.submit("api").id
        trainer = desk.wait_for_trainer()
        child.kill()
        child.wait()
        second = desk.spool.submit("api").id
        with desk.monitor():
            wait_until("it sees the training", lambda: 'monitor_state{state="training"} 1.0' in desk.metrics())
            assert [process.pid for process in desk.trainers()] == [trainer.pid]
            desk.finish_trainings()
            desk.wait_for(first, State.PROMOTED)
            desk.wait_for(second, State.PROMOTED)
    for request_id in (first, second):
        record = desk.spool.get(request_id)
        assert record is not None
        assert record.attempts == 1


def test_killed_training_is_started_again(desk: Desk) -> None:
    with desk.monitor():
        request_id = desk.spool.submit("api").id
        desk.wait_for_trainer().kill()
        desk.finish_trainings()
        desk.wait_for(request_id, State.PROMOTED)
    assert "ended with signal 9" in desk.log


def test_training_that_always_dies_ends_as_failed(desk: Desk) -> None:
    with desk.monitor("-c", "raise SystemExit(4)", poll=0.05):
        request_id = desk.spool.submit("api").id
        desk.wait_for(request_id, State.FAILED)
    record = desk.spool.get(request_id)
    assert record is not None
    assert record.result is not None
    assert record.result.reason.startswith("gave up after 3 attempts")
    assert len(re.findall("ended with exit code 4", desk.log)) == 3
    assert re.findall(r"training attempt (\d) of 3 failed: exit code 4", desk.log) == ["1", "2", "3"]


def test_time_that_was_missed_while_the_monitor_was_down_is_trained_once(desk: Desk) -> None:
    schedule = "0 0 1 1 * Europe/Berlin"
    handled = {"expression": schedule, "until": "2020-06-01T00:00:00Z"}
    (desk.spool.root / "schedule.json").write_text(json.dumps(handled))
    desk.finish_trainings()
    desk.schedule = schedule
    for _ in range(2):
        with desk.monitor():
            wait_until("it is trained", lambda: [r.state for r in desk.spool.recent(9)] == [State.PROMOTED], seconds=30)
            wait_until("the next time is shown", lambda: NEXT_TIME.search(desk.metrics()), seconds=30)
    (request,) = desk.spool.recent(9)
    assert (request.source, request.cause) == ("schedule", schedule)


# -- the entry point itself ----------------------------------------------------------------------------


def run_monitor(desk: Desk, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "src.services.monitor.run_monitor"],
        env={**os.environ, **desk.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_run_monitor_stops_with_code_0_in_time_on_sigterm(desk: Desk) -> None:
    process = LocalProcess("monitor", (sys.executable, "-m", "src.services.monitor.run_monitor"), desk.environment())
    with running(process, desk.folder / "monitor.log") as child:
        wait_until("the monitor answers", desk.metrics, seconds=30)
        before = time.monotonic()
        child.terminate()
        assert child.wait(STOP_SECONDS * 2) == 0
        assert time.monotonic() - before < STOP_SECONDS
    assert desk.log.splitlines()[-1].endswith("stopped")


def test_run_monitor_on_a_taken_port_says_so_in_one_line(desk: Desk) -> None:
    with desk.monitor():
        ended = run_monitor(desk)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert f":{desk.port} (Address already in use)" in ended.stderr


def test_run_monitor_with_a_wrong_setting_says_so_in_one_line(desk: Desk) -> None:
    ended = run_monitor(desk, MONITOR_POLL_SECONDS="often")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert ended.stderr.startswith("error: wrong environment: MONITOR_POLL_SECONDS: ")


def test_run_monitor_with_a_wrong_schedule_says_so_in_one_line(desk: Desk) -> None:
    ended = run_monitor(desk, RETRAIN_SCHEDULE="0 3 * * 1 Europe/Berlim")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert ended.stderr.startswith("error: wrong environment: RETRAIN_SCHEDULE: there is no time zone 'Europe/Berlim'")


def test_run_monitor_without_a_place_for_its_spool_says_so_in_one_line(desk: Desk) -> None:
    ended = run_monitor(desk, DATA_DIR=str(desk.folder / "training.py"))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "set DATA_DIR to another folder" in ended.stderr
