"""What is read of a training, and how the conditions of a measurement are described."""

from pathlib import Path

import pytest

from benchmarks.conditions import heading, make_command
from benchmarks.loop import Training, copy_code


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [
                "10:00 INFO train-model: train …",
                "10:01 INFO train-model: promoted: version 1",
                "10:02 INFO train-model: old",
            ],
            "promoted: version 1",
        ),
        (["10:00 INFO train-model: train …", "10:01 ERROR train-model: too large", "Traceback"], "too large"),
        (["Traceback"], "no line"),
    ],
)
def test_end_is_the_verdict_or_the_last_line(lines: list[str], expected: str) -> None:
    assert Training(0, 1.0, 1.0, 1, lines).end == expected


def test_copy_of_the_code_is_complete_and_has_no_bytecode(tmp_path: Path) -> None:
    code = copy_code(tmp_path / "code", "docs/adopt.md")
    for name in ("run_pipeline.py", "uv.lock", "src/pipeline/train_model.py", "config/pipeline.yaml", "docs/adopt.md"):
        assert (code / name).is_file(), name
    assert list(code.rglob("__pycache__")) == []


def test_command_of_a_measurement_has_its_arguments() -> None:
    assert make_command("measure-gate", []) == "make measure-gate"
    assert make_command("measure-gate", ["--seeds", "3"]) == "make measure-gate 'GATE_ARGS=--seeds 3'"


def test_heading_has_the_command_the_commit_and_the_machine() -> None:
    first, *rest = heading("make measure-gate").splitlines()
    assert first.startswith("`make measure-gate`, commit ")
    assert "Python 3." in rest[0]
    assert rest[1].startswith("The load before was ")
