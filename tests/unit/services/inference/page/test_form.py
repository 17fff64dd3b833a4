import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.model_registry import DriftReference
from src.services.inference.page.form import (
    MAX_CHOICES,
    MAX_SUGGESTIONS,
    Field,
    fields_of,
    mark_of,
    record_of,
)
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.records import RecordDecoder
from tests.support.page_text import rendered
from tests.support.typed_model import FLAT, HOUSE, SCHEMA, build_typed_model


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder: Path = tmp_path_factory.mktemp("typed") / "model"
    version = ModelVersion(name="flats", version="1", manifest_sha256=build_typed_model(folder))
    return load_predictor(folder, version, "cache")


def given(**values: str) -> dict[str, str]:
    return {f"f{SCHEMA.names.index(name)}": text for name, text in values.items()}


def filled(record: dict[str, Any]) -> dict[str, str]:
    """The form's fields as a browser sends them for a record."""
    texts = {
        name: "" if value is None else json.dumps(value) if not isinstance(value, str) else value
        for name, value in record.items()
    }
    return {f"f{index}": texts[name] for index, name in enumerate(SCHEMA.names)}


def page_of(fields: list[Field]) -> str:
    return rendered("page.html", fields=fields, card="", rest="", entries="", seen="", form_mark="", pause=1)


def hint_of(field: Field) -> str:
    found = re.search(rf'<small id="{field.name}-hint">(.*?)</small>', page_of([field]))
    assert found
    return found[1]


def test_form_has_a_fitting_field_for_each_column_filled_with_the_typical_row(predictor: Predictor) -> None:
    fields = fields_of(replace(predictor, example=dict(FLAT)))
    assert [(item.column.name, item.value) for item in fields] == [
        ("city", "Ulm"),
        ("rooms", "2"),
        ("furnished", "false"),
        ("area (m²)", "50.5"),
        ("heating", "gas"),
    ]
    page = page_of(fields)
    # An empty text is a value, so it may be left empty though it is required.
    assert '<label for="f0">city</label>' in page
    assert 'name="f0" type="text" value="Ulm" aria-describedby="f0-hint">' in page
    assert 'type="number" step="1" inputmode="decimal" value="2" aria-describedby="f1-hint" required>' in page
    assert '<option value="false" selected>no</option>' in page
    assert 'type="number" step="any" inputmode="decimal" value="50.5" aria-describedby="f3-hint">' in page
    assert fields_of(replace(predictor, example=dict(HOUSE)))[3].value == ""


def test_form_says_what_training_has_seen_and_what_may_be_empty(predictor: Predictor) -> None:
    reference = DriftReference(
        rows=9, edges={}, shares={}, minimum={"rooms": 1}, maximum={"rooms": 8.25}, class_shares={},
        category_shares={"city": {"Ulm": 0.5, "Bonn": 0.5}},
    )  # fmt: skip
    city, rooms, furnished, area, heating = fields_of(replace(predictor, reference=reference))
    assert city.choices == (("Bonn", "Bonn"), ("Ulm", "Ulm"))
    assert [hint_of(item) for item in (city, rooms, furnished)] == ["category", "1 to 8.25 in training", "yes or no"]
    assert [hint_of(item) for item in (area, heating)] == ["number, may be empty", "text, may be empty"]
    assert hint_of(fields_of(replace(predictor, reference=None))[1]) == "whole number"


DATED = FeatureSchema(
    (
        Column("since", ColumnType.DATE),
        Column("until", ColumnType.DATE, required=False),
        Column("region", ColumnType.STRING, required=False, mlflow_type="string", values=("NA", "EU")),
    )
)


def test_dates_and_known_categories_have_fields_of_their_own(predictor: Predictor) -> None:
    reference = DriftReference(
        rows=9, edges={}, shares={}, minimum={"since": 19782.0}, maximum={"since": 19783.25}, class_shares={},
        category_shares={"region": {"EU": 1.0}},
    )  # fmt: skip
    example = {"since": 19782.5, "until": None, "region": "NA"}
    since, until, region = fields_of(replace(predictor, schema=DATED, example=example, reference=reference))
    assert 'type="date" value="2024-02-29" aria-describedby="f0-hint" required>' in page_of([since])
    assert hint_of(since) == "2024-02-29 to 2024-03-01T06:00:00Z in training"
    assert 'type="date" value="" aria-describedby="f1-hint">' in page_of([until])
    assert (hint_of(until), region.value, hint_of(region)) == ("date, may be empty", "NA", "category, may be empty")
    assert region.choices == (("", ""), ("EU", "EU"), ("NA", "NA"))


def category(predictor: Predictor, *known: str, required: bool = True, value: str | None = None) -> Field:
    column = Column("x", ColumnType.STRING, required=required, mlflow_type="string", values=known)
    (field,) = fields_of(replace(predictor, schema=FeatureSchema((column,)), example={"x": value}))
    return field


def test_booleans_are_chosen_by_words_and_may_be_empty_where_they_are_optional(predictor: Predictor) -> None:
    words = (("true", "yes"), ("false", "no"))
    for required, choices in ((True, words), (False, (("", ""), *words))):
        column = Column("x", ColumnType.BOOLEAN, required=required, mlflow_type="boolean")
        (field,) = fields_of(replace(predictor, schema=FeatureSchema((column,)), example={"x": None}))
        assert field.choices == choices


def test_category_of_the_typical_row_can_be_chosen_even_if_it_is_not_known(predictor: Predictor) -> None:
    assert category(predictor, "a", "c", value="b").choices == (("a", "a"), ("b", "b"), ("c", "c"))


