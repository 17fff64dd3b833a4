import os
from pathlib import Path

import pytest

from src.core.memory import memory_limit, oom_kills

MACHINE = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def write(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("text", "expected"), [("max\n", MACHINE), ("1000000\n", 1e6), (f"{2**63}\n", MACHINE), ("", MACHINE)]
)
def test_memory_limit_is_that_of_the_container_or_the_machine(
    name: str, text: str, expected: float, tmp_path: Path
) -> None:
    write(tmp_path, name, text)
    assert memory_limit(tmp_path) == expected


def test_smaller_of_two_limits_counts(tmp_path: Path) -> None:
    write(tmp_path, "memory.max", "3000000")
    write(tmp_path, "memory/memory.limit_in_bytes", "2000000")
    assert memory_limit(tmp_path) == 2e6


def test_without_control_groups_there_is_the_machine_and_no_kill(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    assert oom_kills(tmp_path) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 812\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_kills_are_counted_under_both_versions(name: str, text: str, tmp_path: Path) -> None:
    write(tmp_path, name, text)
    assert oom_kills(tmp_path) == 2


def test_kernel_that_does_not_count_kills_means_none(tmp_path: Path) -> None:
    write(tmp_path, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")
    assert oom_kills(tmp_path) == 0
