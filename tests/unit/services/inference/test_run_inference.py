import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.inference_settings import InferenceSettings
from src.services.inference.inference_service import create_app, prepare_folders
from src.services.inference.run_inference import listen, main
from src.services.local.processes import REPOSITORY

pytestmark = pytest.mark.slow

HEAVY = {"sklearn", "scipy", "pandas", "zenml", "mlflow", "skops", "matplotlib", "onnx", "skl2onnx", "requests"}


@pytest.fixture(autouse=True)
def own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """``main`` is a process's own: the test's handlers and variables must survive it."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in ("DATA_DIR", "MODEL_CACHE_DIR", "INFERENCE_PORT", "INFERENCE_HOST", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_service_imports_nothing_heavy_and_writes_nothing(tmp_path: Path) -> None:
    program = (
        "import json, sys\n"
        "import src.services.inference.run_inference\n"
        "from src.core.inference_settings import InferenceSettings\n"
        "from src.services.inference.inference_service import create_app\n"
        "create_app(InferenceSettings()).openapi()\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    environment = {**os.environ, "DATA_DIR": str(tmp_path / "data")}
    answer = subprocess.run(
        (sys.executable, "-c", program), cwd=REPOSITORY, env=environment, capture_output=True, check=True
    )
    loaded = set(json.loads(answer.stdout))
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY
    assert not (tmp_path / "data").exists()


def test_listen_on_a_taken_port_says_which_variable_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} .*INFERENCE_PORT"):
            listen("127.0.0.1", port)


def test_listen_on_a_foreign_address_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="INFERENCE_HOST"):
        listen("192.0.2.1", 8000)


def test_listen_takes_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = listen("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    with listener:
        assert listener.family == socket.AF_INET6


def test_prepare_folders_makes_what_is_missing(tmp_path: Path) -> None:
    settings = InferenceSettings(_env_file=None, data_dir=tmp_path / "a" / "b")  # type: ignore[call-arg]
    prepare_folders(settings)
    prepare_folders(settings)
    assert settings.cache_dir.is_dir()
    assert (settings.retrain_dir / "new").is_dir()


def test_main_with_an_unwritable_folder_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file"))
    assert main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("error: cannot write to ")
    assert "DATA_DIR" in told


def test_main_with_a_taken_port_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        monkeypatch.setenv("INFERENCE_PORT", str(taken.getsockname()[1]))
        assert main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "INFERENCE_PORT" in told


@pytest.mark.parametrize("host", ["nosuch..host", "no.such.host.invalid"])
def test_main_with_a_host_that_is_none_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INFERENCE_HOST", host)
    assert main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "INFERENCE_HOST" in told


def test_main_with_a_wrong_setting_is_one_line_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INFERENCE_PORT", "zq7marker")
    assert main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "INFERENCE_PORT" in told
    assert "zq7marker" not in told


def test_create_app_twice_shares_nothing(tmp_path: Path) -> None:
    settings = InferenceSettings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    assert create_app(settings).openapi()["paths"].keys() == create_app(settings).openapi()["paths"].keys()
