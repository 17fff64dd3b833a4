"""What the parser keeps of a request."""

from src.serving.http.request_parser import MAX_KEPT_BYTES, RequestParser
from tests.support.served import request


def test_no_more_of_a_body_is_kept_than_tells_that_it_is_long() -> None:
    parser = RequestParser()
    parser.feed(request(b"", content_length=str(4 * MAX_KEPT_BYTES)))
    for _ in range(4):
        parser.feed(b"x" * MAX_KEPT_BYTES)
    assert len(parser.body) == 2 * MAX_KEPT_BYTES
