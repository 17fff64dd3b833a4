import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from src.core.errors import InvalidInputError
from src.core.feedback import MAX_KEY, MAX_LABEL, Label
from src.core.predictions import Label as ClassLabel
from src.serving.protocols.feedback import LabelReader, LabelRule
from src.serving.tables.parts import Format
from src.serving.tables.problems import InvalidRecordError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CLASSES = ("setosa", "virginica")
GOOD = {"request_id": "good", "label": "setosa"}


def reader(rows: Any, classes: Sequence[ClassLabel] = CLASSES, *, max_rows: int = 1000) -> LabelReader:
    """Of a CSV text, or of rows as JSON."""
    form = Format.CSV if isinstance(rows, str) else Format.JSON
    body = rows if isinstance(rows, str) else json.dumps(rows)
    return LabelReader(form, bytearray(body.encode()), LabelRule.of(classes), max_rows, NOW)


def read(rows: Any, classes: Sequence[ClassLabel] = CLASSES) -> list[Label]:
    return [Label.model_validate_json(line) for line in reader(rows, classes).lines()]


def problem_of(row: dict[str, Any] | str, classes: Sequence[ClassLabel] = CLASSES) -> InvalidInputError:
    found = reader(row if isinstance(row, str) else [row], classes)
    with pytest.raises(InvalidRecordError) as caught:
        list(found.lines())
    assert (found.accepted, found.refused) == (0, 1)
    (problem,) = caught.value.problems
    assert problem.row == 0
    return problem


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc", "abc"),
        ("abc/0", "abc"),
        ("abc/00", "abc"),
        ("abc/1", "abc/1"),
        ("abc/012", "abc/12"),
        ("a.B_c-9/999999999", "a.B_c-9/999999999"),
        ("a" * 64, "a" * 64),
    ],
)
def test_request_id_is_kept_as_the_log_has_it(given: str, kept: str) -> None:
    (label,) = read({"request_id": given, "label": "setosa"})
    assert (label.request_id, label.key) == (kept, None)


@pytest.mark.parametrize(
    "given", ["", " ", " a", "a\n", "a b", "a/b", "a/1/2", "/1", "a/-1", "a/٣", "ä", "a" * 65, 7, True, ["a"], "a/"]
)
def test_request_id_of_another_form_is_refused(given: Any) -> None:
    assert problem_of({"request_id": given, "label": "setosa"}).field == "request_id"


@pytest.mark.parametrize(("given", "kept"), [("A-7", "A-7"), (7, "7"), (0, "0"), ("k" * MAX_KEY, "k" * MAX_KEY)])
def test_own_id_is_text_or_an_integer(given: Any, kept: str) -> None:
    (label,) = read({"id": given, "label": "setosa"})
    assert (label.request_id, label.key) == (None, kept)


@pytest.mark.parametrize("given", ["", "  ", 1.5, True, {}, "k" * (MAX_KEY + 1)])
def test_own_id_of_another_type_or_length_is_refused(given: Any) -> None:
    assert problem_of({"id": given, "label": "setosa"}).field == "id"


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"label": "setosa"}, "missing"),
        ({"request_id": None, "id": None, "label": "setosa"}, "missing"),
        ({"request_id": "a", "id": "b", "label": "setosa"}, "malformed"),
        ({"request_id": "a", "label": "setosa", "note": 1}, "unknown_field"),
    ],
)
def test_row_needs_exactly_one_id_and_no_other_field(row: dict[str, Any], kind: str) -> None:
    problem = problem_of(row)
    assert (problem.field, problem.kind) == (None, kind)


def test_unknown_fields_are_named_with_the_one_that_was_meant() -> None:
    problem = problem_of({"request_id": "a", "lable": "setosa", "note": 1})
    assert str(problem).startswith("unknown fields: lable (did you mean 'label'?), note; a label has the fields ")


@pytest.mark.parametrize("row", [{"request_id": "a"}, {"request_id": "a", "label": None}])
def test_label_is_required(row: dict[str, Any]) -> None:
    problem = problem_of(row)
    assert (problem.field, problem.kind) == ("label", "missing")


@pytest.mark.parametrize(
    ("classes", "given", "kept"),
    [
        (("a", "b"), "a", "a"),
        ((" a", "a"), " a", " a"),
        ((" a", "b"), "a", " a"),
        (("a", " a"), "a", "a"),
        (("0", "1"), 1, "1"),
        ((0, 1), 1, "1"),
        ((0, 1), "1", "1"),
        ((0, 1), 1.0, "1"),
        ((0, 1), "1.0", "1"),
        ((0.0, 1.5), 0, "0.0"),
        ((0.0, 1.5), "1.5", "1.5"),
        ((False, True), True, "True"),
        ((False, True), "true", "True"),
        ((False, True), "False", "False"),
        (("true", "false"), True, "true"),
    ],
)
def test_class_is_compared_by_its_text(classes: Sequence[ClassLabel], given: Any, kept: str) -> None:
    (label,) = read({"request_id": "a", "label": given}, classes)
    assert label.label == kept


