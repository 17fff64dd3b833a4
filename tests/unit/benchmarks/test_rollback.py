import re
from pathlib import Path

import numpy as np

from benchmarks import canary_ends, instant_rollback
from benchmarks.canary_ends import CanaryDecisions, CanaryWorld
from benchmarks.instant_rollback import CHECKED, InstantDecisions
from benchmarks.rollback import LABELS, PUBLISHED, WORLDS, Decisions, World, main, report
from src.core.evidence import LABELS_ALPHA, NOT_WORSE_ALPHA
from src.services.local.processes import REPOSITORY

SHARES = ("0.1% | 0.2% | 0.3% | 0.4% | 4.3% | none", "1.0% | 20.0% | 50.0% | 99.0% | 100.0% | 2,000")


def test_a_world_draws_its_shares_in_each_half() -> None:
    world = World("made up", (0.0, 1.0), (1.0, 0.0))
    found = world.advantages(1000, 1.0, np.random.default_rng(0))
    assert found[:500].tolist() == [-1.0] * 500
    assert found[500:].tolist() == [1.0] * 500
    assert 220 < len(world.advantages(1000, 0.25, np.random.default_rng(0))) < 280


def test_report_counts_wrong_rollbacks_over_the_worlds_without_harm() -> None:
    fine, worse = WORLDS[0], WORLDS[-1]
    some = [Decisions(fine, 400, (0, 0, 1, 1, 2), 2), Decisions(worse, 50, (1, 2, 3, 4, 5), 25)]
    quick, slow = instant_rollback.WORLDS[0], instant_rollback.WORLDS[-1]
    instant = [InstantDecisions(quick, 200, (0, 1, 1, 1), 1), InstantDecisions(slow, 10, (1, 2, 3, 4), 5)]
    canaries = [
        CanaryDecisions(CanaryWorld(0.1, 0.02), 1000, (1, 2, 3, 4, 43), None),
        CanaryDecisions(CanaryWorld(0.1, 0.0), 1000, (10, 200, 500, 990, 1000), 2000),
    ]
    text = report("measured so", some, instant, canaries)
    assert "at most 4.3% are promoted within\n10,000 labels" in text
    rare, often = (f"only one is right on 10 % of the rows | 1,000 | {shares} |" for shares in SHARES)
    assert f"| -2 points, {rare}" in text
    assert f"| equal, {often}" in text
    assert "Of 200 runs in which the new version neither fails more often nor is too slow, 0.50% were" in text
    assert f"| {slow.name} | 10 | 50.0% | 10.0% | 20.0% | 30.0% | 40.0% |" in text
    assert (
        "measured so\n\n## On true labels\n\nOf 400 runs in which the new version is not worse, 0.50% were rolled back"
        in text
    )
    assert f"| {worse.name} | 50 | 50.0% | 2.0% | 4.0% | 6.0% | 8.0% | 10.0% |" in text


def published() -> dict[str, tuple[int, list[float]]]:
    """The runs of each world, and the shares of them."""
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| (.+) \|$", PUBLISHED.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name: (
            int(runs.replace(",", "")),
            [float(share.strip("%")) / 100 for share in shares.split(" | ") if share.endswith("%")],
        )
        for name, runs, shares in rows
    }


def test_published_decisions_keep_the_promise() -> None:
    found = published()
    assert set(found) == {world.name for world in (*WORLDS, *instant_rollback.WORLDS, *canary_ends.WORLDS)}
    null = [found[world.name] for world in WORLDS if not world.is_worse]
    assert sum(runs for runs, _ in null) >= 5000
    assert max(shares[0] for _, shares in null) <= LABELS_ALPHA
    within = 1 + LABELS.index(2000)
    decided = [found[world.name][1][within] for world in WORLDS if world.is_worse]
    assert min(decided[:3]) >= 0.95
    assert decided == sorted(decided, reverse=True)


def test_published_decisions_on_errors_and_latency_keep_the_promise() -> None:
    found = published()
    for world in instant_rollback.WORLDS:
        runs, shares = found[world.name]
        assert runs >= 1000
        if world.is_worse:
            assert shares[1 + CHECKED.index(1000)] >= 0.6
            assert shares[0] == 1.0
        else:
            assert shares[0] <= world.alpha


def test_published_promotions_of_canaries_keep_the_promise() -> None:
    found = published()
    for world in canary_ends.WORLDS:
        runs, shares = found[world.name]
        assert runs >= 1000
        if world.drop:
            assert shares[-1] <= NOT_WORSE_ALPHA
        else:
            assert shares[-1] >= 0.9


def test_the_page_has_the_published_figures_of_canaries() -> None:
    page = (REPOSITORY / "docs" / "canary.md").read_text(encoding="utf-8")
    text, found = PUBLISHED.read_text(encoding="utf-8"), published()
    for world in canary_ends.WORLDS:
        (median,) = re.findall(rf"^\| {re.escape(world.name)} \|.* \| (\S+) \|$", text, re.MULTILINE)
        share = found[world.name][1][canary_ends.LABELS.index(5000)]
        if not world.drop:
            assert f"| {world.differing * 100:g} % of the rows | {median} labels | {share:.1%} |" in page
    largest = max(found[world.name][1][-1] for world in canary_ends.WORLDS if world.drop)
    assert f"at most {largest:.1%} were promoted within 10,000 labels" in page


def test_few_simulated_canaries_that_are_worse_by_the_margin_are_promoted_and_equal_ones_are() -> None:
    found = {decisions.world: decisions for decisions in canary_ends.simulate(100)}
    assert set(found) == set(canary_ends.WORLDS)
    for world, decisions in found.items():
        assert list(decisions.by_labels) == sorted(decisions.by_labels)
        if world.drop:
            assert decisions.by_labels[-1] <= 10
            assert decisions.median is None
        else:
            assert decisions.by_labels[-1] >= 90
            assert 200 < (decisions.median or 0) < canary_ends.ROWS
    assert found[CanaryWorld(0.05, 0.0)].by_labels[2] >= 80


def test_measure_writes_a_line_for_every_world(tmp_path: Path) -> None:
    file = tmp_path / "rollback.md"
    assert main(["--null-runs", "2", "--worse-runs", "3", "--report", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    for world in (*WORLDS, *instant_rollback.WORLDS):
        assert f"| {world.name} | {3 if world.is_worse else 2} | " in text
    for canary in canary_ends.WORLDS:
        assert f"| {canary.name} | 3 | " in text
