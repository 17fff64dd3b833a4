"""The measure of the gate at a reduced size, and its published results."""

import msgspec
import pytest

from benchmarks.gate.measure_gate import measure, one_by_one
from benchmarks.gate.outcomes import OLD, OURS, Results, Ties, Verdicts, always, total
from benchmarks.gate.pairs import CAUSES, POINTS, Case, fair_gate, find, old_gate
from benchmarks.gate.report import markdown
from benchmarks.run_bench import PUBLISHED

GROWTH = (1000, 1250)


@pytest.fixture(scope="module")
def results() -> Results:
    return msgspec.json.decode((PUBLISHED / "gate.json").read_bytes(), type=Results)


def test_gate_is_right_about_pairs_that_truly_differ_and_scores_unseen_rows_only() -> None:
    verdicts, ties = measure(seeds=6, ties=1, run=one_by_one, growth=[GROWTH])
    ours = [found for found in verdicts if found.gate == OURS]
    assert [found.kind for found in ours] == ["hash", "group", "time"] == [found.kind for found in ties]
    found = total(ours)
    assert (found.worse, found.better, found.seen) == (9, 9, 0)
    assert found.promoted + found.rejected <= 1
    assert found.nearest >= POINTS
    others = {name: total(found for found in verdicts if found.gate == name) for name in {v.gate for v in verdicts}}
    assert not others["always promote"].holds
    assert not others["never promote"].holds
    assert others[OLD].seen > 0


def test_old_gate_rejects_better_models_of_a_champion_that_knows_the_holdout_by_heart() -> None:
    pairs = [find(Case("hash", GROWTH, "better", "overfitting", seed), old_gate) for seed in range(3)]
    assert not any(pair.promoted for pair in pairs)
    assert all(pair.truth >= POINTS and pair.seen > 0 for pair in pairs)


def test_every_cause_makes_a_challenger_truly_worse() -> None:
    for cause in CAUSES:
        assert find(Case("hash", GROWTH, "worse", cause, 0), fair_gate).truth <= -POINTS


def verdicts(**changes: object) -> Verdicts:
    found = Verdicts(
        OURS, "hash", GROWTH, worse=100, promoted=5, better=100, rejected=5, seen=0, attempts=200, nearest=0.05
    )
    return msgspec.structs.replace(found, **changes)


def outcome(*found: Verdicts, covered: int = 95) -> Results:
    machine = msgspec.json.decode((PUBLISHED / "results.json").read_bytes(), type=dict)["machine"]
    return msgspec.convert(
        {
            "machine": machine,
            "commit": "0" * 40,
            "command": "make measure-gate",
            "seconds": 1.0,
            "verdicts": [msgspec.to_builtins(one) for one in found],
            "ties": [msgspec.to_builtins(Ties("hash", GROWTH, 100, covered, 0.1))],
        },
        Results,
    )


@pytest.mark.parametrize(
    ("found", "covered", "told"),
    [
        ([verdicts()], 95, []),
        ([verdicts()], 92, []),
        ([verdicts()], 98, []),
        ([verdicts(promoted=6)], 95, ["hash, 1,000 → 1,250 rows: too many wrong verdicts"]),
        ([verdicts(rejected=6)], 95, ["hash, 1,000 → 1,250 rows: too many wrong verdicts"]),
        ([verdicts(seen=1)], 95, ["hash, 1,000 → 1,250 rows: 1 scored rows were trained on"]),
        ([verdicts(), verdicts(gate=OLD)], 95, [f"{OLD} passes, too: the test is too easy"]),
        ([verdicts(), always(verdicts(), promote=True), always(verdicts(), promote=False)], 95, []),
        ([verdicts()], 91, ["91.0% of the intervals cover the true difference"]),
        ([verdicts()], 99, ["99.0% of the intervals cover the true difference"]),
    ],
)
def test_broken_promises_are_named(found: list[Verdicts], covered: int, told: list[str]) -> None:
    assert outcome(*found, covered=covered).broken() == told


def test_published_page_is_that_of_the_published_results(results: Results) -> None:
    assert (PUBLISHED / "gate.md").read_text(encoding="utf-8") == markdown(results)


def test_published_results_are_of_a_whole_run_and_keep_every_promise(results: Results) -> None:
    assert results.command == "make measure-gate"
    assert results.broken() == []
    assert "All promises hold." in markdown(results)
    assert total(found for found in results.verdicts if found.gate == OURS).worse == 600
