"""Creates or updates the tables of RETRAIN_DATABASE_URL: ``python -m src.services.queue.migrate``.

It may be run at any time, also by several hosts at once. Run it before the services of a new version start.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from src.core.errors import ConfigError, ConnectionFailedError, LoopError
from src.core.retrain_tables import QueueDatabase, reason_of, schema_version
from src.core.settings import DATABASE_SCHEME, CommonSettings, load_settings

MIGRATIONS = Path(__file__).parent / "migrations"
# MySQL's lock of this name is held during a migration.
LOCK, LOCK_SECONDS = "retrain_queue_schema", 60


def main() -> int:
    """Migrate and say to which version; return 0, 1 (try again) or 2 (configuration)."""
    try:
        url = load_settings(CommonSettings).retrain_database_url
        if url is None or not url.get_secret_value().startswith(DATABASE_SCHEME):
            raise ConfigError(f"set RETRAIN_DATABASE_URL to a URL that begins with {DATABASE_SCHEME}")
        before, after = migrate(url)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 2 if error.permanent else 1
    changed = "nothing to do" if before == after else f"was {before or 'empty'}"
    print(f"the retrain queue's tables have version {after} ({changed})")  # noqa: T201 - as above
    return 0


def migrate(url: SecretStr) -> tuple[str | None, str]:
    """Bring the tables to the newest version; return the versions before and after.

    Raises:
        ConfigError: the URL is invalid, or the tables are newer than this code.
        ConnectionFailedError: the database cannot be used; another run completes what was begun.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    database = QueueDatabase(url)
    try:
        with database.engine.connect() as connection, _one_at_a_time(connection):
            before = _version(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return before, _version(connection) or ""
    except CommandError:
        newest = ScriptDirectory.from_config(config).get_current_head()
        raise ConfigError(
            f"the retrain queue's tables are newer than this code, which knows versions up to {newest}; update it"
        ) from None
    except SQLAlchemyError as error:
        raise ConnectionFailedError(f"the retrain queue's database failed ({reason_of(error)}); try again") from None
    finally:
        database.engine.dispose()


@contextlib.contextmanager
def _one_at_a_time(connection: Connection) -> Iterator[None]:
    """Wait for another migration; MySQL ends the lock with the connection."""
    if connection.execute(select(func.get_lock(LOCK, LOCK_SECONDS))).scalar() != 1:
        raise ConnectionFailedError("another migration is running; try again")
    connection.commit()
    yield


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version_num)).scalar()


if __name__ == "__main__":
    sys.exit(main())
