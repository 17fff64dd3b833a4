"""The card of live quality."""

import dataclasses
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core.quality_report import (
    REPORT_FILE,
    ClassCoverage,
    Estimate,
    EstimatedWindow,
    QualityReport,
    Score,
    VersionQuality,
    Window,
)
from src.quality.report import write_report
from src.serving.models.predictor import Predictor
from tests.support.fake_models import FakeEngine
from tests.support.page_text import NOW, text_of, watched

MINUTES = timedelta(minutes=10)
NEWEST = Window(
    name="newest", predicted=1500, labelled=1000, scored=1000, delay_seconds=7300,
    scores={"f1_macro": Score(value=0.91234, low=0.9, high=0.92), "cost": Score(value=2)},
    coverage={"setosa": ClassCoverage(predicted=1400, labelled=990), "rose": ClassCoverage(predicted=100, labelled=10)},
)  # fmt: skip
DAY = Window(
    name="day", predicted=300, labelled=20, scored=20, delay_seconds=42,
    scores={"f1_macro": Score(value=0.8, low=0.5, high=1), "brier": Score(value=0.1)},
    coverage={"setosa": ClassCoverage(predicted=300, labelled=20)},
)  # fmt: skip
NOTHING = {"newest": Window(name="newest", predicted=0, labelled=0), "day": Window(name="day", predicted=7, labelled=0)}


def report(*windows: Window, version: str = "2", role: str = "champion", **given: Any) -> QualityReport:
    """A report about one version; the served one is 2."""
    about = VersionQuality(version=version, role=role, first=NOW, last=NOW, windows=list(windows))
    return QualityReport(**{"model": "iris", "at": NOW, "versions": [about], "lower_is_better": ["cost"]} | given)


def card(**given: Any) -> str:
    """The HTML of the card."""
    markup = watched(**given)
    return markup.partition('aria-labelledby="quality-title"')[2].partition("</section>")[0].partition(">")[2]


def damage(path: Path) -> None:
    path.write_bytes(b"{")


