"""Hashes of category names, the same in training and in serving."""

import zlib

# A column with more values is counted by buckets of the keys, not by values.
MAX_CATEGORIES = 1000
BUCKETS = 64


def category_key(name: str) -> int:
    """The CRC-32 of a category's name: at least 0, below 2**32."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def bucket_of(name: str) -> int:
    """The bucket of a category, at least 0 and below ``BUCKETS``; independent of the data."""
    return category_key(name) % BUCKETS


def category_name(value: object) -> str:
    """A category as JSON writes it, which is how the drift reference names it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
