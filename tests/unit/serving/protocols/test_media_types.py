import pytest

from src.core.errors import InvalidInputError
from src.serving.protocols.media_types import UnsupportedMediaTypeError, accepted, format_of
from src.serving.tables.parts import Format
from src.serving.watch.metrics import NOT_ACCEPTABLE


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, Format.JSON),
        ("application/json", Format.JSON),
        ("Application/JSON; charset=utf-8", Format.JSON),
        ("application/ld+json", Format.JSON),
        ("application/x-ndjson", Format.NDJSON),
        ("text/csv", Format.CSV),
        ("text/csv; charset=UTF-8; header=present", Format.CSV),
        ('text/csv; charset="utf-8"', Format.CSV),
    ],
)
def test_format_of_content_type(content_type: str | None, expected: Format) -> None:
    assert format_of(content_type) is expected


@pytest.mark.parametrize(
    ("content_type", "hint"),
    [
        ("text/plain", "text/csv"),
        ("", "text/csv"),
        ("application/x-www-form-urlencoded", "application/x-ndjson"),
        ("text/csv; charset=latin-1", "UTF-8"),
        ("text/csv; header=absent", "header"),
    ],
)
def test_format_of_refuses_with_what_to_send(content_type: str, hint: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=hint):
        format_of(content_type)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.CSV),
        ("*/*", Format.CSV),
        ("text/*", Format.CSV),
        ("application/json", Format.JSON),
        ("APPLICATION/JSON", Format.JSON),
        ("application/*", Format.JSON),
        ("application/json, text/csv", Format.CSV),
        ("application/json;q=0.9, text/csv;q=0.8", Format.JSON),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Format.CSV),
        ("application/x-ndjson, */*;q=0.1", Format.NDJSON),
        ("*/*, text/csv;q=0", Format.JSON),
        ("text/*;q=0.5, text/csv;q=0.1, application/json;q=0.3", Format.JSON),
        ("text/csv;header=present;q=1.0, application/json", Format.CSV),
        ("text/csv;q=high, application/json;q=0.1", Format.JSON),
        ("text/csv;q=0.9, text/csv;q=0.1, application/json;q=0.5", Format.CSV),
    ],
)
def test_accepted_is_what_is_wanted_most_and_else_what_came_in(accept: str, expected: Format) -> None:
    assert accepted(accept, Format.CSV) is expected


@pytest.mark.parametrize("accept", ["text/html", "text/csv;q=0", "*/*;q=0", "image/*", "text/csv;q=2", "json"])
def test_accepted_refuses_and_lists_what_there_is(accept: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        accepted(accept, Format.CSV)
    assert caught.value.kind == NOT_ACCEPTABLE
    assert all(item.value in str(caught.value) for item in Format)
