"""The tables of the retrain queue in MySQL, and transactions on them; no message contains the database's address.

``src/services/queue/migrations`` creates them: a change here needs a migration there.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime

from pydantic import SecretStr
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    UniqueConstraint,
    create_engine,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from src.core.errors import ConfigError, SpoolUnavailableError
from src.core.retrain_record import ID_LENGTH

# The migration that this code is written for. Other schemas are refused: two versions of the code may not share rows.
SCHEMA = "0001"
MIGRATE = "python -m src.services.queue.migrate"
TRAINER = "trainer"
# The database's clock, in UTC, is the only one that leases know.
NOW: ColumnElement[datetime] = literal_column("UTC_TIMESTAMP(6)")

CONNECT_SECONDS, ANSWER_SECONDS = 3, 5
# A transaction of a host that is gone ends after so many seconds, and with it its locks.
IDLE_SECONDS = 30
LOCK_WAIT_SECONDS = 3
_SESSION = f"SET SESSION wait_timeout = {IDLE_SECONDS}, innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
_NO_TABLE = 1146
_REASONS = {
    1044: "the user has no access to this database",
    1045: "access denied; check user and password",
    1049: "there is no such database",
    1142: "the user lacks a privilege",
    1205: "a row stayed locked",
    1213: "another transaction was in the way",
    2003: "it cannot be reached",
    2006: "the connection was lost",
    2013: "the connection was lost",
}

metadata = MetaData()
_id = mysql.CHAR(ID_LENGTH, charset="ascii", collation="ascii_bin")
# ``state`` is new, cur, done or bad; ``record`` is JSON; ``finished_at`` is in UTC; ``trouble`` is why a record is bad.
requests = Table(
    "retrain_request",
    metadata,
    Column("id", _id, primary_key=True),
    Column("state", mysql.ENUM("new", "cur", "done", "bad"), nullable=False),
    Column("record", mysql.MEDIUMTEXT(), nullable=False),
    Column("finished_at", mysql.DATETIME(fsp=6)),
    Column("trouble", mysql.TEXT()),
    UniqueConstraint("state", "id", name="retrain_request_state"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
# One row per lock. It is free where ``owner`` is empty or ``expires_at``, in UTC, has passed.
leases = Table(
    "retrain_lease",
    metadata,
    Column("name", mysql.VARCHAR(32), primary_key=True),
    Column("owner", mysql.VARCHAR(200), nullable=False),
    Column("expires_at", mysql.DATETIME(fsp=6), nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
schema_version = Table("retrain_schema", metadata, Column("version_num", mysql.VARCHAR(32), primary_key=True))


class QueueDatabase:
    """The database of the queue. Safe for many threads; connects when it is first used, and again after an outage.

    Args:
        url: an SQLAlchemy URL that begins with ``mysql+pymysql://``.

    Raises:
        ConfigError: it is not a URL, or a dependency of the driver is not installed.
    """

    def __init__(self, url: SecretStr) -> None:
        try:
            self.engine = create_engine(
                url.get_secret_value(),
                poolclass=QueuePool,
                pool_size=2,
                max_overflow=-1,  # as many as there are threads
                pool_pre_ping=True,
                # Without gap locks, a claim does not stop a submission.
                isolation_level="READ COMMITTED",
                hide_parameters=True,
                connect_args={
                    "connect_timeout": CONNECT_SECONDS,
                    "read_timeout": ANSWER_SECONDS,
                    "write_timeout": ANSWER_SECONDS,
                    "init_command": _SESSION,
                },
            )
        except (ArgumentError, ValueError):
            raise ConfigError(
                "RETRAIN_DATABASE_URL is not a URL such as mysql+pymysql://user:password@host/database"
            ) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction on tables of the expected schema, committed at the end of the block.

        Raises:
            SpoolUnavailableError: the database or its schema cannot be used. Nothing was changed, unless the connection
                was lost while the transaction was committed.
            ConfigError: the driver lacks a package.
        """
        try:
            with self._connect() as connection, connection.begin():
                self._check_schema(connection)
                yield connection
        except SQLAlchemyError as error:
            reason = reason_of(error)
            raise SpoolUnavailableError(f"the retrain queue's database failed ({reason}); try again") from None

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except RuntimeError as error:  # PyMySQL's for an authentication method that needs a missing package
            raise ConfigError("RETRAIN_DATABASE_URL cannot be used: uv sync with --group queue") from error

    @staticmethod
    def _check_schema(connection: Connection) -> None:
        try:
            found = connection.execute(select(schema_version.c.version_num)).scalar()
        except DBAPIError as error:
            if code_of(error) != _NO_TABLE:
                raise
            found = None
        if found is None:
            raise SpoolUnavailableError(f"the retrain queue's database has no tables yet: run {MIGRATE}")
        if found < SCHEMA:
            raise SpoolUnavailableError(
                f"the retrain queue's tables have the older version {found} instead of {SCHEMA}: run {MIGRATE}"
            )
        if found > SCHEMA:
            raise SpoolUnavailableError(
                f"the retrain queue's tables have the newer version {found} instead of {SCHEMA}: update this service"
            )


def code_of(error: SQLAlchemyError) -> int | None:
    """MySQL's number of an error, if it has one."""
    arguments = error.orig.args if isinstance(error, DBAPIError) and error.orig is not None else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def reason_of(error: SQLAlchemyError) -> str:
    """What failed, without the driver's message, which contains the user and the host."""
    code = code_of(error)
    if code in _REASONS:
        return _REASONS[code]
    return type(error).__name__ if code is None else f"MySQL error {code}"
