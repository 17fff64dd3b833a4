"""An unedited configuration is recognised, whatever its line endings."""

import pytest

from src.services.local.processes import REPOSITORY
from src.training.propose.seal import is_unchanged, sealed

TEXT = "a: 1\nb: é\n"


def test_sealed_text_is_unchanged() -> None:
    text = sealed(TEXT)
    assert text.startswith(TEXT)
    assert len(text.splitlines()) == 3
    assert is_unchanged(text)
    assert is_unchanged(text.replace("\n", "\r\n"))
    assert sealed(text) == text


@pytest.mark.parametrize("edit", [("a: 1", "a: 2"), ("a: 1\n", ""), ("a: 1", "# note\na: 1"), ("é", "e")])
def test_edited_text_is_not(edit: tuple[str, str]) -> None:
    assert not is_unchanged(sealed(TEXT).replace(*edit))


def test_text_without_a_seal_is_not() -> None:
    assert not is_unchanged(TEXT)
    assert not is_unchanged("")


def test_shipped_configuration_is_sealed() -> None:
    file = REPOSITORY / "config" / "pipeline.yaml"
    text = file.read_text(encoding="utf-8")
    assert is_unchanged(text), f"after an edit of the shipped file its last line is: {sealed(text).splitlines()[-1]}"
