"""An event loop whose time is moved by the test."""

import asyncio
from typing import Any


class Timer:
    """What ``call_at`` returns."""

    def __init__(self, when: float) -> None:
        self.is_cancelled = False
        self._when = when

    def cancel(self) -> None:
        self.is_cancelled = True

    def when(self) -> float:
        return self._when


class FakeClock(asyncio.AbstractEventLoop):
    """Runs timers when its time is moved, and tasks on the running loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[Timer, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any, *args: Any, **_: Any) -> Any:  # type: ignore[override]
        timer = Timer(when)
        self._timers.append((timer, lambda: callback(*args)))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, **_: Any) -> Any:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args)

    def create_task(self, *args: Any, **keywords: Any) -> Any:
        return asyncio.get_running_loop().create_task(*args, **keywords)

    @property
    def armed(self) -> list[float]:
        """When timers will run."""
        return sorted(timer.when() for timer, _ in self._timers if not timer.is_cancelled)

    def go_to(self, now: float) -> None:
        """Move the time on, and run each timer at its time."""
        while self.armed and self.armed[0] <= now:
            self.now = self.armed[0]
            due = [item for item in self._timers if item[0].when() <= self.now]
            self._timers = [item for item in self._timers if item[0].when() > self.now]
            for timer, callback in due:
                if not timer.is_cancelled:
                    callback()
        self.now = now
