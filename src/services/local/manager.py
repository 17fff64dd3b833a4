"""honcho's process manager for the loop, which can stop at any time and notices every exit at once."""

import os
import queue
import signal
import threading
from types import FrameType
from typing import TextIO

from honcho.compat import ProcessManager
from honcho.manager import Manager
from honcho.printer import Message, Printer
from honcho.process import Process

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINGER_SECONDS = 1.0


class StopSignal:
    """Records the first stop signal, which the running code polls.

    The handler does nothing else, because it may interrupt any code.
    """

    number: int | None = None

    def install(self) -> None:
        """Handle Ctrl-C, SIGTERM and the closing of the terminal."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """The signal handler; may also be called directly."""
        if self.number is None:
            self.number = number


class LinePrinter(Printer):  # type: ignore[misc] # honcho ships no types
    """Prints lines with the process's name; if the output is closed, it requests a stop."""

    def __init__(self, stop: StopSignal, output: TextIO) -> None:
        super().__init__(output, time_format="")
        self._stop = stop

    def write(self, message: Message) -> None:
        """Print one line of a process."""
        try:
            super().write(message)
        except OSError:
            # Otherwise flushing the buffer fails again at exit.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - its descriptor is what is needed
                os.dup2(nowhere.fileno(), self.output.fileno())
            self._stop.note(signal.SIGHUP)


class Child(Process):  # type: ignore[misc] # honcho ships no types
    """A process that is followed by threads, where honcho's class uses another process.

    That process needs time to start, during which a signal would miss its child, or end only the follower.
    """

    def start(self, events: "queue.SimpleQueue[Message]") -> int:
        """Start it; lines and exit are sent as events. Returns its process id, which is also its group's."""
        self._events = events
        self._child = self._child_ctor(self.cmd, env=self.env, cwd=self.cwd)
        self._send_message({"pid": self._child.pid}, type="start")
        threading.Thread(target=self._follow, name=f"follow {self.name}", daemon=True).start()
        return int(self._child.pid)

    def _follow(self) -> None:
        relay = threading.Thread(target=self._relay, name=f"relay {self.name}", daemon=True)
        relay.start()
        code = self._child.wait()
        # Processes that it left behind may keep its output open for minutes: the group is ended.
        for end in (ProcessManager().terminate, ProcessManager().kill):
            relay.join(LINGER_SECONDS)
            if relay.is_alive():
                end(self._child.pid)
        relay.join(LINGER_SECONDS)
        self._send_message({"returncode": code}, type="stop")

    def _relay(self) -> None:
        with self._child.stdout as lines:
            for line in lines:
                self._send_message(line)


class LocalManager(Manager):  # type: ignore[misc] # honcho ships no types
    """Runs processes until one ends or a signal asks to stop, then ends them all: SIGTERM, and SIGKILL after 5 s."""

    def __init__(self, stop: StopSignal, output: TextIO) -> None:
        super().__init__(LinePrinter(stop, output))
        self.events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._process_ctor = Child
        self._stop = stop

    def terminate(self) -> None:
        """End every process, once."""
        if self._all_started():
            super().terminate()
        else:  # honcho's signal handler, before ours is installed again
            self._stop.note(signal.SIGTERM)

    def _start(self) -> None:
        self._stop.install()
        for name, entry in list(self._processes.items()):
            if self._any_stopped():
                del self._processes[name]
                continue
            try:
                entry["pid"] = entry["obj"].start(self.events)
            except OSError as error:
                self._system_print(f"cannot start {name}: {error.strerror}\n")
                self.returncode = 1
                del self._processes[name]

    def _any_stopped(self) -> bool:
        # The return code is that of the first process that ended.
        return self._stop.number is not None or self.returncode is not None
