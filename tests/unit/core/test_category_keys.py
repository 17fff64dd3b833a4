import zlib

import pytest

from src.core.category_keys import BUCKETS, bucket_of, category_key, category_name


@pytest.mark.parametrize(("name", "key"), [("", 0), ("Ulm", 0x6F7D0C07), ("é", zlib.crc32("é".encode()))])
def test_key_is_the_crc_32_of_the_name_in_utf_8(name: str, key: int) -> None:
    # The same in every process and release: training writes buckets that serving reads.
    assert category_key(name) == key
    assert bucket_of(name) == key % BUCKETS == key % 64


@pytest.mark.parametrize(
    ("value", "name"), [(True, "true"), (False, "false"), ("True", "True"), (1, "1"), (1.5, "1.5")]
)
def test_categories_are_named_as_json_writes_them(value: object, name: str) -> None:
    assert category_name(value) == name
