import struct
from typing import Any

import numpy as np
import pytest

from src.core.feature_schema import Column, ColumnType
from src.serving.protocols.tensors import InputTensor, binary_of_strings, check_datatype, datatype_of, values_of
from src.serving.tables.problems import InvalidRecordError

NUMPYS = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def strings(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


@pytest.mark.parametrize("datatype", NUMPYS)
def test_binary_numbers_are_read_in_their_type(datatype: str) -> None:
    array = np.array([[1, 0], [1, 1]], dtype=NUMPYS[datatype])
    # In the middle of a body, where nothing is aligned.
    content = memoryview(b"{" + array.tobytes())[1:]
    found = values_of(InputTensor("x", [2, 2], datatype), content)
    assert found.dtype == np.dtype(NUMPYS[datatype])
    np.testing.assert_array_equal(found, array.reshape(-1))
    for wrong in (b"", content[:1], content[:-1], content.tobytes() + b"\0", content.tobytes() * 2):
        with pytest.raises(InvalidRecordError, match="size"):
            values_of(InputTensor("x", [2, 2], datatype), memoryview(wrong))


@pytest.mark.parametrize("shape", [[2**62, 2**62], [10**30], [2**63]])
@pytest.mark.parametrize("datatype", ["FP64", "BYTES", "BOOL"])
def test_huge_shape_makes_nothing_huge(shape: list[int], datatype: str) -> None:
    with pytest.raises(InvalidRecordError):
        values_of(InputTensor("x", shape, datatype), memoryview(b"\0" * 64))
    with pytest.raises(InvalidRecordError):
        values_of(InputTensor("x", shape, datatype, data=[1.0] * 8), None)


def test_binary_booleans_are_0_and_1() -> None:
    with pytest.raises(InvalidRecordError, match="1 for true"):
        values_of(InputTensor("x", [3], "BOOL"), memoryview(b"\0\1\2"))


def test_binary_strings_are_read_and_written() -> None:
    values = ["setosa", "", "größer", "setosa"]
    content = strings(*(value.encode() for value in values))
    assert binary_of_strings(values) == content
    assert values_of(InputTensor("x", [4, 1], "BYTES"), memoryview(content)).tolist() == values


@pytest.mark.parametrize(
    "content",
    [
        b"",
        strings(b"a"),
        strings(b"a", b"b", b"c"),
        strings(b"a", b"b")[:-1],
        strings(b"a", b"b") + b"\0",
        strings(b"a") + struct.pack("<I", 2**32 - 1) + b"b",
        strings(b"a") + b"\0\0",
        strings(b"a", b"\xff"),
    ],
)
def test_binary_strings_that_are_not_as_many_or_no_text_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        values_of(InputTensor("x", [2], "BYTES"), memoryview(content))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("data", "shape", "datatype", "expected"),
    [
        ([1, 2.5], [2], "FP64", [1.0, 2.5]),
        ([[1], [2.5]], [2, 1], "FP64", [1.0, 2.5]),
        ([[1, 2], [3, 4]], [2, 2], "INT32", [1, 2, 3, 4]),
        ([1, 2, 3, 4], [2, 2], "UINT8", [1, 2, 3, 4]),
        ([5.1], [1], "FP32", [np.float32(5.1)]),
        ([1e300], [1], "FP32", [np.inf]),
        ([70000], [1], "FP16", [np.inf]),
        ([1, None], [2], "INT64", [1, None]),
        ([1.5, None], [2], "FP64", [1.5, None]),
        (["a", "b"], [2, 1], "BYTES", ["a", "b"]),
        ([True], [1], "BOOL", [True]),
        # Left for the column's check, which tells the row.
        ([1.0, "2"], [2], "FP64", [1.0, "2"]),
        ([[1], [2]], [2], "FP64", [[1], [2]]),
    ],
)
def test_json_values_are_of_the_datatype(data: Any, shape: list[int], datatype: str, expected: list[Any]) -> None:
    found = values_of(InputTensor("x", shape, datatype, data=data), None)
    assert list(found) == expected


@pytest.mark.parametrize(
    ("data", "shape", "datatype", "kind"),
    [
        (None, [1], "FP64", "malformed"),
        (1.5, [1], "FP64", "malformed"),
        ({"0": 1}, [1], "FP64", "malformed"),
        ("a", [1], "BYTES", "malformed"),
        ([], [1], "FP64", "malformed"),
        ([1, 2], [3], "FP64", "malformed"),
        ([[1, 2], [3]], [2, 2], "FP64", "malformed"),
        ([[1, 2, 3], [4, 5, 6]], [3, 2], "FP64", "malformed"),
        ([1.0], [1], "INT64", "not_an_integer"),
        ([True], [1], "INT64", "not_an_integer"),
        ([300], [1], "INT8", "not_finite"),
        ([-1], [1], "UINT8", "not_finite"),
        ([10**400], [1], "FP64", "not_finite"),
    ],
)
def test_json_values_of_another_form_are_refused(data: Any, shape: list[int], datatype: str, kind: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        values_of(InputTensor("x", shape, datatype, data=data), None)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("column", "datatype", "accepted"),
    [
        (Column("x"), "FP64", {"FP16", "FP32", "FP64", "INT8", "UINT64"}),
        (Column("x", mlflow_type="float"), "FP32", {"FP32"}),
        (Column("x", ColumnType.INTEGER, mlflow_type="long"), "INT64", {"INT8", "UINT64", "FP64"}),
        (Column("x", ColumnType.INTEGER, mlflow_type="integer"), "INT32", {"INT32"}),
        (Column("x", ColumnType.BOOLEAN, mlflow_type="boolean"), "BOOL", {"BOOL"}),
        (Column("x", ColumnType.STRING, mlflow_type="string"), "BYTES", {"BYTES"}),
    ],
)
def test_columns_have_a_datatype_and_take_those_that_fit(column: Column, datatype: str, accepted: set[str]) -> None:
    assert datatype_of(column) == datatype
    for good in accepted | {datatype}:
        check_datatype(column, good)
    others = {"BOOL", "BYTES"} - {datatype}
    for bad in (*others, "BF16", "fp64", "", "FP64 "):
        with pytest.raises(InvalidRecordError, match=f"x takes tensors of the datatype {datatype}"):
            check_datatype(column, bad)
