import re
from pathlib import Path

import numpy as np

from benchmarks.rollback import ALPHA, LABELS, PUBLISHED, WORLDS, Decisions, World, main, report


def test_a_world_draws_its_shares_in_each_half() -> None:
    world = World("made up", (0.0, 1.0), (1.0, 0.0))
    found = world.advantages(1000, 1.0, np.random.default_rng(0))
    assert found[:500].tolist() == [-1.0] * 500
    assert found[500:].tolist() == [1.0] * 500
    assert 220 < len(world.advantages(1000, 0.25, np.random.default_rng(0))) < 280


def test_report_counts_wrong_rollbacks_over_the_worlds_without_harm() -> None:
    fine, worse = WORLDS[0], WORLDS[-1]
    text = report("measured so", [Decisions(fine, 400, (0, 0, 1, 1, 2), 2), Decisions(worse, 50, (1, 2, 3, 4, 5), 25)])
    assert "measured so\n\nOf 400 runs in which the new version is not worse, 0.50% were rolled back" in text
    assert f"| {worse.name} | 50 | 50.0% | 2.0% | 4.0% | 6.0% | 8.0% | 10.0% |" in text


def test_published_decisions_keep_the_promise() -> None:
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| (.+) \|$", PUBLISHED.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: [float(share.strip("%")) / 100 for share in shares.split(" | ")] for name, _, shares in rows}
    runs = sum(int(count.replace(",", "")) for name, count, _ in rows if not _is_worse(name))
    assert runs >= 5000
    assert set(found) == {world.name for world in WORLDS}
    assert max(shares[0] for name, shares in found.items() if not _is_worse(name)) <= ALPHA
    within = 1 + LABELS.index(2000)
    decided = [found[world.name][within] for world in WORLDS if world.is_worse]
    assert min(decided[:3]) >= 0.95
    assert decided == sorted(decided, reverse=True)


def test_measure_writes_a_line_for_every_world(tmp_path: Path) -> None:
    file = tmp_path / "rollback.md"
    assert main(["--null-runs", "2", "--worse-runs", "3", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    for world in WORLDS:
        assert f"| {world.name} | {3 if world.is_worse else 2} | " in text


def _is_worse(name: str) -> bool:
    return next(world for world in WORLDS if world.name == name).is_worse
