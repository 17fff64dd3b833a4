from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.core.feedback import MAX_KEY, MAX_LABEL
from src.quality.label_rows import MAX_LISTED, CheckedLabel, CheckedRows, NumberedRow, RawLabel, check_label
from tests.support.quality_files import NOON


@pytest.mark.parametrize(
    ("raw", "checked"),
    [
        (RawLabel("abc", None, " yes", None), ("abc", None, "yes", None)),
        (RawLabel("abc", None, "yes", None), ("abc", None, "yes", None)),
        (RawLabel(" abc/0 ", "", " yes ", " "), ("abc", None, "yes", None)),
        (RawLabel("abc/02", None, "yes", None), ("abc/2", None, "yes", None)),
        (RawLabel(None, "k/0", "yes", None), (None, "k/0", "yes", None)),
        (RawLabel(float("nan"), 42, "yes", float("nan")), (None, "42", "yes", None)),
        (RawLabel(None, 42.0, "yes", pd.NaT), (None, "42", "yes", None)),
        (RawLabel(None, np.int64(7), np.float64(1), None), (None, "7", "1", None)),
        (RawLabel(None, "k", "NA", None), (None, "k", "NA", None)),
        (RawLabel(None, "k", " no ", None), (None, "k", " no ", None)),
        (RawLabel(None, "k" * MAX_KEY, "x" * MAX_LABEL, None), (None, "k" * MAX_KEY, "x" * MAX_LABEL, None)),
    ],
)
def test_row_is_stored_as_text_without_white_space_around_it(raw: RawLabel, checked: tuple[Any, ...]) -> None:
    assert check_label(raw, ("yes", "1", "NA", " no ", "x" * MAX_LABEL)) == CheckedLabel(*checked)


@pytest.mark.parametrize(
    ("label", "classes", "text"),
    [
        (True, ("true", "false"), "true"),
        (1, ("0.0", "1.0"), "1.0"),
        (True, ("no", "yes"), "yes"),
        (False, ("False", "True"), "False"),
    ],
)
def test_typed_label_is_the_class_of_equal_value(label: object, classes: tuple[str, ...], text: str) -> None:
    assert check_label(RawLabel("abc", None, label, None), classes).label == text


@pytest.mark.parametrize("label", ["Yes", "maybe", True, 1, "yes,no", float(1), date(2026, 3, 4)])
def test_label_of_a_classification_must_be_a_class(label: object) -> None:
    with pytest.raises(ValueError, match=r"^has a label that is not one of dataset\.classes$"):
        check_label(RawLabel("a", None, label, None), ("setosa", "virginica"))


@pytest.mark.parametrize(
    ("label", "text"),
    [(1, "1"), (1.0, "1"), (0.25, "0.25"), (Decimal("1.50"), "1.5"), (" -3e2 ", "-3e2"), (np.float32(0.5), "0.5")],
)
def test_label_of_a_regression_is_a_finite_number(label: object, text: str) -> None:
    assert check_label(RawLabel("a", None, label, None), ()).label == text


@pytest.mark.parametrize("label", ["x", "nan", "inf", "1e999", "1,5", "1_0", True, date(2026, 3, 4)])
def test_other_labels_of_a_regression_are_refused(label: object) -> None:
    with pytest.raises(ValueError, match=r"^has a label that is not a finite number$"):
        check_label(RawLabel("a", None, label, None), ())


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("2026-03-04T12:00:00Z", NOON),
        ("2026-03-04 12:00", NOON),
        ("2026-03-04T14:00:00.000001+02:00", NOON + timedelta(microseconds=1)),
        ("2026-03-04", datetime(2026, 3, 4, 23, 59, 59, 999999, tzinfo=UTC)),
        (date(2026, 3, 4), datetime(2026, 3, 4, 23, 59, 59, 999999, tzinfo=UTC)),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        (pd.Timestamp(NOON), NOON),
    ],
)
def test_time_is_in_utc(time: object, moment: datetime) -> None:
    found = check_label(RawLabel("abc", None, 1, time), ()).time
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (RawLabel(None, None, "x", None), "has no id"),
        (RawLabel(" ", "", "x", None), "has no id"),
        (RawLabel("a", "b", "x", None), "has both request_id and id"),
        (RawLabel("a", None, None, None), "has no label"),
        (RawLabel("a", None, "  ", None), "has no label"),
        (RawLabel("a", None, float("inf"), None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, Decimal("NaN"), None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, ["x"], None), "has a label that is neither text nor a finite number"),
        (RawLabel("a", None, b"x", None), "has a label that is neither text nor a finite number"),
        (RawLabel({}, None, "x", None), "has an id that is neither text nor a finite number"),
        (RawLabel("a" * (MAX_KEY + 1), None, "x", None), f"has an id of more than {MAX_KEY} characters"),
        (RawLabel("a", None, "x" * (MAX_LABEL + 1), None), f"has a label of more than {MAX_LABEL} characters"),
        (RawLabel("a", None, "\ud800", None), "has a label that is not valid Unicode"),
        (RawLabel("a", None, "x", "yesterday"), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", 20260304), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", "0001-01-01T00:00:00+14:00"), "has a time that is not ISO 8601"),
        (RawLabel("a", None, "x", time=True), "has a time that is not ISO 8601"),
    ],
)
def test_invalid_row_is_refused_without_its_values(raw: RawLabel, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        check_label(raw, ("x",))


@pytest.mark.parametrize(("wrong", "more"), [(MAX_LISTED, ""), (MAX_LISTED + 1, "; …")])
def test_the_first_invalid_rows_are_listed(wrong: int, more: str) -> None:
    rows = CheckedRows(("x",))
    assert list(rows.valid(NumberedRow(f"row {place}", "has no id") for place in range(wrong))) == []
    listed = "; ".join(f"row {place} has no id" for place in range(MAX_LISTED))
    assert rows.problem == f"has {wrong} invalid rows of {wrong}, left out: {listed}{more}"
