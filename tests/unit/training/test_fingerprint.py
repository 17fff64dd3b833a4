from pathlib import Path
from typing import Any

import pytest

from src.core.errors import ConfigError
from src.training.fingerprint import LOCK_FILE, fingerprint_of
from tests.support.training import config


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train_model.py").write_text("ESTIMATOR = 1\n")
    return tmp_path / "code"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "uv.lock").write_text("version = 1\n")
    return tmp_path / "uv.lock"


def test_same_data_settings_code_and_packages_have_the_same_fingerprint(code: Path, lock: Path) -> None:
    fingerprint = fingerprint_of("d1", config(), code, lock)
    assert fingerprint == fingerprint_of("d1", config(), code, lock)
    assert len(fingerprint) == 64
    # Neither affects training or promotion.
    other = config(retention={"versions": 3}).model_copy(update={"report": ["accuracy"]})
    assert fingerprint_of("d1", other, code, lock) == fingerprint


@pytest.mark.parametrize(
    "sections",
    [
        {"dataset": {"min_rows_per_class": 21}},
        {"split": {"seed": 43}},
        {"model": {"n_estimators": 101}},
        {"gate": {"floor": 0.5}},
    ],
)
def test_other_settings_have_another_fingerprint(code: Path, lock: Path, sections: dict[str, Any]) -> None:
    assert fingerprint_of("d1", config(**sections), code, lock) != fingerprint_of("d1", config(), code, lock)


def test_who_promotes_does_not_change_the_fingerprint(code: Path, lock: Path) -> None:
    manual = config(gate={"approval": "manual"})
    assert fingerprint_of("d1", manual, code, lock) == fingerprint_of("d1", config(), code, lock)


def test_other_data_code_or_packages_have_another_fingerprint(code: Path, lock: Path) -> None:
    seen = {fingerprint_of("d1", config(), code, lock), fingerprint_of("d2", config(), code, lock)}
    (code / "train_model.py").write_text("ESTIMATOR = 2\n")
    seen.add(fingerprint_of("d1", config(), code, lock))
    lock.write_text("version = 2\n")
    seen.add(fingerprint_of("d1", config(), code, lock))
    assert len(seen) == 4


def test_lock_file_is_the_repository_s_own(code: Path) -> None:
    assert LOCK_FILE.is_file()
    assert fingerprint_of("d1", config(), code) == fingerprint_of("d1", config(), code, LOCK_FILE)


def test_missing_lock_file_is_reported_with_its_name(code: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none.lock \(No such file or directory\)"):
        fingerprint_of("d1", config(), code, tmp_path / "none.lock")
