import json
from typing import Any

from src.core.feature_schema import FeatureSchema
from src.serving.tables.json_rows import json_rows
from src.serving.tables.parts import PART_BYTES, Rows
from src.serving.tables.problems import InvalidRecordError

SCHEMA = FeatureSchema.of_numbers("a", "b")


def parts_of(records: list[dict[str, Any]]) -> list[Any]:
    return list(json_rows(SCHEMA, bytearray(json.dumps(records).encode()), None))


def test_long_list_is_read_in_parts() -> None:
    records = [{"a": float(index), "b": 0.5} for index in range(5 * PART_BYTES // 20)]
    parts = parts_of(records)
    assert len(parts) > 2
    assert all(isinstance(part, Rows) for part in parts)
    assert [value for part in parts for value in part.table.columns[0]] == [record["a"] for record in records]


def test_problems_of_every_part_are_reported_with_their_rows() -> None:
    records: list[dict[str, Any]] = [{"a": 1.0, "b": 2.0} for _ in range(5 * PART_BYTES // 20)]
    wrong = [3, len(records) - 1]
    for row in wrong:
        records[row]["a"] = "x"
    problems = [item for part in parts_of(records) if isinstance(part, InvalidRecordError) for item in part.problems]
    assert [problem.row for problem in problems] == wrong
