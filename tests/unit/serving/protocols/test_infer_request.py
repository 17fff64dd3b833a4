import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.protocols.infer_request import InferRequest, decode_infer, matrix_of
from src.serving.tables.parts import ExtraColumns
from src.serving.tables.problems import InvalidRecordError
from tests.support.typed_model import SCHEMA as TYPED

SCHEMA = FeatureSchema.of_numbers("a", "b")
OUTPUTS = ("predict", "predict_proba")


def tensor(name: str, data: Any, datatype: str = "FP64", shape: list[int] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data, **more}


def binary(name: str, size: Any, shape: list[int], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def decode(
    document: Any,
    data: bytes = b"",
    json_bytes: int | None = None,
    schema: FeatureSchema = SCHEMA,
    extra: ExtraColumns = ExtraColumns.REFUSE,
) -> InferRequest:
    header = document if isinstance(document, bytes) else json.dumps(document).encode()
    length = json_bytes if json_bytes is not None or not data else len(header)
    return decode_infer(schema, OUTPUTS, header + data, length, extra)


def rows(request: InferRequest) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in request.table.columns), strict=True))


COLUMNS = [tensor("b", [3, 4.5]), tensor("a", [1, 2])]
DOUBLES = struct.pack("<4d", 1, 2, 3, 4.5)


@pytest.mark.parametrize(
    ("document", "data"),
    [
        ({"inputs": COLUMNS}, b""),
        ({"inputs": [tensor("a", [[1], [2]], shape=[2, 1]), tensor("b", [3, 4.5], shape=[2, 1])]}, b""),
        ({"inputs": [tensor("a", [1, 2], "INT8"), tensor("b", [3, 4.5], "FP32")]}, b""),
        ({"inputs": [tensor("features", [1, 3, 2, 4.5], shape=[2, 2])]}, b""),
        ({"inputs": [tensor("features", [[1, 3], [2, 4.5]], shape=[2, 2])]}, b""),
        ({"inputs": [binary("a", 16, [2]), binary("b", 16, [2, 1])]}, DOUBLES),
        ({"inputs": [binary("a", 16, [2]), tensor("b", [3, 4.5])]}, DOUBLES[:16]),
        ({"inputs": [tensor("a", [1, 2]), binary("b", 8, [2], "FP32")]}, struct.pack("<2f", 3, 4.5)),
        ({"inputs": [binary("features", 32, [2, 2])]}, struct.pack("<4d", 1, 3, 2, 4.5)),
        ({"inputs": COLUMNS, "parameters": {"priority": 1}, "other": {"x": [1]}}, b""),
        ({"inputs": COLUMNS, "id": None, "parameters": None, "outputs": None}, b""),
        ({"inputs": [{**column, "parameters": None} for column in COLUMNS]}, b""),
        ({"inputs": [tensor("a", [1, 2]), {**binary("b", 16, [2]), "data": None}]}, DOUBLES[16:]),
    ],
)
def test_tensors_in_every_form_are_the_same_rows(document: Any, data: bytes) -> None:
    assert rows(decode(document, data)) == [(1.0, 3.0), (2.0, 4.5)]


def test_columns_of_every_type_and_missing_values() -> None:
    inputs = [
        tensor("city", ["Ulm", "Köln"], "BYTES"),
        tensor("rooms", [2, 7], "INT64"),
        tensor("furnished", [False, True], "BOOL"),
        tensor("area (m²)", [50.5, None]),
        tensor("heating", ["gas", None], "BYTES"),
    ]
    found = rows(decode({"inputs": inputs}, schema=TYPED))
    assert found[0] == ("Ulm", 2, False, 50.5, "gas")
    assert math.isnan(found[1][3])
    assert found[1][4] is None
    words = struct.pack("<I", 3) + b"Ulm" + struct.pack("<I", 5) + "Köln".encode()
    nan = json.dumps(
        {"inputs": [binary("city", len(words), [2], "BYTES"), *inputs[1:3], tensor("area (m²)", [50.5, math.nan])]}
    )
    found = rows(decode(nan.encode(), words, schema=TYPED))
    assert found[1][0] == "Köln"
    assert [row[4] for row in found] == [None, None]
    np.testing.assert_equal([row[3] for row in found], [50.5, math.nan])


def test_matrix_is_for_models_of_numbers() -> None:
    assert matrix_of(SCHEMA) == "features"
    assert matrix_of(TYPED) is None


