"""An unedited configuration is recognised, whatever its line endings."""

import pytest

from src.services.local.processes import REPOSITORY
from src.training.propose.seal import is_unchanged, sealed
from tests.support.configuration import CONFIG_FILE

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


def test_shipped_configuration_is_the_one_of_the_tests_with_a_seal() -> None:
    text = (REPOSITORY / "config" / "pipeline.yaml").read_text(encoding="utf-8")
    shipped = sealed(CONFIG_FILE.read_text(encoding="utf-8"))
    is_own = not is_unchanged(text) or text.startswith("# Written by `make config`")
    if is_own and sealed(text) != shipped:
        pytest.skip("config/pipeline.yaml is your own; an edit of the template's belongs in tests/support as well")
    assert text == shipped, f"the last line of config/pipeline.yaml is: {shipped.splitlines()[-1]}"
