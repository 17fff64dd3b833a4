"""The tables of the retrain queue: created once, updated in place, by one process at a time."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine, text

from src.core.errors import ConfigError, ConnectionFailedError
from src.core.retrain_tables import SCHEMA, metadata
from src.services.local.processes import REPOSITORY
from src.services.queue.migrate import LOCK, MIGRATIONS, main, migrate
from tests.support.mysql_server import PASSWORD, MySqlServer
from tests.support.running import free_port

COMMAND = [sys.executable, "-m", "src.services.queue.migrate"]


@pytest.fixture
def url(mysql: MySqlServer) -> SecretStr:
    return mysql.database("queue_migrate")


@pytest.fixture
def connection(url: SecretStr) -> Iterator[Connection]:
    engine = create_engine(url.get_secret_value())
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_tables_are_those_that_the_queue_expects(url: SecretStr, connection: Connection) -> None:
    assert migrate(url) == (None, SCHEMA)
    context = MigrationContext.configure(connection, opts={"version_table": "retrain_schema", "compare_type": True})
    assert compare_metadata(context, metadata) == []
    assert connection.execute(text("SELECT name, owner FROM retrain_lease")).all() == [("trainer", "")]


def test_newest_migration_is_the_version_that_the_queue_expects() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA


def test_second_run_changes_nothing(url: SecretStr, connection: Connection) -> None:
    migrate(url)
    connection.execute(text("UPDATE retrain_lease SET owner = 'one'"))
    connection.commit()
    assert migrate(url) == (SCHEMA, SCHEMA)
    assert connection.execute(text("SELECT owner FROM retrain_lease")).all() == [("one",)]


@pytest.mark.parametrize("left_out", ["DROP TABLE retrain_lease", "DELETE FROM retrain_lease", "SELECT 1"])
def test_run_after_one_that_was_killed_completes_it(url: SecretStr, connection: Connection, left_out: str) -> None:
    migrate(url)
    connection.execute(text("DELETE FROM retrain_schema"))
    connection.execute(text(left_out))
    connection.commit()
    assert migrate(url) == (None, SCHEMA)
    assert connection.execute(text("SELECT name FROM retrain_lease")).all() == [("trainer",)]


def test_of_two_at_once_one_waits_for_the_other(url: SecretStr) -> None:
    environment = {"RETRAIN_DATABASE_URL": url.get_secret_value(), "ENV_FILE": "/dev/null"}
    both = [
        subprocess.Popen(COMMAND, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = sorted(process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == [
        "the retrain queue's tables have version 0001 (nothing to do)\n",
        "the retrain queue's tables have version 0001 (was empty)\n",
    ]


def test_migration_that_takes_too_long_is_not_joined(
    url: SecretStr, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.services.queue.migrate.LOCK_SECONDS", 0)
    connection.execute(text(f"SELECT GET_LOCK('{LOCK}', 0)"))
    with pytest.raises(ConnectionFailedError, match="another migration is running; try again"):
        migrate(url)


def test_tables_of_newer_code_are_left_alone(url: SecretStr, connection: Connection) -> None:
    migrate(url)
    connection.execute(text("UPDATE retrain_schema SET version_num = '0999'"))
    connection.commit()
    with pytest.raises(ConfigError, match="newer than this code, which knows versions up to 0001; update it"):
        migrate(url)
    assert connection.execute(text("SELECT version_num FROM retrain_schema")).all() == [("0999",)]


@pytest.mark.parametrize("given", ["", "sqlite://", "mysql://ann:s3cret@host/x"])
def test_command_needs_a_url_of_mysql(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setenv("RETRAIN_DATABASE_URL", given)
    assert main() == 2
    said = capsys.readouterr().err
    assert said == "error: set RETRAIN_DATABASE_URL to a URL that begins with mysql+pymysql://\n"


def test_command_fails_in_one_line_where_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETRAIN_DATABASE_URL", f"mysql+pymysql://ann:{PASSWORD}@127.0.0.1:{free_port()}/queue")
    assert main() == 1
    assert capsys.readouterr().err == "error: the retrain queue's database failed (it cannot be reached); try again\n"


def test_command_says_what_it_did(
    url: SecretStr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETRAIN_DATABASE_URL", url.get_secret_value())
    assert main() == 0
    assert capsys.readouterr().out == "the retrain queue's tables have version 0001 (was empty)\n"
