"""A run: which files have to be scored, with which version, by whom; and what came of it."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

from src.compute.cluster import mapper
from src.core.compute_settings import BatchSettings
from src.core.counting import counted
from src.core.dataset_config import CsvFormat
from src.core.errors import ConfigError, LoopError, OutputBusyError
from src.core.file_lock import lock_at_once
from src.services.batch.inputs import InputFile, chunks_of, count_rows, find_inputs, output_name
from src.services.batch.objects import ObjectPath
from src.services.batch.outputs import origin_of, reserved_names
from src.services.batch.progress import Progress
from src.services.batch.registered import TIMEOUT_SECONDS, download_model
from src.services.batch.scoring import MODEL_FOLDER, ScoringTask, load_model, score_file
from src.serving.models.predictor import Predictor
from src.serving.models.registry_client import RegistryClient

LOCK_FILE = ".scoring.lock"
WORK_PREFIX = ".scoring-"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is to be scored.

    Attributes:
        source: a file, a folder or a glob; or an object or a prefix, as an ``s3://`` address.
        output: the folder of the outputs, or their prefix.
        version: the number of a version; None for the champion.
        ids: columns that are copied to the outputs; empty for the model's own columns of ids.
    """

    source: str
    output: Path | ObjectPath
    version: str | None = None
    ids: tuple[str, ...] = ()


def run(
    request: Request, settings: BatchSettings, csv: CsvFormat, client: RegistryClient | None = None
) -> list[LoopError]:
    """Score every file that has no output yet of the same content and version; return the errors of those that failed.

    Args:
        request: what is to be scored.
        settings: MLflow's address, the model's name, and where work runs.
        csv: how the cells of CSV files are written.
        client: replaces the client of MLflow at that address.

    Raises:
        OutputBusyError: another run writes to the same folder.
        LoopError: nothing can be scored; the message says why.
    """
    files = find_inputs(request.source)
    output = request.output if isinstance(request.output, ObjectPath) else request.output.resolve()
    client = client or RegistryClient(settings.mlflow_url, settings.model_name, timeout=TIMEOUT_SECONDS)
    with _work_folder(_state_folder(output, settings)) as work:
        version = download_model(client, request.version, work / MODEL_FOLDER)
        predictor = load_model(work / MODEL_FOLDER, version)
        ids = _checked_ids(request.ids or predictor.schema.ids, predictor)
        options = [version.name, version.key, list(ids), csv.model_dump()]
        tasks = [
            ScoringTask(
                file=file,
                output=output / output_name(file.name),
                work=work,
                version=version,
                ids=ids,
                csv=csv,
                origin=json.dumps([*options, file.name, file.size, file.changed_ns]),
            )
            for file in files
        ]
        left = [task for task in tasks if origin_of(task.output) != task.origin]
        logger.info(
            "%s version %s: %s, %d of them scored already",
            version.name,
            version.version,
            counted(len(tasks), "file"),
            len(tasks) - len(left),
        )
        refused = {task.file: error for task in left if (error := _problem_of(task, predictor))}
        return [*refused.values(), *_score([task for task in left if task.file not in refused], settings)]


def _score(tasks: Sequence[ScoringTask], settings: BatchSettings) -> list[LoopError]:
    """Score files and show the progress; return the errors."""
    if not tasks:
        return []
    errors: list[LoopError] = []
    problems, rows = 0, sum(_rows_of(task.file) for task in tasks)
    with mapper(settings, rows, len(tasks)) as found:
        logger.info("scoring about %s rows %s", f"{rows:,}", found.place)
        progress = Progress(len(tasks), sum(task.file.size for task in tasks), sys.stderr)
        for outcome in found.map(score_file, tasks):
            file, scored = outcome.item.file, outcome.result
            if outcome.error is not None:
                logger.error("%s is not scored: %s", file.path, outcome.error)
                errors.append(outcome.error)
            progress.add(scored.rows if scored else 0, file.size)
            problems += scored.problems if scored else 0
    if problems:
        logger.warning(
            "%s of %s rows have no prediction; the column problem says why", f"{problems:,}", f"{progress.rows:,}"
        )
    return errors


def _rows_of(file: InputFile) -> int:
    """About how many rows a file has; none if it cannot be read, for which scoring it gives the reason."""
    try:
        return count_rows(file)
    except LoopError:
        return 0


def _problem_of(task: ScoringTask, predictor: Predictor) -> LoopError | None:
    """Why a file cannot be scored at all, by its columns; logged here."""
    try:
        next(chunks_of(task.file, predictor.schema, task.ids, task.csv))
    except LoopError as error:
        logger.error("%s is not scored: %s", task.file.path, error)  # noqa: TRY400 - the message says all
        return error
    return None


def _checked_ids(ids: Sequence[str], predictor: Predictor) -> tuple[str, ...]:
    if taken := sorted(reserved_names(predictor.classes).intersection(ids)):
        raise ConfigError(
            f"the output has columns of its own named {', '.join(taken)}; name other columns with --id, or rename them "
            "in the input"
        )
    return tuple(dict.fromkeys(ids))


def _state_folder(output: Path | ObjectPath, settings: BatchSettings) -> Path:
    """Where unfinished outputs are written: beside the others, or on this machine if these are in an object store."""
    if isinstance(output, Path):
        return output
    return settings.local_dir.resolve() / "scoring" / hashlib.sha256(str(output).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder of this run beside the outputs; those of runs that were killed are deleted.

    A worker that still writes for such a run cannot finish its file any more.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = lock_at_once(output / LOCK_FILE)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written ({error.strerror}); name another folder") from error
    if lock is None:
        raise OutputBusyError(f"another run writes to {output}; wait for its end, or name another folder")
    work = output / f"{WORK_PREFIX}{uuid_utils.uuid7()}"
    try:
        for leftover in output.glob(f"{WORK_PREFIX}*/"):
            # Renamed first: a folder to which a worker still writes may not be deleted whole.
            shutil.rmtree(leftover.rename(output / f"{WORK_PREFIX}{uuid_utils.uuid7()}"), ignore_errors=True)
        work.mkdir()
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)
