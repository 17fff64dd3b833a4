"""The spool and its lock between real processes."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from src.core.errors import TrainerBusyError
from src.core.retrain_signal import RetrainSpool
from src.services.local.processes import REPOSITORY

HEAD = "import pathlib, sys; from src.core.retrain_signal import RetrainSpool; \
spool = RetrainSpool(pathlib.Path(sys.argv[1]))\n"
HOLDER = HEAD + "with spool.lock(): print('held', flush=True); sys.stdin.read()"
SUBMITTER = HEAD + "for _ in range(50): print(spool.submit('api').id)"
# One process after the other under the lock: each serves the requests that it finds unserved.
LOCKED_CLAIMER = (
    HEAD
    + """
from datetime import UTC, datetime
from src.core.retrain_record import Outcome, RetrainResult
while len(list((spool.root / "done").iterdir())) < 150:
    with spool.lock(patience=30):
        for record in spool.claim():
            print(record.id)
            spool.finish(record, RetrainResult(outcome=Outcome.FAILED, reason="r", finished_at=datetime.now(UTC)))
"""
)

pytestmark = pytest.mark.slow
# Monitors that race for the same files without the lock: each file still moves once.
BARE_CLAIMER = HEAD + "while len(spool.claim()) < 150: pass"


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path).create()


def start(script: str, spool: RetrainSpool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(spool.root)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        close_fds=False,  # what is to be closed in a child must say so itself
    )


def lines_of(process: subprocess.Popen[str]) -> list[str]:
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")  # nor is losing a race worth a line in the log
    return output.split()


def test_lock_of_another_process_is_respected_until_it_is_killed(spool: RetrainSpool) -> None:
    with start(HOLDER, spool) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TrainerBusyError, match="a training or a backup is running"), spool.lock(patience=0.05):
            raise AssertionError("two holders")
        holder.kill()
        holder.wait()
        with spool.lock():
            pass


def test_lock_outwaits_a_short_holder(spool: RetrainSpool) -> None:
    with start(HOLDER, spool) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        threading.Timer(0.1, holder.kill).start()
        before = time.monotonic()
        with spool.lock(patience=30):
            assert 0.05 < time.monotonic() - before < 10


def test_lock_is_not_inherited_by_a_child_of_its_holder(spool: RetrainSpool) -> None:
    with spool.lock():
        child = start("import sys; sys.stdin.read()", spool)
    with child, spool.lock():
        child.kill()


def test_every_request_of_many_submitters_is_served_by_exactly_one_claimer(spool: RetrainSpool) -> None:
    claimers = [start(LOCKED_CLAIMER, spool) for _ in range(2)]
    submitters = [start(SUBMITTER, spool) for _ in range(3)]
    accepted = [request_id for process in submitters for request_id in lines_of(process)]
    served = Counter(request_id for process in claimers for request_id in lines_of(process))
    assert len(accepted) == 150
    assert served == Counter(accepted)


def test_claimers_without_the_lock_lose_nothing(spool: RetrainSpool) -> None:
    claimers = [start(BARE_CLAIMER, spool) for _ in range(3)]
    accepted = [
        request_id for process in [start(SUBMITTER, spool) for _ in range(3)] for request_id in lines_of(process)
    ]
    for process in claimers:
        lines_of(process)
    assert [record.id for record in spool.claimed()] == sorted(accepted)
    assert spool.depths() == {"new": 0, "cur": 150, "bad": 0}
