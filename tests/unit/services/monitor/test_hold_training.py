import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.core.errors import TrainerBusyError
from src.core.file_lock import is_locked, locked_file
from src.core.retrain_signal import RetrainSpool
from src.quality.parquet_store import LOCK_FILE
from src.services.local.processes import REPOSITORY
from tests.support.running import wait_until

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "src.services.monitor.hold_training"]


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path / "retrain").create()


def holder(spool: RetrainSpool) -> subprocess.Popen[str]:
    environment = {**os.environ, "DATA_DIR": str(spool.root.parent), "ENV_FILE": ""}
    return subprocess.Popen(
        COMMAND, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_training_is_held_off_until_the_input_ends(spool: RetrainSpool) -> None:
    with holder(spool) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TrainerBusyError), spool.lock():
            pass
        process.stdin.close()
        assert process.wait(10) == 0
    with spool.lock():
        pass


def test_stores_of_rows_and_labels_are_held_too_after_a_change_in_progress(spool: RetrainSpool) -> None:
    files = [spool.root.parent / "quality" / kind / "iris" / LOCK_FILE for kind in ("log", "labels")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    with locked_file(files[0]):
        process = holder(spool)
        wait_until("trainings are held", lambda: is_locked(spool.root / "trainer.lock"))
        assert not is_locked(files[1])
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert all(is_locked(file) for file in files)


def test_lock_follows_a_training_that_runs(spool: RetrainSpool) -> None:
    with spool.lock():
        process = holder(spool)
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
    with process:
        assert next(line for line in process.stdout if line != "busy\n") == "held\n"


def test_holder_whose_caller_is_gone_does_not_wait_for_the_lock(spool: RetrainSpool) -> None:
    with spool.lock(), holder(spool) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 1


def test_missing_spool_is_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "DATA_DIR": str(tmp_path / "absent"), "ENV_FILE": ""}
    ended = subprocess.run(COMMAND, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
