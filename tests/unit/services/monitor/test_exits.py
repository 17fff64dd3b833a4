import pytest

from src.core.exit_codes import ExitCode
from src.services.monitor.exits import ExitKind, describe, kind_of, was_silent


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (None, ExitKind.UNKNOWN),
        (0, ExitKind.OK),
        (1, ExitKind.ERROR),
        (2, ExitKind.ERROR),
        (75, ExitKind.BUSY),
        (76, ExitKind.OUT_OF_MEMORY),
        (125, ExitKind.ERROR),
        (127, ExitKind.ERROR),
        (128, ExitKind.ERROR),
        (129, ExitKind.KILLED),
        (137, ExitKind.KILLED),
    ],
)
def test_every_exit_code_has_a_kind(code: int | None, kind: ExitKind) -> None:
    assert kind_of(code) is kind


def test_every_exit_code_of_the_training_is_known() -> None:
    assert {kind_of(code) for code in ExitCode} == set(ExitKind) - {ExitKind.KILLED, ExitKind.UNKNOWN}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (137, "killed by SIGKILL (exit code 137)"),
        (139, "killed by SIGSEGV (exit code 139)"),
        (255, "killed by signal 127 (exit code 255)"),
        (76, "raise TRAIN_MEMORY in .env"),
        (125, "no pod of the training Job ran"),
        (2, "exit code 2"),
        (None, "not known"),
    ],
)
def test_description_names_signal_and_remedy(code: int | None, words: str) -> None:
    assert words in describe(code)


@pytest.mark.parametrize(
    ("code", "silent"),
    [
        (None, False),
        (0, False),
        (1, False),
        (2, False),
        (75, False),
        (76, True),
        (125, True),
        (128, False),
        (137, True),
    ],
)
def test_run_that_was_killed_or_never_began_could_not_say_why(code: int | None, silent: bool) -> None:  # noqa: FBT001
    assert was_silent(code) is silent
