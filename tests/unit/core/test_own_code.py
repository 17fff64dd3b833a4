from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core import own_code
from src.core.code_hash import code_sha256
from src.core.errors import OtherCodeError
from src.core.own_code import is_own, own_code_sha256, require_own_code


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    own_code_sha256.cache_clear()
    yield
    own_code_sha256.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "area.py").write_text("A = 1\n")
    monkeypatch.setattr(own_code, "OWN_FOLDER", tmp_path)
    return tmp_path


def test_own_code_is_the_repository_s_src_pipeline() -> None:
    assert own_code_sha256() == code_sha256(Path(__file__).parents[3] / "src" / "pipeline")


def test_own_classes_are_those_below_src_pipeline() -> None:
    assert is_own("src.pipeline.area.PricePerArea")
    assert not is_own("src.pipelines.area.PricePerArea")
    assert not is_own("src.training.area.PricePerArea")
    assert not is_own("os.system")


@pytest.mark.parametrize("name", ["load_pipeline_config", "check_rows", "logging", "pd", "SERVICE"])
def test_what_own_code_only_imports_is_not_own(name: str) -> None:
    assert not is_own(f"src.pipeline.data_preprocess.{name}")
    assert is_own("src.pipeline.data_preprocess.clean")


def test_model_made_with_this_code_passes(folder: Path) -> None:
    require_own_code(code_sha256(folder))


def test_model_made_with_other_code_is_refused_with_what_to_do(folder: Path) -> None:
    other = code_sha256(folder)
    (folder / "area.py").write_text("A = 2\n")
    with pytest.raises(
        OtherCodeError, match=rf"other code of src/pipeline \(SHA-256 {other[:12]}, here .*build the image again"
    ):
        require_own_code(other)


def test_what_runs_is_the_code_of_the_first_look(folder: Path) -> None:
    before = code_sha256(folder)
    require_own_code(before)
    (folder / "area.py").write_text("A = 2\n")
    require_own_code(before)
    with pytest.raises(OtherCodeError, match="restart"):
        require_own_code(code_sha256(folder))


def test_image_without_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "OWN_FOLDER", tmp_path / "pipeline")
    assert own_code_sha256() is None
    with pytest.raises(OtherCodeError, match="are not installed here; build the image again"):
        require_own_code("0" * 64)