GROWN = FeatureSchema(
    (Column("a"), Column("b", required=False), Column("c", ColumnType.STRING, required=False, mlflow_type="string"))
)


def test_matrix_may_leave_out_optional_columns_at_its_end() -> None:
    assert matrix_of(GROWN) == "features"
    whole = rows(decode({"inputs": [tensor("features", [1, 3, 2, 4.5], shape=[2, 2])]}, schema=GROWN))
    assert whole == [(1.0, 3.0, None), (2.0, 4.5, None)]
    for shape in ([2], [2, 1]):
        found = rows(decode({"inputs": [tensor("features", [1, 2], shape=shape)]}, schema=GROWN))
        np.testing.assert_equal(found, [(1.0, math.nan, None), (2.0, math.nan, None)])
    with pytest.raises(
        InvalidRecordError, match=r"must be \[n, 1\] to \[n, 2\] with n of at least 1; optional columns"
    ):
        decode({"inputs": [tensor("features", [1, 2, 3], shape=[1, 3])]}, schema=GROWN)


def test_matrix_must_include_every_required_column() -> None:
    schema = FeatureSchema((Column("a", required=False), Column("b"), Column("c", required=False)))
    with pytest.raises(InvalidRecordError, match=r"must be \[n, 2\] to \[n, 3\]"):
        decode({"inputs": [tensor("features", [1])]}, schema=schema)
    behind_a_text = FeatureSchema((GROWN.columns[2], Column("a")))
    assert matrix_of(behind_a_text) is None


def test_column_of_the_matrix_name_is_meant_by_a_tensor_of_its_shape() -> None:
    schema = FeatureSchema((Column("a", required=False), Column("features", required=False)))
    np.testing.assert_equal(rows(decode({"inputs": [tensor("features", [1])]}, schema=schema)), [(math.nan, 1.0)])
    assert rows(decode({"inputs": [tensor("features", [1, 2], shape=[1, 2])]}, schema=schema)) == [(1.0, 2.0)]


def test_one_column_of_the_matrix_name_is_both() -> None:
    schema = FeatureSchema.of_numbers("features")
    for shape in ([2], [2, 1]):
        assert rows(decode({"inputs": [tensor("features", [1, 2], shape=shape)]}, schema=schema)) == [(1.0,), (2.0,)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"predict": False, "predict_proba": False}),
        ({"outputs": []}, {"predict": False, "predict_proba": False}),
        ({"outputs": None}, {"predict": False, "predict_proba": False}),
        ({"parameters": None}, {"predict": False, "predict_proba": False}),
        ({"parameters": {"binary_data_output": None}}, {"predict": False, "predict_proba": False}),
        ({"outputs": [{"name": "predict", "parameters": None}]}, {"predict": False}),
        (
            {
                "outputs": [{"name": "predict", "parameters": {"binary_data": None}}],
                "parameters": {"binary_data_output": True},
            },
            {"predict": True},
        ),
        ({"parameters": {"binary_data_output": True}}, {"predict": True, "predict_proba": True}),
        ({"outputs": [{"name": "predict_proba"}]}, {"predict_proba": False}),
        (
            {"outputs": [{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "predict"}]},
            {"predict_proba": True, "predict": False},
        ),
        (
            {
                "outputs": [{"name": "predict", "parameters": {"binary_data": False}}, {"name": "predict_proba"}],
                "parameters": {"binary_data_output": True},
            },
            {"predict": False, "predict_proba": True},
        ),
    ],
)
def test_outputs_are_those_asked_for_in_the_form_asked_for(more: Any, expected: dict[str, bool]) -> None:
    found = decode({"inputs": COLUMNS, **more})
    assert list(found.outputs.items()) == list(expected.items())


def test_id_is_the_clients_own() -> None:
    assert decode({"inputs": COLUMNS, "id": "ü 1"}).message.id == "ü 1"
    for without in ({}, {"id": None}):
        assert decode({"inputs": COLUMNS, **without}).message.id is None


def beside_b(*tensors: Any) -> dict[str, Any]:
    return {"inputs": [*tensors, tensor("b", [3])]}


