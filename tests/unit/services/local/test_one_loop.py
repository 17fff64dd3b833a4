from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.services.local import clean_state
from src.services.local.one_loop import only_loop_on


def test_second_loop_on_the_same_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"make local is running on .*; stop it first")
    with only_loop_on(tmp_path), refused, only_loop_on(tmp_path):
        pass
    with only_loop_on(tmp_path):
        pass


def test_clean_state_leaves_a_running_loop_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("local", "retrain"):
        (tmp_path / name).mkdir()
    kept = tmp_path / "iris_preprocessed.csv"
    kept.touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with only_loop_on(tmp_path / "local"):
        assert clean_state.main() == 1
    assert "make local is running" in capsys.readouterr().err
    assert kept.exists()
    assert clean_state.main() == 0
    assert list(tmp_path.iterdir()) == []
