import contextlib
import fcntl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.audit_log import AuditLog, Event
from src.core.canary_config import CanaryConfig
from src.core.file_lock import is_locked
from src.core.gate_config import GateConfig, RolloutConfig
from src.core.retrain_record import Outcome
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from src.training.comparison import Comparison
from src.training.gate import Candidate, Verdict
from src.training.promote_model import Promoter, record_verdict
from tests.support.training import PERFECT, config

CANDIDATE = Candidate(model_version="5", mlflow_run_id="run", fingerprint="f")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class FakeVersion:
    version: str
    tags: dict[str, str]


class FakeRegistry:
    """Keeps aliases and tags and records changes in order; ``lives`` is the number of changes before it is killed."""

    name = "wine"

    def __init__(self, **aliases: str) -> None:
        self.aliases = dict(aliases)
        self.tags: dict[str, dict[str, str]] = {str(version): {} for version in range(1, 6)}
        self.done: list[tuple[Any, ...]] = []
        self.lives = 1000

    def version_of(self, alias: str) -> FakeVersion | None:
        if alias not in self.aliases:
            return None
        return FakeVersion(self.aliases[alias], dict(self.tags[self.aliases[alias]]))

    def version(self, number: str) -> FakeVersion:
        return FakeVersion(number, dict(self.tags[number]))

    def versions(self) -> list[FakeVersion]:
        return [FakeVersion(version, dict(tags)) for version, tags in self.tags.items()]

    def has(self, version: str) -> bool:
        return version in self.tags

    def set_alias(self, alias: str, version: str) -> None:
        assert version in self.tags, "MLflow refuses an alias for a version that is not there"
        self._live(alias, version)
        self.aliases[alias] = version

    def tag(self, version: str, tags: dict[str, str]) -> None:
        self._live("tags", version, tags)
        self.tags[version] |= tags

    def untag(self, version: str, key: str) -> None:
        self._live("untag", version, key)
        del self.tags[version][key]

    def _live(self, *change: Any) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        self.done.append(change)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "aliases.lock"


def promoter(registry: FakeRegistry, gate: GateConfig, lock: Path, rollout: RolloutConfig | None = None) -> Promoter:
    rollouts = Rollouts(lock.parent / "rollouts", AuditLog(lock.parent / "audit.ndjson"))
    return Promoter(registry, gate, rollout or RolloutConfig(), rollouts, lock)  # type: ignore[arg-type]


def run(registry: FakeRegistry, floor: float, lock: Path, *, compared_with: str | None = "3") -> Outcome:
    gate = config(gate={"floor": floor}).gate
    comparison = Comparison(
        challenger=PERFECT | {"f1_macro": 0.9},
        champion=PERFECT | {"f1_macro": 0.88} if compared_with else None,
        champion_version=compared_with,
    )
    return promoter(registry, gate, lock).promote(CANDIDATE, comparison).outcome


