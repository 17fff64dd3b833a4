"""Fixtures that every test may use: a clean environment, and one real MLflow server for the session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import settings

from src.services.local.processes import mlflow_process
from src.training import data_files
from tests.support.configuration import CONFIG_FILE
from tests.support.running import free_port, running, wait_until

# Read by libraries when they are imported, so set before any test imports them; and no developer's .env or
# configuration gets in here.
os.environ.update(
    ENV_FILE=os.devnull,
    GIT_PYTHON_REFRESH="quiet",
    MLFLOW_DISABLE_TELEMETRY="true",
    MPLBACKEND="Agg",
    PIPELINE_CONFIG=str(CONFIG_FILE),
    ZENML_ANALYTICS_OPT_IN="false",
)

# Fixtures that start an application, a server or a process.
SLOW_FIXTURES = frozenset(
    {"docker", "mlflow_url", "mysql", "queue_url", "s3_url", "served", "serving", "unready", "zenml"}
)
SETTLED_SECONDS = data_files.SETTLED_SECONDS

# The time of a test depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell has what it runs in the background ignore Ctrl-C, and so would every process that a test starts to stop it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with a slow fixture as slow; other slow tests carry the marker themselves."""
    for item in items:
        if isinstance(item, pytest.Function) and not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def files_are_complete() -> Iterator[None]:
    """A data file that a test has just written is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_files, "SETTLED_SECONDS", 0.0)
        yield


@pytest.fixture
def shipped_file_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data file counts as complete after the time that the product waits."""
    monkeypatch.setattr(data_files, "SETTLED_SECONDS", SETTLED_SECONDS)


def answers(url: str) -> bool:
    """Whether a GET of this URL is answered with success."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real MLflow server on SQLite with proxied artifacts, shared by the session's tests."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    with running(mlflow_process(host="127.0.0.1", port=port, state_dir=folder), folder / "server.log"):
        url = f"http://127.0.0.1:{port}"
        api = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
        wait_until("the MLflow server answers", lambda: answers(api), seconds=120)
        yield url


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The base URL of a real S3 server, shared by the session's tests."""
    from tests.support.object_store import s3_server  # noqa: PLC0415 - importing moto takes a second

    with s3_server() as url:
        yield url


@pytest.fixture
def store_address(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty prefix in a bucket of its own, for which the environment has credentials."""
    from tests.support.object_store import use_s3  # noqa: PLC0415 - as above

    return f"s3://{use_s3(s3_url, monkeypatch)}/some/prefix"
