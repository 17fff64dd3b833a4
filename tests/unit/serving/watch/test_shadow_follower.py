"""When the shadow is loaded and released, and what becomes of its findings."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from src.core.errors import ConnectionFailedError, InvalidModelError
from src.core.feature_schema import Column, FeatureSchema
from src.core.feature_table import FeatureTable
from src.core.prediction_log_settings import PredictionLogSettings
from src.core.rollout_record import Decision, Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.serving.watch.following import LOOK_SECONDS, RETRY_SECONDS
from src.serving.watch.segment_writer import SegmentWriter
from src.serving.watch.shadow import Shadow, ShadowMetrics
from src.serving.watch.shadow_follower import ShadowFollower
from tests.support.watched_models import SCHEMA, Model

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Store:
    """Serves a version, and loads others unless it fails."""

    def __init__(self) -> None:
        self.current: Any = Model("2")
        self.loaded: list[str] = []
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.has_previous = True
        self.waiting: Any = Model("3")

    async def load_previous(self, version: str) -> Any:
        self.loaded.append(version)
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return Model(version) if self.has_previous else None

    async def load_version(self, version: str) -> Any:
        """The version that waits."""
        self.loaded.append(version)
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return self.waiting


def waiting_version(schema: FeatureSchema = SCHEMA, cost: float = 1e-6) -> Any:
    return Model("3", schema=schema, cost=cost)


class Followed:
    """A follower of records in a folder, on a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = PredictionLogSettings(_env_file=None)  # type: ignore[call-arg]
        self.shadow, self.rollouts, self.now = (
            Shadow(settings, ShadowMetrics(CollectorRegistry())),
            Rollouts(folder),
            NOW,
        )
        self.store: Any = Store()
        self.model = "iris"
        self.asked: list[tuple[str, str, str]] = []
        self.settled: list[str] = []
        self.pauses = asyncio.Queue[float]()
        rollback: Any = self
        self.follower = ShadowFollower(self.shadow, rollback, clock=lambda: self.now, wait=self._wait)

    async def run(self, *, by: str, expected: str, reason: str) -> None:
        """Roll back, in the place of ``Rollback``."""
        self.asked.append((by, expected, reason))
        (rollout,) = self.rollouts.recent("iris", 1)
        self.rollouts.end(rollout.id, RolloutState.ROLLED_BACK, now=NOW, by=by, reason=reason)

    async def settle(self, watched: Rollout) -> None:
        """End a lost watch, in the place of ``Rollback``."""
        self.settled.append(watched.version)

    def fail(self, rows: int) -> None:
        """The served version fails on so many rows, of which a second's checks are made."""
        self.store.current.fails = True
        checks: Any = self.shadow.checks
        checks._alarmed_until = float("inf")  # noqa: SLF001 - as after a failure some time ago
        table = FeatureTable.from_rows(SCHEMA, [(float(row),) for row in range(rows)])
        self.shadow.add_failed(self.store.current, table, 1.0)
        self.shadow.write([], SegmentWriter(self.folder, lambda: 1.0))

    async def _wait(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await asyncio.sleep(0)

    def promote(self, version: str = "2", previous: str = "1") -> Rollout:
        until = NOW + timedelta(hours=1)
        rollout = Rollout(model="iris", version=version, previous=previous, started=NOW, until=until)
        self.rollouts.begin(rollout)
        return rollout

    def wait_for_rows(self, **given: Any) -> Rollout:
        """Version 3 has passed the gate and has to answer rows beside version 2."""
        some: dict[str, Any] = {
            "model": "iris", "version": "3", "previous": "2", "state": RolloutState.AWAITING_APPROVAL,
            "started": NOW, "until": NOW, "minimum_rows": 10,
        }  # fmt: skip
        rollout = Rollout(**some | given)
        self.rollouts.begin(rollout)
        return rollout

    @property
    def problem(self) -> str | None:
        return self.rollouts.recent("iris", 1)[0].shadow_problem


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


async def test_a_watched_promotion_loads_the_previous_champion_once(followed: Followed) -> None:
    await followed.follower.look()
    assert followed.shadow.version is None
    followed.promote()
    for _ in range(2):
        await followed.follower.look()
    assert followed.shadow.version == "1"
    assert followed.store.loaded == ["1"]


async def test_the_shadow_is_released_when_the_watch_ends(followed: Followed) -> None:
    rollout = followed.promote()
    await followed.follower.look()
    followed.rollouts.end(rollout.id, RolloutState.KEPT, now=NOW, by="test", reason="over")
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_the_shadow_is_released_at_the_end_of_the_time_even_if_nobody_ends_the_watch(followed: Followed) -> None:
    rollout = followed.promote()
    followed.now = rollout.until - timedelta(seconds=1)
    await followed.follower.look()
    assert followed.shadow.version == "1"
    followed.now = rollout.until
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_version_that_is_not_served_yet_has_no_shadow(followed: Followed) -> None:
    followed.promote("3", "2")
    await followed.follower.look()
    assert (followed.shadow.version, followed.store.loaded, followed.settled) == (None, [], ["3"])
    followed.store.current = None
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_model_that_was_swapped_while_the_shadow_was_loaded_has_none(followed: Followed) -> None:
    followed.promote()
    followed.store.meanwhile = lambda: setattr(followed.store, "current", Model("9"))
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_where_another_version_is_previous_there_is_no_shadow(followed: Followed) -> None:
    followed.promote()
    followed.store.has_previous = False
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_a_later_promotion_brings_another_shadow(followed: Followed) -> None:
    followed.promote()
    await followed.follower.look()
    followed.promote("3", "2")
    followed.store.current = Model("3")
    await followed.follower.look()
    assert followed.shadow.version == "2"


async def test_a_shadow_that_cannot_be_loaded_is_tried_again_later(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.promote()
    followed.store.error = ConnectionFailedError("MLflow is away")
    task = asyncio.create_task(followed.follower.follow())
    assert await followed.pauses.get() == RETRY_SECONDS
    assert "no version can answer as a shadow: MLflow is away" in caplog.text
    followed.store.error = ZeroDivisionError("a fault")
    while "following the records of promotions failed" not in caplog.text:
        assert await followed.pauses.get() == RETRY_SECONDS
    followed.store.error = None
    while await followed.pauses.get() != LOOK_SECONDS:
        pass
    assert followed.shadow.version == "1"
    task.cancel()


async def test_a_version_that_fails_is_rolled_back_and_its_shadow_released(followed: Followed) -> None:
    followed.promote()
    await followed.follower.look()
    followed.fail(40)
    await followed.follower.look()
    (record,) = followed.rollouts.recent("iris", 1)
    assert (record.state, record.errors.worse, record.requested) == (RolloutState.ROLLED_BACK, 40, True)
    assert followed.asked == [("automatic, inference", "2", record.finding)]
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_each_look_adds_what_was_counted_since_the_last_one(followed: Followed) -> None:
    followed.promote()
    await followed.follower.look()
    for _ in range(2):
        followed.fail(3)
        await followed.follower.look()
        followed.shadow.checks._counted.clear()  # type: ignore[union-attr] # noqa: SLF001 - as after ten seconds
    assert followed.rollouts.recent("iris", 1)[0].errors.worse == 6
    assert followed.asked == []


async def test_a_new_promotion_of_the_same_versions_is_counted_anew(followed: Followed) -> None:
    followed.promote()
    await followed.follower.look()
    followed.fail(40)
    followed.promote()
    for _ in range(2):
        await followed.follower.look()
    assert followed.store.loaded == ["1", "1"]
    assert followed.rollouts.recent("iris", 1)[0].errors.worse == 0


async def test_counts_that_cannot_be_recorded_do_not_end_the_watch(
    followed: Followed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.promote()
    await followed.follower.look()
    followed.fail(3)

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(followed.rollouts, "count", full)
    await followed.follower.look()
    assert "errors and latency of version 2 cannot be recorded: no space" in caplog.text
    assert followed.shadow.version == "1"


async def test_a_version_that_has_to_answer_rows_is_the_champions_shadow(followed: Followed) -> None:
    followed.wait_for_rows()
    for _ in range(2):
        await followed.follower.look()
    assert followed.shadow.version == "3"
    assert followed.shadow.checks is None
    assert followed.store.loaded == ["3"]
    assert followed.problem is None


@pytest.mark.parametrize("given", [{"minimum_rows": 0}, {"previous": "1"}, {"decision": Decision.APPROVED}])
async def test_a_version_that_needs_no_rows_or_cannot_have_them_now_is_no_shadow(
    followed: Followed, given: dict[str, Any]
) -> None:
    followed.wait_for_rows(**given)
    await followed.follower.look()
    assert (followed.shadow.version, followed.store.loaded) == (None, [])


async def test_an_approval_changes_the_roles(followed: Followed) -> None:
    rollout = followed.wait_for_rows(until=NOW + timedelta(hours=1))
    await followed.follower.look()
    followed.rollouts.approve(rollout.id, NOW)
    await followed.follower.look()
    assert followed.shadow.version is None  # version 3 is not served yet
    followed.store.current = Model("3")
    await followed.follower.look()
    assert followed.shadow.version == "2"
    assert followed.shadow.checks is not None


async def test_an_approval_between_two_looks_changes_the_roles(followed: Followed) -> None:
    rollout = followed.wait_for_rows(until=NOW + timedelta(hours=1))
    await followed.follower.look()
    followed.rollouts.approve(rollout.id, NOW)
    followed.store.current = Model("3")
    await followed.follower.look()
    assert followed.shadow.version == "2"


async def test_a_version_that_is_aborted_answers_no_more(followed: Followed) -> None:
    rollout = followed.wait_for_rows()
    await followed.follower.look()
    followed.rollouts.end(rollout.id, RolloutState.ABORTED, now=NOW, by="ann", reason="no")
    await followed.follower.look()
    assert followed.shadow.version is None


async def test_the_watch_of_a_promotion_comes_first(followed: Followed) -> None:
    watch = followed.promote()
    followed.wait_for_rows()
    await followed.follower.look()
    assert followed.shadow.version == "1"
    followed.rollouts.end(watch.id, RolloutState.KEPT, now=NOW, by="test", reason="over")
    await followed.follower.look()
    assert followed.shadow.version == "3"


async def test_a_later_version_that_has_to_answer_rows_replaces_the_shadow(followed: Followed) -> None:
    followed.wait_for_rows()
    await followed.follower.look()
    followed.wait_for_rows(version="4")
    followed.store.waiting = Model("4")
    await followed.follower.look()
    assert followed.shadow.version == "4"


OTHER = FeatureSchema((Column("y"),))


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (waiting_version(schema=OTHER), "takes other columns or types than version 2"),
        (waiting_version(cost=0.051), "takes more than 50 ms for a row"),
        (None, "was deleted from MLflow"),
    ],
)
async def test_a_version_that_can_never_answer_is_left_to_a_person(
    followed: Followed, model: Any, problem: str
) -> None:
    followed.wait_for_rows()
    followed.store.waiting = model
    for _ in range(2):
        await followed.follower.look()
    assert followed.problem == f"version 3 {problem}, so that it cannot answer as a shadow: a person decides"
    assert (followed.shadow.version, followed.store.loaded) == (None, ["3"])


async def test_a_version_that_takes_just_the_time_answers(followed: Followed) -> None:
    followed.wait_for_rows()
    followed.store.waiting = waiting_version(cost=0.05)
    await followed.follower.look()
    assert (followed.shadow.version, followed.problem) == ("3", None)


async def test_an_invalid_model_is_left_to_a_person_and_a_lost_connection_is_not(followed: Followed) -> None:
    followed.wait_for_rows()
    followed.store.error = ConnectionFailedError("MLflow is away")
    with pytest.raises(ConnectionFailedError):
        await followed.follower.look()
    assert followed.problem is None
    followed.store.error = InvalidModelError("golden rows differ")
    await followed.follower.look()
    assert (followed.problem or "").startswith("version 3 cannot be loaded (golden rows differ)")


async def test_a_version_that_fails_on_the_champions_rows_is_left_to_a_person(followed: Followed) -> None:
    followed.wait_for_rows()
    await followed.follower.look()
    followed.shadow._failure = "ValueError"  # noqa: SLF001 - as after a row
    for _ in range(2):
        await followed.follower.look()
    assert (followed.problem or "").startswith("version 3 fails on a row that version 2 answers")
    assert followed.shadow.version is None


async def test_a_champion_that_changes_while_the_version_is_loaded_has_no_shadow(followed: Followed) -> None:
    followed.wait_for_rows()
    followed.store.meanwhile = lambda: setattr(followed.store, "current", Model("9"))
    await followed.follower.look()
    assert (followed.shadow.version, followed.problem) == (None, None)
