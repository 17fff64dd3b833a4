import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import Pool

from src.core.dataset_config import DatasetConfig
from src.core.errors import ConfigError, ConnectionFailedError, DataError
from src.training import sql_source
from src.training.check_rows import check_rows
from src.training.sources import read
from src.training.sql_source import read_sql, stream_sql


@pytest.fixture
def database(tmp_path: Path) -> SecretStr:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER, joined TEXT, amount REAL, plan TEXT, churned INTEGER)")
        rows = [
            (9007199254740993, "2026-01-01", 1.5, "gold", 1),
            (2, "2026-01-02T12:00", None, None, 0),
            (3, "2026-01-03", 3, "NA", 1),
        ]
        connection.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    return SecretStr(f"sqlite:///{file}")


def test_cells_are_the_objects_that_the_driver_gives(database: SecretStr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_source, "PART_ROWS", 2)
    frame = read_sql("SELECT * FROM customers ORDER BY id DESC", ["plan", "id", "amount"], database)
    assert frame.columns.to_list() == ["plan", "id", "amount"]
    assert frame.to_numpy().tolist() == [["gold", 9007199254740993, 1.5], ["NA", 3, 3.0], [None, 2, None]]
    assert [type(value) for value in frame["id"]] == [int, int, int]


def test_answer_is_checked_like_a_file(database: SecretStr) -> None:
    dataset = DatasetConfig.model_validate(
        {
            "source": "sql",
            "query": "SELECT *, joined AS day FROM customers",
            "target": "churned",
            "id": ["id"],
            "time": "joined",
            "features": {
                "amount": {"missing": True},
                "plan": {"type": "category", "values": ["gold", "NA"], "missing": True},
                "day": {"type": "date"},
            },
            "classes": ["0", "1"],
            "min_rows_per_class": 2,
            "duplicates": "keep",
        }
    )
    raw = read(dataset, database)
    assert [(file.name, file.rows) for file in raw.files] == [("sql", 3)]
    with pytest.raises(DataError, match=r"sql fails validation: fewer than dataset.min_rows_per_class = 2 rows: 0 1;"):
        check_rows(raw, dataset)
    rows = check_rows(raw, dataset.model_copy(update={"min_rows_per_class": 1})).frame
    days = (dt.date(2026, 1, 1) - dt.date(1970, 1, 1)).days
    assert rows["day"].to_list() == [days, days + 1.5, days + 2]
    assert rows["joined"].to_list() == rows["day"].to_list()
    assert rows["churned"].to_list() == ["1", "0", "1"]
    assert rows["plan"].to_list() == ["gold", None, "NA"]
    assert rows["id"].to_list() == ["9007199254740993", "2", "3"]


def test_numbers_of_two_types_stay_exact(database: SecretStr) -> None:
    frame = read_sql("SELECT 9007199254740993 AS id UNION ALL SELECT 0.5", ["id"], database)
    assert frame["id"].to_list() == [9007199254740993, 0.5]


@pytest.fixture
def open_connections() -> Iterator[list[object]]:
    """The open connections to databases."""
    found: list[object] = []
    listeners = {"connect": lambda opened, _: found.append(opened), "close": lambda closed, _: found.remove(closed)}
    for name, listener in listeners.items():
        event.listen(Pool, name, listener)
    yield found
    for name, listener in listeners.items():
        event.remove(Pool, name, listener)


def test_no_connection_is_left_open(database: SecretStr, open_connections: list[object]) -> None:
    read_sql("SELECT id FROM customers", ["id"], database)
    with pytest.raises(DataError):
        read_sql("SELECT * FROM nowhere", ["id"], database)
    assert open_connections == []