# name of the problem -> documents, each with its binary data if any
REFUSED: dict[str, list[Any]] = {
    "malformed": [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": ' + b"[" * 100_000,
        b'{"inputs": [], "id": "\\ud800"}',
        [],
        {},
        {"inputs": {}},
        {"inputs": [1]},
        {"inputs": [{"name": "a"}]},
        {"inputs": COLUMNS, "id": 1},
        {"inputs": COLUMNS, "parameters": 1},
        {"inputs": COLUMNS, "outputs": "predict"},
        {"inputs": COLUMNS, "outputs": ["predict"]},
        {"inputs": COLUMNS, "parameters": {"binary_data_output": 1}},
        {"inputs": COLUMNS, "outputs": [{"name": "predict", "parameters": {"binary_data": "yes"}}]},
        {"inputs": []},
        {"inputs": [tensor("a", [1, 2]), tensor("b", [3])]},
        *[beside_b({**tensor("a", [1]), "shape": shape}) for shape in ([], [-1], [0], [1, 1, 1], [1, 2], [1, -1])],
        {"inputs": [tensor("a", [], shape=[0, 1]), tensor("b", [], shape=[0, 1])]},
        *[{"inputs": [tensor("features", [1, 2], shape=shape)]} for shape in ([2], [2, 1], [-1, 2], [2**62, 2])],
        {"inputs": [tensor("features", [1, 2, 3], shape=[1, 3])]},
        ({"inputs": [binary("features", 32, [2**62, 2])]}, DOUBLES),
        *[({"inputs": [binary("features", size, [2, 2])]}, DOUBLES) for size in (33, 2**63, -32, True, "32", 24)],
        (beside_b(binary("a", size=True, shape=[1], datatype="INT8")), b"\1"),
        ({"inputs": [binary("features", 16, [1, 2])]}, DOUBLES),
        ({"inputs": COLUMNS}, b"\0"),
        ({"inputs": [{**binary("features", 32, [2, 2]), "data": [1, 2, 3, 4]}]}, DOUBLES),
        {"inputs": [{"name": "features", "shape": [2, 2], "datatype": "FP64"}]},
        {"inputs": [{**binary("features", 32, [2, 2]), "parameters": {"shared_memory_region": "x"}}]},
    ],
    "unknown_field": [
        {"inputs": COLUMNS, "outputs": [{"name": "other"}]},
        {"inputs": [*COLUMNS, tensor("c", [1, 2])]},
        {"inputs": [*COLUMNS, COLUMNS[0]]},
        {"inputs": [tensor("features", [1, 3], shape=[1, 2]), *COLUMNS]},
    ],
    "missing": [{"inputs": COLUMNS[:1]}, beside_b(tensor("a", [None]))],
    "not_a_number": [
        beside_b(tensor("a", [True])),
        beside_b(tensor("a", ["1"])),
        beside_b(tensor("a", ["1"], "BYTES")),
        ({"inputs": [binary("features", 4, [2, 2], "BOOL")]}, b"\0\0\0\0"),
    ],
    "not_finite": [
        beside_b(tensor("a", [math.nan])),
        beside_b(tensor("a", [1e300], "FP32")),
        {"inputs": [tensor("features", [1, math.inf], shape=[1, 2])]},
        ({"inputs": [binary("features", 32, [2, 2])]}, struct.pack("<4d", 1, math.nan, 3, 4)),
    ],
}


@pytest.mark.parametrize(("kind", "request_"), [(kind, each) for kind, found in REFUSED.items() for each in found])
def test_request_of_another_form_is_refused(kind: str, request_: Any) -> None:
    document, data = request_ if isinstance(request_, tuple) else (request_, b"")
    with pytest.raises(InvalidRecordError) as caught:
        decode(document, data)
    assert caught.value.kind == kind


def test_length_of_the_json_may_be_that_of_the_body() -> None:
    document = json.dumps({"inputs": COLUMNS}).encode()
    assert rows(decode(document, b"", len(document))) == rows(decode(document))


@pytest.mark.parametrize("json_bytes", [0, 5, 10**17])
def test_length_of_the_json_that_lies_is_refused(json_bytes: int) -> None:
    with pytest.raises(InvalidRecordError):
        decode({"inputs": COLUMNS}, b"", json_bytes)


@pytest.mark.parametrize("shape", [[0, 2], [-1, 2], [2, -2], [4], [2, 2, 1]])
def test_shape_that_is_wrong_is_reported_with_the_right_one(shape: list[int]) -> None:
    with pytest.raises(InvalidRecordError, match=r"must be \[n, 2\] with n of at least 1"):
        decode({"inputs": [tensor("features", [1, 2, 3, 4], shape=shape)]})


def test_rows_of_problems_are_reported_in_the_matrix_too() -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decode({"inputs": [tensor("features", [1, 2, 3, "4"], shape=[2, 2])]})
    assert (caught.value.field, caught.value.row) == ("b", 1)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (SCHEMA, r"takes a, b; .*; all may be a single tensor named features with the shape \[n, 2\]$"),
        (GROWN, r"takes a, b, c; .*; all may be a single tensor named features with the shape \[n, 1\] to \[n, 2\]$"),
        (
            TYPED,
            r"^unknown inputs: input-1; the model takes city, rooms, furnished, area \(m²\), heating; extra_columns=",
        ),
    ],
)
def test_tensor_of_another_name_is_refused_with_the_names_that_are_accepted(
    schema: FeatureSchema, expected: str
) -> None:
    with pytest.raises(InvalidRecordError, match=expected):
        decode({"inputs": [tensor("input-1", [1, 2], shape=[1, 2])]}, schema=schema)


