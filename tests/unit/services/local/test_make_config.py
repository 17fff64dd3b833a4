"""`make config`: what it writes, prints and refuses, and what make hands on."""

import subprocess
from pathlib import Path

import pytest

from src.core.errors import ConfigError, LoopError
from src.core.pipeline_config import load_pipeline_config
from src.services.local import make_config
from src.services.local.make_config import main, model_name, write
from src.services.local.processes import REPOSITORY
from src.training.propose.seal import sealed


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "Shop data.csv"
    rows = "".join(f"{row}.5,{('no', 'yes')[row % 2]},{row % 2}\n" for row in range(60))
    file.write_text(f"size,sold,flag\n{rows}", encoding="utf-8")
    return file


def test_file_is_written_and_what_to_check_is_printed(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "pipeline.yaml"
    assert main(["--csv", str(table), "--target", "sold", "--out", str(out)]) == 0
    assert load_pipeline_config(out).dataset.source == str(table)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [f"wrote {out}", f"  {table}: 60 rows, 3 columns"]
    assert "check:" in printed
    assert "  - flag: determines the target; is it known when a prediction is made?" in printed
    assert "MODEL_NAME=shop-data and MLFLOW_EXPERIMENT=shop-data-training" in printed[-2]
    local = f"PIPELINE_CONFIG={out} make local (make up reads config/pipeline.yaml)"
    assert printed[-1].endswith(f"then run PIPELINE_CONFIG={out} make check-data, and {local}")
    assert sorted(path.name for path in table.parent.iterdir()) == ["Shop data.csv", "pipeline.yaml"]


def test_id_and_time_are_handed_on(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    dated = [
        f"{lines[0]},when,key",
        *(f"{line},2024-01-{row % 28 + 1:02},k{row}" for row, line in enumerate(lines[1:])),
    ]
    table.write_text("\n".join(dated), encoding="utf-8")
    out = table.parent / "pipeline.yaml"
    given = ["--csv", str(table), "--target", "sold", "--out", str(out)]
    assert main([*given, "--id", "size", "--time", "when"]) == 0
    config = load_pipeline_config(out)
    assert (config.dataset.id, config.dataset.time, config.split.by) == (["size"], "when", "time")
    assert main([*given, "--id", "", "--time", ""]) == 0
    assert load_pipeline_config(out).dataset.id == ["key"]


def test_edited_file_is_kept_unless_forced(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "pipeline.yaml"
    given = ["--csv", str(table), "--target", "sold", "--out", str(out)]
    assert main(given) == 0
    assert main(given) == 0
    edited = out.read_text(encoding="utf-8").replace("  metric: accuracy", "  metric: f1_macro")
    out.write_text(edited, encoding="utf-8")
    capsys.readouterr()
    for unforced in ([], ["--force", ""], ["--force", "0"]):
        assert main([*given, *unforced]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"error: {out} has been edited")
        assert out.read_text(encoding="utf-8") == edited
    assert main([*given, "--force", "1"]) == 0
    assert load_pipeline_config(out).gate.metric == "accuracy"


def test_nothing_is_written_where_the_target_cannot_be_learned(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "pipeline.yaml"
    out.write_text(sealed("a: 1\n"), encoding="utf-8")
    assert main(["--csv", str(table), "--target", "price", "--out", str(out)]) == 2
    assert "error: TARGET: there is no column 'price'" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == sealed("a: 1\n")


@pytest.mark.parametrize(
    ("option", "given"), [("CSV", ["--csv", "", "--target", "a"]), ("TARGET", ["--csv", "a", "--target", ""])]
)
def test_missing_option_is_reported_with_an_example(
    option: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    assert capsys.readouterr().err.startswith(
        f"error: set {option}=…, such as make config CSV=data-file/incoming/churn.csv"
    )


def test_file_that_keeps_changing_can_be_tried_again(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LoopError("it keeps changing")

    monkeypatch.setattr(make_config, "propose", fail)
    assert main(["--csv", str(table), "--target", "sold", "--out", str(table.parent / "pipeline.yaml")]) == 1


def test_invalid_text_is_never_written(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("kept", encoding="utf-8")
    with pytest.raises(ConfigError):
        write(file, "a: 1\n")
    assert file.read_text(encoding="utf-8") == "kept"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(
        ConfigError, match="cannot be written: No such file or directory; choose another file with OUT="
    ):
        write(tmp_path / "absent" / "pipeline.yaml", "a: 1\n")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data-file/Churn Data.csv.gz", "churn-data"),
        ("data-file/incoming/", "incoming"),
        ("data/*", "data"),
        ("Ü-Größe.csv", "u-grosse"),
        ("街.csv", "model"),
    ],
)
def test_name_of_the_model_follows_the_source(source: str, name: str) -> None:
    assert model_name(source) == name


def test_make_hands_on_any_name_of_a_column(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    target, identifier = 'it\'s "$x" ($) `y` %', "a;b && c"
    options = [f"TARGET={target}", f"ID={identifier}", "CSV=a b.csv", "TIME=t", "OUT=o.yaml", "FORCE=1"]
    made = subprocess.run(
        ["make", "--silent", "--old-file=.venv/.ready", f"BIN={tmp_path}", "config", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.stdout.splitlines()[2:] == [
        *("--csv", "a b.csv", "--target", target, "--id", identifier),
        *("--time", "t", "--out", "o.yaml", "--force", "1"),
    ]
