"""Describes the machine on which figures are measured."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

# A machine with a lower load per core counts as idle.
IDLE_LOAD = 0.25


class Machine(msgspec.Struct, frozen=True):
    """What the figures were measured on; the load is the one-minute average before the measurement."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    load: float
    measured_at: str

    @property
    def idle(self) -> bool:
        """Whether the machine was idle."""
        return self.load < IDLE_LOAD * self.cores


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
        measured_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
