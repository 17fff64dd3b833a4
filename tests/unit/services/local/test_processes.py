from pathlib import Path

import pytest

from src.core.local_settings import LocalSettings
from src.services.local.processes import loop_processes, preprocess_process, without_proxy


def test_loop_processes_share_one_data_folder_and_one_mlflow(tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, data_dir=tmp_path, mlflow_port=5123)
    table = {process.name: process for process in [*loop_processes(settings), preprocess_process(settings)]}
    assert list(table) == ["mlflow", "inference", "monitor", "quality", "preprocess"]
    for name in ("inference", "monitor", "quality", "preprocess"):
        assert table[name].environment["DATA_DIR"] == str(tmp_path)
        assert table[name].environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5123"


@pytest.mark.parametrize("option", ["--backend-store-uri", "--artifacts-destination"])
def test_loop_processes_keep_mlflow_state_under_the_data_folder(tmp_path: Path, option: str) -> None:
    command = loop_processes(LocalSettings(_env_file=None, data_dir=tmp_path))[0].command
    assert command[command.index(option) + 1].removeprefix("sqlite:///").startswith(str(tmp_path / "local" / "mlflow"))


def test_quality_reaches_inference_where_it_listens(tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, data_dir=tmp_path, inference_host="0.0.0.0", inference_port=8123)  # noqa: S104 - not bound
    table = {process.name: process for process in loop_processes(settings)}
    assert table["quality"].environment["INFERENCE_URL"] == "http://127.0.0.1:8123"


def test_loop_processes_never_listen_beyond_loopback_by_default(tmp_path: Path) -> None:
    settings = LocalSettings(_env_file=None, data_dir=tmp_path)
    command = loop_processes(settings)[0].command
    hosts = {
        command[command.index("--host") + 1],
        settings.inference_host,
        settings.monitor_host,
        settings.quality_host,
    }
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "corp.example, localhost"}, "corp.example,localhost,127.0.0.1"),
        ({"NO_PROXY": "upper", "no_proxy": "lower"}, "upper,lower,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_without_proxy_adds_this_machine_and_keeps_what_is_there(before: dict[str, str], after: str) -> None:
    assert without_proxy(before) == {"NO_PROXY": after, "no_proxy": after}


def test_loop_processes_ask_each_other_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "corp.example")
    settings = LocalSettings(_env_file=None, data_dir=tmp_path)
    for process in (*loop_processes(settings)[1:], preprocess_process(settings)):
        for name in ("NO_PROXY", "no_proxy"):
            assert {"corp.example", "127.0.0.1", "localhost"} <= set(process.environment[name].split(","))
