"""Cuts a text body into pieces of whole lines."""

from collections.abc import Iterator

from src.serving.tables.parts import MAX_PIECE_BYTES, PART_BYTES
from src.serving.tables.problems import malformed


def windows(body: bytearray) -> Iterator[bytearray]:
    """Pieces of about ``PART_BYTES``, each of which ends with a line.

    Raises:
        InvalidRecordError: a line is longer than ``MAX_PIECE_BYTES``.
    """
    start = 0
    while start < len(body):
        least = start + PART_BYTES
        end = body.find(b"\n", least, least + MAX_PIECE_BYTES) + 1
        if not end:
            if len(body) > least + MAX_PIECE_BYTES:
                raise malformed(f"a line is longer than {MAX_PIECE_BYTES} bytes")
            end = len(body)
        yield body[start:end]
        start = end
