"""The queries of the join of log and labels. Times are microseconds since 1970-01-01 UTC."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from src.quality.parquet_files import as_pattern
from src.quality.segments import PROBABILITY

# Of an empty log, and of empty labels.
_NO_LOG = (
    "SELECT NULL::VARCHAR AS request_id, NULL::VARCHAR AS key, NULL::BIGINT AS time, NULL::VARCHAR AS version, "
    "NULL::VARCHAR AS role, NULL::DOUBLE AS rate, NULL::VARCHAR AS prediction WHERE false"
)
_NO_LABELS = (
    "SELECT NULL::VARCHAR AS request_id, NULL::VARCHAR AS key, NULL::VARCHAR AS label, NULL::BIGINT AS time, "
    "NULL::BIGINT AS received WHERE false"
)
# What the views select of the files' columns.
LOG_COLUMNS = {
    "request_id": "{0} AS request_id",
    "key": "{0}::VARCHAR AS key",
    "time": "epoch_us({0}) AS time",
    "model_version": "{0} AS version",
    "role": "{0} AS role",
    "rate": "{0} AS rate",
    "prediction": "{0} AS prediction",
}
_LABELS = {
    "request_id": "{0}::VARCHAR AS request_id",
    "key": "{0}::VARCHAR AS key",
    "label": "{0} AS label",
    "time": "epoch_us({0}::TIMESTAMPTZ) AS time",
    "received": "epoch_us({0}) AS received",
}
# Labels by id: the newest counts. A label by key belongs to the request of the newest row with that key that is not
# later than the label; of the labels of a request, the newest counts. Of labels received at the same time, the one that
# became true last counts, else the last by alphabet. Each row of the request, one for each version that answered it,
# gets it. Keys are numbered, as sorting millions of texts takes several times longer.
JOIN = """
CREATE TEMP TABLE id_labels AS
    SELECT request_id, max_by(label, (received, true_at, label)) AS label, max(received) AS received,
        max_by(true_at, (received, true_at, label)) AS true_at
    FROM (SELECT *, coalesce(time, received) AS true_at FROM labels) WHERE request_id IS NOT NULL GROUP BY request_id;
CREATE TEMP TABLE keys AS
    SELECT key, row_number() OVER () AS number
    FROM (SELECT DISTINCT key FROM labels WHERE request_id IS NULL AND key IS NOT NULL);
CREATE TEMP TABLE key_labels AS
    SELECT number, label, received, coalesce(time, received) AS true_at
    FROM labels JOIN keys USING (key) WHERE request_id IS NULL;
CREATE TEMP TABLE keyed AS
    SELECT number, time, request_id FROM log JOIN keys USING (key);
CREATE TEMP TABLE timed AS
    SELECT key_labels.*, keyed.time
    FROM key_labels ASOF LEFT JOIN keyed ON key_labels.number = keyed.number AND key_labels.true_at >= keyed.time;
CREATE TEMP TABLE by_key AS
    SELECT timed.*, found.request_id
    FROM timed LEFT JOIN (
        SELECT number, time, max(request_id) AS request_id
        FROM keyed SEMI JOIN timed USING (number, time) GROUP BY number, time
    ) AS found USING (number, time);
CREATE TEMP TABLE labelled AS
    SELECT log.*, truth.label, truth.received
    FROM log JOIN (
        SELECT request_id, max_by(label, (received, true_at, label)) AS label, max(received) AS received
        FROM (
            SELECT request_id, label, received, true_at FROM id_labels
            UNION ALL BY NAME
            SELECT request_id, label, received, true_at FROM by_key WHERE request_id IS NOT NULL
        ) GROUP BY request_id
    ) AS truth USING (request_id);
CREATE TEMP TABLE fates AS
    SELECT request_id, received, request_id IN (SELECT request_id FROM labelled) AS matched FROM id_labels
    UNION ALL BY NAME
    SELECT NULL AS request_id, max(received) AS received, request_id IS NOT NULL AS matched
    FROM by_key GROUP BY number, by_key.request_id;
"""
VERSIONS = """
SELECT version, role, min(time), max(time) FROM log
GROUP BY ALL ORDER BY max(time) DESC, version, role LIMIT $limit
"""
# Of the labels received in a period: those that match, those that may still, and the late ones by key and by id.
FATE_COUNTS = """
SELECT count(*) FILTER (matched), count(*) FILTER (NOT matched AND received > $late),
    count(*) FILTER (NOT matched AND received <= $late AND request_id IS NULL),
    count(*) FILTER (NOT matched AND received <= $late AND request_id IS NOT NULL)
