import re
from datetime import timedelta
from typing import Any

import pytest

from src.services.inference.page.rendering import drift_bars
from src.serving.models.model_store import FIRST_TRAINING, NO_CHAMPION
from src.serving.models.model_version import Aliases, RegisteredVersion
from src.serving.models.predictor import Predictor
from src.serving.watch.drift import NO_DRIFT, Drift, DriftReport
from tests.support.page_text import NOW, rendered, text_of, watched

CALM = Drift(0.01, drifted=False)


def test_bars_are_as_long_as_the_score_and_named_by_the_verdict(predictor: Predictor) -> None:
    found = {
        "calm": Drift(0.049, drifted=False),
        "large": Drift(0.05, drifted=False),
        "gone": Drift(0.05, drifted=True),
        "far": Drift(3.0, drifted=True),
        "new": NO_DRIFT,
    }
    report = DriftReport(300, found, Drift(0.0, drifted=False))
    bars = drift_bars(report, has_classes=True)
    markup = watched(bars=bars, model=predictor, rows=300)
    lengths = re.findall(r'<svg class="bar (\w+)".*?class="fill" width="([\d.]+)%"', markup)
    assert [(label, *length) for (label, _), length in zip(bars, lengths, strict=True)] == [
        ("calm", "stable", "9.8"),
        ("large", "watch", "10.0"),
        ("gone", "drifted", "10.0"),
        ("far", "drifted", "100"),
        ("new", "waiting", "0"),
        ("predicted classes", "stable", "0.0"),
    ]
    assert len(drift_bars(report, has_classes=False)) == len(found)
    assert drift_bars(DriftReport(0, {}, NO_DRIFT), has_classes=True) == []  # a model without a reference
    assert markup.count('<line x1="10.0%" x2="10.0%"') == 6
    assert "calm 0.049 stable large 0.050 watch gone 0.050 drifted far 3.000 drifted new — waiting" in text_of(markup)


BARS = drift_bars(
    DriftReport(200, {"a": CALM, "b": Drift(1, drifted=True), "c": Drift(1, drifted=True)}, CALM), has_classes=False
)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": None}, "No model is served, so there is nothing to compare with."),
        ({}, "This model has no reference of its training rows, so drift is not measured."),
        ({"bars": BARS, "rows": 199}, "199 of 200 rows so far: with fewer, drift is not tested."),
        ({"bars": BARS[:1], "rows": 200}, "The newest 200 rows (at most 300) against the training rows: no drift."),
        ({"bars": BARS, "rows": 200}, "The newest 200 rows (at most 300) against the training rows: drifted: b, c."),
    ],
)
def test_drift_is_summed_up_in_a_sentence(predictor: Predictor, given: dict[str, Any], says: str) -> None:
    assert text_of(watched(**{"model": predictor} | given)).startswith(f"Drift {says} ")


@pytest.mark.parametrize(("features", "tables"), [(11, 1), (12, 3)])
def test_more_than_twelve_bars_stand_in_several_tables(features: int, tables: int) -> None:
    report = DriftReport(200, {f"c{number}": CALM for number in range(features)}, CALM)
    markup = watched(bars=drift_bars(report, has_classes=True))
    assert (markup.count('class="bars"'), "grid-1" in markup) == (tables, tables > 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"mlflow_reachable": False},
            "Start MLflow, or correct MLFLOW_TRACKING_URI. Until then there are no predictions.",
        ),
        ({"problem": FIRST_TRAINING}, "The first model is served once it has passed the gate."),
        ({"problem": NO_CHAMPION}, "passed the gate. “Retrain now” below requests a training."),
        ({}, "There are no predictions until this is fixed; roll back or train another version below."),
    ],
)
def test_without_a_model_the_page_says_what_to_do(given: dict[str, Any], says: str) -> None:
    state = {"state": "no model", "model": None, "problem": "broken", "mlflow_reachable": True}
    text = text_of(rendered("card.html", **state | given))
    assert f"{says} No model is served: predictions get 503" in text


def test_with_a_model_the_page_says_that_it_stays(predictor: Predictor) -> None:
    state = {"now": NOW, "state": "ready", "model": predictor, "problem": "broken"}
    for reachable, says in (
        (True, "The model below stays in service; the service retries automatically."),
        (False, "Start MLflow, or correct MLFLOW_TRACKING_URI. Until then the model below stays in service."),
    ):
        assert f"ready broken {says} iris version 2" in text_of(
            rendered("card.html", mlflow_reachable=reachable, **state)
        )
    assert "MLflow not asked yet" in text_of(rendered("card.html", mlflow_reachable=None, **state))


