"""Requests and responses that are not text: Arrow, Parquet, and binary tensors of the Open Inference Protocol."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from benchmarks.servers.server import Rows

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
TENSORS = "application/octet-stream"
# The JSON in front of binary tensors is filled up with spaces to this length, so that one header fits every request.
JSON_BYTES = 256
TENSORS_HEADERS = {"inference-header-content-length": str(JSON_BYTES)}
LENGTH_BYTES = 4


def arrow_stream(columns: tuple[str, ...], rows: Rows) -> bytes:
    """Rows as an Arrow stream."""
    table, sink = _table(columns, rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_labels(answer: bytes) -> list[str]:
    """The column ``prediction`` of an Arrow stream."""
    return _labels(pa.ipc.open_stream(answer).read_all())


def parquet(columns: tuple[str, ...], rows: Rows) -> bytes:
    """Rows as a Parquet file with pyarrow's defaults."""
    sink = io.BytesIO()
    pa.parquet.write_table(_table(columns, rows), sink)
    return sink.getvalue()


def parquet_labels(answer: bytes) -> list[str]:
    """The column ``prediction`` of a Parquet file."""
    return _labels(pa.parquet.read_table(io.BytesIO(answer)))


def binary_tensor(columns: tuple[str, ...], rows: Rows) -> bytes:
    """The Open Inference Protocol, rows as one binary tensor; binary labels are requested."""
    data = np.array(rows, dtype="<f8").tobytes()
    size = {"binary_data_size": len(data)}
    shape = [len(rows), len(columns)]
    inputs = [{"name": "features", "shape": shape, "datatype": "FP64", "parameters": size}]
    outputs = [{"name": "predict", "parameters": {"binary_data": True}}]
    return json.dumps({"inputs": inputs, "outputs": outputs}).encode().ljust(JSON_BYTES) + data


def binary_tensor_labels(answer: bytes) -> list[str]:
    """The Open Inference Protocol, labels as the only binary tensor: each string follows its length."""
    header, position = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    labels = []
    for _ in range(header["outputs"][0]["shape"][0]):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(answer[position:start], "little")
        labels.append(answer[start:position].decode())
    return labels


def _table(columns: tuple[str, ...], rows: Rows) -> pa.Table:
    return pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))


def _labels(table: pa.Table) -> list[str]:
    return [str(label) for label in table["prediction"].to_pylist()]
