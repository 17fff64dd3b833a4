from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from src.services.inference.page.links import Links
from src.services.inference.page.versions import VersionsView, versions_view
from src.serving.models.model_version import Aliases, RegisteredVersion

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LINKS = Links("http://mlflow:5000", None, None)


def version(number: str, **fields: Any) -> RegisteredVersion:
    usual = {"run_id": None, "zenml_run_id": None, "registered_at": NOW - timedelta(days=2), "scores": {}}
    return RegisteredVersion(number, **usual | fields)


def view(
    champion: RegisteredVersion | None = None,
    challenger: RegisteredVersion | None = None,
    previous: RegisteredVersion | None = None,
) -> VersionsView:
    return versions_view(Aliases(champion, challenger, previous), None, "iris", LINKS, NOW)


def test_versions_stand_side_by_side_with_every_score_that_one_of_them_has() -> None:
    table = view(
        version("3", scores={"f1": 0.91234}), version("4", scores={"f1": 0.9, "rmse": 1234.5678}), version("2")
    )
    assert table.metrics == ["f1", "rmse"]
    assert [(column.alias, column.version, column.scores) for column in table.columns] == [
        ("champion", "3", ("0.9123", "—")),
        ("challenger", "4", ("0.9000", "1234.6")),
        ("previous", "2", ("—", "—")),
    ]
    assert {column.trained and column.trained.shown for column in table.columns} == {"2 d ago"}
    assert table.columns[0].link == "http://mlflow:5000/#/models/iris/versions/3"


def test_scores_of_several_versions_are_said_to_differ_in_their_rows() -> None:
    old, new = version("3", scores={"f1": 0.9}), version("4", scores={"f1": 0.8}, reason="worse on 30 rows")
    assert view(old, old, version("2")).differs is False
    table = view(old, new)
    assert (table.differs, table.gate_of, table.gate) == (True, "4", "worse on 30 rows")


def test_way_back_leads_from_the_champion_to_the_previous_one() -> None:
    table = view(version("3"), version("4"), version("2"))
    assert (table.back_from, table.back_to, table.no_way_back) == ("3", "2", None)


def test_way_to_what_was_rolled_back_is_a_return() -> None:
    assert not view(version("3"), None, version("2")).returns
    assert not view(version("3"), None, version("2", rolled_back_to="1")).returns
    assert view(version("2"), version("3", rolled_back_to="2"), version("3", rolled_back_to="2")).returns


@pytest.mark.parametrize(
    ("champion", "previous", "says"),
    [
        (None, version("2"), "no version is champion"),
        (version("3"), None, "first"),
        (version("3"), version("3"), "itself"),
    ],
)
def test_without_a_way_back_it_says_why(
    champion: RegisteredVersion | None, previous: RegisteredVersion | None, says: str
) -> None:
    table = view(champion, None, previous)
    assert (table.back_from, table.back_to) == (None, None)
    assert says in str(table.no_way_back)


def test_notes_tell_verdicts_and_roll_backs() -> None:
    taken_back = version("3", rolled_back_to="2", verdict="promoted")
    notes = [column.note for column in view(version("2"), version("4", verdict="rejected"), taken_back).columns]
    assert notes == ["serves", "rejected", "was rolled back"]
    assert [column.note for column in view(taken_back, taken_back, version("2")).columns][:2] == [
        "serves",
        "is the champion",
    ]


def test_version_that_was_to_be_rolled_back_and_was_not_keeps_its_verdict() -> None:
    # The tags tell of a roll back to version 2 that did not come about; then version 4 was promoted.
    table = view(version("4"), None, version("3", rolled_back_to="2", verdict="promoted"))
    assert table.columns[2].note == "promoted"


def test_alias_that_points_nowhere_has_an_empty_column() -> None:
    column = view(version("1", scores={"f1": 1.0})).columns[2]
    assert (column.version, column.link, column.trained, column.scores) == (None, None, None, ("—",))


def test_without_any_answer_there_is_the_problem_alone() -> None:
    table = versions_view(None, "MLflow is away", "iris", LINKS, NOW)
    assert (table.columns, table.back_to, table.problem) == ([], None, "MLflow is away")
    assert table.no_way_back


def test_without_a_champion_nothing_was_rolled_back() -> None:
    assert Aliases(None, version("1", verdict="rejected"), None).taken_back == frozenset()
