"""How much memory this process may use, and whether the kernel has killed processes for using more.

Both come from the control group that a container is in (Linux, control groups version 1 and 2).
"""

import os
import re
from pathlib import Path

_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_EVENTS = ("memory.events", "memory/memory.oom_control")
MEGABYTE = 1e6
CGROUP = Path("/sys/fs/cgroup")


def memory_limit(cgroup: Path = CGROUP) -> float:
    """The container's limit or the machine's memory, whichever is less, in bytes."""
    limits = [float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")]
    for text in _texts(cgroup, _LIMITS):
        limits += [float(text)] if text.strip().isdigit() else []
    return min(limits)


def oom_kills(cgroup: Path = CGROUP) -> int:
    """How many processes of this container the kernel has killed at its memory limit; 0 where nothing says so."""
    found = [re.search(r"^oom_kill (\d+)$", text, re.MULTILINE) for text in _texts(cgroup, _EVENTS)]
    return max((int(match[1]) for match in found if match), default=0)


def _texts(cgroup: Path, names: tuple[str, ...]) -> list[str]:
    return [(cgroup / name).read_text(encoding="ascii") for name in names if (cgroup / name).is_file()]
