"""Finds the files to score, and reads them in chunks of raw cells."""

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from arro3.core import Array, Schema
from numpy.typing import NDArray

from src.core.column_rules import MISSING_TEXTS
from src.core.dataset_config import CsvFormat
from src.core.errors import DataError
from src.core.feature_schema import Column, ColumnType, FeatureSchema
from src.services.batch.objects import ObjectPath, ObjectTable, path_of
from src.serving.tables.arrow_reader import places_in, read_array
from src.serving.tables.columns import Problems, read_texts
from src.serving.tables.parts import ExtraColumns
from src.serving.tables.problems import InvalidRecordError
from src.training.csv_source import csv_parts
from src.training.data_files import TableFile, duplicates_of, format_of, is_data, is_data_name, lacks, refuse_copies

# Rows that are read from Parquet, and predicted, at a time.
CHUNK_ROWS = 10_000
SAMPLE_BYTES = 65_536
# A decimal comma becomes a point; a point becomes a comma, which no number has.
SWAPPED = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class InputFile:
    """A file to score, with its size and its time of change, which change when the file does."""

    path: Path | ObjectPath
    size: int
    changed_ns: int

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.name

    @property
    def table(self) -> TableFile:
        """The same for the readers."""
        kind = format_of(self.name) or "csv"
        if isinstance(self.path, ObjectPath):
            return ObjectTable(str(self.path), Path(self.name), kind, self.path)
        return TableFile(str(self.path), self.path, kind)


class Chunk(NamedTuple):
    """Some rows of a file, not checked, and the rule that checks a column of them."""

    rows: pa.RecordBatch
    read: Callable[[Column, pa.Array, Problems], NDArray[Any]]


def find_inputs(source: str) -> list[InputFile]:
    """The files of a path, a folder or a glob, with absolute paths, in the order of their names.

    ``s3://`` is an object, or all objects directly below a prefix. In a folder, below a prefix, or where a glob
    matches, hidden files and files of other kinds do not count.

    Raises:
        DataError: there are none, one is there compressed and not, or two have the same name.
        ConfigError: the bucket does not exist, or access is refused.
        ConnectionFailedError: the object store does not answer.
    """
    place = path_of(source)
    files = _objects(place) if isinstance(place, ObjectPath) else _local(source, place)
    if not files:
        raise DataError(f"{source} has no .csv, .tsv or .parquet file (also .gz)")
    refuse_copies([str(file.path) for file in files])
    if twice := [name for name, count in Counter(output_name(file.name) for file in files).items() if count > 1]:
        raise DataError(f"{source} has several files for the output {twice[0]}; score their folders one by one")
    return files


def _objects(place: ObjectPath) -> list[InputFile]:
    return [InputFile(path, info.size, info.changed_ns) for path, info in place.find() if is_data_name(path.name)]


def _local(source: str, path: Path) -> list[InputFile]:
    if path.is_dir():
        found = list(path.iterdir())
    elif path.exists():
        if format_of(path.name) is None:
            raise DataError(f"{source} must be a .csv, .tsv or .parquet file (also .gz)")
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(source, recursive=True)]  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [item.resolve() for item in sorted(found) if is_data(item)]
    return [InputFile(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def output_name(name: str) -> str:
    """The name of the output for an input of this name."""
    return name if name.endswith(".parquet") else f"{name}.parquet"


def count_rows(file: InputFile) -> int:
    """The number of rows of a Parquet file, or about that of a CSV file.

    Raises:
        DataError, LoopError: the file cannot be read.
    """
    with file.table.open() as stream:
        if file.table.format == "parquet":
            try:
                return int(pq.read_metadata(stream).num_rows)
            except pa.ArrowException as error:
                raise _not_parquet(file, error) from error
        sample = stream.read(SAMPLE_BYTES)
    return file.size * sample.count(b"\n") // max(1, len(sample))


def chunks_of(file: InputFile, schema: FeatureSchema, ids: Sequence[str], csv: CsvFormat) -> Iterator[Chunk]:
    """Read the columns of a model, as far as they are there, and those of ids. The first chunk may have no rows.

    Raises:
        DataError: the file cannot be read, lacks a column, or has one whose type does not fit.
        LoopError: its disk fails; trying again may help.
    """
    if file.table.format == "parquet":
        yield from _parquet_chunks(file, schema, ids)
        return
    columns = list(dict.fromkeys([*ids, *schema.names]))
    optional = [column.name for column in schema.columns if not column.required and column.name not in ids]
    for rows in csv_parts(file.table, columns, csv, optional):
        yield Chunk(rows, _read_points if csv.decimal == "." else _read_commas)


def _parquet_chunks(file: InputFile, schema: FeatureSchema, ids: Sequence[str]) -> Iterator[Chunk]:
    with file.table.open() as stream:
        try:
            parquet = pq.ParquetFile(stream)
            kind = parquet.schema_arrow
            columns = _columns_of(file, kind, schema, ids)
            empty = kind.empty_table().select(columns)
            yield Chunk(pa.RecordBatch.from_pylist([], empty.schema), _read_arrow)
            for rows in parquet.iter_batches(CHUNK_ROWS, columns=columns):
                yield Chunk(rows.select(columns), _read_arrow)
        except pa.ArrowException as error:
            raise _not_parquet(file, error) from error


def _columns_of(file: InputFile, kind: pa.Schema, schema: FeatureSchema, ids: Sequence[str]) -> list[str]:
    """The columns to read."""
    needed = [*ids, *(column.name for column in schema.columns if column.required)]
    if not set(needed) <= set(kind.names):
        raise DataError(lacks(str(file.path), kind.names, needed))
    wanted = dict.fromkeys([*ids, *schema.names])
    if twice := duplicates_of([name for name in kind.names if name in wanted]):
        raise DataError(f"{file.path} has the columns {', '.join(twice)} more than once; rename one of them")
    try:
        places_in(Schema.from_arrow(kind), schema, ExtraColumns.IGNORE)
    except InvalidRecordError as error:
        raise DataError(f"{file.path}: {'; '.join(map(str, error.problems))}") from error
    return [name for name in wanted if name in kind.names]


def _read_arrow(column: Column, cells: pa.Array, problems: Problems) -> NDArray[Any]:
    plain = cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
    return read_array(column, Array.from_arrow(plain), problems)


def _read_points(column: Column, cells: pa.Array, problems: Problems) -> NDArray[Any]:
    return read_texts(column, cells.to_pylist(), problems)


def _read_commas(column: Column, cells: pa.Array, problems: Problems) -> NDArray[Any]:
    texts: list[str] = cells.to_pylist()
    if column.type is ColumnType.NUMBER:
        texts = [text if text.strip() in MISSING_TEXTS else text.translate(SWAPPED) for text in texts]
    return read_texts(column, texts, problems)


def _not_parquet(file: InputFile, error: Exception) -> DataError:
    return DataError(f"{file.path} is not a Parquet file that can be read: {' '.join(str(error).split())}")