def test_promote_says_where_previous_must_point_before_it_moves_an_alias(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    reason = "f1_macro 0.9000 (floor 0.85); champion version 3 has 0.8800"
    scores = {"score.accuracy": "1.0", "score.f1_macro": "0.9", "score.neg_log_loss": "-0.01"}
    tags = ("tags", "5", {"gate.verdict": "promoted", "gate.reason": reason, **scores})
    pending = ("tags", "5", {"pending.previous": "3"})
    moves = [("champion", "5"), ("previous", "3"), ("untag", "5", "pending.previous")]
    assert registry.done == [tags, ("best", "5"), pending, *moves]


@pytest.mark.parametrize("lives", range(8))
def test_promote_that_is_killed_anywhere_leaves_a_pair_that_the_next_run_completes(lock: Path, lives: int) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    registry.lives = lives
    with contextlib.suppress(Killed):
        run(registry, floor=0.85, lock=lock)
    registry.lives = 1000
    run(registry, floor=0.95, lock=lock)  # rejected: it moves nothing of its own
    pair = registry.aliases["champion"], registry.aliases["previous"]
    assert pair == (("3", "2") if lives < 4 else ("5", "3"))
    champion = registry.version_of("champion")
    assert champion is not None
    assert "pending.previous" not in champion.tags


def test_next_run_completes_a_roll_back_that_was_interrupted(lock: Path) -> None:
    registry = FakeRegistry(champion="2", previous="2", challenger="3")
    registry.tags["2"]["pending.previous"] = "3"
    run(registry, floor=0.95, lock=lock)
    assert registry.aliases == {"champion": "2", "previous": "3", "challenger": "3"}


def test_move_whose_previous_version_was_deleted_is_given_up(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2")
    registry.tags["3"]["pending.previous"] = "9"
    run(registry, floor=0.85, lock=lock)
    assert registry.aliases == {"champion": "5", "previous": "3", "best": "5"}
    assert registry.tags["3"] == {}


ROLL_BACK = {"rollback.at": "2026-11-28T12:00:00+00:00", "rollback.to": "2", "rollback.by": "ann"}


def test_champion_whose_roll_back_moved_no_alias_is_not_rolled_back_once_it_is_the_previous_version(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2")
    registry.tags["3"] = ROLL_BACK | {"score.f1_macro": "0.88"}
    registry.tags["4"] = dict(ROLL_BACK)
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    assert registry.aliases == {"champion": "5", "previous": "3", "best": "5"}
    assert registry.tags["3"] == {"score.f1_macro": "0.88"}
    assert registry.tags["4"] == ROLL_BACK
    gone = [registry.done.index(("untag", "3", key)) for key in ROLL_BACK]
    assert max(gone) < registry.done.index(("champion", "5"))


def test_rejected_version_leaves_the_champions_roll_back_tags_alone(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2")
    registry.tags["3"] = dict(ROLL_BACK)
    assert run(registry, floor=0.95, lock=lock) is Outcome.REJECTED
    assert registry.tags["3"] == ROLL_BACK


def best_after(
    best: str | None,
    scores: tuple[float | None, float, float | None],
    lock: Path,
    *,
    lower_is_better: tuple[str, ...] = (),
    unscored: bool = False,
    **tags: str,
) -> str:
    """The version that is best once a run is promoted whose best, champion 3 and challenger 5 have these scores."""
    registry = FakeRegistry(champion="3", **({"best": best} if best else {}))
    if best:
        registry.tags[best] |= tags
    of_best, of_challenger, of_champion = scores
    comparison = Comparison(
        challenger=PERFECT | {"f1_macro": of_challenger},
        champion=None if of_champion is None else PERFECT | {"f1_macro": of_champion},
        champion_version="3",
        best=None if of_best is None else PERFECT | {"f1_macro": of_best},
        best_version=None if best == "3" else best,
        lower_is_better=lower_is_better,
        best_unscored=unscored,
    )
    gate = config(gate={"floor": None, "tolerance": 0.05}).gate
    verdict = promoter(registry, gate, lock).promote(CANDIDATE, comparison)
    assert verdict.outcome is Outcome.PROMOTED
    return registry.aliases["best"]


@pytest.mark.parametrize(
    ("best", "scores", "is_best"),
    [
        (None, (None, 0.90, None), "5"),
        (None, (None, 0.90, 0.89), "5"),
        (None, (None, 0.89, 0.90), "3"),  # a champion from before the alias
        ("2", (0.93, 0.90, 0.89), "2"),
        ("2", (0.90, 0.90, 0.89), "5"),  # of equal ones the newest
        ("2", (0.90 + 1e-12, 0.90, 0.89), "5"),  # a difference by rounding
        ("2", (0.89, 0.90, 0.92), "3"),  # the champion is better on today's rows
        ("2", (0.91, 0.90, 0.92), "3"),
        ("2", (None, 0.90, 0.89), "5"),  # answers another question
        ("3", (None, 0.90, 0.92), "3"),  # is the champion
        ("3", (None, 0.92, 0.90), "5"),
    ],
)
def test_best_is_the_best_of_promoted_version_champion_and_best_so_far(
    best: str | None, scores: tuple[float | None, float, float | None], is_best: str, lock: Path
) -> None:
    assert best_after(best, scores, lock) == is_best


def test_best_that_was_rolled_back_does_not_count(lock: Path) -> None:
    tags = {"rollback.at": "2026-11-28T12:00:00+00:00", "rollback.to": "3"}
    assert best_after("2", (0.93, 0.90, 0.89), lock, **tags) == "5"


@pytest.mark.parametrize(("best", "of_champion"), [("2", 0.89), ("3", None)], ids=["the former", "the champion"])
def test_best_that_could_not_be_scored_once_stays_the_best(best: str, of_champion: float | None, lock: Path) -> None:
    assert best_after(best, (None, 0.90, of_champion), lock, unscored=True) == best


def test_best_that_could_not_be_scored_and_was_rolled_back_is_replaced(lock: Path) -> None:
    tags = {"rollback.at": "2026-11-28T12:00:00+00:00", "rollback.to": "3"}
    assert best_after("2", (None, 0.90, 0.89), lock, unscored=True, **tags) == "5"
    assert best_after(None, (None, 0.90, None), lock, unscored=True) == "5"


def test_best_respects_the_direction_of_the_metric(lock: Path) -> None:
    assert best_after("2", (0.89, 0.90, 0.92), lock, lower_is_better=("f1_macro",)) == "2"
    assert best_after("2", (0.92, 0.90, 0.91), lock, lower_is_better=("f1_macro",)) == "5"


def test_champion_without_a_score_is_not_the_best(lock: Path) -> None:
    registry = FakeRegistry(champion="3")
    # As of a metric that is undefined for its answers alone.
    comparison = Comparison(challenger=PERFECT, champion={}, champion_version="3")
    promoter(registry, config(gate={"floor": None}).gate, lock).promote(CANDIDATE, comparison)
    assert (registry.aliases["champion"], registry.aliases["best"]) == ("5", "5")


def test_rejected_version_leaves_the_best_alone(lock: Path) -> None:
    registry = FakeRegistry(champion="3", best="2")
    run(registry, floor=0.95, lock=lock)
    assert registry.aliases == {"champion": "3", "best": "2"}


def test_promote_makes_the_first_version_champion_without_a_previous(lock: Path) -> None:
    registry = FakeRegistry(challenger="5")
    run(registry, floor=0.85, lock=lock)
    assert registry.aliases == {"challenger": "5", "champion": "5", "best": "5"}


def test_promote_leaves_the_aliases_of_a_rejected_candidate_alone(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.95, lock=lock) is Outcome.REJECTED
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5"}
    assert [done[0] for done in registry.done] == ["tags"]
    assert registry.tags["5"]["gate.verdict"] == "rejected"


def test_promote_never_makes_a_version_its_own_previous(lock: Path) -> None:
    registry = FakeRegistry(champion="5", previous="2")
    run(registry, floor=0.85, lock=lock)
    assert registry.aliases == {"champion": "5", "previous": "2", "best": "5"}


@pytest.mark.parametrize("floor", [0.85, 0.95])
def test_promote_tags_before_it_moves_anything(floor: float, lock: Path) -> None:
    registry = FakeRegistry(champion="3")
    run(registry, floor, lock)
    assert registry.done[0][0] == "tags"


@pytest.mark.parametrize("compared_with", ["4", None])
def test_promote_does_not_undo_a_roll_back_that_came_while_it_trained(lock: Path, compared_with: str | None) -> None:
    registry = FakeRegistry(champion="3", previous="4", challenger="5")
    assert run(registry, floor=0.85, lock=lock, compared_with=compared_with) is Outcome.REJECTED
    assert registry.aliases == {"champion": "3", "previous": "4", "challenger": "5"}
    tags = registry.done[0][2]
    # With a verdict, requests on the same data would be skipped.
    assert "gate.verdict" not in tags
    assert tags["score.f1_macro"] == "0.9"
    reason = tags["gate.reason"]
    assert reason.startswith("version 3 became champion while this one was compared with")
    assert reason.endswith("train again")


def test_promote_after_a_roll_back_makes_the_version_that_was_gone_back_to_the_previous_one(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="4", challenger="5")
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    assert registry.aliases == {"champion": "5", "previous": "3", "challenger": "5", "best": "5"}


@pytest.mark.parametrize(
    ("challenger", "champion", "previous"), [("same", "same", "2"), ("new", "old", "3"), ("new", None, "3")]
)
def test_previous_stays_where_the_champion_was_made_of_the_same_data_settings_and_code(
    challenger: str, champion: str | None, previous: str, lock: Path
) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    registry.tags["5"]["training.fingerprint"] = challenger
    registry.tags["3"] = dict(ROLL_BACK) | ({"training.fingerprint": champion} if champion else {})
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    assert registry.aliases == {"champion": "5", "previous": previous, "challenger": "5", "best": "5"}
    assert (("tags", "5", {"pending.previous": "3"}) in registry.done) == (previous == "3")
    assert not registry.tags["3"].keys() & ROLL_BACK.keys()


def test_same_model_again_becomes_the_previous_version_where_there_is_no_other(lock: Path) -> None:
    registry = FakeRegistry(champion="3", challenger="5")
    registry.tags["5"]["training.fingerprint"] = registry.tags["3"]["training.fingerprint"] = "same"
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    assert (registry.aliases["champion"], registry.aliases["previous"]) == ("5", "3")


def test_promote_moves_aliases_only_under_the_alias_lock(lock: Path) -> None:
    class Watched(FakeRegistry):
        def version_of(self, alias: str) -> FakeVersion | None:
            self.check()
            return super().version_of(alias)

        def set_alias(self, alias: str, version: str) -> None:
            self.check()
            super().set_alias(alias, version)

        def check(self) -> None:
            with lock.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert run(Watched(champion="3"), floor=0.85, lock=lock) is Outcome.PROMOTED
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_verdict_names_the_model_and_the_version(lock: Path) -> None:
    comparison = Comparison(challenger=PERFECT)
    found = promoter(FakeRegistry(), config().gate, lock).promote(CANDIDATE, comparison)
    assert (found.model_name, found.model_version) == ("wine", "5")


def watched(lock: Path, rollout: RolloutConfig, champion: str | None = "3", floor: float = 0.85) -> Rollouts:
    """The records after a run of version 5 against this champion."""
    registry = FakeRegistry(**({"champion": champion} if champion else {}))
    gate = config(gate={"floor": floor}).gate
    comparison = Comparison(challenger=PERFECT | {"f1_macro": 0.9}, champion_version=champion)
    promoter(registry, gate, lock, rollout).promote(CANDIDATE, comparison)
    return Rollouts(lock.parent / "rollouts")


def test_a_promotion_is_watched_for_the_configured_time(lock: Path) -> None:
    before = datetime.now(UTC)
    found = watched(lock, RolloutConfig(watch_hours=1.5, automatic_rollback=False, max_slowdown=2)).watched("wine")
    assert found is not None
    assert (found.version, found.previous, found.automatic, found.max_slowdown) == ("5", "3", False, 2)
    assert found.until - found.started == timedelta(hours=1.5)
    assert before <= found.started <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("champion", "floor"),
    [
        ("3", 0.95),  # rejected
        (None, 0.85),  # the first champion
        ("5", 0.85),  # a repeated step
    ],
)
def test_nothing_else_is_recorded(lock: Path, champion: str | None, floor: float) -> None:
    watched(lock, RolloutConfig(), champion, floor)
    assert not (lock.parent / "rollouts").exists()


def test_a_promotion_that_is_not_watched_is_kept_and_ends_the_watch_before_it(lock: Path) -> None:
    watched(lock, RolloutConfig(), "3")
    rollouts = watched(lock, RolloutConfig(watch_hours=0), "4")
    assert rollouts.watched("wine") is None
    newest, before = rollouts.recent("wine", 5)
    assert (newest.previous, newest.state, newest.reason) == ("4", RolloutState.KEPT, "promotions are not watched")
    assert newest.by == "rollout.watch_hours: 0"
    assert (before.previous, before.state) == ("3", RolloutState.KEPT)


def test_the_watch_begins_under_the_alias_lock(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A rollback between promotion and record would find no watch to end.
    begin, locked = Rollouts.begin, list[bool]()

    def noting(self: Rollouts, rollout: Rollout) -> None:
        locked.append(is_locked(lock))
        begin(self, rollout)

    monkeypatch.setattr(Rollouts, "begin", noting)
    watched(lock, RolloutConfig())
    assert locked == [True]


def test_a_promotion_that_cannot_be_recorded_is_logged(lock: Path, caplog: pytest.LogCaptureFixture) -> None:
    (lock.parent / "rollouts").touch()
    watched(lock, RolloutConfig())
    assert "version 5 is served, but is not watched" in caplog.text


def verdict(outcome: Outcome = Outcome.PROMOTED) -> Verdict:
    return Verdict(
        outcome=outcome,
        reason="better",
        model_name="wine",
        model_version="5",
        mlflow_run_id="run",
        challenger=PERFECT,
        champion=None,
    )


def test_the_verdict_of_a_training_is_one_entry_of_the_audit_log(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.ndjson")
    record_verdict(audit, verdict(Outcome.REJECTED), "3", ["first", "second"])
    record_verdict(audit, verdict(Outcome.REJECTED), "3", ["first", "second"])
    record_verdict(audit, verdict().model_copy(update={"mlflow_run_id": "another"}), None, [])
    promoted, rejected = audit.recent(5).entries
    assert rejected.model_dump(exclude={"id", "at"}, exclude_none=True) == {
        "event": Event.REJECTED,
        "model": "wine",
        "version": "5",
        "previous": "3",
        "by": "gate",
        "reason": "better",
        "request_id": "first",
    }
    assert (promoted.event, promoted.previous, promoted.request_id) == (Event.PROMOTED, None, None)


def test_a_promotion_that_ends_a_watch_and_is_not_watched_itself_records_both_ends(lock: Path) -> None:
    audit = AuditLog(lock.parent / "audit.ndjson")
    watched(lock, RolloutConfig(), "3")
    assert audit.recent(5).entries == []
    watched(lock, RolloutConfig(watch_hours=0), "4")
    ends = audit.recent(5).entries
    assert [(end.event, end.outcome, end.previous, end.by) for end in ends] == [
        (Event.WATCH_ENDED, "kept", "4", "rollout.watch_hours: 0"),
        (Event.WATCH_ENDED, "kept", "3", "promotion of version 5"),
    ]


def test_a_version_that_awaits_approval_is_in_the_audit_log(lock: Path) -> None:
    audit = AuditLog(lock.parent / "audit.ndjson")
    record_verdict(audit, pass_gate(lock, FakeRegistry(champion="3")), "3", ["first"])
    (entry,) = audit.recent(5).entries
    assert (entry.event, entry.version, entry.previous, entry.by) == (Event.PASSED, "5", "3", "gate")


def pass_gate(lock: Path, registry: FakeRegistry, *, floor: float = 0.85, compared_with: str | None = "3") -> Verdict:
    """A run of version 5 with gate.approval: manual."""
    gate = config(gate={"floor": floor, "approval": "manual"}).gate
    comparison = Comparison(
        challenger=PERFECT | {"f1_macro": 0.9},
        champion=PERFECT | {"f1_macro": 0.88} if compared_with else None,
        champion_version=compared_with,
    )
    return promoter(registry, gate, lock, RolloutConfig(watch_hours=2)).promote(CANDIDATE, comparison)


def test_a_version_that_needs_an_approval_waits_and_moves_no_alias(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5", best="2")
    verdict = pass_gate(lock, registry)
    waiting = Rollouts(lock.parent / "rollouts").waiting("wine")
    assert waiting is not None
    assert (waiting.version, waiting.previous, waiting.best) == ("5", "3", "5")
    assert (waiting.challenger["f1_macro"], waiting.champion["f1_macro"]) == (0.9, 0.88)
    assert waiting.until - waiting.started == timedelta(hours=2)
    assert verdict.outcome is Outcome.PASSED
    assert (
        verdict.reason == f"{waiting.verdict}; it awaits approval: POST /rollouts/{waiting.id}/approve, or on the page"
    )
    assert registry.tags["5"]["gate.verdict"] == "passed"
    assert registry.tags["5"]["score.f1_macro"] == "0.9"
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5", "best": "2"}


def test_the_record_of_a_waiting_version_comes_before_its_verdict(lock: Path) -> None:
    registry = FakeRegistry(champion="3")
    (lock.parent / "rollouts").touch()
    with pytest.raises(OSError, match="rollouts"):
        pass_gate(lock, registry)
    assert registry.done == []


def test_the_first_version_needs_no_approval(lock: Path) -> None:
    registry = FakeRegistry()
    verdict = pass_gate(lock, registry, compared_with=None)
    assert verdict.outcome is Outcome.PROMOTED
    assert verdict.reason.endswith("promoted without approval, because no version was champion")
    assert registry.aliases == {"champion": "5", "best": "5"}
    assert not (lock.parent / "rollouts").exists()


@pytest.mark.parametrize(("champion", "floor"), [("3", 0.95), ("4", 0.85)], ids=["rejected", "overtaken"])
def test_a_version_that_does_not_pass_leaves_the_waiting_one_alone(lock: Path, champion: str, floor: float) -> None:
    pass_gate(lock, FakeRegistry(champion="3"))
    before = Rollouts(lock.parent / "rollouts").waiting("wine")
    verdict = pass_gate(lock, FakeRegistry(champion=champion), floor=floor)
    assert verdict.outcome is Outcome.REJECTED
    assert Rollouts(lock.parent / "rollouts").waiting("wine") == before


def test_a_repeated_step_of_the_champion_does_not_await_approval(lock: Path) -> None:
    registry = FakeRegistry(champion="5", previous="2")
    assert pass_gate(lock, registry, compared_with="5").outcome is Outcome.PROMOTED
    assert not (lock.parent / "rollouts").exists()


def test_a_promotion_replaces_the_waiting_version(lock: Path) -> None:
    pass_gate(lock, FakeRegistry(champion="3"))
    rollouts = watched(lock, RolloutConfig())
    assert rollouts.waiting("wine") is None
    assert [found.state for found in rollouts.recent("wine", 5)] == ["watching", "aborted"]


@pytest.mark.parametrize(
    ("approval", "waits"),
    [
        ("automatic", "1,000 rows as a shadow of version 3; to promote it earlier: POST"),
        ("manual", "1,000 rows as a shadow of version 3 and an approval: POST"),
    ],
)
def test_a_version_that_has_to_answer_rows_waits_for_them(lock: Path, approval: str, waits: str) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5", best="2")
    gate = config(gate={"floor": 0.85, "approval": approval}).gate
    comparison = Comparison(challenger=PERFECT, champion=PERFECT, champion_version="3")
    rollout = RolloutConfig(minimum_rows=1000, watch_hours=0)
    verdict = promoter(registry, gate, lock, rollout).promote(CANDIDATE, comparison)
    waiting = Rollouts(lock.parent / "rollouts").waiting("wine")
    assert waiting is not None
    assert (waiting.version, waiting.previous, waiting.minimum_rows, waiting.approval) == ("5", "3", 1000, approval)
    assert verdict.outcome is Outcome.PASSED
    assert waits in verdict.reason
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5", "best": "2"}


def test_the_first_version_needs_no_rows(lock: Path) -> None:
    registry, gate = FakeRegistry(), config(gate={"floor": 0.85}).gate
    comparison = Comparison(challenger=PERFECT, champion=None, champion_version=None)
    rollout = RolloutConfig(minimum_rows=1000)
    assert promoter(registry, gate, lock, rollout).promote(CANDIDATE, comparison).outcome is Outcome.PROMOTED
    assert registry.aliases["champion"] == "5"


CANARY = CanaryConfig(share=0.05, key_header="x-customer")


def pass_with_canary(lock: Path, registry: FakeRegistry, **given: Any) -> Verdict:
    """A version that passes the gate and has to be a canary; ``given`` are the gate's and the rollout's keys."""
    gate = config(gate={"floor": 0.85, "approval": given.pop("approval", "automatic")}).gate
    champion = registry.aliases.get("champion")
    comparison = Comparison(challenger=PERFECT, champion=PERFECT if champion else None, champion_version=champion)
    rollout = RolloutConfig(canary=CANARY, **given)
    return promoter(registry, gate, lock, rollout).promote(CANDIDATE, comparison)


def test_a_version_that_passes_is_a_canary_at_once_and_moves_no_alias(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5", best="2")
    verdict = pass_with_canary(lock, registry)
    waiting = Rollouts(lock.parent / "rollouts").waiting("wine")
    assert waiting is not None
    assert (waiting.version, waiting.previous, waiting.state) == ("5", "3", RolloutState.CANARY)
    assert (waiting.canary, waiting.canary_started, waiting.decision) == (CANARY, None, None)
    assert verdict.outcome is Outcome.PASSED
    assert verdict.reason == (
        f"{waiting.verdict}; it answers 5 % of the requests as a canary beside version 3; to promote it earlier: "
        f"POST /rollouts/{waiting.id}/approve?promote=true, or on the page"
    )
    assert registry.tags["5"]["gate.verdict"] == "passed"
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5", "best": "2"}


def test_a_canary_answers_once_the_promotion_before_it_is_no_longer_watched(lock: Path) -> None:
    begun = datetime(2026, 11, 30, 9, tzinfo=UTC)
    before = Rollout(
        model="wine", version="3", previous="2", started=begun, until=begun + timedelta(hours=5), automatic=True
    )
    Rollouts(lock.parent / "rollouts").begin(before)
    verdict = pass_with_canary(lock, FakeRegistry(champion="3"))
    assert (
        "; it answers 5 % of the requests as a canary beside version 3 once that is no longer watched, from "
        "2026-11-30 14:00 UTC at the latest; to promote it earlier: POST /rollouts/"
    ) in verdict.reason


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({"approval": "manual"}, "; it awaits approval to answer 5 % of the requests as a canary: POST"),
        ({"minimum_rows": 10}, "; it awaits 10 rows as a shadow of version 3; to start that earlier: POST"),
        (
            {"minimum_rows": 10, "approval": "manual"},
            "; it awaits 10 rows as a shadow of version 3 and an approval: POST",
        ),
    ],
)
def test_a_canary_may_need_an_approval_or_rows_before(lock: Path, given: dict[str, Any], waits: str) -> None:
    verdict = pass_with_canary(lock, FakeRegistry(champion="3"), **given)
    waiting = Rollouts(lock.parent / "rollouts").waiting("wine")
    assert waiting is not None
    assert (waiting.state, waiting.canary) == (RolloutState.AWAITING_APPROVAL, CANARY)
    assert waits in verdict.reason


def test_the_first_version_is_no_canary(lock: Path) -> None:
    verdict = pass_with_canary(lock, FakeRegistry())
    assert verdict.outcome is Outcome.PROMOTED
    assert verdict.reason.endswith("promoted without a canary, because no version was champion")


def test_a_share_of_zero_is_no_canary(lock: Path) -> None:
    registry, gate = FakeRegistry(champion="3"), config(gate={"floor": 0.85, "approval": "manual"}).gate
    comparison = Comparison(challenger=PERFECT, champion=PERFECT, champion_version="3")
    promoter(registry, gate, lock).promote(CANDIDATE, comparison)
    waiting = Rollouts(lock.parent / "rollouts").waiting("wine")
    assert waiting is not None
    assert (waiting.state, waiting.canary) == (RolloutState.AWAITING_APPROVAL, None)
