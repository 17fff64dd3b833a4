"""What counts prove, and when a promotion is rolled back for it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.core.errors import RegistryError
from src.core.evidence import ERRORS_ALPHA, LATENCY_ALPHA
from src.core.rollout_record import PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.watch.instant_rollback import BY, InstantRollback, finding_of

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NOTHING, PROOF = PairCount(), PairCount(worse=14)


def promotion(version: str = "2", **given: Any) -> Rollout:
    known: dict[str, Any] = {"model": "iris", "version": version, "previous": "1", "started": NOW, "max_slowdown": 3.0}
    return Rollout(**known | {"until": NOW + timedelta(hours=1)} | given)


class World:
    """Records, and in the place of ``Rollback`` what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.rollouts = Rollouts(folder)
        self.asked: list[tuple[str, str, str]] = []
        self.fails = False
        itself: Any = self
        self.instant = InstantRollback(itself)

    async def run(self, *, by: str, expected: str, reason: str) -> None:
        self.asked.append((by, expected, reason))
        if self.fails:
            raise RegistryError("MLflow is away")
        (rollout,) = self.rollouts.recent("iris", 1)
        self.rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW, by=by, reason=reason)

    def begin(self, rollout: Rollout) -> Rollout:
        self.rollouts.begin(rollout)
        return rollout

    @property
    def record(self) -> Rollout:
        return self.rollouts.recent("iris", 1)[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "rollouts")


def test_counts_prove_from_the_limit_on() -> None:
    assert finding_of(promotion()) is None
    assert finding_of(promotion(errors=PairCount(worse=12))) is None
    assert finding_of(promotion(errors=PROOF, latency=PROOF)) == (
        "version 2 fails on rows that version 1 answers: 14 of 14 rows on which only one of them fails "
        "(evidence 909, needed 400)"
    )
    assert finding_of(promotion(errors=NOTHING, latency=PairCount(worse=20, better=2))) == (
        "version 2 takes more than 3 times as long as version 1: 20 of 22 timed predictions (evidence 522, needed 400)"
    )
    assert finding_of(promotion(errors=PairCount(worse=14, better=14))) is None


async def test_a_proof_rolls_back_and_says_why(world: World) -> None:
    await world.instant.step(world.begin(promotion()), PROOF, NOTHING)
    ((by, version, reason),) = world.asked
    assert (by, version, reason) == (BY, "2", world.record.finding)
    assert reason.startswith("version 2 fails on rows that version 1 answers")
    assert (world.record.state, world.record.requested) == (RolloutState.ROLLED_BACK, True)


async def test_counts_without_proof_are_kept(world: World) -> None:
    rollout = world.begin(promotion())
    await world.instant.step(rollout, PairCount(worse=1, better=2), PairCount(better=3))
    assert (world.record.errors, world.record.latency) == (PairCount(worse=1, better=2), PairCount(better=3))
    assert (world.record.finding, world.record.requested, world.asked) == (None, False, [])


async def test_counts_of_replicas_prove_together(world: World) -> None:
    rollout, other = world.begin(promotion()), InstantRollback(world.instant.rollback)
    await world.instant.step(rollout, PairCount(worse=7), NOTHING)
    assert world.asked == []
    await other.step(rollout, PairCount(worse=7), NOTHING)
    assert len(world.asked) == 1


async def test_a_watch_that_another_replica_has_ended_is_left(world: World) -> None:
    rollout = world.begin(promotion())
    world.rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW, by="another replica", reason="worse")
    await world.instant.step(rollout, PROOF, NOTHING)
    await world.instant.step(rollout.model_copy(update={"errors": PROOF}), NOTHING, NOTHING)
    assert world.asked == []


async def test_where_a_person_must_decide_the_proof_is_recorded_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.begin(promotion(automatic=False))
    for _ in range(2):
        await world.instant.step(world.record, PROOF, NOTHING)
    assert (world.record.state, world.record.requested, world.asked) == (RolloutState.WATCHING, False, [])
    assert str(world.record.finding).startswith("version 2 fails on rows")
    assert caplog.text.count("it is not rolled back: rollout.automatic_rollback is off") == 1


async def test_it_never_rolls_back_twice_in_a_row_without_a_person(world: World) -> None:
    await world.instant.step(world.begin(promotion("2")), PROOF, NOTHING)
    await world.instant.step(world.begin(promotion("3")), PROOF, NOTHING)
    assert [version for _, version, _ in world.asked] == ["2"]
    assert world.record.finding is not None


async def test_a_rollback_that_fails_is_tried_again_for_the_same_reason(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.begin(promotion())
    world.fails = True
    await world.instant.step(world.record, PROOF, NOTHING)
    found = world.record.finding
    assert world.record.requested
    # Later counts do not take the proof back.
    await world.instant.step(world.record, PairCount(better=100), NOTHING)
    assert caplog.text.count("cannot be rolled back: MLflow is away") == 1
    world.fails = False
    await world.instant.step(world.record, NOTHING, NOTHING)
    assert (world.record.state, world.record.reason) == (RolloutState.ROLLED_BACK, found)
    assert len(world.asked) == 3


@pytest.mark.parametrize(("criterion", "alpha"), [("errors", ERRORS_ALPHA), ("latency", LATENCY_ALPHA)])
def test_versions_that_are_equally_bad_are_rarely_blamed(criterion: str, alpha: float) -> None:
    bad, chance = promotion(), np.random.default_rng(3)
    worse = chance.random((400, 600)) < 0.5
    blamed = 0
    for run in np.cumsum(worse, axis=1)[:, 4::5].tolist():  # looked at after each five pairs
        pairs = (PairCount(worse=count, better=5 * place + 5 - count) for place, count in enumerate(run))
        blamed += any(finding_of(bad.model_copy(update={criterion: found})) for found in pairs)
    assert blamed / len(worse) <= 4 * alpha
