import fcntl
from pathlib import Path
from typing import Any

import pytest

from src.core.retrain_record import Outcome
from src.training.gate import Candidate, Comparison
from src.training.promote_model import promote
from tests.support.training import PERFECT, config

CANDIDATE = Candidate(model_version="5", mlflow_run_id="run", manifest_sha256="m", data_sha256="d")


class FakeVersion:
    def __init__(self, version: str) -> None:
        self.version = version


class FakeRegistry:
    """Keeps aliases and writes down what is done, in order."""

    name = "wine"

    def __init__(self, **aliases: str) -> None:
        self.aliases = dict(aliases)
        self.done: list[tuple[Any, ...]] = []

    def version_of(self, alias: str) -> FakeVersion | None:
        return FakeVersion(self.aliases[alias]) if alias in self.aliases else None

    def set_alias(self, alias: str, version: str) -> None:
        self.done.append((alias, version))
        self.aliases[alias] = version

    def tag(self, version: str, tags: dict[str, str]) -> None:
        self.done.append(("tags", version, tags))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "aliases.lock"


def run(registry: FakeRegistry, floor: float, lock: Path, *, compared_with: str | None = "3") -> Outcome:
    gate = config(gate={"floor": floor}).gate
    comparison = Comparison(
        challenger=PERFECT.model_copy(update={"f1_macro": 0.9}),
        champion=PERFECT.model_copy(update={"f1_macro": 0.88}) if compared_with else None,
        champion_version=compared_with,
    )
    return promote(registry, gate, CANDIDATE, comparison, lock).outcome  # type: ignore[arg-type]


def test_promote_keeps_the_old_champion_as_previous_before_it_moves_the_alias(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    reason = "f1_macro 0.9000 is not below the champion's 0.8800 (version 3) less 0.0100"
    scores = {"score.accuracy": "1.0", "score.f1_macro": "0.9", "score.log_loss": "0.01"}
    tags = ("tags", "5", {"gate.verdict": "promoted", "gate.reason": reason, **scores})
    assert registry.done == [tags, ("previous", "3"), ("champion", "5")]


def test_promote_makes_the_first_version_champion_without_a_previous(lock: Path) -> None:
    registry = FakeRegistry(challenger="5")
    run(registry, floor=0.85, lock=lock)
    assert registry.aliases == {"challenger": "5", "champion": "5"}


def test_promote_leaves_the_aliases_of_a_rejected_candidate_alone(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.95, lock=lock) is Outcome.REJECTED
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5"}
    assert [done[0] for done in registry.done] == ["tags"]


def test_promote_never_makes_a_version_its_own_previous(lock: Path) -> None:
    registry = FakeRegistry(champion="5", previous="2")
    run(registry, floor=0.85, lock=lock)
    assert registry.aliases == {"champion": "5", "previous": "2"}


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
    reason = registry.done[0][2]["gate.reason"]
    assert reason.startswith("version 3 became champion while this one was compared with")
    assert reason.endswith("train again")


def test_promote_after_a_roll_back_makes_the_version_that_was_gone_back_to_the_previous_one(lock: Path) -> None:
    registry = FakeRegistry(champion="3", previous="4", challenger="5")
    assert run(registry, floor=0.85, lock=lock) is Outcome.PROMOTED
    assert registry.aliases == {"champion": "5", "previous": "3", "challenger": "5"}


def test_promote_moves_aliases_only_while_nobody_else_may(lock: Path) -> None:
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
    verdict = promote(FakeRegistry(), config().gate, CANDIDATE, comparison, lock)  # type: ignore[arg-type]
    assert (verdict.model_name, verdict.model_version) == ("wine", "5")
