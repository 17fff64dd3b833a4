import json
from typing import Any

import pytest

from src.core.feature_schema import FeatureSchema
from src.serving.tables.json_rows import list_tables
from src.serving.tables.parts import PART_BYTES
from src.serving.tables.problems import InvalidRecordError
from src.serving.tables.records import RecordDecoder

DECODER = RecordDecoder(FeatureSchema.of_numbers("a", "b"))


def taken(records: list[dict[str, Any]]) -> tuple[int, list[list[float]]]:
    """How often the reader has let others have a turn, and the rows of each table's first column."""
    steps, turns = list_tables(DECODER, json.dumps(records).encode()), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return turns, [table.columns[0].tolist() for table in end.value]
        turns += 1


def test_long_list_lets_others_have_a_turn_after_each_part() -> None:
    records = [{"a": float(index), "b": 0.5} for index in range(5 * PART_BYTES // 20)]
    turns, tables = taken(records)
    assert len(tables) > 2
    assert turns == len(tables)
    assert [value for table in tables for value in table] == [record["a"] for record in records]


def test_problems_of_every_part_are_reported_with_their_rows() -> None:
    records: list[dict[str, Any]] = [{"a": 1.0, "b": 2.0} for _ in range(5 * PART_BYTES // 20)]
    wrong = [3, len(records) - 1]
    for row in wrong:
        records[row]["a"] = "x"
    with pytest.raises(InvalidRecordError) as caught:
        taken(records)
    assert [problem.row for problem in caught.value.problems] == wrong