FROM fates WHERE received >= $since
"""
LATE_IDS = """
SELECT request_id FROM fates
WHERE NOT matched AND received <= $late AND received >= $since AND request_id IS NOT NULL
ORDER BY hash(request_id) LIMIT $limit
"""
NEWEST_ROWS = """
SELECT * FROM labelled WHERE version = $version AND role = $role
ORDER BY received DESC, hash(request_id) LIMIT $limit
"""
SAMPLED_ROWS = """
SELECT * FROM labelled WHERE version = $version AND role = $role AND time >= $start
ORDER BY hash(request_id) LIMIT $limit
"""
# Rows with or without a label, which is not read.
NEWEST_LOGGED = """
SELECT *, prediction AS label FROM log WHERE version = $version AND role = 'champion'
ORDER BY time DESC, hash(request_id) LIMIT $limit
"""
SAMPLED_LOGGED = """
SELECT *, prediction AS label FROM log WHERE version = $version AND role = 'champion' AND time >= $start
ORDER BY hash(request_id) LIMIT $limit
"""

# Rows that two versions have answered, one of them as a shadow, in the order in which their labels arrived. Rows with
# the same key or request id depend on each other, so that only the first of them counts. The shadow of a canary is the
# champion.
PAIRED_ROWS = """
SELECT new.label AS truth, new.prediction AS new, previous.prediction AS previous{shares}
FROM labelled AS new JOIN labelled AS previous USING (request_id, time)
WHERE new.version = $version AND previous.version = $previous AND time >= $start
    AND ((new.role = $role AND previous.role = $previous_role) OR (new.role = 'canary' AND previous.role = 'shadow'))
QUALIFY row_number() OVER (PARTITION BY new.key IS NULL, coalesce(new.key, request_id)
    ORDER BY new.received, request_id, time, new.prediction, previous.prediction) = 1
ORDER BY new.received, request_id LIMIT $limit
"""

ANSWERED = "SELECT count(*) FROM log WHERE version = $version AND role = $role AND time >= $start"


def paired_rows(shares: Iterable[str]) -> str:
    """``PAIRED_ROWS``, with these columns of the probabilities: ``new_…`` and ``previous_…``."""
    return PAIRED_ROWS.format(
        shares="".join(f", new.{name} AS new_{name}, previous.{name} AS previous_{name}" for name in shares)
    )


def log_query(files: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The rows of the log's files, and the names of the columns of the probabilities, by class.

    The names of classes and features differ between versions, and may be anything, even differ in case only, which
    DuckDB ignores. So columns are selected by place, files with the same columns at once, and features are left out.
    """
    columns: dict[str, str] = {}
    parts = []
    for schema, group in by_schema(files).items():
        selected = dict(LOG_COLUMNS)
        for name in schema.names:
            if name.startswith(PROBABILITY):
                column = columns.setdefault(name.removeprefix(PROBABILITY), f"share_{len(columns)}")
                selected[name] = f"{{0}} AS {column}"
        parts.append(selection(schema.names, group, selected))
    return " UNION ALL BY NAME ".join(parts) or _NO_LOG, columns


def labels_query(files: Sequence[str]) -> str:
    """The rows of the labels' files."""
    parts = [selection(schema.names, group, _LABELS) for schema, group in by_schema(files).items()]
    return " UNION ALL BY NAME ".join(parts) or _NO_LABELS


def starts_table(windows: Sequence[str]) -> str:
    """Create the table of the versions in the report, with the starts of their windows."""
    starts = ", ".join(f"{name} BIGINT" for name in windows)
    return f"CREATE OR REPLACE TEMP TABLE starts(version VARCHAR, role VARCHAR, {starts})"


def insertion(windows: Sequence[str]) -> str:
    """Insert a row into that table."""
    return f"INSERT INTO starts VALUES (?, ?{', ?' * len(windows)})"  # noqa: S608 - of placeholders


def counts_query(table: str, windows: Sequence[str], *, by_class: bool) -> str:
    """Count rows by version, predicted class and window."""
    counts = ", ".join(f"count(*) FILTER (time >= {name})" for name in windows)
    prediction = "prediction" if by_class else "''"
    return f"SELECT version, role, {prediction}, {counts} FROM {table} JOIN starts USING (version, role) GROUP BY ALL"  # noqa: S608 - of constants


def delays_query(windows: Sequence[str]) -> str:
    """The median microseconds from prediction to label, by version and window."""
    medians = ", ".join(f"median(received - time) FILTER (time >= {name})" for name in windows)
    return f"SELECT version, role, {medians} FROM labelled JOIN starts USING (version, role) GROUP BY ALL"  # noqa: S608 - of constants


def by_schema(files: Sequence[str]) -> dict[pa.Schema, list[str]]:
    """The files by the names and types of their columns."""
    found: dict[pa.Schema, list[str]] = {}
    for file in files:
        found.setdefault(pq.read_schema(file).remove_metadata(), []).append(file)
    return found


def selection(
    names: Sequence[str], files: Sequence[str], selected: dict[str, str], constants: Sequence[str] = ()
) -> str:
    """The query for some columns of files that have the same ones, and for constants."""
    paths = ", ".join("'" + as_pattern(file).replace("'", "''") + "'" for file in files)
    places = ", ".join(f"c{place}" for place in range(len(names)))
    read = [selected[name].format(f"c{place}") for place, name in enumerate(names) if name in selected]
    values = ", ".join([*read, *constants])
    return f"SELECT {values} FROM read_parquet([{paths}], hive_partitioning = false) AS file({places})"  # noqa: S608 - of places and quoted paths
