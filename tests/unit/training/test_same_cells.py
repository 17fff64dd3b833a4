"""A cell of a CSV file means the same to training, to ``/predict/batch`` and to ``/invocations``."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.core.column_rules import BOOLEAN_TEXTS, MISSING_TEXTS
from src.core.dataset_config import DatasetConfig
from src.core.feature_schema import ColumnType
from src.serving.protocols.mlflow_scoring import decode_csv
from src.serving.tables.csv_rows import csv_rows
from src.serving.tables.parts import ExtraColumns
from src.serving.tables.problems import InvalidRecordError
from src.training.check_columns import check_columns
from src.training.sources import read

pytestmark = pytest.mark.slow

FEATURES = {
    "number": {"type": "number", "missing": True},
    "integer": {"type": "integer", "missing": True},
    "flag": {"type": "boolean", "missing": True},
    "region": {"type": "category", "missing": True, "values": ["NA", "EU", " x", "1"]},
    "free": {"type": "category", "missing": True},
    "since": {"type": "date", "missing": True},
}
WRONG = "wrong"
NUMBERS = ["0", "-0", "1", "+1", "1.0", "3.", ".5", "1e3", "1e39", "-1e400", "inf", "nan", "1_0", "0x1", "٣", "1,5"]
WHOLE = ["9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775808", "3e18", "1e-3", "007"]
DATES = [
    "2024-02-29",
    "2023-02-29",
    "2024-02-29T12:00:00Z",
    "2024-02-29 12:00+01:00",
    "20240229",
    "19782",
    "0001-01-01",
]
NAMES = ["EU", "US", " x", "x", "x ", "eu", "a b", 'say "hi"', "line\nbreak", "a,b", "true", "\u00a0EU"]
TEXTS = st.sampled_from([*NUMBERS, *WHOLE, *DATES, *NAMES, *sorted(MISSING_TEXTS), *BOOLEAN_TEXTS, "Yes", "NO", "y"])
SPACES = st.sampled_from(["", " ", "  ", "\t"])
CELLS = st.one_of(
    st.tuples(SPACES, TEXTS, SPACES).map("".join),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6),
    st.text(alphabet="0123456789.-+eET:Z ", max_size=10),
)


def dataset_of(file: Path) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "source": str(file),
            "target": "target",
            "features": FEATURES,
            "classes": ["a", "b"],
            "min_rows_per_class": 2,
            "duplicates": "keep",
        }
    )


def as_trained(dataset: DatasetConfig) -> dict[str, Any]:
    """What training makes of the file's one row: values, None where one is missing, or that it is wrong."""
    found = {}
    for column in check_columns(read(dataset, clock=lambda: 2e9).frame, dataset):
        if column.cells.missing[0]:
            found[column.name] = None
        elif column.cells.wrong[0] and column.name != "region":  # serving takes other texts, as unknown ones
            found[column.name] = WRONG
        else:
            value = column.cells.values[0]
            found[column.name] = value.item() if isinstance(value, np.generic) else value
    return found


def as_served(dataset: DatasetConfig, body: bytes, *, invocations: bool) -> dict[str, Any]:
    schema = dataset.feature_schema
    try:
        if invocations:
            table = decode_csv(schema, body)
        else:
            (part,) = csv_rows(schema, bytearray(body), ExtraColumns.IGNORE)
            if isinstance(part, InvalidRecordError):
                raise part
            table = part.table
    except InvalidRecordError as error:
        return {str(problem.field): WRONG for problem in error.problems}
    return dict(zip(schema.names, table.row(0), strict=True))


def file_of(cells: dict[str, str], *, quoted: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerows([[*cells, "target"], [*cells.values(), "a"]])
    return text.getvalue()


def compare(folder: Path, cells: dict[str, str], *, quoted: bool) -> None:
    file = folder / "rows.csv"
    body = file_of(cells, quoted=quoted)
    file.write_text(body, encoding="utf-8", newline="")
    dataset = dataset_of(file)
    trained = {name: value for name, value in as_trained(dataset).items() if name in cells}
    wrong = {name for name, value in trained.items() if value == WRONG and FEATURES[name]["type"] != "category"}
    for invocations in (False, True):
        served = as_served(dataset, body.encode(), invocations=invocations)
        if wrong:
            assert set(served) == wrong, (trained, served)
        else:
            types = {name: type(value) for name, value in served.items()}
            assert (served, types) == (trained, {name: type(value) for name, value in trained.items()})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries(dict.fromkeys(FEATURES, CELLS)), st.booleans())
def test_a_row_of_any_cells_means_the_same_everywhere(tmp_path: Path, cells: dict[str, str], quoted: bool) -> None:  # noqa: FBT001
    compare(tmp_path, cells, quoted=quoted)


@pytest.mark.parametrize("name", FEATURES)
def test_every_odd_text_means_the_same_everywhere(tmp_path: Path, name: str) -> None:
    spaced = [f" {text} " for text in [*NUMBERS, *WHOLE, *DATES, *sorted(MISSING_TEXTS), *BOOLEAN_TEXTS]]
    for cell in [*spaced, *NAMES]:
        compare(tmp_path, {**dict.fromkeys(FEATURES, ""), name: cell}, quoted=True)


def test_schema_has_the_types_of_the_configuration(tmp_path: Path) -> None:
    kinds = {column.name: column.type for column in dataset_of(tmp_path / "x.csv").feature_schema.columns}
    assert list(kinds.values()) == [
        ColumnType.NUMBER,
        ColumnType.INTEGER,
        ColumnType.BOOLEAN,
        ColumnType.STRING,
        ColumnType.STRING,
        ColumnType.DATE,
    ]
