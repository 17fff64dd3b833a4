import re
import socket
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.settings import LocalSettings
from src.services.local.preflight import check_ports, make_state_folders
from tests.support.running import free_port


def settings(**changes: object) -> LocalSettings:
    ports = {"mlflow_port": free_port(), "inference_port": free_port(), "monitor_port": free_port()}
    return LocalSettings(_env_file=None, **(ports | changes))


def test_check_ports_passes_free_ports() -> None:
    check_ports(settings())


def test_check_ports_names_the_taken_port_and_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        wanted = f"port {port} (INFERENCE_PORT) is taken; stop what listens there or choose another, such as"
        with pytest.raises(ConfigError, match=re.escape(f"{wanted} INFERENCE_PORT={port + 1} make local")):
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
