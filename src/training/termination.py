"""Ends the process at once on SIGTERM or Ctrl-C, whatever a library is doing."""

import logging
import os
import signal
import threading

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

logger = logging.getLogger(__name__)


def exit_on_signals() -> None:
    """Give the signals to a thread that ends the process with 128 + the signal's number.

    Call it first, from the main thread: threads started before would still take the signals. A handler would not
    do: ZenML replaces handlers while a step runs, by one that talks to its store before it lets go. Nothing needs
    cleaning up: the kernel frees the trainer lock, and what is claimed is served by the next run.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_wait, name="termination", daemon=True).start()


def _wait() -> None:
    number = signal.sigwait(SIGNALS)
    logger.warning("stopped by %s; claimed retrain requests stay claimed for the next run", signal.Signals(number).name)
    os._exit(128 + number)
