"""Batches in every format that ``/predict/batch`` takes."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.serving.tables.formats import Format

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
