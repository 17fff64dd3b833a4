"""Entry point of `make clean-state`: deletes everything the loop has written under DATA_DIR."""

import contextlib
import shutil
import sys
from pathlib import Path

from src.core.errors import ConfigError, LoopError
from src.core.folders import explaining_unwritable
from src.core.settings import CommonSettings, load_settings
from src.services.local.one_loop import only_loop_on
from src.services.local.processes import REPOSITORY

KEPT = ("README.md", "incoming", "labels")
MARK = "retrain"
# The loop's files; anything else, such as a data set, is kept. The entry that identifies the folder comes last, so that
# after a failure the command can be repeated.
WRITTEN = (
    *(".*_preprocessed.csv*.tmp", "*_preprocessed.csv", "*_preprocessed.csv.sha256"),
    *(".*_invalid_rows.csv*.tmp", "*_invalid_rows.csv", "audit", "local", "quality", MARK),
)


def main() -> int:
    """Empty the data folder; return the exit code."""
    try:
        settings = load_settings(CommonSettings)
        folder = settings.data_dir
        with explaining_unwritable():
            check_disposable(folder, home=Path.home(), repository=REPOSITORY)
            with only_loop_on(settings.local_dir) if settings.local_dir.is_dir() else contextlib.nullcontext():
                empty(folder)
    except LoopError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    own = sorted(path.name for path in folder.iterdir() if path.name not in KEPT) if folder.is_dir() else []
    kept = f"; kept, because the loop did not write it: {', '.join(own)}" if own else ""
    print(f"{folder} holds no state any more{kept}")  # noqa: T201 - the command's own output
    return 0


def check_disposable(folder: Path, *, home: Path, repository: Path) -> None:
    """Refuse to empty a folder that is not the loop's data folder.

    Raises:
        ConfigError: it is the root, home or the repository, contains one of them, or is not known to be the loop's.
    """
    there = folder.resolve()
    for kept in (home.resolve(), repository.resolve()):
        if there == kept or there in kept.parents:
            raise ConfigError(f"DATA_DIR {folder} holds {kept}: nothing was deleted; set DATA_DIR to the data folder")
    ours = there == (repository / "data-file").resolve() or (there / MARK).is_dir()
    there_already = list(there.iterdir()) if there.exists() else []
    if not ours and any(path.match(pattern) for path in there_already for pattern in WRITTEN):
        raise ConfigError(
            f"DATA_DIR {folder} has no {MARK} folder, so it is not the loop's: nothing was deleted; "
            "set DATA_DIR to the data folder"
        )


def empty(folder: Path) -> None:
    """Delete the loop's files in the folder; of links, not their targets. Raises OSError."""
    for pattern in WRITTEN:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


if __name__ == "__main__":
    sys.exit(main())
