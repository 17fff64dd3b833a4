"""Proposes a configuration for a table: reads it, guesses, and says what to check."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from src.core.counting import counted
from src.core.dataset_config import CategoryFeature, CsvFormat, DatasetConfig, Range
from src.core.errors import ConfigError, DataError
from src.training import sources
from src.training.data_files import TableFile, local_files
from src.training.propose.find_leaks import find_leaks
from src.training.propose.guess_columns import MAX_TEXT, ColumnGuess, guess_columns
from src.training.propose.guess_target import guess_target, require_column
from src.training.propose.seal import is_unchanged
from src.training.propose.sniff import Dialect, decode, sniff
from src.training.propose.try_out import try_out
from src.training.propose.write_config import Proposal

IS_IT_THE_TIME = (
    "{}: a date, which is learned from like a number; if it says when a row happened, name it with TIME=…, as later "
    "rows would always be reported as drifted"
)
NO_ID = (
    "no column identifies a row: if a later training reads other values of the same rows, such as an age or a balance, "
    "the gate cannot compare with the champion; name one with ID=… if there is one"
)


@dataclass(frozen=True)
class Wanted:
    """What the user asks for: the table, the column to predict and, if known, its id and time columns."""

    source: str
    target: str
    ids: list[str] = field(default_factory=list)
    time: str | None = None


@dataclass(frozen=True)
class Written:
    """A proposed file's text, a summary of it, and what to check."""

    text: str
    summary: list[str]
    checks: list[str]


def propose(
    wanted: Wanted, clock: Callable[[], float] = time.time, wait: Callable[[float], None] = time.sleep
) -> Written:
    """A configuration for the table.

    Raises:
        ConfigError: a given column does not exist or does not suit its role.
        DataError: the table cannot be read, its files differ in encoding, or nothing can be learned from its target.
        LoopError: its files are still being written.
    """
    files, _ = local_files(wanted.source, clock, wait)
    dialect, names = _look(_sample_of(files))
    _require_columns(wanted, names)
    usable = [name for name in names if 0 < len(name) <= MAX_TEXT]
    decimal = dialect.decimal if dialect else "."
    raw = sources.read(_everything(wanted, usable, dialect), clock=clock, wait=wait)
    frame, rows = raw.frame, len(raw.frame)
    if not rows:
        raise DataError(f"{wanted.source} has no rows")
    target = guess_target(frame[wanted.target], decimal)
    columns = guess_columns(frame.drop(columns=wanted.target), decimal, wanted.ids, wanted.time)
    _require_use(wanted, columns, rows)
    proposal = Proposal(
        source=wanted.source,
        rows=rows,
        repeated=int(frame.duplicated().sum()),
        dialect=dialect,
        target=wanted.target,
        target_guess=target,
        columns=columns,
        by_time=wanted.time is not None,
    )
    leaks = find_leaks(frame, wanted.target, columns, is_number=target.classes is None, decimal=decimal)
    unnamed = [f"a column cannot be used, as its name is {_why(name)}" for name in names if name not in usable]
    checks = [*unnamed, *leaks, *filter(None, [target.check]), *(column.check for column in columns if column.check)]
    if proposal.split_by == "hash" and not proposal.name_of("id"):
        checks.append(NO_ID)
    if not proposal.name_of("time"):
        checks += [IS_IT_THE_TIME.format(column.name) for column in columns if column.type == "date"]
    text, trouble = try_out(proposal, raw)
    return Written(text, _summary(proposal, len(raw.files)), [*trouble, *checks])


