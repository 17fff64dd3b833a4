"""When the canary is loaded and released, and what is counted of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from src.core.canary_config import CanaryConfig
from src.core.errors import ConnectionFailedError, InvalidModelError
from src.core.feature_schema import Column, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.prediction_log import Role
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.rollout_record import Decision, PairCount, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.models.version_choice import VersionChoice
from src.serving.watch.canary_follower import CanaryFollower, CanaryShadows
from src.serving.watch.following import LOOK_SECONDS, RETRY_SECONDS
from src.serving.watch.logged_rows import LoggedRows, RowLayout
from src.serving.watch.segment_writer import SegmentWriter
from src.serving.watch.shadow import Shadow, ShadowMetrics
from tests.support.watched_models import SCHEMA, Model

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOURS = 2.0


@dataclass(eq=False)
class Loaded:
    """As much of a predictor as a canary needs, which ``dataclasses.replace`` can copy."""

    version: Any
    schema: FeatureSchema
    cost: Any
    engine: Any
    classes: tuple[str, ...]
    answer: Any
    role: Role = Role.CHAMPION


def loaded(version: str, schema: FeatureSchema = SCHEMA, cost: float = 1e-6) -> Any:
    model = Model(version, schema=schema, cost=cost)
    return Loaded(model.version, schema, model.cost, model, model.classes, model.answer)


class Store:
    """Serves version 1, and loads version 2 unless it fails."""

    def __init__(self) -> None:
        self.current: Any = loaded("1")
        self.found: Any = loaded("2")
        self.loads = 0
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    async def load_version(self, version: str) -> Any:
        assert version == "2"
        self.loads += 1
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return self.found

    def require(self) -> Any:
        return self.current


class Followed:
    """A follower of records in a folder, on a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        metrics = ShadowMetrics(CollectorRegistry())
        self.settings = PredictionLogSettings(_env_file=None)  # type: ignore[call-arg]
        self.shadows = CanaryShadows(Shadow(self.settings, metrics), Shadow(self.settings, metrics))
        self.rollouts, self.now = Rollouts(folder), NOW
        self.store: Any = Store()
        self.choice = VersionChoice(self.store, self._seconds)
        self.answered = {"1": 100, "2": 0}
        self.pauses = asyncio.Queue[float]()
        self.follower = CanaryFollower(
            self.choice,
            self.shadows,
            self.store,
            self.rollouts,
            "iris",
            take_rows=self._take,
            clock=lambda: self.now,
            wait=self._wait,
        )

    def _seconds(self) -> float:
        return self.now.timestamp()

    async def _wait(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await asyncio.sleep(0)

    def _take(self, version: str) -> int:
        rows, self.answered[version] = self.answered[version], 0
        return rows

    def begin(self, **given: Any) -> Rollout:
        """Version 2 is a canary beside version 1."""
        some: dict[str, Any] = {
            "model": "iris", "version": "2", "previous": "1", "state": RolloutState.CANARY, "started": NOW,
            "until": NOW, "canary": CanaryConfig(share=0.5, hours=HOURS), "canary_started": NOW, "max_slowdown": 3.0,
        }  # fmt: skip
        rollout = Rollout(**some | given)
        self.rollouts.begin(rollout)
        return rollout

    @property
    def record(self) -> Rollout:
        return self.rollouts.recent("iris", 1)[0]

    @property
    def is_canary(self) -> bool:
        """Whether there is one; then half of the requests are its own, and both shadows answer."""
        found = {self.choice.of([], f"id-{number}", lambda _: None).version.version for number in range(50)}
        has_shadows = self.shadows.canary.version is not None
        assert (self.shadows.champion.version is not None) == has_shadows == (self.choice.canary is not None)
        assert found <= {"1", "2"}
        return "2" in found

    def fail(self, rows: int) -> None:
        """The canary fails on so many rows, of which a second's checks are made."""
        canary: Any = self.choice.canary
        canary.predictor.engine.fails = True
        checks: Any = self.shadows.champion.checks
        checks._alarmed_until = float("inf")  # noqa: SLF001 - as after a failure some time ago
        table = FeatureTable.from_rows(SCHEMA, [(float(row),) for row in range(rows)])
        self.shadows.champion.add_failed(canary.predictor, table, 1.0)
        self.shadows.champion.write([], SegmentWriter(self.folder, lambda: 1.0))


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


async def test_a_canary_is_loaded_once_and_both_versions_answer_the_other_ones_rows(followed: Followed) -> None:
    await followed.follower.look()
    assert not followed.is_canary
    followed.begin()
    for _ in range(2):
        await followed.follower.look()
    assert followed.is_canary
    assert followed.store.loads == 1
    assert (followed.shadows.canary.version, followed.shadows.champion.version) == ("2", "1")
    assert followed.choice.canary is not None
    assert followed.choice.canary.predictor.role is Role.CANARY
    assert followed.shadows.canary.checks is None


async def test_the_canarys_rows_are_timed(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    canary: Any = followed.choice.canary
    layout = RowLayout(canary.predictor, followed.settings)
    table = FeatureTable.from_rows(SCHEMA, [(1.0,), (2.0,)])
    found = canary.predictor.engine.predict(table)
    block = LoggedRows(layout, layout.source(1.0), ["r", "s"], [1.0] * 2, table, found, [None] * 2)
    assert block.source.role is Role.CANARY
    followed.shadows.champion.write([block], SegmentWriter(followed.folder / "segments", lambda: 1.0))
    await followed.follower.look()
    latency = followed.record.latency
    assert latency.worse + latency.better == 2


@pytest.mark.parametrize(
    "given",
    [
        {"state": RolloutState.AWAITING_APPROVAL},
        {"canary_started": None},
        {"previous": "9"},
        {"decision": Decision.REJECTED},
        {"shadow_problem": "a person decides"},
        {"errors": PairCount(worse=40)},
        {"canary_started": NOW - timedelta(hours=HOURS)},
    ],
)
async def test_a_version_that_may_not_answer_is_not_loaded(followed: Followed, given: dict[str, Any]) -> None:
    followed.begin(**given)
    await followed.follower.look()
    assert not followed.is_canary
    assert followed.store.loads == 0


async def test_while_nothing_is_served_there_is_no_canary(followed: Followed) -> None:
    followed.begin()
    followed.store.current = None
    await followed.follower.look()
    assert followed.store.loads == 0


async def test_a_canary_that_is_being_promoted_goes_on(followed: Followed) -> None:
    followed.begin(decision=Decision.APPROVED)
    await followed.follower.look()
    assert followed.is_canary


@pytest.mark.parametrize(
    "changed",
    [
        {"state": RolloutState.ABORTED},
        {"state": RolloutState.WATCHING},
        {"decision": Decision.REJECTED},
        {"shadow_problem": "a person decides"},
    ],
)
async def test_a_canary_is_released_when_its_record_says_so(followed: Followed, changed: dict[str, Any]) -> None:
    rollout = followed.begin()
    await followed.follower.look()
    path = followed.folder / f"{rollout.id}.json"
    path.write_text(rollout.model_copy(update=changed).model_dump_json())
    await followed.follower.look()
    assert not followed.is_canary


async def test_a_canary_is_released_after_its_time(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    followed.now = NOW + timedelta(hours=HOURS, seconds=-1)
    await followed.follower.look()
    assert followed.is_canary
    followed.now = NOW + timedelta(hours=HOURS)
    await followed.follower.look()
    assert followed.choice.canary is None
    assert not followed.is_canary


async def test_a_canary_is_released_when_the_champion_changes(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    followed.store.current = loaded("3")
    await followed.follower.look()
    assert followed.choice.canary is None


async def test_a_champion_that_was_loaded_again_gets_its_canary_again(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    followed.store.current = loaded("1")
    await followed.follower.look()
    assert followed.is_canary
    assert followed.choice.canary is not None
    assert followed.choice.canary.champion is followed.store.current


async def test_a_later_record_replaces_the_canary(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    followed.answered["2"] = 7
    later = followed.begin()
    await followed.follower.look()
    assert followed.choice.canary is not None
    assert followed.choice.canary.rollout_id == later.id
    await followed.follower.look()
    assert followed.record.answered == 0


async def test_each_look_adds_what_was_counted_since_the_last_one(followed: Followed) -> None:
    followed.answered["2"] = 5  # of an earlier record
    followed.begin()
    await followed.follower.look()
    for _ in range(2):
        followed.answered["2"] = 3
        followed.fail(2)
        await followed.follower.look()
        followed.shadows.champion.checks._counted.clear()  # type: ignore[union-attr] # noqa: SLF001 - ten seconds later
    await followed.follower.look()
    assert (followed.record.answered, followed.record.errors) == (6, PairCount(worse=4))
    assert followed.is_canary


async def test_a_canary_that_is_proved_to_fail_answers_no_more(followed: Followed) -> None:
    followed.begin()
    await followed.follower.look()
    followed.fail(40)
    await followed.follower.look()
    assert not followed.is_canary
    assert followed.record.errors == PairCount(worse=40)
    await followed.follower.look()
    assert (followed.is_canary, followed.store.loads) == (False, 1)


async def test_a_canary_stops_by_what_other_replicas_have_counted(followed: Followed) -> None:
    rollout = followed.begin()
    await followed.follower.look()
    followed.rollouts.count(rollout, PairCount(worse=40), PairCount(), 40)
    await followed.follower.look()
    assert not followed.is_canary


OTHER = FeatureSchema((Column("y"),))


@pytest.mark.parametrize(
    ("found", "config", "problem"),
    [
        (loaded("2", schema=OTHER), {}, "takes other columns or types than version 1"),
        (loaded("2", cost=0.051), {}, "takes more than 50 ms for a row"),
        (None, {}, "was deleted from MLflow"),
        (loaded("2"), {"key_column": "customer"}, "has no column customer, by which rollout.canary chooses requests"),
        (InvalidModelError("golden rows differ"), {}, "cannot be loaded (golden rows differ)"),
    ],
)
async def test_a_version_that_can_never_answer_is_left_to_a_person(
    followed: Followed, found: Any, config: dict[str, Any], problem: str
) -> None:
    followed.begin(canary=CanaryConfig(share=0.5, **config))
    followed.store.found = found
    followed.store.error = found if isinstance(found, Exception) else None
    for _ in range(2):
        await followed.follower.look()
    expected = f"version 2 {problem}, so that it cannot answer as a canary: a person decides"
    assert followed.record.shadow_problem == expected
    assert (followed.is_canary, followed.store.loads) == (False, 1)


@pytest.mark.parametrize(("before", "now"), [(False, True), (True, True), (False, False), (True, False)])
async def test_a_version_that_requires_more_values_is_left_to_a_person(
    followed: Followed, *, before: bool, now: bool
) -> None:
    followed.begin()
    followed.store.current = loaded("1", schema=FeatureSchema((Column("y"), Column("x", required=before))))
    followed.store.found = loaded("2", schema=FeatureSchema((Column("y"), Column("x", required=now))))
    await followed.follower.look()
    expected = "version 2 requires values that version 1 does not: x, so that it cannot answer as a canary"
    found = (followed.record.shadow_problem or "").removesuffix(": a person decides")
    assert (found, followed.is_canary) == ((expected, False) if now and not before else ("", True))


async def test_a_champion_that_changes_while_the_version_is_loaded_gets_no_canary(followed: Followed) -> None:
    followed.begin()
    followed.store.meanwhile = lambda: setattr(followed.store, "current", loaded("1"))
    await followed.follower.look()
    assert followed.choice.canary is None
    assert followed.record.shadow_problem is None


async def test_a_failure_is_reported_and_the_next_look_tries_again(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.begin()
    followed.store.error = ConnectionFailedError("MLflow is away")
    task = asyncio.create_task(followed.follower.follow())
    assert await followed.pauses.get() == RETRY_SECONDS
    assert "the canary cannot be followed: MLflow is away" in caplog.text
    followed.store.error = ZeroDivisionError("a fault")
    while "following the canary failed" not in caplog.text:
        assert await followed.pauses.get() == RETRY_SECONDS
    followed.store.error = None
    while await followed.pauses.get() != LOOK_SECONDS:
        pass
    assert followed.is_canary
    task.cancel()
