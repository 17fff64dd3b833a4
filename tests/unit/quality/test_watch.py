"""When a watched promotion is rolled back, kept, or only reported."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from src.core.errors import ConnectionFailedError
from src.core.evidence import LABELS_ALPHA
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.labelled import Pairs
from src.quality.watch import GRACE, LEAST_DROP, WATCHER, Watch, end_without_log
from tests.support.quality_rows import DAY, HOUR, NOW


def paired(*rows: tuple[str, str, str]) -> Pairs:
    """Labels and both predictions; each row is repeated as often as it is given."""
    columns = [np.array([row[place] for row in rows], dtype=object) for place in range(3)]
    return Pairs(columns[0], columns[1], columns[2])


ONLY_PREVIOUS, ONLY_NEW, BOTH = ("a", "b", "a"), ("a", "a", "b"), ("a", "a", "a")
WORSE = paired(*[ONLY_PREVIOUS] * 40)
EQUAL = paired(*[ONLY_PREVIOUS, ONLY_NEW, BOTH] * 20)


class World:
    """A watched promotion, and the rollbacks that were requested."""

    def __init__(self, folder: Path) -> None:
        self.rollouts = Rollouts(folder)
        self.asked: list[tuple[str, str]] = []
        self.fails = False
        self.by_gate: tuple[float, float] | None = (0.1, 0.2)

    def watch(self, *, by_class: bool = True) -> Watch:
        return Watch(self.rollouts, "iris", by_class, lambda _: self.by_gate, self._roll_back)

    def promote(self, version: str = "2", *, automatic: bool = True) -> Rollout:
        rollout = Rollout(
            model="iris",
            version=version,
            previous=str(int(version) - 1),
            started=NOW - HOUR,
            until=NOW + DAY,
            automatic=automatic,
        )
        self.rollouts.begin(rollout)
        return rollout

    def _roll_back(self, rollout: Rollout, reason: str) -> None:
        self.asked.append((rollout.version, reason))
        if self.fails:
            raise ConnectionFailedError("inference is away")
        self.rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW, by="api", reason=reason)

    def record(self) -> Rollout:
        return self.rollouts.recent("iris", 1)[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "rollouts")


def test_a_version_that_is_proved_worse_is_rolled_back_with_its_evidence(world: World) -> None:
    rollout = world.promote()
    assert world.watch().step(rollout, WORSE, NOW) == []
    ((version, reason),) = world.asked
    assert version == "2"
    assert reason.startswith("version 2 is worse than version 1 by 100.0% on ")
    assert reason.endswith("needed 200)")
    record = world.record()
    assert (record.state, record.requested, record.reason) == (RolloutState.ROLLED_BACK, True, reason)
    assert record.rows < len(WORSE.truth)
    assert record.drop == 1.0
    assert record.e_value >= 1 / LABELS_ALPHA
    assert record.is_worse


def test_an_equal_version_is_watched_on_with_the_evidence_so_far(world: World) -> None:
    rollout = world.promote()
    assert world.watch().step(rollout, EQUAL, NOW) == []
    record = world.record()
    assert (record.state, record.requested, record.rows, record.drop) == (RolloutState.WATCHING, False, 60, 0.0)
    assert not record.is_worse
    assert world.asked == []


def test_without_labels_nothing_is_decided(world: World) -> None:
    rollout = world.promote()
    assert world.watch().step(rollout, paired(), NOW) == []
    assert (world.record().state, world.record().rows) == (RolloutState.WATCHING, 0)


def test_at_the_end_of_the_watch_the_version_is_kept(world: World) -> None:
    rollout = world.promote()
    world.watch().step(rollout, EQUAL, rollout.until - timedelta(microseconds=1))
    assert world.record().state is RolloutState.WATCHING
    world.watch().step(rollout, EQUAL, rollout.until)
    record = world.record()
    assert (record.state, record.by, record.ended) == (RolloutState.KEPT, WATCHER, rollout.until)
    assert record.reason == "no proof that version 2 is worse than version 1 on 60 labelled rows"


def test_a_version_that_is_proved_worse_at_the_end_is_still_rolled_back(world: World) -> None:
    rollout = world.promote()
    world.watch().step(rollout, WORSE, rollout.until)
    assert world.record().state is RolloutState.ROLLED_BACK


def test_without_automatic_rollback_the_evidence_is_reported_until_the_end(world: World) -> None:
    rollout = world.promote(automatic=False)
    (problem,) = world.watch().step(rollout, WORSE, NOW)
    assert "is worse" in problem
    assert "automatic_rollback is off: check it" in problem
    assert (world.asked, world.record().state) == ([], RolloutState.WATCHING)
    world.watch().step(rollout, WORSE, rollout.until)
    record = world.record()
    assert record.state is RolloutState.KEPT
    assert record.reason is not None
    assert record.reason.endswith("rollout.automatic_rollback is off")


def test_it_never_rolls_back_twice_in_a_row_without_a_person(world: World) -> None:
    world.watch().step(world.promote("2"), WORSE, NOW)
    (problem,) = world.watch().step(world.promote("3"), WORSE, NOW)
    assert "never happens twice in a row" in problem
    assert [version for version, _ in world.asked] == ["2"]


@pytest.mark.parametrize(
    ("scores", "obstacle"),
    [
        (None, "gate.metric cannot be computed"),
        ((0.5, 0.4), "by gate.metric it is not"),
        ((0.5, 0.5), "by gate.metric it is not"),
    ],
)
def test_a_version_that_the_gates_metric_does_not_find_worse_is_only_reported(
    world: World, scores: tuple[float, float] | None, obstacle: str
) -> None:
    world.by_gate = scores
    (problem,) = world.watch().step(world.promote(), WORSE, NOW)
    assert obstacle in problem
    assert (world.asked, world.record().state) == ([], RolloutState.WATCHING)


def by_a_person(world: World, rollout: Rollout) -> None:
    world.rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW, by="api", reason="requested")


def by_its_end(world: World, rollout: Rollout) -> None:
    world.rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by=WATCHER, reason="over")


@pytest.mark.parametrize("end", [by_a_person, by_its_end])
def test_after_a_version_that_a_person_rolled_back_or_that_was_kept_it_may_again(
    world: World, end: Callable[[World, Rollout], None]
) -> None:
    world.watch().step(world.promote("2"), WORSE, NOW)
    end(world, world.promote("3"))
    world.watch().step(world.promote("4"), WORSE, NOW)
    assert [version for version, _ in world.asked] == ["2", "4"]


def test_a_rollback_that_fails_is_reported_and_requested_again(world: World) -> None:
    rollout = world.promote()
    world.fails = True
    (problem,) = world.watch().step(rollout, WORSE, NOW)
    assert problem.endswith("and cannot be rolled back: inference is away")
    assert (world.record().state, world.record().requested) == (RolloutState.WATCHING, True)
    world.fails = False
    assert world.watch().step(world.record(), WORSE, NOW) == []
    assert world.record().state is RolloutState.ROLLED_BACK


def test_a_rollback_that_fails_until_after_the_watch_is_not_requested_for_ever(world: World) -> None:
    rollout = world.promote()
    world.fails = True
    world.watch().step(rollout, WORSE, rollout.until)
    assert world.record().state is RolloutState.WATCHING
    (problem,) = world.watch().step(rollout, WORSE, rollout.until + GRACE)
    record = world.record()
    assert (record.state, record.by, record.reason) == (RolloutState.KEPT, WATCHER, problem)
    assert world.watch().watched() is None


def test_a_proof_stays_one_when_the_log_deletes_its_rows(world: World) -> None:
    rollout = world.promote(automatic=False)
    world.watch().step(rollout, WORSE, NOW)
    proved = world.record()
    (problem,) = world.watch().step(proved, EQUAL, NOW)
    assert "is worse than version 1 by 100.0%" in problem
    assert world.record() == proved


def test_a_watch_that_has_ended_meanwhile_is_not_judged(world: World) -> None:
    rollout = world.promote()
    by_a_person(world, rollout)
    assert world.watch().step(rollout, WORSE, NOW) == []
    assert world.asked == []


@pytest.mark.parametrize(
    ("automatic", "why"), [(False, "rollout.automatic_rollback is off"), (True, "its rollback has not succeeded yet")]
)
def test_what_errors_or_latency_prove_is_reported_until_the_end(world: World, why: str, *, automatic: bool) -> None:
    rollout = world.promote(automatic=automatic)
    world.rollouts.find(rollout, "version 2 fails")
    (problem,) = world.watch().step(world.record(), EQUAL, NOW)
    assert problem == f"version 2 fails; {why}: check it, and roll back with POST /rollback if it is so"
    assert world.record().state is RolloutState.WATCHING
    world.watch().step(world.record(), EQUAL, rollout.until)
    assert (world.record().state, world.record().reason) == (RolloutState.KEPT, f"version 2 fails; {why}")


def test_numbers_are_compared_by_their_errors(world: World) -> None:
    rollout = world.promote()
    rows = paired(*[("10", "14.0", "11.0")] * 100)
    world.watch(by_class=False).step(rollout, rows, NOW)
    assert world.record().state is RolloutState.ROLLED_BACK
    assert world.record().drop == pytest.approx(3 / 5)


def test_labels_and_predictions_that_are_no_numbers_are_left_out(world: World) -> None:
    rollout = world.promote()
    rows = paired(("many", "1.0", "2.0"), ("1", "nan", "2.0"), ("1", "2.0", "inf"), ("1", "1.5", "1.5"))
    world.watch(by_class=False).step(rollout, rows, NOW)
    assert (world.record().rows, world.record().drop) == (1, 0.0)


def test_a_drop_that_is_not_worth_it_is_kept(world: World) -> None:
    rollout = world.promote()
    share = round(2 / LEAST_DROP)
    world.watch().step(rollout, paired(*[*[BOTH] * (share - 1), ONLY_PREVIOUS] * 30), NOW)
    record = world.record()
    assert record.e_value > 1 / LABELS_ALPHA
    assert record.drop == pytest.approx(LEAST_DROP / 2)
    assert record.state is RolloutState.WATCHING


def test_only_the_promotion_of_this_model_is_watched(world: World) -> None:
    rollout = world.promote()
    assert world.watch().watched() == rollout
    assert (
        Watch(world.rollouts, "churn", by_class=True, by_gate=lambda _: None, roll_back=lambda *_: None).watched()
        is None
    )


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(0, "nothing was compared, because"), (1200, "only 1,200 labelled rows were compared, because")],
)
def test_without_the_log_a_version_is_kept_at_the_end_of_its_watch(world: World, rows: int, reason: str) -> None:
    end_without_log(world.rollouts, "iris", NOW)
    rollout = world.promote()
    world.rollouts.note(rollout, rows=rows, drop=0.0, e_value=1.0, is_worse=False)
    end_without_log(world.rollouts, "iris", rollout.until - timedelta(microseconds=1))
    end_without_log(world.rollouts, "other", rollout.until)
    assert world.record().state is RolloutState.WATCHING
    end_without_log(world.rollouts, "iris", rollout.until)
    record = world.record()
    assert (record.state, record.ended, record.by) == (RolloutState.KEPT, rollout.until, WATCHER)
    assert record.reason == f"{reason} the prediction log is off (PREDICTION_LOG=false)"
    assert world.asked == []
