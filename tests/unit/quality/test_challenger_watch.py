"""When a version that answers as a shadow before a promotion is approved, rejected, or left to a person."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.core.canary_config import CanaryConfig
from src.core.errors import ConnectionFailedError
from src.core.evidence import LABELS_ALPHA, NOT_WORSE_ALPHA
from src.core.rollout_record import Decision, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.quality.challenger_watch import ChallengerWatch
from src.quality.labelled import Pairs
from src.quality.watch import Watch, end_without_log
from tests.support.quality_rows import DAY, HOUR, NOW

MINIMUM = 100


def paired(only_previous: int = 0, only_new: int = 0, both: int = 0) -> Pairs:
    """Labels and both predictions, by which of the versions is right."""
    rows = [("a", "b", "a")] * only_previous + [("a", "a", "b")] * only_new + [("a", "a", "a")] * both
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return Pairs(*(np.array(column, dtype=object) for column in columns))


class World:
    """A version that waits, and the decisions that were requested."""

    def __init__(self, folder: Path) -> None:
        self.rollouts = Rollouts(folder)
        self.asked: list[tuple[str, str, str]] = []
        self.fails = False
        self.by_gate: tuple[float, float] | None = (0.1, 0.2)
        watch = Watch(self.rollouts, "iris", by_class=True, by_gate=lambda _: self.by_gate, roll_back=self._no)
        self.watch = ChallengerWatch(watch, self._approve, self._reject)

    def wait(self, **given: Any) -> Rollout:
        some: dict[str, Any] = {
            "model": "iris", "version": "2", "previous": "1", "state": RolloutState.AWAITING_APPROVAL,
            "started": NOW - HOUR, "until": NOW + DAY, "minimum_rows": MINIMUM, "approval": "automatic",
        }  # fmt: skip
        rollout = Rollout(**some | given)
        self.rollouts.begin(rollout)
        return rollout

    def step(self, pairs: Pairs, answered: int) -> list[str]:
        rollout = self.watch.waiting()
        assert rollout is not None
        return self.watch.step(rollout, pairs, answered)

    @property
    def record(self) -> Rollout:
        return self.rollouts.recent("iris", 1)[0]

    def _no(self, *_: object) -> None:
        raise AssertionError("nothing is rolled back")

    def _approve(self, rollout: Rollout, reason: str) -> None:
        self._ask("approve", rollout, reason)

    def _reject(self, rollout: Rollout, reason: str) -> None:
        self._ask("reject", rollout, reason)

    def _ask(self, way: str, rollout: Rollout, reason: str) -> None:
        self.asked.append((way, rollout.version, reason))
        if self.fails:
            raise ConnectionFailedError("inference is away")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "rollouts")


def test_a_version_is_approved_once_it_has_its_rows_without_any_label(world: World) -> None:
    world.wait()
    assert world.step(paired(), MINIMUM - 1) == []
    assert (world.asked, world.record.shadowed) == ([], MINIMUM - 1)
    assert world.step(paired(), MINIMUM) == []
    reason = "no proof that version 2 is worse than version 1 on 0 labelled rows"
    assert (world.asked, world.record.shadowed) == ([("approve", "2", reason)], MINIMUM)


def test_rows_that_the_log_has_deleted_still_count(world: World) -> None:
    world.wait()
    world.step(paired(), MINIMUM - 1)
    world.step(paired(), 3)
    assert world.record.shadowed == MINIMUM - 1


def test_with_a_manual_approval_the_record_says_that_it_is_ready_and_a_person_decides(world: World) -> None:
    world.wait(approval="manual")
    assert world.step(paired(both=5), MINIMUM) == []
    assert (world.asked, world.record.has_its_rows, world.record.rows) == ([], True, 5)


@pytest.mark.parametrize("approval", ["automatic", "manual"])
@pytest.mark.parametrize("answered", [40, MINIMUM])
def test_a_version_that_is_proved_worse_is_rejected_also_before_its_rows(
    world: World, approval: str, answered: int
) -> None:
    world.wait(approval=approval)
    assert world.step(paired(only_previous=40), answered) == []
    ((way, version, reason),) = world.asked
    assert (way, version) == ("reject", "2")
    assert reason.startswith("version 2 is worse than version 1 by 100.0% on ")
    assert world.record.is_worse
    assert world.record.e_value >= 1 / LABELS_ALPHA


def test_a_better_version_is_approved(world: World) -> None:
    world.wait()
    world.step(paired(only_new=40), MINIMUM)
    assert [way for way, *_ in world.asked] == ["approve"]
    assert world.record.drop == -1.0


@pytest.mark.parametrize(
    ("by_gate", "doubt"), [((0.2, 0.2), "by gate.metric it is not"), (None, "gate.metric cannot be computed")]
)
def test_where_the_gates_metric_does_not_confirm_the_proof_a_person_decides(
    world: World, by_gate: tuple[float, float] | None, doubt: str
) -> None:
    world.by_gate = by_gate
    world.wait()
    assert world.step(paired(only_previous=40), MINIMUM) == []
    assert world.asked == []
    assert world.record.shadow_problem is not None
    assert doubt in world.record.shadow_problem
    assert world.record.shadow_problem.endswith(": a person decides")
    assert world.watch.waiting() is None


def test_a_proof_stays_one_when_the_log_deletes_its_rows(world: World) -> None:
    world.wait()
    world.fails = True
    world.step(paired(only_previous=40), 40)
    world.step(paired(), MINIMUM)
    assert [way for way, *_ in world.asked] == ["reject", "reject"]


def test_a_decision_that_fails_is_reported_and_tried_again(world: World) -> None:
    world.wait()
    world.fails = True
    (problem,) = world.step(paired(), MINIMUM)
    assert problem.endswith("version 2 cannot be approved: inference is away")
    world.fails = False
    assert world.step(paired(), MINIMUM) == []
    assert len(world.asked) == 2


def test_a_version_that_was_decided_about_meanwhile_is_left_alone(world: World) -> None:
    rollout = world.wait()
    world.rollouts.end(rollout.id, RolloutState.ABORTED, now=NOW, by="ann", reason="no")
    assert world.watch.step(rollout, paired(), MINIMUM) == []
    assert world.asked == []


def test_who_answers_rows_is_followed_until_a_decision(world: World) -> None:
    assert world.watch.waiting() is None
    rollout = world.wait()
    assert world.watch.waiting() == rollout
    world.rollouts.decide(rollout.id, Decision.APPROVED, by="ann", reason="yes")
    assert world.watch.waiting() is None
    world.wait(version="3", minimum_rows=0)
    assert world.watch.waiting() is None


def test_without_a_prediction_log_a_person_decides(world: World) -> None:
    world.wait()
    end_without_log(world.rollouts, "iris", NOW)
    assert (world.record.state, world.watch.waiting()) == (RolloutState.AWAITING_APPROVAL, None)
    assert "PREDICTION_LOG=false" in (world.record.shadow_problem or "")
    other = world.wait(version="3", minimum_rows=0)
    end_without_log(world.rollouts, "iris", NOW)
    assert world.record == other


def test_few_versions_that_are_not_worse_are_rejected_and_worse_ones_are(world: World) -> None:
    """With a look after each row: at most 0.5 % of the equal ones, and nearly all that are worse by ten points."""
    rng, runs = np.random.default_rng(7), 400
    rejected = {}
    for name, only_new, only_previous in (("equal", 0.1, 0.1), ("worse", 0.05, 0.15)):
        outcomes = rng.choice([1, -1, 0], size=(runs, 1500), p=[only_new, only_previous, 1 - only_new - only_previous])
        truth = np.zeros(1500)
        pairs = [Pairs(truth, (row == -1).astype(float), (row == 1).astype(float)) for row in outcomes]
        rollout = world.wait()
        rejected[name] = sum(world.watch.watch.verdict(rollout, pair).is_worse for pair in pairs) / runs
    assert rejected["equal"] <= 0.01
    assert rejected["worse"] >= 0.95


def run_canary(world: World, **given: Any) -> Rollout:
    """Version 2 answers requests, and may be worse by two points."""
    some: dict[str, Any] = {
        "state": RolloutState.CANARY, "minimum_rows": 0, "canary": CanaryConfig(share=0.05), "canary_started": NOW,
    }  # fmt: skip
    return world.wait(**some | given)


def test_evidence_for_a_canary_is_recorded_and_nothing_is_requested(world: World) -> None:
    run_canary(world)
    assert world.step(paired(both=100), 0) == []
    found = world.record
    assert (found.rows, found.is_not_worse, found.is_worse, world.asked) == (100, False, False, [])
    assert 1 < found.e_not_worse < 1 / NOT_WORSE_ALPHA
    world.step(paired(both=400), 0)
    assert (world.record.rows, world.record.is_not_worse) == (400, True)
    assert world.record.e_not_worse >= 1 / NOT_WORSE_ALPHA


def test_proofs_about_a_canary_stay_when_the_log_deletes_rows(world: World) -> None:
    run_canary(world)
    world.step(paired(both=400), 0)
    proved = world.record.e_not_worse
    world.step(paired(both=3), 0)
    assert (world.record.is_not_worse, world.record.e_not_worse) == (True, proved)
    world.step(paired(only_previous=40), 0)
    world.step(paired(), 0)
    assert world.record.is_worse


def test_a_canary_that_is_proved_worse_is_left_to_inference_to_abort(world: World) -> None:
    run_canary(world)
    world.step(paired(only_previous=40), 0)
    assert (world.record.is_worse, world.record.shadow_problem, world.asked) == (True, None, [])


def test_a_canary_without_a_margin_is_judged_by_proofs_against_it_alone(world: World) -> None:
    run_canary(world, canary=CanaryConfig(share=0.05, max_drop=None))
    world.step(paired(both=1000), 0)
    assert (world.record.rows, world.record.e_not_worse, world.record.is_not_worse) == (1000, 1.0, False)


def test_where_the_gates_metric_does_not_confirm_it_a_person_decides_about_a_canary(world: World) -> None:
    world.by_gate = (0.2, 0.2)
    run_canary(world)
    world.step(paired(only_previous=40), 0)
    assert "by gate.metric it is not: a person decides" in (world.record.shadow_problem or "")
    assert world.record.is_worse
    assert world.watch.waiting() is None


@pytest.mark.parametrize("started", [NOW, None])
def test_without_a_prediction_log_a_person_decides_about_a_canary(world: World, started: datetime | None) -> None:
    run_canary(world, canary_started=started)
    end_without_log(world.rollouts, "iris", NOW)
    assert "PREDICTION_LOG=false" in (world.record.shadow_problem or "")
    assert world.record.state is RolloutState.CANARY
    assert world.watch.waiting() is None
