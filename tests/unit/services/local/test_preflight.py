import errno
import os
import re
import socket
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.local_settings import LocalSettings
from src.services.local.preflight import check_ports, doubts, explain, make_state_folders
from tests.support.configuration import CONFIG_FILE
from tests.support.running import free_port

IPV6_HOSTS = ["::1", "::"] if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else []


def settings(**changes: object) -> LocalSettings:
    ports = {f"{name}_port": free_port() for name in ("mlflow", "inference", "monitor", "quality")}
    return LocalSettings(_env_file=None, **(ports | changes))


def test_check_ports_passes_free_ports() -> None:
    check_ports(settings())


@pytest.mark.parametrize("name", ["MLFLOW", "INFERENCE", "MONITOR", "QUALITY"])
def test_check_ports_names_the_taken_port_and_its_variable(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        wanted = f"port {port} ({name}_PORT) is taken; stop what listens there or run {name}_PORT=… make local"
        with pytest.raises(ConfigError, match=re.escape(wanted)):
            check_ports(settings(**{f"{name.lower()}_port": port}))


def test_check_ports_names_every_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings(mlflow_port=one.getsockname()[1], monitor_port=other.getsockname()[1])
        with pytest.raises(ConfigError, match=r"\(MLFLOW_PORT\) is taken.*; port .*\(MONITOR_PORT\) is taken"):
            check_ports(taken)


@pytest.mark.parametrize("host", ["127.0.0.2", "0.0.0.0", "localhost", *IPV6_HOSTS])  # noqa: S104 - what is tested
def test_check_ports_passes_every_address_of_this_machine(host: str) -> None:
    check_ports(settings(inference_host=host, monitor_host=host))


@pytest.mark.skipif(not IPV6_HOSTS, reason="this machine has no IPv6")
def test_check_ports_reports_a_taken_port_on_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        check_ports(settings(inference_port=port))
        with pytest.raises(ConfigError, match=rf"port {port} \(INFERENCE_PORT\) is taken"):
            check_ports(settings(inference_host="::1", inference_port=port))


@pytest.mark.parametrize(
    ("host", "trouble"),
    [
        ("192.0.2.1", "MONITOR_HOST '192.0.2.1' is not an address of this machine"),
        ("nowhere.invalid", "MONITOR_HOST 'nowhere.invalid' cannot be resolved"),
        ("a..b", "MONITOR_HOST 'a..b' cannot be resolved"),
    ],
)
def test_check_ports_says_what_is_wrong_with_a_host(host: str, trouble: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(trouble)) as caught:
        check_ports(settings(monitor_host=host))
    assert "taken" not in str(caught.value)


def test_explain_reports_a_privileged_port_and_what_else_there_is() -> None:
    denied = explain(PermissionError(errno.EACCES, "Permission denied"), "INFERENCE", "127.0.0.1", 80)
    assert denied == "port 80 (INFERENCE_PORT) is reserved for root on this machine; choose one from 1024"
    other = explain(OSError(errno.EAFNOSUPPORT, "No such family"), "INFERENCE", "::1", 8000)
    assert other == "cannot listen on '::1' port 8000 (No such family); set INFERENCE_HOST and INFERENCE_PORT"


def test_check_ports_counts_a_port_as_free_after_its_last_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            pass
    check_ports(settings(inference_port=port))


def test_check_ports_refuses_one_port_for_two() -> None:
    port = free_port()
    with pytest.raises(ConfigError, match="must differ"):
        check_ports(settings(inference_port=port, monitor_port=port))


def test_make_state_folders_makes_what_the_processes_expect(tmp_path: Path) -> None:
    make_state_folders(settings(data_dir=tmp_path / "data"))
    made = {path.relative_to(tmp_path / "data").as_posix() for path in tmp_path.rglob("*")}
    assert made >= {"retrain/new", "local/mlflow/artifacts", "local/model-cache"}


def test_make_state_folders_names_the_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write to .*file.* \(Not a directory\).*DATA_DIR"):
        make_state_folders(settings(data_dir=tmp_path / "file" / "data"))


def test_typos_in_the_env_file_and_in_the_pipelines_configuration_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(CONFIG_FILE.read_text().replace("tolerance:", "tolerence:"))
    (tmp_path / "env").write_text(f"MODEL_POL_SECONDS=2\nPIPELINE_CONFIG={pipeline}\nEDITOR=vi\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "env"))
    monkeypatch.delenv("PIPELINE_CONFIG")
    name, key = doubts()
    assert "MODEL_POL_SECONDS" in name
    assert "did you mean MODEL_POLL_SECONDS?" in name
    assert "tolerence" in key
    assert key.endswith("no training can run until this is fixed")


def test_nothing_is_doubtful_without_an_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV_FILE", os.devnull)
    assert doubts() == []