def test_colons_and_percent_signs_are_part_of_the_query(database: SecretStr, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(_: object, cursor: sqlite3.Cursor, statement: str, parameters: tuple[object], *__: object) -> None:
        cursor.execute(statement % tuple(parameters))  # as PyMySQL does

    monkeypatch.setattr(SQLiteDialect_pysqlite, "do_execute", execute)
    frame = read_sql("SELECT ':x %s' AS plan, id FROM customers WHERE plan LIKE '%ol%'", ["plan"], database)
    assert frame["plan"].to_list() == [":x %s"]


def test_no_rows_are_an_empty_frame(database: SecretStr) -> None:
    assert read_sql("SELECT * FROM customers WHERE id < 0", ["id"], database).shape == (0, 1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT id FROM customers", r"the result of dataset.query lacks the columns plan \(it has id\)"),
        ("SELECT id, plan, plan FROM customers", "has the columns plan more than once; rename one with AS"),
    ],
)
def test_columns_of_the_answer_are_checked(database: SecretStr, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_sql(query, ["id", "plan"], database)


def test_columns_that_are_not_read_may_be_there_twice(database: SecretStr) -> None:
    frame = read_sql("SELECT amount, amount, plan FROM customers WHERE id = 3", ["plan"], database)
    assert frame.to_numpy().tolist() == [["NA"]]


def test_statement_that_changes_something_changes_nothing(database: SecretStr) -> None:
    with pytest.raises(DataError, match=r"dataset\.query fails"):
        read_sql("DELETE FROM customers", ["id"], database)
    assert len(read_sql("SELECT id FROM customers", ["id"], database)) == 3


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "dataset.source is sql; set DATASET_URL"),
        ("host/secret-database", "DATASET_URL is not a SQLAlchemy URL such as mysql"),
        ("mysql+pymysql://ann:s3cret@host:port/x", "DATASET_URL is not a SQLAlchemy URL"),
        ("nosuch://ann:s3cret@host/x", "DATASET_URL is not a SQLAlchemy URL"),
        ("mysql://ann:s3cret@host/x", "begin it with mysql\\+pymysql://"),
        (
            "postgresql+psycopg2://ann:s3cret@host/x",
            "psycopg2; add its package with uv add --group preprocess PACKAGE, and with Docker run make up",
        ),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_being_shown(url: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_sql("SELECT 1", ["x"], None if url is None else SecretStr(url))
    assert "s3cret" not in str(caught.value)
    assert "secret-database" not in str(caught.value)
    assert caught.value.__suppress_context__ or url is None


def test_database_that_cannot_be_reached_is_worth_another_try_and_no_part_of_its_url_is_shown() -> None:
    url = SecretStr("mysql+pymysql://annabel:s3%20cret@no-such-host.invalid:3307/shop")
    with pytest.raises(
        ConnectionFailedError, match=r"the database of DATASET_URL failed: OperationalError: "
    ) as caught:
        read_sql("SELECT 1", ["x"], url)
    assert not caught.value.permanent
    said = str(caught.value)
    assert not [part for part in ("annabel", "s3", "no-such-host") if part in said]
    assert caught.value.__suppress_context__


def test_statement_that_fails_is_named_with_the_driver_s_reason(database: SecretStr) -> None:
    with pytest.raises(DataError, match=r"dataset\.query fails: OperationalError: no such table: nowhere"):
        read_sql("SELECT * FROM nowhere", ["x"], database)


def test_connection_that_is_lost_is_worth_another_try(database: SecretStr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SQLiteDialect_pysqlite, "is_disconnect", lambda *_: True)
    with pytest.raises(ConnectionFailedError, match="the database of DATASET_URL failed: OperationalError: no such"):
        read_sql("SELECT * FROM nowhere", ["x"], database)


def test_package_that_the_driver_lacks_is_a_matter_of_the_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise RuntimeError("'cryptography' is required for ann's\ns3cret")

    monkeypatch.setattr(pymysql, "connect", connect)
    with pytest.raises(ConfigError) as caught:
        read_sql("SELECT 1", ["x"], SecretStr("mysql+pymysql://ann:s3cret@db/shop"))
    assert str(caught.value) == "DATASET_URL cannot be used: RuntimeError: 'cryptography' is required for ***'s ***"
    assert caught.value.__suppress_context__


def test_drivers_message_is_masked_in_every_part_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "mysql+pymysql://ann:p%40ss%20word@db.example.com/shop"

    def connect(*_: object, **__: object) -> None:
        raise pymysql.err.ProgrammingError(
            1045, f"ann@db.example.com with p@ss word (p%40ss+word, p%40ss%20word, {url}) annex joann"
        )

    monkeypatch.setattr(pymysql, "connect", connect)
    with pytest.raises(ConnectionFailedError) as caught:
        read_sql("SELECT 1", ["x"], SecretStr(url))
    said = (
        "the database of DATASET_URL failed: ProgrammingError: (1045, '***@*** with *** (***, ***, ***) annex joann')"
    )
    assert str(caught.value) == said


def test_streamed_rows_have_every_column_of_the_result(database: SecretStr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_source, "PART_ROWS", 2)
    rows = stream_sql("SELECT id, plan AS label FROM customers ORDER BY id", database, "labels.query")
    assert list(rows) == [
        {"id": 2, "label": None},
        {"id": 3, "label": "NA"},
        {"id": 9007199254740993, "label": "gold"},
    ]


def test_streamed_rows_name_the_key_of_their_query_in_errors(database: SecretStr) -> None:
    with pytest.raises(DataError, match=r"^labels\.query fails: OperationalError: no such table"):
        list(stream_sql("SELECT * FROM nowhere", database, "labels.query"))
    with pytest.raises(ConfigError, match=r"^labels\.query is set; set DATASET_URL"):
        list(stream_sql("SELECT 1", None, "labels.query"))


def test_streamed_rows_of_a_statement_without_any_are_refused(database: SecretStr) -> None:
    with pytest.raises(DataError, match=r"^labels\.query fails"):
        list(stream_sql("DELETE FROM customers", database, "labels.query"))
    assert len(read_sql("SELECT id FROM customers", ["id"], database)) == 3
