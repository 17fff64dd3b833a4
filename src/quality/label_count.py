"""Counts the labels of a store."""

from datetime import datetime

from src.quality.live_quality import Resources
from src.quality.parquet_store import ParquetStore

_COUNT = """
SELECT count(*) FROM (
    SELECT DISTINCT request_id, key FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
    WHERE received >= ?
)
"""


def labels_since(store: ParquetStore, since: datetime, resources: Resources) -> int:
    """How many predictions, or keys of the team's, have got a label from a time on; one that is sent twice counts once.

    Args:
        store: the labels of a model.
        since: compared with the time of receipt.
        resources: for counting.

    Raises:
        duckdb.Error: a file cannot be read, or the resources do not suffice.
    """
    paths = store.paths(since)
    if not paths:
        return 0
    with resources.connect() as connection:
        row = connection.execute(_COUNT, [paths, since]).fetchone()
    return 0 if row is None else int(row[0])
