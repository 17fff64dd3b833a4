"""Where work runs: this process, its cores, or a scheduler; the connection itself is tested in tests/integration."""

import subprocess
import sys
from pathlib import Path

import pytest

import src.compute.cluster
from src.compute.cluster import local_workers, mapper
from src.compute.mapping import InProcess
from src.core.compute_settings import ComputeSettings
from src.core.errors import ConfigError, ConnectionFailedError
from tests.support.running import free_port


def settings(**values: object) -> ComputeSettings:
    return ComputeSettings(_env_file=None, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [0, 1000])
def test_few_rows_are_worked_on_in_this_process(rows: int) -> None:
    with mapper(settings(compute_local_rows=1000), rows, items=9) as found:
        assert isinstance(found, InProcess)


def test_one_item_is_worked_on_in_this_process() -> None:
    with mapper(settings(compute_local_rows=0), 5, items=1) as found:
        assert isinstance(found, InProcess)


@pytest.mark.parametrize(
    ("cores", "items", "memory", "workers"),
    [(4, 9, 64e9, 4), (4, 3, 64e9, 3), (4, 9, 2e9, 3), (4, 9, 1.9e9, 2), (4, 9, 1e8, 1), (1, 0, 64e9, 1)],
)
def test_workers_of_this_machine_follow_cores_items_and_memory(
    cores: int, items: int, memory: float, workers: int
) -> None:
    assert local_workers(cores, items, memory) == workers


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"compute_address": "tcp://host:1"}, "COMPUTE_ADDRESS"),
        ({"compute_local_rows": 9}, r"work on more than .*\(9\)"),
    ],
)
def test_dask_that_is_not_installed_is_reported_with_the_group(
    values: dict[str, object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(src.compute.cluster.importlib.util, "find_spec", lambda _: None)
    with (
        pytest.raises(ConfigError, match=f"{what}.* needs the dependency group compute, which is not installed"),
        mapper(settings(**values), 10, items=2),
    ):
        pass


def test_missing_certificate_is_named(tmp_path: Path) -> None:
    there, absent = tmp_path / "there.pem", tmp_path / "absent.pem"
    there.write_text("")
    files = {"compute_tls_ca_file": there, "compute_tls_cert_file": absent, "compute_tls_key_file": there}
    with (
        pytest.raises(ConfigError, match=f"^{absent} of COMPUTE_TLS_… does not exist"),
        mapper(settings(compute_address="tls://127.0.0.1:1", **files), 1, items=1),
    ):
        pass


def test_nothing_of_dask_is_imported_for_work_in_this_process() -> None:
    code = (
        "import sys; from src.compute.cluster import mapper; from src.core.compute_settings import ComputeSettings\n"
        "with mapper(ComputeSettings(_env_file=None), 5, 5) as found: list(found.map(str, [1]))\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_scheduler_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(src.compute.cluster, "CONNECT_SECONDS", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(ConnectionFailedError, match=f"the scheduler at {address} cannot be reached"),
        mapper(settings(compute_address=address), 1, items=1),
    ):
        pass
