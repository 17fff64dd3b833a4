"""Ends the process immediately on SIGTERM or Ctrl-C, whatever a library is doing."""

import atexit
import logging
import os
import signal
import threading

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

logger = logging.getLogger(__name__)


def exit_on_signals() -> None:
    """Handle the signals in a thread that ends the process with 128 + the signal's number.

    Call it first, from the main thread: threads started earlier would still receive the signals. A signal handler is
    not enough: while a step runs, ZenML replaces it with one that calls its store first. No clean-up is needed: the
    kernel releases the trainer lock, and the next run serves the claimed requests.

    Python's own end after a training takes seconds, and stops this thread first: then the kernel ends the process.
    """
    atexit.register(_leave_to_kernel)  # the first registered function is called last
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_wait, name="termination", daemon=True).start()


def _leave_to_kernel() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _wait() -> None:
    number = signal.sigwait(SIGNALS)
    logger.warning("stopped by %s; claimed retrain requests stay claimed for the next run", signal.Signals(number).name)
    os._exit(128 + number)
