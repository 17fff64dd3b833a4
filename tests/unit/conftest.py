"""A database server for the tests of the retrain queue; it is started when a test first needs it."""

import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from src.core.retrain_tables import QueueDatabase
from src.services.queue.migrate import migrate
from tests.support.mysql_server import MySqlServer


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySqlServer]:
    """A server for all tests of a process."""
    server = MySqlServer(tmp_path_factory.mktemp("mysql"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def queue_url(request: pytest.FixtureRequest) -> SecretStr:
    """A database with the queue's tables; TEST_DATABASE_URL names another one, such as of a real MySQL."""
    own = os.environ.get("TEST_DATABASE_URL")
    url = SecretStr(own) if own else request.getfixturevalue("mysql").database("queue")
    migrate(url)
    return url


@pytest.fixture
def database(queue_url: SecretStr) -> Iterator[QueueDatabase]:
    """The queue's database, without requests and with a free lease."""
    opened = QueueDatabase(queue_url)
    with opened.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM retrain_request")
        connection.exec_driver_sql("UPDATE retrain_lease SET owner = ''")
    yield opened
    opened.engine.dispose()
