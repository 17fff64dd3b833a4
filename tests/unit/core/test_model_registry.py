"""The name of a registered model, and its manifest: a directory is what was registered, or it is not loaded."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from src.core.errors import InvalidModelError
from src.core.golden_rows import GoldenRows
from src.core.model_registry import (
    MANIFEST_FILE,
    DriftReference,
    checked_model_name,
    says_missing,
    sha256_file,
    verify_manifest,
    write_manifest,
)

NEEDED = ("MLmodel", "sub/model.onnx")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "MLmodel").write_text("flavors: {}")
    (tmp_path / "sub" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "extra.txt").write_text("x")
    return tmp_path


def test_sha256_file_is_the_files_digest(model: Path) -> None:
    assert sha256_file(model / "sub" / "model.onnx") == hashlib.sha256(b"graph").hexdigest()


def test_untouched_directory_passes(model: Path) -> None:
    verify_manifest(model, write_manifest(model), NEEDED)


def test_manifest_written_twice_is_the_same(model: Path) -> None:
    assert write_manifest(model) == write_manifest(model)


def test_directory_with_only_the_needed_files_passes(model: Path) -> None:
    digest = write_manifest(model)
    (model / "extra.txt").unlink()
    verify_manifest(model, digest, NEEDED)


@pytest.mark.parametrize("name", ["MLmodel", "sub/model.onnx", "extra.txt"])
def test_changed_file_is_named(model: Path, name: str) -> None:
    digest = write_manifest(model)
    (model / name).write_bytes(b"changed")
    with pytest.raises(InvalidModelError, match=f"{name} differs from the manifest"):
        verify_manifest(model, digest, NEEDED)


@pytest.mark.parametrize("name", NEEDED)
def test_missing_file_is_named(model: Path, name: str) -> None:
    digest = write_manifest(model)
    (model / name).unlink()
    with pytest.raises(InvalidModelError, match=f"{name} is missing"):
        verify_manifest(model, digest, NEEDED)


def test_needed_file_that_is_not_listed_is_named(model: Path) -> None:
    digest = write_manifest(model)
    (model / "late.json").write_text("{}")
    with pytest.raises(InvalidModelError, match=r"late\.json is missing"):
        verify_manifest(model, digest, (*NEEDED, "late.json"))


@pytest.mark.parametrize("name", ["evil.py", "sub/manifest.json"])
def test_file_that_is_not_listed_is_named(model: Path, name: str) -> None:
    digest = write_manifest(model)
    (model / name).write_text("x")
    with pytest.raises(InvalidModelError, match=f"{name} differs from the manifest"):
        verify_manifest(model, digest, NEEDED)


def test_manifest_rewritten_to_fit_a_changed_file_is_refused(model: Path) -> None:
    digest = write_manifest(model)
    (model / "sub" / "model.onnx").write_bytes(b"changed")
    write_manifest(model)
    with pytest.raises(InvalidModelError, match=f"{MANIFEST_FILE} is missing or not the one that was registered"):
        verify_manifest(model, digest, NEEDED)


def test_missing_manifest_is_refused(model: Path) -> None:
    with pytest.raises(InvalidModelError, match="is missing or not the one"):
        verify_manifest(model, "0" * 64, NEEDED)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 1}', '{"sha256": {}, "more": 1}'])
def test_manifest_of_another_shape_is_refused(model: Path, content: str) -> None:
    (model / MANIFEST_FILE).write_text(content)
    with pytest.raises(InvalidModelError, match="is not a manifest"):
        verify_manifest(model, sha256_file(model / MANIFEST_FILE), NEEDED)


@pytest.mark.parametrize(
    ("code", "message", "missing"),
    [
        ("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=iris not found", True),
        ("INVALID_PARAMETER_VALUE", "Registered model alias champion not found.", True),
        # As MLflow's own client shows an error.
        ("INVALID_PARAMETER_VALUE", "INVALID_PARAMETER_VALUE: Registered model alias champion not found.", True),
        ("INVALID_PARAMETER_VALUE", "Registered model alias name cannot be empty.", False),
        ("INVALID_PARAMETER_VALUE", "Registered model name not found.", False),
        ("ENDPOINT_NOT_FOUND", "Registered model alias champion not found.", False),
        ("INTERNAL_ERROR", "Registered model alias champion not found.", False),
        (None, None, False),
        (404, ["alias", "not found."], False),
    ],
)
def test_says_missing_recognises_a_missing_model_or_alias_only(code: object, message: object, *, missing: bool) -> None:
    assert says_missing(code, message) is missing


@pytest.mark.parametrize("schema", [GoldenRows, DriftReference])
def test_files_of_the_model_refuse_unknown_keys(schema: type[GoldenRows] | type[DriftReference]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        schema.model_validate({"unknown": 1})


@pytest.mark.parametrize(
    "name", ["credit risk", "v1.2", ".hidden", "o'brien's 100 % #1? [x] (y) & z = @", "Kreditausfälle", "ä" * 100]
)
def test_model_may_have_a_name_that_mlflow_allows(name: str) -> None:
    assert checked_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "..x", "a/b", "/a", "a:b", 'a"b', "a\\b", "a\nb", "a\tb", "a\0", "\udcff", "a\u2028b"]
)
def test_name_that_cannot_be_used_everywhere_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(ValueError, match=r"printable characters other than / : \\ and double quotes"):
        checked_model_name(name)


def test_name_that_would_be_too_long_for_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 200 bytes"):
        checked_model_name("ä" * 100 + "x")
