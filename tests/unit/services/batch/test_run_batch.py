"""The command: its exit codes, and what it hides from its workers."""

import os
from pathlib import Path

import pytest

import src.services.batch.run_batch as command
from src.core.errors import DataError, LoopError, OutputBusyError
from src.core.exit_codes import ExitCode
from src.services.batch.batch_run import Request


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], ExitCode.OK),
        ([LoopError("x")], ExitCode.FAILED),
        ([LoopError("x"), DataError("x")], ExitCode.PERMANENT),
        ([OutputBusyError("x")], ExitCode.BUSY),
    ],
)
def test_exit_code_follows_the_errors(errors: list[LoopError], code: ExitCode) -> None:
    assert command.exit_code_of(errors) == code


def test_arguments_are_the_request_and_secrets_are_not_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    hidden: list[str] = []

    def run(request: Request, *_: object) -> list[LoopError]:
        asked.append(request)
        hidden.extend(name for name in command.SECRETS if name not in os.environ)
        return []

    monkeypatch.setattr(command, "run", run)
    for name in command.SECRETS:
        monkeypatch.setenv(name, "x" * 16)
    assert command.main(["in", str(tmp_path), "--version", "3", "--id", "a", "--id", "b"]) == ExitCode.OK
    assert asked == [Request("in", tmp_path, "3", ("a", "b"))]
    assert hidden == ["DATASET_URL", "ZENML_STORE_API_KEY", "WRITE_API_KEY", "PREDICTION_LOG_KEY"]
    assert command.main(["in", str(tmp_path)]) == ExitCode.OK
    assert asked[-1] == Request("in", tmp_path, None, ())


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (OutputBusyError("another run writes"), (ExitCode.BUSY, "another run writes")),
        (
            KeyboardInterrupt(),
            (130, "interrupted; the same command goes on with the files that are not scored yet"),
        ),
        (OSError(28, "full"), (ExitCode.FAILED, "a disk fails: [Errno 28] full; run again once it works")),
    ],
)
def test_error_of_a_run_is_one_line(
    error: BaseException,
    ending: tuple[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*_: object) -> list[LoopError]:
        raise error

    monkeypatch.setattr(command, "run", run)
    code, line = ending
    assert command.main(["in", str(tmp_path)]) == code
    assert capsys.readouterr().err.splitlines()[-1].endswith(f" batch: {line}")


def test_command_without_an_input_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert f"{tmp_path} has no .csv, .tsv or .parquet file" in capsys.readouterr().err
