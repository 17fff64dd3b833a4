"""Scores one file: a plain function, which runs in any process that has the code, the disk and the model's folder."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

from src.core.dataset_config import CsvFormat
from src.core.errors import ConfigError
from src.services.batch.checked_rows import check_rows, predict_rows
from src.services.batch.inputs import InputFile, chunks_of
from src.services.batch.objects import ObjectPath
from src.services.batch.outputs import Output, replacing
from src.serving.models.model_loader import load_predictor
from src.serving.models.model_version import ModelVersion
from src.serving.models.predictor import Predictor

MODEL_FOLDER = "model"


@dataclass(frozen=True)
class ScoringTask:
    """What is scored, where the predictions go, and how.

    Attributes:
        work: the run's folder, with the model and unfinished files; beside the outputs unless these are objects.
        origin: from what the output is made.
    """

    file: InputFile
    output: Path | ObjectPath
    work: Path
    version: ModelVersion
    ids: tuple[str, ...]
    csv: CsvFormat
    origin: str


@dataclass(frozen=True)
class Scored:
    """The rows of an output, and how many of them have a problem instead of a prediction."""

    rows: int
    problems: int


def score_file(task: ScoringTask) -> Scored:
    """Write the output of a file, in one step.

    Raises:
        DataError: the file cannot be read, or its columns are not the model's.
        ConfigError: this process does not see the files, or the object store refuses access.
        InvalidModelError: the model's files differ from the registered ones.
        LoopError: a disk or the object store fails; trying again may help.
    """
    for path in (task.file.path, task.work):
        if not path.exists():
            raise ConfigError(
                f"{path} does not exist on a worker; input and output must be on a disk that all workers share, under "
                "the same path, or in an object store"
            )
    predictor = load_model(task.work / MODEL_FOLDER, task.version)
    chunks = chunks_of(task.file, predictor.schema, task.ids, task.csv)
    first = next(chunks)  # refuses the file before anything is written
    ids = [first.rows.schema.field(name) for name in task.ids]
    with (
        replacing(task.output, task.work) as stream,
        contextlib.closing(Output(stream, predictor, ids, task.origin)) as output,
    ):
        for chunk in chunks:
            found, checked = predict_rows(predictor.engine, check_rows(chunk, predictor.schema))
            output.add(chunk.rows, checked, found)
    return Scored(output.rows, output.problems)


def load_model(folder: Path, version: ModelVersion) -> Predictor:
    """Verify and load the model, once per process and run.

    Raises:
        InvalidModelError: the files differ from the registered ones.
        OSError: they cannot be read.
    """
    return _loaded(folder, version.model_dump_json())


@functools.lru_cache(maxsize=1)
def _loaded(folder: Path, version: str) -> Predictor:
    return load_predictor(folder, ModelVersion.model_validate_json(version), "cache")
