"""Entry point of `make config`: writes a configuration for your own table, and lists what to check."""

import argparse
import re
import sys
import unicodedata
from pathlib import Path

from src.core.errors import ConfigError, LoopError
from src.core.log import show_progress
from src.core.pipeline_config import load_pipeline_config
from src.training.propose.propose_config import Wanted, Written, propose, require_overwritable

DEFAULT_OUT = "config/pipeline.yaml"


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments, write the file, return the exit code: 0; 1 to try again; 2 if something must be fixed."""
    parser = argparse.ArgumentParser(prog="make config", description=__doc__)
    parser.add_argument("--csv", required=True, help="a CSV, TSV or Parquet file (also .gz), or a folder of them")
    parser.add_argument("--target", required=True, help="the column to predict")
    parser.add_argument("--out", default="", help=f"the file to write ({DEFAULT_OUT})")
    parser.add_argument("--force", default="", help="1 to overwrite a file that has been edited")
    parser.add_argument("--id", default="", help="the column that identifies a row")
    parser.add_argument("--time", default="", help="the column with a row's time: later rows are predicted")
    given = parser.parse_args(arguments)
    show_progress()
    out = Path(given.out or DEFAULT_OUT)
    try:
        for option in ("csv", "target"):
            if not getattr(given, option):
                raise ConfigError(
                    f"set {option.upper()}=…, such as make config CSV=data-file/incoming/churn.csv TARGET='Churn?'"
                )
        require_overwritable(out, force=given.force not in {"", "0"})
        wanted = Wanted(given.csv, given.target, [given.id] if given.id else [], given.time or None)
        written = propose(wanted)
        write(out, written.text)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 2 if error.permanent else 1
    print(report(out, written, model_name(given.csv)))  # noqa: T201 - the command's own output
    return 0


def write(file: Path, text: str) -> None:
    """Write the whole file at once, and only if a training would accept it.

    Raises:
        ConfigError: its folder cannot be written to, or the text is not a valid configuration.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        load_pipeline_config(temporary)
        temporary.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}; choose another file with OUT=…") from error
    finally:
        temporary.unlink(missing_ok=True)


def report(file: Path, written: Written, name: str) -> str:
    """The lines that say what was written, what to check, and what to do next."""
    lines = [f"wrote {file}", *(f"  {line}" for line in written.summary)]
    if written.checks:
        lines += ["check:", *(f"  - {check}" for check in written.checks)]
    option, start = "", "make local or make up"
    if file != Path(DEFAULT_OUT):
        option = f"PIPELINE_CONFIG={file} "
        start = f"{option}make local (make up reads {DEFAULT_OUT})"
    return "\n".join(
        [
            *lines,
            f"next: set MODEL_NAME={name} and MLFLOW_EXPERIMENT={name}-training in .env, so that this model gets its",
            f"own name; then run {option}make check-data, and {start}",
        ]
    )


def model_name(source: str) -> str:
    """A name for the model of this table, in ASCII: letters lose their accents."""
    stem = unicodedata.normalize("NFKD", Path(source.rstrip("/*")).name.partition(".")[0].replace("ß", "ss"))
    stem = "".join(sign for sign in stem if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "model"


if __name__ == "__main__":
    sys.exit(main())
