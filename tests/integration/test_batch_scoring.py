"""Batch scoring by real processes: a scheduler and workers with TLS, and what is lost if one of them is killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.dask_cluster import Cluster, running_cluster
from benchmarks.registry import SwappingRegistry
from src.services.local.processes import REPOSITORY
from tests.support.models import COLUMNS, build_model
from tests.support.running import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FILES, ROWS = 12, 60_000


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tmp_path_factory.mktemp("model") / "model"
    build_model(model)
    with SwappingRegistry(model, "iris").serving() as url:
        yield url


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    for number in range(FILES):
        columns = {name: random.uniform(0, 7, ROWS).round(1) for name in COLUMNS}
        table = pa.table({"id": np.arange(ROWS) + number * ROWS, **columns})
        pq.write_table(table, folder / f"part-{number:02}.parquet")
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_cluster(folder, workers=2) as found:
        yield found


def start(
    inputs: Path, outputs: Path, mlflow_url: str, variables: dict[str, str], arguments: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "run_batch.py", str(inputs), str(outputs), "--id", "id", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow_url, "MODEL_NAME": "iris", **variables},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def complete(outputs: Path) -> list[Path]:
    return sorted(outputs.glob("*.parquet"))


def start_with_an_output(inputs: Path, outputs: Path, mlflow_url: str, cluster: Cluster) -> subprocess.Popen[str]:
    """Start the command on a cluster, and wait for its first output."""
    driver = start(inputs, outputs, mlflow_url, cluster.environment)
    wait_until("an output is complete", lambda: complete(outputs), interval=0.01)
    return driver


def require_every_row_once(outputs: Path) -> None:
    ids = pa.concat_arrays(pq.read_table(outputs)["id"].chunks).to_numpy()
    assert np.array_equal(np.sort(ids), np.arange(FILES * ROWS))
    assert pq.read_table(outputs)["prediction"].null_count == 0
    assert {path.name for path in outputs.iterdir()} == {
        ".scoring.lock",
        *(f"part-{number:02}.parquet" for number in range(FILES)),
    }


def test_worker_killed_while_it_scores_costs_no_row(
    inputs: Path, cluster: Cluster, mlflow_url: str, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    driver = start_with_an_output(inputs, outputs, mlflow_url, cluster)
    cluster.workers[0].send_signal(signal.SIGKILL)
    assert len(complete(outputs)) < FILES
    _, text = driver.communicate(timeout=300)
    assert driver.returncode == 0, text
    require_every_row_once(outputs)
    assert f"on the workers of {cluster.address}" in text
    assert f"{FILES} of {FILES} files, {FILES * ROWS:,} rows" in text


def test_driver_killed_while_it_scores_is_resumed(
    inputs: Path, cluster: Cluster, mlflow_url: str, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    driver = start_with_an_output(inputs, outputs, mlflow_url, cluster)
    driver.kill()
    driver.communicate()
    before = {path: path.stat().st_mtime_ns for path in complete(outputs)}
    assert 0 < len(before) < FILES
    again = start(inputs, outputs, mlflow_url, cluster.environment)
    _, text = again.communicate(timeout=300)
    assert again.returncode == 0, text
    require_every_row_once(outputs)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_scheduler_that_is_lost_ends_the_run_with_what_to_do(
    inputs: Path, cluster: Cluster, mlflow_url: str, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    driver = start_with_an_output(inputs, outputs, mlflow_url, cluster)
    cluster.scheduler.kill()
    _, text = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert f"the connection to the scheduler (on the workers of {cluster.address}) is lost; run again" in text
    assert not list(outputs.glob(".scoring-*"))


def test_cores_of_this_machine_share_the_files_of_a_large_table(inputs: Path, mlflow_url: str, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    driver = start(inputs, outputs, mlflow_url, {"COMPUTE_LOCAL_ROWS": "1000"})
    _, text = driver.communicate(timeout=300)
    assert driver.returncode == 0, text
    require_every_row_once(outputs)
    assert "processes" in text if (os.cpu_count() or 1) > 1 else "in this process" in text


@pytest.mark.parametrize("local_rows", ["1000", "1000000"])
def test_interrupt_ends_the_run_without_a_traceback_of_any_process(
    local_rows: str, inputs: Path, mlflow_url: str, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    driver = start(inputs, outputs, mlflow_url, {"COMPUTE_LOCAL_ROWS": local_rows})
    wait_until("an output is complete", lambda: complete(outputs), interval=0.01)
    os.killpg(driver.pid, signal.SIGINT)
    _, text = driver.communicate(timeout=60)
    assert driver.returncode == 130, text
    assert "interrupted; the same command goes on with the files" in text.splitlines()[-1]
    assert "Traceback" not in text
    # Dask says nothing at INFO.
    informs = [line for line in text.splitlines() if " INFO " in line]
    assert [line.split()[3] for line in informs] == ["iris", "scoring"]
    assert not list(outputs.glob(".scoring-*"))


def test_worker_with_other_code_is_refused_before_anything_is_scored(
    inputs: Path, mlflow_url: str, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with (checkout / "src" / "services" / "batch" / "scoring.py").open("a") as file:
        file.write("# other code\n")
    folder, outputs = tmp_path / "cluster", tmp_path / "outputs"
    folder.mkdir()
    with running_cluster(folder, workers=0) as cluster:
        cluster.start_worker(checkout)
        driver = start(inputs, outputs, mlflow_url, cluster.environment)
        _, text = driver.communicate(timeout=120)
    assert driver.returncode == 2
    assert "has other versions than this client: this project's code " in text.splitlines()[-1]
    assert complete(outputs) == []


def test_client_without_the_certificate_is_not_let_in(
    inputs: Path, cluster: Cluster, mlflow_url: str, tmp_path: Path
) -> None:
    plain = {"COMPUTE_ADDRESS": cluster.address.replace("tls://", "tcp://")}
    driver = start(inputs, tmp_path / "outputs", mlflow_url, plain)
    _, text = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "cannot be reached" in text.splitlines()[-1]
