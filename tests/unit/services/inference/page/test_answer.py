import json
import shlex
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import Row
from src.core.model_registry import DriftReference
from src.services.inference.page.answer import MAX_BARS, answer_view, curl_of
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from src.serving.tables.answers import Answer

URL = "http://localhost:8000/"
ROW = (5.1, 3.5, 1.4, 0.2)


@pytest.fixture(scope="module")
def predictor(models: Any) -> Predictor:
    directory, digest = models["first"]
    return load_predictor(directory, ModelVersion(name="iris", version="7", manifest_sha256=digest), "cache")


def test_answer_has_a_bar_per_class_the_likeliest_first(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("b", {"a": 0.25, "b": 0.7, "c": 0.05}), b"{}", URL)
    assert (view.prediction, view.version, view.problems, view.more) == ("b", "7", [], 0)
    assert [(bar.label, bar.share, bar.shown, bar.chosen) for bar in view.bars] == [
        ("b", 0.7, "70.0 %", True),
        ("a", 0.25, "25.0 %", False),
        ("c", 0.05, "5.0 %", False),
    ]


def test_answer_of_many_classes_counts_what_has_no_bar(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("0", {str(n): 1 / 100 for n in range(100)}), b"{}", URL)
    assert (len(view.bars), view.more) == (MAX_BARS, 100 - MAX_BARS)


@pytest.mark.parametrize(("value", "shown"), [(1234.56789, "1234.57"), (-0.5, "-0.5"), (1e12, "1e+12")])
def test_answer_of_a_regression_is_its_number(predictor: Predictor, value: float, shown: str) -> None:
    view = answer_view(predictor, ROW, Answer(value), b"{}", URL)
    assert (view.prediction, view.bars) == (shown, ())


def test_answer_without_probabilities_is_its_class(predictor: Predictor) -> None:
    view = answer_view(predictor, ROW, Answer("a"), b"{}", URL)
    assert (view.prediction, view.bars) == ("a", ())


def test_values_out_of_the_training_rows_range_are_reported(predictor: Predictor) -> None:
    assert answer_view(predictor, ROW, Answer("a"), b"{}", URL).doubts == ()
    view = answer_view(predictor, (5.1, 35.0, 1.4, -0.2), Answer("a"), b"{}", URL)
    assert [doubt.partition(" is outside")[0] for doubt in view.doubts] == ["sepal_width", "petal_width"]


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


def doubts(predictor: Predictor, reference: DriftReference | None, row: Row) -> tuple[str, ...]:
    typed = replace(predictor, schema=TYPED, reference=reference)
    return answer_view(typed, row, Answer("a"), b"{}", URL).doubts


def test_text_that_no_training_row_has_is_reported_with_known_ones(predictor: Predictor) -> None:
    assert doubts(predictor, REFERENCE, ("NA", "n3", 19782.0, False)) == ()
    assert doubts(predictor, REFERENCE, (None, None, None, None)) == ()
    assert doubts(predictor, REFERENCE, ("US", "n10", None, None)) == (
        "region has a value that does not occur in the training rows; known values: EU, NA.",
        "note has a value that does not occur in the training rows; known values: n0, n1, n2, n3, n4, n5, n6, n7, ….",
    )
    assert doubts(predictor, None, ("US", "n10", None, None)) == (
        "region has a value that does not occur in the training rows; known values: EU, NA.",
    )


def test_date_out_of_range_is_reported_as_dates(predictor: Predictor) -> None:
    assert doubts(predictor, REFERENCE, (None, None, 19783.5, None)) == ()
    assert doubts(predictor, REFERENCE, (None, None, 19784.0, None)) == (
        "since is outside the training rows' range, 2024-02-29 to 2024-03-01T12:00:00Z.",
    )


def test_curl_sends_just_this_record_through_a_real_shell() -> None:
    record = json.dumps({"it's": '$(touch /tmp/x) `id` "\\', "ü": 1}, ensure_ascii=False).encode()
    command = curl_of(URL, record)
    assert shlex.split(command)[-1] == "http://localhost:8000/predict"
    printed = subprocess.run(
        ["sh", "-c", f'curl() {{ printf "%s" "$4"; }}; {command}'], capture_output=True, check=True
    )
    assert printed.stdout == record
