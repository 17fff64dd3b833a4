"""The state that a loop of commit 4ee38d3 has left behind, in a folder of the test's own."""

import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from src.services.local.processes import REPOSITORY, loop_processes
from tests.support.loop import Loop
from tests.support.running import running, wait_until

FIXTURE = REPOSITORY / "tests" / "fixtures" / "state_4ee38d3"
# Where the old loop ran: ZenML's store has absolute paths.
FORMER_FOLDER = "/tmp/mlops-loop/data-file"  # noqa: S108 - the name of a folder that is not there
ZENML = "local/zenml"


class OldState(Loop):
    """A loop of the present code on that state, with the configuration of its time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        data = folder / "data"
        with tarfile.open(FIXTURE / "state.tar.xz") as archive:
            archive.extractall(data, filter="data")
        relocate(data)
        config = folder / "pipeline.yaml"
        text = (FIXTURE / "pipeline.yaml").read_text(encoding="utf-8")
        config.write_text(text.replace("data-file/flowers.csv", str(data / "flowers.csv")), encoding="utf-8")
        self.environment["PIPELINE_CONFIG"] = str(config)
        self.expected: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Inference alone."""
        _, inference, *_ = loop_processes(self.settings())
        with running(inference, self.folder / "inference.log", **self.environment):
            wait_until("a model is served", self.is_ready)
            yield

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """MLflow and the monitor, beside inference."""
        mlflow, _, monitor, *_ = loop_processes(self.settings())
        with (
            running(mlflow, self.folder / "mlflow.log"),
            running(monitor, self.folder / "monitor.log", **self.environment),
        ):
            yield

    def answers(self) -> Any:
        """What is predicted for the recorded rows now."""
        answer = httpx.post(f"{self.url}/predict", json=self.expected["rows"], timeout=10).raise_for_status()
        return {name: value for name, value in answer.json().items() if name != "request_id"}


def relocate(data: Path) -> None:
    """Replace the former folder in ZenML's store, as one who moves it must."""
    config = data / ZENML / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(FORMER_FOLDER, str(data)), encoding="utf-8")
    database = sqlite3.connect(data / ZENML / "local_stores/default_zen_store/zenml.db")
    with contextlib.closing(database), database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in (row[1] for row in database.execute(f'PRAGMA table_info("{table}")').fetchall()):
                # The names are the database's own.
                change = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE "{column}" LIKE ?'  # noqa: S608
                database.execute(change, (FORMER_FOLDER, str(data), f"%{FORMER_FOLDER}%"))