def require_overwritable(file: Path, *, force: bool) -> None:
    """Refuse to replace a configuration that was edited. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; choose another file with OUT=") from error
    if text.strip() and not is_unchanged(text) and not force:
        raise ConfigError(
            f"{file} has been edited and would be overwritten: nothing was written. FORCE=1 overwrites it, OUT=… "
            "writes another file"
        )


def _sample_of(files: Sequence[TableFile]) -> TableFile:
    """The file that shows how all are encoded: the first with a character beyond ASCII, which all encodings share.

    Raises:
        DataError: two files have different encodings.
    """
    found: dict[str, TableFile] = {}
    for file in files if len(files) > 1 else ():
        if file.format == "csv":
            with file.open() as stream:
                decoded = decode(stream, file.name)
            if not decoded.is_ascii:
                found.setdefault(decoded.encoding, file)
    if len(found) > 1:
        names = " and ".join(f"{file.name} in {encoding}" for encoding, file in found.items())
        raise DataError(f"the files differ in encoding: {names}; save all of them in one, such as utf-8")
    return next(iter(found.values()), files[0])


def _look(file: TableFile) -> tuple[Dialect | None, list[str]]:
    """How the file is written, if it is CSV, and its columns."""
    with file.open() as stream:
        if file.format == "csv":
            dialect = sniff(stream, file.name)
            return dialect, dialect.columns
        try:
            return None, [str(name) for name in pq.read_schema(stream).names]
        except pa.ArrowException as error:
            raise DataError(f"{file.name} is not a Parquet file: {' '.join(str(error).split())}") from error


def _everything(wanted: Wanted, names: list[str], dialect: Dialect | None) -> DatasetConfig:
    """A configuration that reads every column as it is."""
    options = CsvFormat(delimiter=dialect.delimiter, encoding=dialect.encoding) if dialect else CsvFormat()
    return DatasetConfig(
        source=wanted.source,
        csv=options,
        target=wanted.target,
        features={name: CategoryFeature(type="category") for name in names if name != wanted.target},
        target_range=Range(),
        duplicates="keep",
    )


def _require_columns(wanted: Wanted, names: list[str]) -> None:
    require_column(wanted.target, names, "TARGET")
    for name in wanted.ids:
        require_column(name, names, "ID")
    if wanted.time is not None:
        require_column(wanted.time, names, "TIME")
    if wanted.target in (*wanted.ids, wanted.time):
        raise ConfigError(f"the target {wanted.target!r} cannot be ID or TIME, too")
    if len(set(names)) < 2:  # noqa: PLR2004 - the target and something to predict it from
        raise ConfigError(f"{wanted.source} has no column besides the target")


def _require_use(wanted: Wanted, columns: Iterable[ColumnGuess], rows: int) -> None:
    """Require each named column to suit its role, and a column to learn from."""
    for column in columns:
        if column.role == "time" and column.type != "date":
            raise ConfigError(f"TIME={wanted.time!r} does not hold ISO 8601 dates: {column.why}")
        if column.role in {"id", "time"} and column.missing:
            raise ConfigError(f"{column.name!r} cannot be ID or TIME: {column.missing} of {rows} rows have no value")
    if not any(column.role == "feature" and column.type != "ignore" for column in columns):
        why = "; ".join(f"{column.name}: {column.why}" for column in columns)
        raise DataError(f"{wanted.source} has no column to predict {wanted.target!r} from ({why})")


def _why(name: str) -> str:
    return f"longer than {MAX_TEXT} characters: {name[:MAX_TEXT]!r}…" if name else "empty"


def _summary(proposal: Proposal, files: int) -> list[str]:
    """The proposal in a few lines."""
    kinds: dict[str, list[str]] = {}
    for column in proposal.columns:
        kinds.setdefault(column.type if column.role == "feature" else column.role, []).append(column.name)
    guess = proposal.target_guess
    task = f"one of {len(guess.classes)} classes" if guess.classes else "a number"
    read = f"{counted(proposal.rows, 'row')}, {len(proposal.columns) + 1} columns" + (
        f", {files} files" if files > 1 else ""
    )
    lines = [f"{proposal.source}: {read}", f"target {proposal.target}: {task} ({guess.why}); metric {guess.metric}"]
    return [*lines, *(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())]
