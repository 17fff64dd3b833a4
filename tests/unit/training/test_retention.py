from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.retrain_record import Outcome, RetrainResult
from src.core.retrain_signal import RetrainSpool
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.core.training_settings import TrainSettings
from src.training import retention
from src.training.retention import NOTHING, Plan, carry_out, choose_versions, make_plan, retain
from tests.support.training import config

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@dataclass
class FakeVersion:
    version: str
    tags: dict[str, str] = field(default_factory=lambda: {"manifest.sha256": "m"})


def made(number: int, **tags: str) -> Any:
    return FakeVersion(str(number), {"manifest.sha256": "m", **tags})


def gone(versions: list[Any], keep: int, *unfinished: str, **aliases: str) -> list[str]:
    return choose_versions(versions, keep, aliases, set(unfinished))


def test_newest_versions_are_kept_by_number_and_not_by_text() -> None:
    versions = [made(number) for number in (2, 11, 9, 10)]
    assert gone(versions, 2) == ["2", "9"]
    assert gone(versions, 4) == []
    assert gone([], 1) == []


def test_versions_with_an_alias_are_kept_in_addition_to_the_newest() -> None:
    versions = [made(number) for number in range(1, 8)]
    aliases = {"champion": "5", "challenger": "7", "previous": "1", "best": "2", "mine": "3"}
    assert gone(versions, 1, **aliases) == ["4"]


def test_version_that_an_interrupted_move_points_to_is_kept() -> None:
    versions = [made(1), made(2), made(3, **{"pending.previous": "1"})]
    assert gone(versions, 1, champion="3") == []
    assert gone([made(1), made(2), made(3)], 1, champion="3") == ["1"]


def test_version_made_for_a_request_without_an_outcome_is_kept() -> None:
    versions = [made(1, **{"retrain.request_ids": "a,b"}), made(2, **{"retrain.request_ids": "c"}), made(3)]
    assert gone(versions, 1, "b") == ["2"]
    assert gone(versions, 1, "x") == ["1", "2"]


def test_version_that_this_pipeline_did_not_register_is_kept_and_not_counted() -> None:
    versions: list[Any] = [made(1), FakeVersion("2", {}), made(3)]
    assert gone(versions, 1) == ["1"]


def test_version_whose_training_was_killed_before_its_digest_was_noted_is_deleted_like_any_other() -> None:
    killed: list[Any] = [FakeVersion(number, {"zenml.run_id": "z", "retrain.request_ids": "a"}) for number in "24"]
    assert gone([made(1), *killed[:1], made(3)], 1) == ["1", "2"]
    assert gone([*killed, made(3)], 1) == ["2", "3"]
    assert gone([*killed, made(3)], 1, "a") == []


class FakePruner:
    """Records deletions."""

    name = "iris"

    def __init__(self, *versions: Any, **aliases: str) -> None:
        self._versions, self._aliases = list(versions), aliases
        self.deleted: list[str] = []

    def versions(self) -> list[Any]:
        return self._versions

    def aliases(self) -> dict[str, str]:
        return self._aliases

    def runs_without(self, versions: list[Any], gone: list[str]) -> list[str]:
        assert versions == self._versions
        return [f"run of {version}" for version in gone]

    def delete_version(self, version: str) -> None:
        self.deleted.append(version)

    def delete_run(self, run: str) -> None:
        self.deleted.append(run)


def finish(spool: RetrainSpool, at: datetime) -> str:
    spool.submit("api")
    (record,) = spool.claim()
    spool.finish(record, RetrainResult(outcome=Outcome.REJECTED, reason="r", finished_at=at))
    return record.id


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path / "retrain").create()


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(tmp_path / "rollouts")


def aborted(rollouts: Rollouts, at: datetime) -> str:
    waits = RolloutState.AWAITING_APPROVAL
    rollout = Rollout(model="iris", version="1", previous="0", state=waits, started=NOW, until=NOW)
    rollouts.begin(rollout)
    rollouts.end(rollout.id, RolloutState.ABORTED, now=at, by="ann", reason="no")
    return rollout.id


def test_plan_follows_the_configuration_and_is_carried_out(spool: RetrainSpool, rollouts: Rollouts) -> None:
    now = datetime.now(UTC)
    old, fresh = finish(spool, now + timedelta(hours=1)), finish(spool, now + timedelta(hours=3))
    over, recent = aborted(rollouts, now + timedelta(hours=1)), aborted(rollouts, now + timedelta(hours=3))
    waiting = spool.submit("api").id
    later = now + timedelta(days=7, hours=2)
    pruner: Any = FakePruner(made(1), made(2), made(3), made(4, **{"retrain.request_ids": waiting}), champion="3")
    plan = make_plan(spool, rollouts, pruner, config(retention={"versions": 1, "request_days": 7}), later)
    assert plan == Plan(versions=("1",), zenml_runs=("run of 1",), requests=(old,), rollouts=(over,))
    assert pruner.deleted == []
    assert spool.get(old) is not None, "a plan deletes nothing"
    assert rollouts.get(over) is not None
    carry_out(plan, spool, rollouts, pruner)
    assert pruner.deleted == ["run of 1", "1"]
    assert spool.get(old) is None
    assert spool.get(fresh) is not None
    assert [one.id for one in rollouts.recent("iris", 5)] == [recent]
    assert spool.get(waiting) is not None


def test_version_that_awaits_approval_is_kept(spool: RetrainSpool, rollouts: Rollouts) -> None:
    pruner: Any = FakePruner(made(1), made(2), made(3), made(4), champion="4")
    few = config(retention={"versions": 1})
    assert make_plan(spool, rollouts, pruner, few, datetime.now(UTC)).versions == ("1", "2")
    waits = RolloutState.AWAITING_APPROVAL
    rollouts.begin(Rollout(model="iris", version="1", previous="4", state=waits, started=NOW, until=NOW))
    assert make_plan(spool, rollouts, pruner, few, datetime.now(UTC)).versions == ("2",)


def test_request_is_kept_for_as_long_as_configured_from_its_end(spool: RetrainSpool, rollouts: Rollouts) -> None:
    ended = datetime.now(UTC) + timedelta(minutes=1)
    request_id = finish(spool, ended)
    days = config(retention={"request_days": 2})
    for after, expected in ((timedelta(days=2), ()), (timedelta(days=2, seconds=1), (request_id,))):
        pruner: Any = FakePruner()
        assert make_plan(spool, rollouts, pruner, days, ended + after).requests == expected


def test_plan_names_what_it_deletes_up_to_a_bound() -> None:
    plan = Plan(versions=tuple(str(number) for number in range(1, 23)), requests=("a", "b"), rollouts=("c",))
    assert str(plan) == (
        "22 model versions with files and MLflow run "
        f"({', '.join(str(number) for number in range(1, 21))}, …); "
        "0 ZenML runs with artifacts; 2 finished retrain requests (a, b); 1 ended rollout (c)"
    )


@pytest.mark.parametrize("versions", [[], [made(1), made(2)]])
def test_retain_deletes_what_the_plan_says_and_says_so(
    tmp_path: Path, versions: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pruner = FakePruner(*versions)
    settings = TrainSettings(_env_file=None, data_dir=tmp_path)
    RetrainSpool(settings.retrain_dir).create()
    monkeypatch.setattr(retention, "_connect", lambda given: pruner if given == settings else None)
    retain(settings, config(retention={"versions": 1}))
    assert pruner.deleted == (["run of 1", "1"] if versions else [])
    assert [line.startswith("retention: deleted 1 model version") for line in caplog.messages] == [True] * bool(
        versions
    )
    assert Plan((), (), ()) == NOTHING
