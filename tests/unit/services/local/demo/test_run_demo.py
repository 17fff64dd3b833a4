"""The command of ``make demo``."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.services.local.demo import run_demo
from src.services.local.demo.story import Event, StoryError


@pytest.mark.parametrize("name", ["demo.pdf", "demo", "missing/demo.svg"])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_starts(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_demo", "--out", str(tmp_path / name)])
    assert run_demo.main() == 1
    output = capsys.readouterr()
    assert "must be a .svg or .png file in an existing folder" in output.err
    assert output.out == ""


def test_an_error_shows_the_last_lines_of_the_loop(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(50)))

    class Story:
        loop = SimpleNamespace(log=log)

        def tell(self) -> None:
            raise StoryError("not within 9 s")

    with pytest.raises(StoryError) as raised:
        run_demo.tell(Story(), tmp_path / "demo.svg")  # type: ignore[arg-type]
    lines = str(raised.value).splitlines()
    assert lines == ["not within 9 s; the last lines of the loop:", *(f"line {n}" for n in range(35, 50))]
    assert not (tmp_path / "demo.svg").exists()


def test_an_event_is_one_line_with_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    run_demo.print_event(Event("alert", 12.34, "it fires"))
    assert capsys.readouterr().out == "  12.3 s  it fires\n"
