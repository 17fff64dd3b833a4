"""Batches in every format that ``/predict/batch`` takes, and its answers."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.core.feature_table import FeatureTable
from src.serving.tables.json_rows import json_rows
from src.serving.tables.parts import Format
from src.serving.tables.problems import InvalidRecordError
from tests.support.models import COLUMNS

Records = list[dict[str, Any]]

# Names with what each format must quote.
MIXED = FeatureSchema(
    (
        Column('length, in "cm"'),
        Column("width", required=False),
        Column("count", ColumnType.INTEGER, mlflow_type="long"),
        Column("rank", ColumnType.INTEGER, required=False, mlflow_type="integer"),
        Column("wild", ColumnType.BOOLEAN),
        Column("tame", ColumnType.BOOLEAN, required=False),
        Column("colour", ColumnType.STRING),
        Column("note", ColumnType.STRING, required=False),
    )
)
GOOD = {'length, in "cm"': 1.5, "count": 2, "wild": True, "colour": "red"}


def many(count: int) -> Records:
    """Random rows for a model of Iris."""
    values = np.random.default_rng(3).uniform(0.1, 7.9, (count, len(COLUMNS))).round(3)
    return [dict(zip(COLUMNS, row, strict=True)) for row in values.tolist()]


def as_json(records: Records) -> bytes:
    return json.dumps(records).encode()


def as_columns(records: Records) -> bytes:
    names = {name: None for record in records for name in record}
    return json.dumps({name: [record.get(name) for record in records] for name in names}).encode()


def as_ndjson(records: Records) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def as_csv(records: Records) -> bytes:
    names = list({name: None for record in records for name in record})
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def as_arrow(records: Records) -> pa.Table:
    names = {name: None for record in records for name in record}
    return pa.table({name: [record.get(name) for record in records] for name in names})


def stream_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def file_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, **options)
    return sink.getvalue()


# What can hold any value in any column.
TEXTS: Mapping[str, tuple[Format, Callable[[Records], bytes]]] = {
    "json": (Format.JSON, as_json),
    "columns": (Format.JSON, as_columns),
    "ndjson": (Format.NDJSON, as_ndjson),
    "csv": (Format.CSV, as_csv),
}
FORMS: Mapping[str, tuple[Format, Callable[[Records], bytes]]] = {
    **TEXTS,
    "stream": (Format.ARROW_STREAM, lambda records: stream_of(as_arrow(records))),
    "file": (Format.ARROW_FILE, lambda records: file_of(as_arrow(records))),
    "parquet": (Format.PARQUET, lambda records: parquet_of(as_arrow(records))),
}


def mixed_records(count: int) -> Records:
    generator = np.random.default_rng(7)
    texts = ["red", "ß", 'a,"]}b', '}, {"x": [', "\\", "line\nbreak", "'", "🌷"]
    return [
        {
            'length, in "cm"': float(generator.normal()),
            "width": None if index % 3 else float(index),
            "count": int(generator.integers(-(2**62), 2**62)),
            "rank": None if index % 5 else index,
            "wild": bool(index % 2),
            "tame": None if index % 2 else True,
            "colour": texts[index % len(texts)],
            "note": None if index % 7 else texts[(index * 3) % len(texts)],
        }
        for index in range(count)
    ]


def table_of(response: httpx.Response) -> pa.Table:
    """An answer in one of the binary formats."""
    body = pa.BufferReader(response.content)
    match response.headers["Content-Type"]:
        case Format.ARROW_STREAM:
            return pa.ipc.open_stream(body).read_all()
        case Format.ARROW_FILE:
            return pa.ipc.open_file(body).read_all()
    return pa.parquet.read_table(body)


def answers_of(response: httpx.Response) -> Records:
    """The answers by column, whatever the format: kept columns, the prediction and its probabilities."""
    assert response.status_code == 200, response.text
    kind = response.headers["Content-Type"].partition(";")[0]
    if kind == Format.CSV:
        rows = list(csv.DictReader(io.StringIO(response.text)))
        return [{name: float(text) if "probability_" in name else text for name, text in row.items()} for row in rows]
    if kind == Format.JSON:
        return [flat(item) for item in response.json()["predictions"]]
    if kind == Format.NDJSON:
        return [flat(json.loads(line)) for line in response.text.splitlines()]
    found: Records = table_of(response).to_pylist()
    return found


def flat(answer: dict[str, Any]) -> dict[str, Any]:
    """A JSON answer by column."""
    shares = {f"probability_{name}": share for name, share in answer.get("probabilities", {}).items()}
    return {**answer.get("extra_columns", {}), "prediction": answer["prediction"], **shares}


def listed(schema: FeatureSchema, body: bytes) -> FeatureTable:
    """The rows of a short JSON array."""
    (part,) = json_rows(schema, bytearray(body), None)
    assert not isinstance(part, int)
    if isinstance(part, InvalidRecordError):
        raise part
    return part.table
