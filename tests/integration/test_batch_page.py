"""Every command of docs/batch.md is run, as written, on real files with a real scheduler and workers."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.registry import SwappingRegistry
from src.core.exit_codes import ExitCode
from src.quality.bucket import open_bucket
from src.services.batch.run_batch import INTERRUPTED
from src.services.local.processes import REPOSITORY
from tests.support.models import COLUMNS, SETOSA, VIRGINICA, build_model
from tests.support.object_store import use_s3
from tests.support.running import free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PAGE = (REPOSITORY / "docs" / "batch.md").read_text(encoding="utf-8")
SCORE, SCORE_VERSION, SCORE_OBJECTS, CERTIFICATE, SCHEDULER, WORKER, SCORE_REMOTELY = re.findall(
    r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.M
)


@dataclass
class Place:
    """The folder in place of ``data-file`` and ``tls``, a port for the scheduler, and the registry."""

    folder: Path
    port: int
    mlflow_url: str

    def command(self, text: str) -> list[str]:
        text = text.replace("data-file/", f"{self.folder}/data/").replace("tls/compute", f"{self.folder}/compute")
        text = text.replace("scheduler.example", "127.0.0.1").replace("8786", str(self.port))
        # This checkout's environment is ready, whatever the times of its files.
        return ["bash", "-euo", "pipefail", "-c", text.replace("make ", "make --old-file=.venv/.ready ")]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MODEL_NAME": "iris",
            "DATA_DIR": f"{self.folder}/data",
        }

    def run(self, text: str) -> str:
        ended = subprocess.run(
            self.command(text), cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    def start(self, text: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(text),
            cwd=REPOSITORY,
            env=self.environment,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def scored(self, name: str) -> dict[str, list[object]]:
        found: dict[str, list[object]] = pq.read_table(self.folder / "data" / name).to_pydict()
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("batch")
    build_model(folder / "model")
    inputs = folder / "data" / "incoming" / "flowers"
    inputs.mkdir(parents=True)
    columns = {name: [SETOSA[name], VIRGINICA[name]] for name in COLUMNS}
    pq.write_table(pa.table({"plant": ["a", "b"], **columns}), inputs / "flowers.parquet")
    with SwappingRegistry(folder / "model", "iris").serving() as url:
        yield Place(folder, free_port(), url)


def test_files_are_scored_as_the_page_says(place: Place) -> None:
    place.run(SCORE)
    found = place.scored("scored")
    assert found["row"] == [1, 2]
    assert found["prediction"] == ["setosa", "virginica"]
    for column in found:
        assert f"`{re.sub('probability_.*', 'probability_<class>', column)}`" in PAGE


def test_objects_are_scored_as_the_page_says(place: Place, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = open_bucket(f"s3://{use_s3(s3_url, monkeypatch)}")
    bucket.upload(place.folder / "data" / "incoming" / "flowers" / "flowers.parquet", "incoming/flowers.parquet")
    place.run(SCORE_OBJECTS.replace("s3://flowers", bucket.address))
    with bucket.open("scored/flowers.parquet") as stream:
        assert pq.read_table(stream)["prediction"].to_pylist() == ["setosa", "virginica"]


def test_files_are_scored_by_a_version_with_ids_as_the_page_says(place: Place) -> None:
    place.run(SCORE_VERSION)
    assert place.scored("scored-by-1")["plant"] == ["a", "b"]
    assert place.scored("scored-by-1")["model_version"] == ["1", "1"]


def test_workers_score_as_the_page_says(place: Place) -> None:
    place.run(CERTIFICATE)
    started = [place.start(SCHEDULER), place.start(WORKER)]
    try:
        text = place.run(SCORE_REMOTELY)
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            wait_until("the process has ended", lambda process=process: process.poll() is not None)
    assert f"on the workers of tls://127.0.0.1:{place.port}" in text
    assert place.scored("scored-by-workers")["prediction"] == ["setosa", "virginica"]


def test_exit_codes_are_those_of_the_command() -> None:
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.M)
    assert list(map(int, codes)) == [ExitCode.OK, ExitCode.FAILED, ExitCode.PERMANENT, ExitCode.BUSY, INTERRUPTED]


def test_links_of_the_page_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#\s:]+)\)", PAGE)
    assert links
    assert all((REPOSITORY / "docs" / link).exists() for link in links)
