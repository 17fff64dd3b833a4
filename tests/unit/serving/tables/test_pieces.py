"""An array that is cut into pieces has the same elements as the whole."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.serving.tables import pieces
from src.serving.tables.json_rows import AFTER_VALUE, BETWEEN_RECORDS
from src.serving.tables.pieces import JsonPieces, NotJsonError

pytestmark = pytest.mark.slow

# What a scanner may take for the structure.
TEXTS = st.text(alphabet='"\\,]}[{: \n1aü🌷', max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_BYTES", 16)
        yield


def cut(body: bytes, at: re.Pattern[bytes]) -> list[bytes]:
    found = JsonPieces(body)
    assert found.take(re.compile(rb"\["))
    return list(found.elements(at))


@given(st.lists(VALUES, max_size=40), st.sampled_from([(",", ":"), (" , ", " : "), (",\n", ":")]))
def test_pieces_of_values(values: list[Any], separators: tuple[str, str]) -> None:
    body = json.dumps(values, separators=separators, ensure_ascii=False).encode() + b', "b": [1, 2]}'
    assert list(itertools.chain.from_iterable(map(json.loads, cut(body, AFTER_VALUE)))) == values


@settings(max_examples=50)
@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=20), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_pieces_of_records(records: list[Any], separators: tuple[str, str]) -> None:
    body = json.dumps(records, separators=separators, ensure_ascii=False).encode() + b" \n"
    assert list(itertools.chain.from_iterable(map(json.loads, cut(body, BETWEEN_RECORDS)))) == records


@given(st.lists(VALUES, min_size=1, max_size=10), st.data())
def test_body_that_breaks_off_is_refused(values: list[Any], data: st.DataObject) -> None:
    body = json.dumps(values).encode()
    end = data.draw(st.integers(1, len(body) - 1))
    for at in (AFTER_VALUE, BETWEEN_RECORDS):
        with pytest.raises(NotJsonError):
            cut(body[:end], at)


ENDS_WITH_COMMA = [b"[" + b"1," * count + b"]" for count in range(1, 40)]


@pytest.mark.parametrize("body", [*ENDS_WITH_COMMA, b"[,]", b"[1 2]", b"[NaN]", b'["\xff]', b"[1}", b"["])
def test_what_is_no_array_is_refused(body: bytes) -> None:
    for at in (AFTER_VALUE, BETWEEN_RECORDS):
        with pytest.raises(NotJsonError):
            cut(body, at)


def test_pieces_have_about_the_length_of_a_part() -> None:
    *found, _ = cut(json.dumps(['a,]"}'] * 1000).encode(), AFTER_VALUE)
    assert 16 <= min(map(len, found)) <= max(map(len, found)) < 40
