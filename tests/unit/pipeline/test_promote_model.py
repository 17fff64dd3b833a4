from typing import Any

import pytest

from src.core.retrain_record import Outcome
from src.pipeline.gate import Candidate, Comparison
from src.pipeline.promote_model import promote
from tests.support.training import PERFECT, config

CANDIDATE = Candidate(model_version="5", mlflow_run_id="run", manifest_sha256="m", data_sha256="d")


class FakeVersion:
    def __init__(self, version: str) -> None:
        self.version = version


class FakeRegistry:
    """Keeps aliases and writes down what is done, in order."""

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


def run(registry: FakeRegistry, floor: float) -> Outcome:
    gate = config(gate={"floor": floor}).gate
    comparison = Comparison(challenger=PERFECT.model_copy(update={"f1_macro": 0.9}))
    return promote(registry, gate, CANDIDATE, comparison).outcome  # type: ignore[arg-type]


def test_promote_keeps_the_old_champion_as_previous_before_it_moves_the_alias() -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.85) is Outcome.PROMOTED
    reason = "f1_macro 0.9000 reaches the floor 0.8500; there is no champion yet"
    scores = {"score.accuracy": "1.0", "score.f1_macro": "0.9", "score.log_loss": "0.01"}
    tags = ("tags", "5", {"gate.verdict": "promoted", "gate.reason": reason, **scores})
    assert registry.done == [tags, ("previous", "3"), ("champion", "5")]


def test_promote_makes_the_first_version_champion_without_a_previous() -> None:
    registry = FakeRegistry(challenger="5")
    run(registry, floor=0.85)
    assert registry.aliases == {"challenger": "5", "champion": "5"}


def test_promote_leaves_the_aliases_of_a_rejected_candidate_alone() -> None:
    registry = FakeRegistry(champion="3", previous="2", challenger="5")
    assert run(registry, floor=0.95) is Outcome.REJECTED
    assert registry.aliases == {"champion": "3", "previous": "2", "challenger": "5"}
    assert [done[0] for done in registry.done] == ["tags"]


def test_promote_never_makes_a_version_its_own_previous() -> None:
    registry = FakeRegistry(champion="5", previous="2")
    run(registry, floor=0.85)
    assert registry.aliases == {"champion": "5", "previous": "2"}


@pytest.mark.parametrize("floor", [0.85, 0.95])
def test_promote_tags_before_it_moves_anything(floor: float) -> None:
    registry = FakeRegistry(champion="3")
    run(registry, floor)
    assert registry.done[0][0] == "tags"
