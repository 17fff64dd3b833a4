from dataclasses import dataclass, field
from typing import Any

import pytest

from src.training.version_history import best_version, rolled_back_twin, rolled_back_versions


@dataclass
class FakeVersion:
    version: str
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry:
    def __init__(self, versions: list[FakeVersion], **aliases: str) -> None:
        self._versions = {version.version: version for version in versions}
        self._aliases = aliases

    def version_of(self, alias: str) -> FakeVersion | None:
        return self._versions[self._aliases[alias]] if alias in self._aliases else None

    def versions(self) -> list[FakeVersion]:
        return sorted(self._versions.values(), key=lambda version: int(version.version), reverse=True)


def taken_back(version: str, to: str, minute: int, **tags: str) -> FakeVersion:
    at = f"2026-11-28T12:{minute:02d}:00+00:00"
    return FakeVersion(version, {"rollback.at": at, "rollback.to": to, **tags})


def found(champion: str | None, *versions: FakeVersion) -> frozenset[str]:
    return rolled_back_versions(versions, champion)  # type: ignore[arg-type]


def test_version_without_a_roll_back_was_not_rolled_back() -> None:
    assert found("2", FakeVersion("1"), FakeVersion("2")) == frozenset()


def test_rolled_back_version_stays_so_after_later_promotions() -> None:
    assert found("1", FakeVersion("1"), taken_back("2", "1", 0)) == {"2"}
    assert found("3", FakeVersion("1"), taken_back("2", "1", 0), FakeVersion("3")) == {"2"}
    assert found(None, FakeVersion("1"), taken_back("2", "1", 0)) == {"2"}


def test_second_roll_back_returns_to_the_first_version() -> None:
    there_and_back = (taken_back("1", "2", 5), taken_back("2", "1", 0))
    assert found("2", *there_and_back) == {"1"}
    assert found("3", *there_and_back) == {"1"}
    # And once more.
    assert found("1", taken_back("1", "2", 5), taken_back("2", "1", 9)) == {"2"}


def test_last_return_to_a_version_counts() -> None:
    twice = (taken_back("5", "1", 9), taken_back("6", "1", 1))
    assert found("7", taken_back("1", "4", 3), *twice) == {"5", "6"}
    assert found("7", taken_back("1", "4", 3), *reversed(twice)) == {"5", "6"}


def test_champion_counts_as_returned_even_if_both_happened_within_a_second() -> None:
    assert found("2", taken_back("1", "2", 0), taken_back("2", "1", 0)) == {"1"}


@pytest.mark.parametrize("champion", ["1", "3"])
def test_twin_is_the_version_with_the_fingerprint_that_was_rolled_back(champion: str) -> None:
    same: dict[str, Any] = {"training.fingerprint": "f"}
    registry: Any = FakeRegistry(
        [FakeVersion("1", {"training.fingerprint": "g"}), taken_back("2", "1", 0, **same), FakeVersion("3", same)],
        champion=champion,
    )
    assert rolled_back_twin(registry, "f") == "2"
    assert rolled_back_twin(registry, "g") is None
    assert rolled_back_twin(registry, "h") is None


def test_newest_of_several_twins_is_named() -> None:
    same: dict[str, Any] = {"training.fingerprint": "f"}
    versions = [FakeVersion("1"), taken_back("9", "1", 0, **same), taken_back("10", "1", 5, **same)]
    registry: Any = FakeRegistry(versions, champion="1")
    assert rolled_back_twin(registry, "f") == "10"


def test_version_that_has_returned_is_no_twin() -> None:
    same: dict[str, Any] = {"training.fingerprint": "f"}
    registry: Any = FakeRegistry([taken_back("1", "2", 5), taken_back("2", "1", 0, **same)], champion="2")
    assert rolled_back_twin(registry, "f") is None


def test_best_is_the_alias_unless_that_version_was_rolled_back() -> None:
    versions = [FakeVersion("1"), taken_back("2", "1", 0), FakeVersion("3")]
    assert best_version(FakeRegistry(versions, champion="3", best="1")) == "1"  # type: ignore[arg-type]
    assert best_version(FakeRegistry(versions, champion="3", best="2")) is None  # type: ignore[arg-type]
    assert best_version(FakeRegistry(versions, champion="2", best="2")) == "2"  # type: ignore[arg-type]
    assert best_version(FakeRegistry(versions, champion="3")) is None  # type: ignore[arg-type]
