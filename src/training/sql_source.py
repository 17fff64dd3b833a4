"""Reads the result of a SQL query; no message contains the database's address."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, quote_plus

import numpy as np
import pandas as pd
from pydantic import SecretStr
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from src.core.errors import ConfigError, ConnectionFailedError, DataError
from src.training.data_files import duplicates_of, lacks

NAME = "the result of dataset.query"
PART_ROWS = 10_000


def read_sql(query: str, columns: Sequence[str], url: SecretStr | None) -> pd.DataFrame:
    """Read some columns of the result, each cell as the driver's Python object.

    Rows keep the result's order: with ORDER BY, equal rows have an equal hash.

    Args:
        query: a statement that returns rows; nothing is committed.
        columns: names in the result, in the order of the frame.
        url: an SQLAlchemy URL, such as ``mysql+pymysql://user:password@host/database``.

    Raises:
        ConfigError: the URL is missing or invalid, or its driver, or a dependency of the driver, is not installed.
        DataError: the statement fails or lacks a column.
        ConnectionFailedError: the database cannot be reached, refuses the connection, or the connection is lost.
    """
    with _connected(url, "dataset.query", "dataset.source is sql") as connection:
        cells = _cells(connection, query, columns)
    series = {name: pd.Series(_objects(found), dtype=object) for name, found in zip(columns, cells, strict=True)}
    return pd.DataFrame(series)


def stream_sql(query: str, url: SecretStr | None, key: str) -> Iterator[dict[str, object]]:
    """The rows of the result by column, each value as the driver's Python object, a few thousand in memory at once.

    Args:
        query: a statement that returns rows; nothing is committed.
        url: as for ``read_sql``.
        key: the query's key in the configuration, for messages.

    Raises:
        ConfigError, DataError, ConnectionFailedError: as for ``read_sql``, also between two rows.
    """
    with _connected(url, key, f"{key} is set") as connection:
        for part in connection.exec_driver_sql(query).mappings().partitions(PART_ROWS):
            yield from (dict(row) for row in part)


@contextlib.contextmanager
def _connected(url: SecretStr | None, key: str, reason: str) -> Iterator[Connection]:
    """A connection to the database, whose errors are this module's; ``reason`` says why DATASET_URL is needed."""
    if url is None:
        raise ConfigError(f"{reason}; set DATASET_URL to the database's SQLAlchemy URL")
    try:
        address = make_url(url.get_secret_value())
        engine = create_engine(address)
    except ModuleNotFoundError as error:
        if error.name == "MySQLdb":
            raise ConfigError("DATASET_URL needs the driver MySQLdb; begin it with mysql+pymysql://") from None
        raise ConfigError(
            f"DATASET_URL needs the driver {error.name}; add its package with uv add --group preprocess PACKAGE, "
            "and with Docker run make up"
        ) from None
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ConfigError(
            "DATASET_URL is not a SQLAlchemy URL such as mysql+pymysql://user:password@host/database"
        ) from None
    try:
        with _connect(engine, address, url) as connection:
            yield connection
    except SQLAlchemyError as error:
        reason = _reason(error, address, url)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise ConnectionFailedError(f"the database of DATASET_URL failed: {reason}") from None
        raise DataError(f"{key} fails: {reason}") from None
    finally:
        engine.dispose()


def _connect(engine: Engine, address: URL, url: SecretStr) -> Connection:
    try:
        # A colon or a percent sign in the query is not a parameter.
        return engine.connect().execution_options(stream_results=True, no_parameters=True)
    except SQLAlchemyError as error:
        raise ConnectionFailedError(f"the database of DATASET_URL failed: {_reason(error, address, url)}") from None
    except RuntimeError as error:  # such as PyMySQL's for an authentication method that needs a missing package
        raise ConfigError(f"DATASET_URL cannot be used: {_reason(error, address, url)}") from None


def _cells(connection: Connection, query: str, columns: Sequence[str]) -> list[list[object]]:
    """The cells of each column."""
    result = connection.exec_driver_sql(query)
    names = list(result.keys())
    if twice := duplicates_of([name for name in names if name in columns]):
        raise DataError(f"{NAME} has the columns {', '.join(twice)} more than once; rename one with AS")
    if not set(columns) <= set(names):
        raise DataError(lacks(NAME, names, columns))
    cells: list[list[object]] = [[] for _ in columns]
    for part in result.columns(*columns).partitions(PART_ROWS):
        for index, found in enumerate(zip(*part, strict=True)):
            cells[index] += found
    return cells


def _objects(values: list[object]) -> np.ndarray:
    """An array of the objects, unchanged: pandas would convert integers with missing values to floats."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _reason(error: Exception, address: URL, url: SecretStr) -> str:
    """The driver's message in one line, with the URL, user, password and host masked."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    said = " ".join(str(origin).split())
    password = str(address.password or "")
    secrets: list[str | None] = [url.get_secret_value(), address.render_as_string(hide_password=False)]
    secrets += [password, quote(password), quote_plus(password), address.username, address.host]
    for secret in sorted({part for part in secrets if part}, key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", said)
    return f"{type(origin).__name__}: {said}"
