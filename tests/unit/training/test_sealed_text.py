import io
import json

import pytest

from src.services.stack import secrets_member
from src.training.sealed_text import CANNOT_OPEN, main, seal, unseal

pytestmark = pytest.mark.slow

TEXT = "MYSQL_ROOT_PASSWORD=secret\n# ümlaut\n"
PASSPHRASE = "correct horse battery"  # noqa: S105 - of no secret


def test_sealed_text_opens_with_its_passphrase_and_shows_nothing() -> None:
    sealed = seal(TEXT, PASSPHRASE)
    assert unseal(sealed, PASSPHRASE) == TEXT
    assert "secret" not in sealed
    assert PASSPHRASE not in sealed
    assert seal(TEXT, PASSPHRASE) != sealed  # a salt of its own each time


def test_another_passphrase_or_a_changed_text_does_not_open_it() -> None:
    sealed = seal(TEXT, PASSPHRASE)
    with pytest.raises(ValueError, match="another passphrase"):
        unseal(sealed, f"{PASSPHRASE}!")
    content = json.loads(sealed)
    middle = len(content["token"]) // 2
    other = "A" if content["token"][middle] != "A" else "B"
    content["token"] = content["token"][:middle] + other + content["token"][middle + 1 :]
    with pytest.raises(ValueError, match="changed text"):
        unseal(json.dumps(content), PASSPHRASE)


def test_command_seals_and_opens_its_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(action: str, given: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        return main([action]), capsys.readouterr().out

    code, sealed = run("seal", f"{PASSPHRASE}\n{TEXT}")
    assert code == 0
    assert run("open", f"{PASSPHRASE}\n{sealed}") == (0, TEXT)
    assert run("open", f"wrong\n{sealed}") == (CANNOT_OPEN, "")
    assert run("open", f"{PASSPHRASE}\nno sealed text") == (CANNOT_OPEN, "")


def test_stack_commands_know_the_exit_code_of_another_passphrase() -> None:
    assert secrets_member.CANNOT_OPEN == CANNOT_OPEN
