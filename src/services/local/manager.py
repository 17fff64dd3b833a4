"""honcho's process manager for the loop: it stops at any moment, and notices every end at once."""

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
    """Remembers the first signal that asks to stop; who runs something looks here.

    Its handler does nothing else: what a handler prints or ends, the code that it interrupts may be half through with.
    """

    number: int | None = None

    def install(self) -> None:
        """Listen to Ctrl-C, SIGTERM and the closing of the terminal."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """A signal handler, also to be called as if the signal had come."""
        if self.number is None:
            self.number = number


class LinePrinter(Printer):  # type: ignore[misc] # honcho ships no types
    """Prints the lines, marked by name; when nobody reads them any more, it asks to stop."""

    def __init__(self, stop: StopSignal, output: TextIO) -> None:
        super().__init__(output, time_format="")
        self._stop = stop

    def write(self, message: Message) -> None:
        """Print one line of a process."""
        try:
            super().write(message)
        except OSError:
            # Else the lines in the buffer fail once more when Python ends.
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - its descriptor is what is needed
                os.dup2(nowhere.fileno(), self.output.fileno())
            self._stop.note(signal.SIGHUP)


class Child(Process):  # type: ignore[misc] # honcho ships no types
    """A process followed by threads, where honcho's own is followed by one more process.

    Such a process needs a while to start, and until then a signal would miss what it starts, or end it alone.
    """

    def start(self, events: "queue.SimpleQueue[Message]") -> int:
        """Start it; its lines and its end come as events. Returns its process id, its group's too."""
        self._events = events
        self._child = self._child_ctor(self.cmd, env=self.env, cwd=self.cwd)
        self._send_message({"pid": self._child.pid}, type="start")
        threading.Thread(target=self._follow, name=f"follow {self.name}", daemon=True).start()
        return int(self._child.pid)

    def _follow(self) -> None:
        relay = threading.Thread(target=self._relay, name=f"relay {self.name}", daemon=True)
        relay.start()
        code = self._child.wait()
        # What it has started and left behind may hold its output for minutes: that ends with it.
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
        else:  # honcho's own signal handler, in the instant before ours is back in its place
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
        # The return code is the first process's that ended.
        return self._stop.number is not None or self.returncode is not None