def test_empty_text_that_is_a_category_is_named(predictor: Predictor) -> None:
    assert category(predictor, "", "a").choices == (("", "(empty text)"), ("a", "a"))
    assert category(predictor, "", "a", required=False).choices == (("", ""), ("a", "a"))
    assert category(predictor, "a", value="").choices == (("a", "a"),)


def test_text_of_very_many_values_or_of_unknown_ones_is_typed(predictor: Predictor) -> None:
    many = [f"{number:03}" for number in range(MAX_CHOICES + 1)]
    assert len(category(predictor, *many[1:]).choices) == MAX_CHOICES
    field = category(predictor, *many)
    assert (field.choices, field.suggestions) == ((), tuple(many[:MAX_SUGGESTIONS]))
    assert '<option value="000"></option>' in page_of([field])
    unknown = category(predictor)
    assert (unknown.choices, hint_of(unknown), unknown.suggestions) == ((), "text", ())


@pytest.mark.parametrize(("count", "width"), [(12, "grid-2"), (13, "grid-1")])
def test_form_of_many_columns_needs_the_whole_width(predictor: Predictor, count: int, width: str) -> None:
    schema = FeatureSchema.of_numbers(*(f"c{number}" for number in range(count)))
    fields = fields_of(replace(predictor, schema=schema, example=dict.fromkeys(schema.names, 1.0)))
    assert f'class="{width}"' in page_of(fields)


@pytest.mark.parametrize(
    ("since", "until", "row"),
    [("2024-02-29", "", (19782.0, None, None)), (" 1970-01-02 ", "1970-01-03", (1.0, 2.0, None))],
)
def test_dates_that_are_filled_in_reach_the_decoder_as_texts(since: str, until: str, row: tuple[Any, ...]) -> None:
    assert RecordDecoder(DATED).decode(record_of(DATED, {"f0": since, "f1": until})) == row


def test_date_that_is_none_is_refused_in_the_decoders_words() -> None:
    for text, says in (("19782", "since must be an ISO 8601 date"), ("", "since is required")):
        with pytest.raises(InvalidRecordError, match=says):
            RecordDecoder(DATED).decode(record_of(DATED, {"f0": text}))


@pytest.mark.parametrize("record", [FLAT, HOUSE])
def test_what_is_filled_in_is_the_record_that_the_decoder_takes(record: dict[str, Any]) -> None:
    body = record_of(SCHEMA, filled(record))
    assert json.loads(body) == {name: value for name, value in record.items() if value is not None}
    assert RecordDecoder(SCHEMA).decode(body) == tuple(record.values())


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"rooms": ""}, "rooms", "is required"),
        ({"rooms": "2.5"}, "rooms", "whole number"),
        ({"rooms": "many"}, "rooms", "whole number"),
        ({"rooms": "99999999999999999999"}, "rooms", "from -9223372036854775808"),
        ({"furnished": "perhaps"}, "furnished", "true or false"),
        ({"furnished": ""}, "furnished", "is required"),
        ({"area (m²)": "nan"}, "area (m²)", "must be a number"),
        ({"area (m²)": "inf"}, "area (m²)", "must be a number"),
        ({"area (m²)": "1e300"}, "area (m²)", "float32"),
        ({"area (m²)": "1" * 309}, "area (m²)", "float32"),
        ({"area (m²)": "1" * 5000}, "area (m²)", "number"),
        ({"rooms": "1" * 309}, "rooms", "from -9223372036854775808"),
        ({"area (m²)": "1_0"}, "area (m²)", "must be a number"),
        ({"area (m²)": "٣"}, "area (m²)", "must be a number"),
        ({"area (m²)": "."}, "area (m²)", "must be a number"),
        ({"area (m²)": "-"}, "area (m²)", "must be a number"),
        ({"area (m²)": "1."}, "area (m²)", "must be a number"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_decoders_words(values: dict[str, str], field: str, says: str) -> None:
    body = record_of(SCHEMA, filled(FLAT) | given(**values))
    with pytest.raises(InvalidRecordError, match=says) as caught:
        RecordDecoder(SCHEMA).decode(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "value"), [(" 2 ", 2), ("2.0", 2.0), ("-1e2", -100.0), ("007", 7), (".5", 0.5), ("-.5e1", -5.0)]
)
def test_numbers_are_read_with_care(text: str, value: float) -> None:
    assert json.loads(record_of(SCHEMA, filled(FLAT) | given(**{"area (m²)": text})))["area (m²)"] == value


def test_empty_text_is_one_where_it_cannot_be_missing() -> None:
    record = json.loads(record_of(SCHEMA, filled(FLAT) | given(city="", heating="")))
    assert record["city"] == ""
    assert "heating" not in record


def test_fields_go_by_their_place_whatever_the_columns_are_called() -> None:
    schema = FeatureSchema.of_numbers('<b id="x">', "f1", "")
    body = record_of(schema, {"f0": "1", "f1": "2", "f2": "3", "<b>": "9"})
    assert json.loads(body) == {'<b id="x">': 1, "f1": 2, "": 3}


def test_mark_distinguishes_other_columns_from_another_version_of_the_same(predictor: Predictor) -> None:
    columns = (("a", "b"), ("a", "b"), ("b", "a"), ("a\ud800",))
    marks = [mark_of(replace(predictor, schema=FeatureSchema.of_numbers(*names))) for names in columns]
    assert marks[0] == marks[1]
    assert len({*marks, mark_of(None)}) == 4