def rows_of(markup: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", markup, re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_scores_of_the_served_version_have_intervals_labels_coverage_and_delay(predictor: Predictor) -> None:
    other = VersionQuality(version="1", role="champion", first=NOW, last=NOW, windows=[DAY, NEWEST])
    found = report(DAY, NEWEST)
    markup = card(model=predictor, quality=found.model_copy(update={"versions": [other, *found.versions]}))
    assert rows_of(markup) == [
        ["", "newest labels", "last day"],
        ["f1_macro", "0.9123 0.9000 to 0.9200", "0.8000 0.5000 to 1.0000"],
        ["cost lower is better", "2.0000", "—"],
        ["brier", "—", "0.1000"],
        ["labels", "1000 of 1500 predictions", "20 of 300 predictions"],
        ["predicted setosa", "990 of 1400", "20 of 300"],
        ["predicted rose", "10 of 100", "—"],
        ["median delay", "2 h", "42 s"],
    ]
    assert "Of version 2, with 95 % intervals." in text_of(markup)
    assert "labels that come late, or for one class only, bias what is seen" in text_of(markup)


@pytest.mark.parametrize(
    ("unlabelled", "note"),
    [
        ([], ""),
        (["rose"], " no label yet, counts as 0: rose"),
        (["a", "b", "c"], " no label yet, counts as 0: a, b, c"),
        (["a", "b", "c", "d"], " no label yet, counts as 0: a, b, c, …"),
    ],
)
def test_classes_without_a_label_are_named_beside_macro_averages(
    predictor: Predictor, unlabelled: list[str], note: str
) -> None:
    day = DAY.model_copy(update={"unlabelled": unlabelled})
    scores = rows_of(card(model=predictor, quality=report(NEWEST, day)))[1:4]
    assert scores == [
        ["f1_macro", "0.9123 0.9000 to 0.9200", f"0.8000 0.5000 to 1.0000{note}"],
        ["cost lower is better", "2.0000", "—"],
        ["brier", "—", "0.1000"],
    ]


def test_for_a_regression_nothing_is_said_about_classes(predictor: Predictor) -> None:
    number = dataclasses.replace(predictor, engine=FakeEngine(len))
    text = text_of(card(model=number, quality=report(NEWEST, DAY)))
    assert "labels that come late, or for some predictions only, bias what is seen" in text
    assert "class" not in text


@pytest.mark.parametrize(
    ("omit", "logs", "says"), [("ssn, name", True, True), ("ssn?", True, False), ("ssn", False, False)]
)
def test_columns_to_hide_that_the_model_does_not_have_are_named(
    predictor: Predictor, *, omit: str, logs: bool, says: bool
) -> None:
    text = text_of(card(model=predictor, quality=report(NEWEST, DAY), omit=omit, logs=logs))
    assert ("lists columns that version 2 does not have: name, ssn. Correct the name" in text) == says
    assert ("No values of rows" in text) == says


def test_columns_to_hide_that_the_model_has_are_no_problem(predictor: Predictor) -> None:
    known = dataclasses.replace(predictor, schema=dataclasses.replace(predictor.schema, ids=("customer",)))
    omit = f"customer,{predictor.schema.names[0]}"
    assert "No values of rows" not in text_of(card(model=known, quality=report(NEWEST, DAY), omit=omit))


def test_estimate_is_shown_beside_the_holdout_and_called_one(predictor: Predictor) -> None:
    day = {"f1_macro": Score(value=0.7, low=0.6, high=0.8), "cost": Score(value=3, low=2, high=4)}
    windows = [
        EstimatedWindow(name="newest", rows=1000, scores=day | {"f1_macro": Score(value=0.5, low=0.4, high=0.6)}),
        EstimatedWindow(name="day", rows=300, scores=day),
    ]
    found = report(*NOTHING.values())
    served = found.versions[0].model_copy(update={"estimate": Estimate(holdout={"f1_macro": 0.9}, windows=windows)})
    markup = card(model=predictor, quality=found.model_copy(update={"versions": [served]}))
    assert rows_of(markup) == [
        ["", "holdout", "newest rows", "last day"],
        ["f1_macro", "0.9000", "0.5000 0.4000 to 0.6000", "0.7000 0.6000 to 0.8000"],
        ["cost lower is better", "—", "3.0000 2.0000 to 4.0000", "3.0000 2.0000 to 4.0000"],
        ["rows", "—", "1000", "300"],
    ]
    assert "Estimate without labels" in text_of(markup)
    assert "It cannot see that the relation of rows and classes has changed" in text_of(markup)


@pytest.mark.parametrize(
    ("estimate", "says"),
    [
        (Estimate(reason="the holdout has 30 rows"), "No estimate without labels: the holdout has 30 rows."),
        (Estimate(), "No estimate without labels yet: there are too few logged rows."),
    ],
)
def test_without_an_estimate_the_card_says_why(predictor: Predictor, estimate: Estimate, says: str) -> None:
    found = report(NEWEST, DAY)
    assert "stimate" not in card(model=predictor, quality=found)
    served = found.versions[0].model_copy(update={"estimate": estimate})
    markup = card(model=predictor, quality=found.model_copy(update={"versions": [served]}))
    assert says in text_of(markup)


@pytest.mark.parametrize(("classes", "rows"), [(12, 12), (13, 0)])
def test_coverage_of_many_classes_is_left_out(predictor: Predictor, classes: int, rows: int) -> None:
    coverage = {f"c{number}": ClassCoverage(predicted=1, labelled=1) for number in range(classes)}
    markup = card(model=predictor, quality=report(NEWEST.model_copy(update={"coverage": coverage}), DAY))
    assert sum(row[0].startswith("predicted") for row in rows_of(markup)) == rows


def test_last_day_without_labels_has_dashes(predictor: Predictor) -> None:
    markup = card(model=predictor, quality=report(NEWEST, NOTHING["day"]))
    assert rows_of(markup)[1] == ["f1_macro", "0.9123 0.9000 to 0.9200", "—"]
    assert rows_of(markup)[-1] == ["median delay", "2 h", "—"]


def test_without_labels_the_card_says_how_to_send_them(predictor: Predictor) -> None:
    markup = card(model=predictor, quality=report(*NOTHING.values()))
    assert (
        "No prediction of version 2 has a label yet; logged in the last day: 7. When the true class of a "
        "prediction is known, send it with the prediction's X-Request-ID : POST /feedback"
    ) in text_of(markup)
    assert rows_of(markup) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quality": None, "logs": False}, "The prediction log is off, so live quality is not measured."),
        ({"quality": None}, "No report yet: the quality service writes the first one about a minute after its start."),
        ({"quality": report(NEWEST, DAY, version="1")}, "No prediction of version 2 is in the prediction log yet."),
        ({"quality": report(NEWEST, DAY, role="shadow")}, "No prediction of version 2 is in the prediction log yet."),
        ({"quality": report(NEWEST, DAY), "model": None}, "No model is served, so there is nothing to measure."),
    ],
)
def test_without_live_quality_the_card_says_why(predictor: Predictor, given: dict[str, Any], says: str) -> None:
    text = text_of(card(**{"model": predictor} | given))
    assert text.startswith(f"Live quality {says}")


def test_old_report_is_said_to_be_old(predictor: Predictor) -> None:
    says = "The last report was computed 10 min ago; check that the quality service runs."
    for age, old in ((MINUTES, False), (MINUTES + timedelta(seconds=1), True)):
        markup = card(model=predictor, quality=report(NEWEST, DAY, at=NOW - age))
        assert (says in text_of(markup)) == old
        assert len(rows_of(markup)) == 8


def test_report_from_before_the_log_was_switched_off_is_said_to_be_old(predictor: Predictor) -> None:
    markup = card(model=predictor, quality=report(NEWEST, DAY, at=NOW - timedelta(hours=1)), logs=False)
    says = "The prediction log is off; this was computed 1 h ago. Set PREDICTION_LOG=true to measure live quality."
    assert text_of(markup).startswith(f"Live quality {says} newest labels")
    assert len(rows_of(markup)) == 8


def test_first_problems_are_shown(predictor: Predictor) -> None:
    markup = card(
        model=predictor,
        quality=report(NEWEST, DAY, problems=["<b>", "two", "three", "four"]),
        quality_problem="damaged",
    )
    assert text_of(markup).startswith("Live quality damaged <b> two three newest labels")
    assert "&lt;b&gt;" in markup


@pytest.mark.anyio
async def test_page_follows_the_report(served: Any) -> None:
    assert "No report yet" in text_of((await served.client.get("/")).text)
    path = Path(served.service.settings.quality_dir / REPORT_FILE)
    write_report(path, report(NEWEST, DAY, version="1"))
    assert "No report yet" in text_of((await served.client.get("/")).text)  # for some seconds
    served.service.page.forget()
    assert "newest labels" in (await served.client.get("/")).text
    damage(path)
    served.service.page.forget()
    text = text_of((await served.client.get("/")).text)
    assert "the report of live quality cannot be read (it is damaged)" in text
    assert "newest labels" in text  # the last one that could be read
