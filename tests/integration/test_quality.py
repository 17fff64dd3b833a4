"""The quality service as a real process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from src.core.quality_report import REPORT_FILE, QualityReport, read_report
from src.core.retrain_signal import RetrainSpool
from src.core.training_baseline import TrainingBaseline, write_baseline
from src.quality.stores import label_store, log_store
from src.services.local.processes import LocalProcess
from tests.support.configuration import CONFIG_FILE
from tests.support.quality_arrivals import CLASSES, write_feedback, write_segment
from tests.support.running import free_port, running, wait_until

pytestmark = pytest.mark.integration

STOP_SECONDS = 5.0
COMMAND = (sys.executable, "-m", "src.services.quality.run_quality")


@dataclass
class Desk:
    """One data folder and the service over it."""

    folder: Path
    port: int

    @property
    def log(self) -> str:
        return (self.folder / "quality.log").read_text()

    @property
    def quality_dir(self) -> Path:
        return self.folder / "quality"

    def environment(self, **more: str) -> dict[str, str]:
        chosen = {"DATA_DIR": str(self.folder), "QUALITY_PORT": str(self.port), "PIPELINE_CONFIG": str(CONFIG_FILE)}
        return {**chosen, "MODEL_NAME": "iris", "QUALITY_SECONDS": "0.2", **more}

    @contextlib.contextmanager
    def service(self, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        process = LocalProcess("quality", COMMAND, self.environment(**more))
        with running(process, self.folder / "quality.log") as child:
            wait_until("the service answers", lambda: self.metrics() or child.poll() is not None, seconds=60)
            assert child.poll() is None, self.log
            yield child

    def metrics(self) -> str:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        return ""

    def report(self) -> QualityReport | None:
        return read_report(self.quality_dir / REPORT_FILE, "iris")

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment(**more)}
        return subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, free_port())


def test_enough_new_labels_request_one_training(desk: Desk) -> None:
    spool = RetrainSpool(desk.folder / "retrain").create()
    trained = datetime.now(UTC) - timedelta(hours=1)
    write_baseline(spool.root, TrainingBaseline(model="iris", version="7", started_at=trained, rows={"iris": 150}))
    with desk.service(RETRAIN_MIN_NEW_LABELS="3"):
        write_feedback(desk.quality_dir, {"old": "setosa"}, trained - timedelta(hours=1))
        write_feedback(desk.quality_dir, dict.fromkeys("abc", "setosa"), datetime.now(UTC))
        wait_until("a training is requested", lambda: spool.recent(9), seconds=30)
    assert [(one.source, one.cause) for one in spool.recent(9)] == [("schedule", "3 new labels since version 7")]


def test_rows_and_labels_become_scores(desk: Desk) -> None:
    names = [(f"r{number}", CLASSES[number % 3]) for number in range(30)]
    with desk.service():
        now = datetime.now(UTC)
        write_segment(desk.quality_dir, names, now)
        write_feedback(desk.quality_dir, dict(names), now)
        wait_until("the labels are counted", lambda: 'quality_labels{fate="matched"} 30.0' in desk.metrics())
        report = desk.report()
    assert report is not None
    (version,) = report.versions
    assert [(window.labelled, window.scores["accuracy"].value) for window in version.windows] == [(30, 1.0)] * 4
    assert report.problems == []
    assert "Traceback" not in desk.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_ends_the_service_in_time(desk: Desk, number: signal.Signals) -> None:
    with desk.service(QUALITY_SECONDS="300") as child:
        wait_until("there is a report", desk.report)
        before = time.monotonic()
        child.send_signal(number)
        assert child.wait(STOP_SECONDS * 2) == 0
        assert time.monotonic() - before < STOP_SECONDS
    assert desk.log.splitlines()[-1].endswith("stopped")


def test_stop_signal_ends_the_service_while_it_waits_for_a_lock(desk: Desk) -> None:
    with desk.service():
        wait_until("there is a report", desk.report)
    holding = "import sys; from src.quality.stores import log_store; from pathlib import Path; \
store = log_store(Path(sys.argv[1]), 'iris')\nwith store.locked(): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding, str(desk.quality_dir)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder,
        desk.service() as child,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        before = time.monotonic()
        child.terminate()
        assert child.wait(STOP_SECONDS * 2) == 0
        assert time.monotonic() - before < STOP_SECONDS
        holder.communicate()
    assert "a step was ended" in desk.log


def test_error_is_logged_once_and_the_service_goes_on(desk: Desk) -> None:
    wrong = desk.folder / "pipeline.yaml"
    wrong.write_text("dataset: 1\n")
    with desk.service(PIPELINE_CONFIG=str(wrong)) as child:
        wait_until("it is logged", lambda: "computing the live quality failed" in desk.log)
        beats = {line for line in desk.metrics().splitlines() if line.startswith("quality_heartbeat")}
        wait_until("further steps ran", lambda: not beats & set(desk.metrics().splitlines()))
        assert child.poll() is None
        assert desk.log.count("computing the live quality failed") == 1
        wrong.write_text(CONFIG_FILE.read_text())
        wait_until("there is a report", desk.report)
        wait_until("the end is logged", lambda: "computing the live quality works again" in desk.log)


def test_service_without_a_prediction_log_idles(desk: Desk) -> None:
    with desk.service(PREDICTION_LOG="false") as child:
        first = desk.metrics()
        wait_until("its heart beats", lambda: desk.metrics() != first)
        assert "quality_last_report" not in first
        child.terminate()
        assert child.wait(STOP_SECONDS * 2) == 0
    assert [path.name for path in desk.folder.iterdir()] == ["quality.log"]
    assert "because PREDICTION_LOG=false" in desk.log


def test_rows_and_labels_of_a_log_that_was_switched_off_expire(desk: Desk) -> None:
    now = datetime.now(UTC)
    segments = [write_segment(desk.quality_dir, [("r", "setosa")], now - timedelta(days=days)) for days in (1, 3)]
    sent = [write_feedback(desk.quality_dir, {"r": "setosa"}, now - timedelta(days=days)) for days in (1, 3)]
    stores = (log_store(desk.quality_dir, "iris"), label_store(desk.quality_dir, "iris"))
    with desk.service(PREDICTION_LOG="false", PREDICTION_LOG_DAYS="2"):
        wait_until("all are taken in", lambda: not any(path.exists() for path in [*segments, *sent]))
        wait_until("the older ones have expired", lambda: [store.manifest.rows for store in stores] == [1, 1])
    assert desk.report() is None


def test_taken_port_and_wrong_settings_are_one_line(desk: Desk) -> None:
    with desk.service():
        taken = desk.run()
    assert (taken.returncode, len(taken.stderr.splitlines())) == (1, 1)
    assert f":{desk.port} (Address already in use); stop what listens there or set QUALITY_PORT" in taken.stderr
    wrong = desk.run(QUALITY_SECONDS="often")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    assert wrong.stderr.startswith("error: wrong environment: QUALITY_SECONDS: ")


def test_unwritable_data_folder_is_one_line(desk: Desk) -> None:
    (desk.folder / "file").touch()
    ended = desk.run(DATA_DIR=str(desk.folder / "file"))
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "set DATA_DIR to another folder" in ended.stderr
