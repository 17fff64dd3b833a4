import pytest

from src.serving.http.fast_predict import MAX_KNOWN_BYTES, KnownHead, PlainHead
from src.serving.protocols.single_rows import RECORD

PLAIN = PlainHead(RECORD, 2, None)


def test_only_heads_of_a_limited_length_are_remembered() -> None:
    known = KnownHead()
    known.remember(b"x" * (MAX_KNOWN_BYTES + 1) + b"{}", b"{}", PLAIN)
    assert known.body_of(b"x" * (MAX_KNOWN_BYTES + 1) + b"{}") is None
    known.remember(b"x" * MAX_KNOWN_BYTES + b"{}", b"{}", PLAIN)
    assert known.body_of(b"x" * MAX_KNOWN_BYTES + b"[]") == b"[]"
    assert known.plain is PLAIN


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_head_of_a_request_with_line_ends_behind_its_body_is_not_remembered(end: bytes) -> None:
    known = KnownHead()
    known.remember(b"head" + b"{}" + end, b"{}", PLAIN)
    assert known.body_of(b"head" + b"{}" + end) is None


def test_nothing_is_known_at_first_and_after_a_request_without_a_body() -> None:
    known = KnownHead()
    known.remember(b"head", b"", PlainHead(RECORD, 0, None))
    assert known.body_of(b"head") is None