IDS = tensor("id", ["x", "ü"], "BYTES")


@pytest.mark.parametrize("extra", [ExtraColumns.IGNORE, ExtraColumns.KEEP])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("inputs", [COLUMNS, [tensor("features", [1, 3, 2, 4.5], shape=[2, 2])]])
def test_tensors_of_other_names_are_ignored_or_kept(inputs: list[Any], place: int, extra: ExtraColumns) -> None:
    document = {"inputs": [*inputs[:place], IDS, *inputs[place:]]}
    with pytest.raises(InvalidRecordError, match="unknown inputs"):
        decode(document)
    found = decode(document, extra=extra)
    assert rows(found) == [(1.0, 3.0), (2.0, 4.5)]
    if extra is ExtraColumns.KEEP:
        assert found.kept["id"] == ([2], "BYTES", ["x", "ü"])
        assert list(found.outputs) == [*OUTPUTS, "id"]
    else:
        assert (found.kept, list(found.outputs)) == ({}, list(OUTPUTS))


def test_binary_tensors_of_other_names_keep_the_place_of_the_others() -> None:
    data = struct.pack("<2q", 7, 8) + DOUBLES
    document = {"inputs": [binary("id", 16, [2], "INT64"), binary("a", 16, [2]), binary("b", 16, [2])]}
    kept = decode(document, data, extra=ExtraColumns.KEEP)
    assert rows(kept) == rows(decode(document, data, extra=ExtraColumns.IGNORE)) == [(1.0, 3.0), (2.0, 4.5)]
    assert kept.kept["id"][2].tolist() == [7, 8]  # type: ignore[union-attr] # an array


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (tensor("id", [1]), "the same number of rows"),
        (tensor("id", [1, 2], shape=[2, 1, 1]), r"the shape of id must be \[n\] or \[n, k\]"),
        (tensor("id", [], shape=[2, 0]), r"the shape of id must be \[n\] or \[n, k\]"),
        (tensor("id", [1, "x"]), "of its datatype"),
        (tensor("id", [1, 2], "BYTES"), "of its datatype"),
        (tensor("id", [1, 2], "BOOL"), "of its datatype"),
        (tensor("id", [1, None], "INT64"), "of its datatype"),
        (tensor("id", [1, 2], "zq7"), "of its datatype"),
        (binary("id", 8, [2], "zq7"), "the datatype of id is unknown"),
        (tensor("predict", [1, 2]), "none of them predict or predict_proba"),
        (tensor("a", [1, 2]), "each column must be given once"),
    ],
)
def test_tensor_that_cannot_be_kept_is_refused(other: Any, message: str) -> None:
    data = b"\0" * 8 if "data" not in other else b""
    with pytest.raises(InvalidRecordError, match=message):
        decode({"inputs": [*COLUMNS, other]}, data, extra=ExtraColumns.KEEP)


def test_two_kept_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRecordError, match="different names"):
        decode({"inputs": [*COLUMNS, IDS, IDS]}, extra=ExtraColumns.KEEP)


def test_kept_tensor_may_be_requested_alone() -> None:
    document = {"inputs": [*COLUMNS, IDS], "outputs": [{"name": "id", "parameters": {"binary_data": True}}]}
    assert decode(document, extra=ExtraColumns.KEEP).outputs == {"id": True}
    with pytest.raises(InvalidRecordError, match="unknown outputs"):
        decode(document, extra=ExtraColumns.IGNORE)
