import signal
import subprocess
import sys

import pytest

from src.services.local.processes import REPOSITORY

# A handler that a library puts in place later, as ZenML does, and a main thread that never gets to Python's eval loop.
PROGRAM = """
import signal, sys, threading
from src.training.termination import exit_on_signals
exit_on_signals()
signal.signal(signal.SIGTERM, lambda *_: None)
print("ready", flush=True)
threading.Event().wait(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_ends_at_once_whatever_handlers_libraries_set(number: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.wait(timeout=5) == 128 + number


# Python deletes modules last, which can take seconds after a training, and threads no longer run then.
ENDING = """
import os, signal, time
from src.training.termination import exit_on_signals

class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"ending\\n")
        sleep(60)

exit_on_signals()
signal.signal(signal.SIGTERM, lambda *_: None)
slow = Slow()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interpreter_that_ends_slowly_is_ended_at_once(number: signal.Signals) -> None:
    child = subprocess.Popen([sys.executable, "-c", ENDING], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ending\n"
        child.send_signal(number)
        try:
            assert child.wait(timeout=5) == -number
        finally:
            child.kill()
