"""An array that is cut into pieces has the same elements as the whole."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.serving.tables import json_pieces
from src.serving.tables.json_pieces import JsonPieces, record_end, value_end
from src.serving.tables.problems import InvalidRecordError, malformed

pytestmark = pytest.mark.slow

# What a scanner may take for the structure.
TEXTS = st.text(alphabet='"\\,]}[{: \n1aü🌷', max_size=12)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "PART_BYTES", 16)
        yield


def cut(body: bytes, guess: Callable[[bytes | bytearray, int], int]) -> list[bytes]:
    pieces = JsonPieces(body, lambda: malformed("no JSON"))
    assert pieces.take(re.compile(rb"\["))
    return list(pieces.elements(guess))


@given(st.lists(VALUES, max_size=40), st.sampled_from([(",", ":"), (" , ", " : "), (",\n", ":")]))
def test_pieces_of_values(values: list[Any], separators: tuple[str, str]) -> None:
    body = json.dumps(values, separators=separators, ensure_ascii=False).encode() + b', "b": [1, 2]}'
    pieces = cut(body, value_end)
    assert list(itertools.chain.from_iterable(map(json.loads, pieces))) == values


@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=20), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_pieces_of_records(records: list[Any], separators: tuple[str, str]) -> None:
    pieces = cut(json.dumps(records, separators=separators, ensure_ascii=False).encode() + b" \n", record_end)
    assert list(itertools.chain.from_iterable(map(json.loads, pieces))) == records


@given(st.lists(VALUES, min_size=1, max_size=10), st.data())
def test_body_that_breaks_off_is_refused(values: list[Any], data: st.DataObject) -> None:
    body = json.dumps(values).encode()
    end = data.draw(st.integers(1, len(body) - 1))
    for guess in (value_end, record_end):
        with pytest.raises(InvalidRecordError):
            cut(body[:end], guess)


ENDS_WITH_COMMA = [b"[" + b"1," * count + b"]" for count in range(1, 40)]


@pytest.mark.parametrize("body", [*ENDS_WITH_COMMA, b"[,]", b"[1 2]", b"[NaN]", b'["\xff]', b"[1}", b"["])
def test_what_is_no_array_is_refused(body: bytes) -> None:
    for guess in (value_end, record_end):
        with pytest.raises(InvalidRecordError):
            cut(body, guess)


def test_pieces_have_about_the_length_of_a_part() -> None:
    *pieces, _ = cut(json.dumps(['a,]"}'] * 1000).encode(), value_end)
    assert 16 <= min(map(len, pieces)) <= max(map(len, pieces)) < 40