def version(number: str, **fields: Any) -> RegisteredVersion:
    usual: dict[str, Any] = {
        "run_id": None,
        "zenml_run_id": None,
        "registered_at": NOW - timedelta(days=2),
        "scores": {},
    }
    return RegisteredVersion(version=number, **usual | fields)


def versions(*aliases: RegisteredVersion | None) -> str:
    """The live part with a champion, a challenger and a previous version."""
    return watched(versions=Aliases(*aliases))


def rows_of(markup: str) -> list[list[str]]:
    table = markup.partition('<table class="versions">')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_versions_stand_side_by_side_with_every_score_that_one_of_them_has() -> None:
    champion = version("3", scores={"f1": 0.91234})
    markup = versions(champion, version("4", scores={"f1": 0.9, "rmse": 1234.5678}, registered_at=NOW), None)
    assert rows_of(markup) == [
        ["", "champion", "challenger", "previous"],
        ["version", "3 serves", "4", "—"],
        ["f1", "0.9123", "0.9000", "—"],
        ["rmse", "—", "1234.6", "—"],
        ["trained", "2 d ago", "just now", "—"],
    ]
    assert 'href="http://mlflow/#/models/iris/versions/3"' in markup


@pytest.mark.parametrize(
    ("challenger", "says"),
    [
        (version("3", scores={"f1": 0.9}, reason="why"), ""),
        (version("4"), ""),
        (version("4", scores={"f1": 0.8}), "the rows may differ between runs."),
        (
            version("4", scores={"f1": 0.8}, reason="worse on 30 rows"),
            "the rows may differ between runs. The gate compares on the same rows. Version 4: worse on 30 rows",
        ),
    ],
)
def test_scores_of_several_versions_are_said_to_differ_in_their_rows(challenger: RegisteredVersion, says: str) -> None:
    text = text_of(versions(version("3", scores={"f1": 0.9}), challenger, version("2")))
    found = re.search(r"the rows may differ.*?(?= Roll back)", text)
    assert (found[0] if found else "") == says


@pytest.mark.parametrize(
    ("champion", "previous", "says"),
    [
        (version("3"), version("2"), "Roll back from version 3 to version 2?"),
        (version("3"), version("2", rolled_back_to="1"), "Roll back from version 3 to version 2?"),
        (version("2"), version("3", rolled_back_to="2"), "Return from version 2 to version 3?"),
        # An interrupted move of the aliases is completed first.
        (version("3", pending_previous="1"), version("2"), "Roll back from version 3 to version 1?"),
        (version("3", pending_previous="1"), None, "Roll back from version 3 to version 1?"),
    ],
)
def test_way_back_leads_from_the_champion_to_the_previous_one(
    champion: RegisteredVersion, previous: RegisteredVersion | None, says: str
) -> None:
    markup = versions(champion, version("4"), previous)
    assert f'hx-post="page/rollback?champion={champion.version}"' in markup
    assert f'hx-confirm="{says}"' in markup


@pytest.mark.parametrize(
    ("champion", "previous", "says"),
    [
        (None, version("2"), "Roll back Nothing to go back to: no version is champion yet."),
        (version("3"), None, "Roll back Nothing to go back to: this is the first champion."),
        (version("3"), version("3"), "the alias “previous” points to the champion itself."),
    ],
)
def test_without_a_way_back_it_says_why(
    champion: RegisteredVersion | None, previous: RegisteredVersion | None, says: str
) -> None:
    markup = versions(champion, None, previous)
    assert re.search(r'<button id="roll-back"[^>]* disabled', markup)
    assert "page/rollback" not in markup
    assert says in text_of(markup)


BACK = version("3", rolled_back_to="2", verdict="promoted")


@pytest.mark.parametrize(
    ("aliases", "notes"),
    [
        ((version("2"), version("4", verdict="rejected"), BACK), ["2 serves", "4 rejected", "3 was rolled back"]),
        ((BACK, BACK, version("2")), ["3 serves", "3 is the champion", "2"]),
        # The tags tell of a rollback to version 2 that did not come about; then version 4 was promoted.
        ((version("4"), None, BACK), ["4 serves", "—", "3 promoted"]),
        ((None, version("1", verdict="rejected"), None), ["—", "1 rejected", "—"]),
    ],
)
def test_notes_tell_verdicts_and_rollbacks(aliases: tuple[RegisteredVersion | None, ...], notes: list[str]) -> None:
    assert rows_of(versions(*aliases))[1] == ["version", *notes]


def test_without_any_answer_of_mlflow_there_is_the_problem_alone() -> None:
    markup = watched(versions_problem="MLflow is away")
    assert "Versions MLflow is away Roll back A rollback needs MLflow." in text_of(markup)
    assert rows_of(markup) == []
