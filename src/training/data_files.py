"""Finds the local files of a data set and opens them."""

import glob
import gzip
import logging
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from src.core.errors import DataError, LoopError
from src.core.misspelt import did_you_mean

# A file that has not changed for this long is complete.
SETTLED_SECONDS = 10.0
FORMATS: dict[str, Literal["csv", "parquet"]] = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
SHOWN_NAMES = 20
UNREADABLE = (OSError, EOFError, zlib.error)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableFile:
    """A file to read: ``name`` is its name in messages, ``path`` where its bytes are on this machine."""

    name: str
    path: Path
    format: Literal["csv", "parquet"]

    @property
    def is_tsv(self) -> bool:
        """Whether tabs separate its cells, by its name."""
        return _suffix(self.name) == ".tsv"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, decompressed if they are gzip's.

        Raises:
            DataError: access is denied, or it is a damaged or incomplete gzip file.
            LoopError: it was deleted, or its disk fails; trying again may help.
        """
        try:
            with self.path.open("rb") as stream:
                compressed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            # Both are buffered readers; gzip's type says less.
            with cast("BinaryIO", gzip.open(self.path) if compressed else self.path.open("rb")) as stream:
                yield stream
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None)
            if reason and not isinstance(error, PermissionError):
                raise LoopError(f"{self.name} was found, but cannot be read: {reason}; run again") from error
            problem = f"{self.name} cannot be read: {reason or error}; fix the file or dataset.source"
            raise DataError(problem) from error


def local_files(
    source: str, clock: Callable[[], float], wait: Callable[[float], None] = time.sleep
) -> tuple[list[TableFile], list[str]]:
    """The files of a path, a folder or a glob, in the order of their names, and those that are left for the next run.

    In a folder, or where a glob matches, hidden and temporary files (``.x``, ``x.tmp``, ``x.part``) and files of other
    kinds do not count. A file that changed within ``SETTLED_SECONDS`` may be incomplete, unless it was renamed since
    its last change and is not empty. If there are such files, they are checked again when the youngest is
    ``SETTLED_SECONDS`` old; those that have changed again are left for the next run.

    Args:
        source: a path, as configured.
        clock: the time in seconds since 1970.
        wait: lets so many seconds pass.

    Raises:
        DataError: there is no such file, none of a kind that can be read, or one of them compressed and not.
        LoopError: all of them keep changing; trying again may help.
    """
    path = Path(source)
    if path.is_dir():
        return _ready([child for child in path.iterdir() if is_data(child)], source, clock, wait)
    if glob.has_magic(source) and not path.exists():
        found = map(Path, glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        return _ready([path for path in found if is_data(path)], source, clock, wait)
    kind = format_of(source)
    if kind is None:
        raise DataError(
            f"dataset.source is {source!r}; it must be iris, sql, an https:// or s3:// address, or the path of a .csv, "
            ".tsv or .parquet file (also .gz), of a folder of them or a glob"
        )
    if not path.exists():
        raise DataError(f"{source} cannot be read: it does not exist; fix dataset.source")
    return _ready([path], source, clock, wait)


def format_of(name: str) -> Literal["csv", "parquet"] | None:
    """A file's format by its name, compressed or not; None for other kinds."""
    return FORMATS.get(_suffix(name))


def kind_of_content(path: Path) -> Literal["csv", "parquet"]:
    """The format of a downloaded file, whose address may not show it."""
    with TableFile(path.name, path, "csv").open() as stream:
        return "parquet" if stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC else "csv"


def refuse_copies(names: Sequence[str]) -> None:
    """Refuse files that are there compressed and not, as their rows would be learned twice.

    Raises:
        DataError: two names differ in their ``.gz`` only.
    """
    others = set(names)
    for name in names:
        if name.lower().endswith(".gz") and (plain := name[: -len(".gz")]) in others:
            raise DataError(f"{plain} and {name} are one file, compressed and not; delete or move one of them")


def duplicates_of(names: Sequence[str]) -> list[str]:
    """Names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def columns_to_read(found: Sequence[str], columns: Sequence[str], optional: Collection[str]) -> list[str]:
    """The columns without the optional ones that a file lacks; one that the file may have misspelt is kept."""
    return [one for one in columns if one in found or one not in optional or did_you_mean(one, {*found} - {*columns})]


def lacks(name: str, found: Sequence[str], columns: Sequence[str]) -> str:
    """The message that a file, or the result of a query, lacks columns, with the names that were probably meant."""
    missing = [column for column in columns if column not in found]
    others = [column for column in map(str, found) if column not in columns]
    shown = ", ".join(map(str, found[:SHOWN_NAMES])) + (", …" if len(found) > SHOWN_NAMES else "")
    hints = [f"{column}: {hint}" for column in missing if (hint := did_you_mean(column, others))]
    problem = f"{name} lacks the columns {', '.join(missing)} (it has {shown})"
    return "; ".join([problem, *hints, "fix its header or the names in the dataset section"])


def _ready(
    paths: list[Path], source: str, clock: Callable[[], float], wait: Callable[[float], None]
) -> tuple[list[TableFile], list[str]]:
    candidates = sorted(paths)
    young = _unsettled(candidates, clock())
    # Whole seconds, rounded up, so that a file is old enough in spite of coarse clocks.
    pause = math.ceil(max(young.values(), default=0.0))
    if pause:
        names = ", ".join(path.name for path in young)
        logger.info("%s: waiting %d s, because these files may still be written to: %s", source, pause, names)
        wait(pause)
        young = _unsettled(candidates, clock())
    if young:
        names = ", ".join(path.name for path in young)
        logger.warning(
            "left for the next run, because they changed less than %d s ago (renamed files are read at once): %s",
            SETTLED_SECONDS,
            names,
        )
    files = [TableFile(str(path), path, FORMATS[_suffix(path.name)]) for path in candidates if path not in young]
    refuse_copies([file.name for file in files])
    if not files and young:
        raise LoopError(
            f"{source} changed less than {SETTLED_SECONDS:.0f} s ago and may be incomplete; run again, or write under "
            "another name and rename the file when it is complete"
        )
    if not files:
        raise DataError(f"{source} has no .csv, .tsv or .parquet file (also .gz); put one there or set dataset.source")
    return files, [str(path) for path in young]


def is_data(path: Path) -> bool:
    """Whether a path is a file of a table, and not a hidden one."""
    return path.is_file() and is_data_name(path.name)


def is_data_name(name: str) -> bool:
    """Whether a file of this name is one of a table, and not a hidden one."""
    return not name.startswith((".", "~")) and format_of(name) is not None


def _unsettled(paths: list[Path], now: float) -> dict[Path, float]:
    """The files that may be incomplete, with the seconds until they count as complete; 0 for a deleted one."""
    unsettled = {}
    for path in paths:
        try:
            found = path.stat()
        except OSError:  # it was deleted after the folder was listed
            unsettled[path] = 0.0
            continue
        # A change of owner or mode looks like a rename; an empty file more likely got one before its first byte. A
        # rename within the same tick of the clock as the last change cannot be recognized.
        renamed = found.st_ctime_ns > found.st_mtime_ns and found.st_size > 0
        # Negative where the clock of the file's machine is ahead.
        age = now - found.st_mtime
        if not renamed and abs(age) < SETTLED_SECONDS:
            unsettled[path] = SETTLED_SECONDS - age
    return unsettled


def _suffix(name: str) -> str:
    """A name's suffix in lower case, without gzip's."""
    return Path(name.lower().removesuffix(".gz")).suffix