@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (CLASSES, "Setosa"),
        (CLASSES, ""),
        (CLASSES, " setosa"),
        (CLASSES, ["setosa"]),
        (CLASSES, {"setosa": 1}),
        ((0, 1), True),
        ((0, 1), 0.5),
        ((0, 1), 2),
        ((0, 1), 10**400),
        ((False, True), 1),
        (("x" * (MAX_LABEL + 1), "y"), "x" * (MAX_LABEL + 1)),
    ],
)
def test_value_that_is_no_class_is_refused(classes: Sequence[ClassLabel], given: Any) -> None:
    problem = problem_of({"request_id": "a", "label": given}, classes)
    assert (problem.field, problem.kind) == ("label", "unknown_label")


@pytest.mark.parametrize(
    ("given", "kept"), [(3, "3.0"), (-0.5, "-0.5"), ("1e3", "1000.0"), (2**60, repr(float(2**60)))]
)
def test_regression_takes_finite_numbers(given: Any, kept: str) -> None:
    (label,) = read({"request_id": "a", "label": given}, ())
    assert label.label == kept


@pytest.mark.parametrize("given", ["x", "", "nan", "inf", "1_0", "1e999", True, [1], 10**400, "٣"])
def test_regression_refuses_what_is_no_finite_number(given: Any) -> None:
    problem = problem_of({"request_id": "a", "label": given}, ())
    assert (problem.field, str(problem)) == ("label", "label must be a finite number")


def test_number_beyond_all_types_is_refused_and_the_next_row_read() -> None:
    body = bytearray(b'[{"request_id":"a","label":-1e999},{"request_id":"b","label":1}]')
    found = LabelReader(Format.JSON, body, LabelRule.of(()), 10, NOW)
    assert len(list(found.lines())) == 1
    assert [(problem.row, problem.field) for problem in found.problems] == [(0, "label")]


def test_message_lists_the_first_classes() -> None:
    assert LabelRule.of(tuple(range(20))).message.endswith("18, 19")
    assert LabelRule.of(tuple(range(21))).message.endswith("18, 19, …")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-02", datetime(2026, 1, 2, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)),
        ("2026-01-02 03:04+02:00", datetime(2026, 1, 2, 1, 4, tzinfo=UTC)),
        (None, None),
    ],
)
def test_time_without_a_zone_is_utc(given: str | None, kept: datetime | None) -> None:
    assert read({"request_id": "a", "label": "setosa", "time": given})[0].time == kept


@pytest.mark.parametrize(
    "given", ["", "yesterday", "2026-02-30", 1767322800, "0001-01-01T00:00+14:00", "9999-12-31T23:59-01:00"]
)
def test_time_of_another_form_or_beyond_the_calendar_is_refused(given: Any) -> None:
    assert problem_of({"request_id": "a", "label": "setosa", "time": given}).field == "time"


def test_csv_may_have_both_ids_and_empty_cells_are_none() -> None:
    text = "label,time,id,request_id\nsetosa , ,7 ,\n virginica, 2026-01-02 ,, b/1 \n"
    assert [(label.key, label.request_id, label.label) for label in read(text)] == [
        ("7", None, "setosa"),
        (None, "b/1", "virginica"),
    ]
    assert read(text)[0].time is None


def test_later_rows_are_received_later() -> None:
    labels = read([GOOD, GOOD, GOOD])
    assert [label.received - NOW for label in labels] == [timedelta(microseconds=row) for row in range(3)]


def test_rows_are_numbered_from_0_and_empty_lines_are_ignored() -> None:
    found = reader("request_id,label\n\na,setosa\n\nb,daisy\nc\nd,daisy,x\n")
    assert len(list(found.lines())) == found.accepted == 1
    assert [(problem.row, problem.field) for problem in found.problems] == [(1, "label"), (2, None), (3, None)]
    assert found.refused == 3


def test_elements_that_are_no_objects_are_refused() -> None:
    found = reader([1, None, [GOOD], "x", GOOD])
    assert len(list(found.lines())) == 1
    assert [problem.row for problem in found.problems] == [0, 1, 2, 3]


def test_last_value_of_a_field_that_is_given_twice_counts() -> None:
    body = bytearray(b'{"request_id":"a","label":"setosa","label":"virginica"}')
    (line,) = LabelReader(Format.JSON, body, LabelRule.of(CLASSES), 1, NOW).lines()
    assert Label.model_validate_json(line).label == "virginica"


@pytest.mark.parametrize(("wrong", "problems"), [(99, 99), (100, 100), (101, 100)])
def test_at_most_100_problems_are_kept(wrong: int, problems: int) -> None:
    found = reader([{"request_id": "a"}] * wrong + [GOOD])
    list(found.lines())
    assert (found.refused, len(found.problems)) == (wrong, problems)


def test_more_rows_than_the_limit_are_too_large() -> None:
    assert len(list(reader([GOOD] * 3, max_rows=3).lines())) == 3
    with pytest.raises(InvalidInputError, match="more than 2 labels") as caught:
        list(reader([GOOD] * 3, max_rows=2).lines())
    assert caught.value.kind == "too_large"


def test_body_that_breaks_off_is_reported_at_its_row() -> None:
    text = 'request_id,label\na,setosa\nb,setosa\n"c'
    with pytest.raises(InvalidRecordError, match="not CSV") as caught:
        list(reader(text).lines())
    assert caught.value.row == 2
