import json
import re
import shlex
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Row
from src.core.model_registry import DriftReference
from src.services.inference.page.form import curl_of, doubts_of
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer
from tests.support.page_text import rendered, text_of


def markup(answer: Answer) -> str:
    return rendered("answer.html", answer=answer, version="2", curl="curl x", doubts=[])


def text(answer: Answer) -> str:
    """What a person reads of a prediction and of what follows it."""
    return text_of(markup(answer))


def test_answer_has_a_bar_per_class_the_likeliest_first() -> None:
    answer = Answer("b", {"a": 0.25, "b": 0.7, "c": 0.05})
    assert text(answer) == "b by version 2 Class Bar Probability b 70.0 % a 25.0 % c 5.0 % curl x Copy"
    bars = re.findall(
        r'<svg class="bar (\w+)".*?class="fill" width="([\d.]+)%"',
        markup(answer),
    )
    assert bars == [("chosen", "70.0"), ("other", "25.0"), ("other", "5.0")]
    numbered = markup(Answer(1, {"1": 0.75, "2": 0.25}))
    assert numbered.index('"bar chosen"') < numbered.index('"bar other"')


@pytest.mark.parametrize(("classes", "more"), [(12, ""), (100, " and 88 more classes")])
def test_answer_of_many_classes_counts_what_has_no_bar(classes: int, more: str) -> None:
    assert f" 11 1.0 %{more} curl" in text(Answer("0", {str(n): 1 / 100 for n in range(classes)}))


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.56789, "1234.57"), (-0.5, "-0.5"), (1e12, "1e+12"), (7, "7"), ("a", "a"), (True, "True")]
)
def test_answer_without_probabilities_is_its_number_or_class(value: Any, shown: str) -> None:
    assert text(Answer(value)) == f"{shown} by version 2 curl x Copy"


def test_values_out_of_the_training_rows_range_are_reported(predictor: Predictor) -> None:
    assert list(doubts_of(predictor, (5.1, 3.5, 1.4, 0.2))) == []
    found = doubts_of(predictor, (5.1, 35.0, 1.4, -0.2))
    assert [doubt.partition(" is outside")[0] for doubt in found] == ["sepal_width", "petal_width"]


TYPED = FeatureSchema(
    (
        Column("region", ColumnType.STRING, required=False, mlflow_type="string", values=("NA", "EU")),
        Column("note", ColumnType.STRING, required=False, mlflow_type="string"),
        Column("since", ColumnType.DATE, required=False),
        Column("wild", ColumnType.BOOLEAN, required=False, mlflow_type="boolean"),
    )
)
REFERENCE = DriftReference(
    rows=9,
    edges={},
    shares={},
    minimum={"since": 19782.0},
    maximum={"since": 19783.5},
    class_shares={},
    category_shares={"note": {f"n{index}": 0.1 for index in range(10)}, "wild": {"true": 1.0}},
)


def doubts(predictor: Predictor, reference: DriftReference | None, row: Row) -> list[str]:
    return list(doubts_of(replace(predictor, schema=TYPED, reference=reference), row))


def test_text_that_no_training_row_has_is_reported_with_known_ones(predictor: Predictor) -> None:
    assert doubts(predictor, REFERENCE, ("NA", "n3", 19782.0, False)) == []
    assert doubts(predictor, REFERENCE, (None, None, None, None)) == []
    assert doubts(predictor, REFERENCE, ("US", "n10", None, None)) == [
        "region has a value that does not occur in the training rows; known values: EU, NA.",
        "note has a value that does not occur in the training rows; known values: n0, n1, n2, n3, n4, n5, n6, n7, ….",
    ]
    eight = REFERENCE.model_copy(update={"category_shares": {"note": dict.fromkeys("abcdefgh", 0.125)}})
    assert doubts(predictor, eight, (None, "n1", None, None))[0].endswith("known values: a, b, c, d, e, f, g, h.")
    assert doubts(predictor, None, ("US", "n10", None, None)) == [
        "region has a value that does not occur in the training rows; known values: EU, NA.",
    ]


def test_date_out_of_range_is_reported_as_dates(predictor: Predictor) -> None:
    assert doubts(predictor, REFERENCE, (None, None, 19783.5, None)) == []
    assert doubts(predictor, REFERENCE, (None, None, 19784.0, None)) == [
        "since is outside the training rows' range, 2024-02-29 to 2024-03-01T12:00:00Z.",
    ]


def test_curl_sends_just_this_record_through_a_real_shell() -> None:
    record = json.dumps({"it's": '$(touch /tmp/x) `id` "\\', "ü": 1}, ensure_ascii=False).encode()
    command = curl_of("http://localhost:8000/", record)
    assert shlex.split(command)[-1] == "http://localhost:8000/predict"
    printed = subprocess.run(
        ["sh", "-c", f'curl() {{ printf "%s" "$4"; }}; {command}'], capture_output=True, check=True
    )
    assert printed.stdout == record
