"""What the last training has read, from which new rows and labels are counted."""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from src.core.durable_file import replace_durably
from src.core.errors import LoopError

BASELINE_FILE = "last_training.json"


class TrainingBaseline(BaseModel):
    """The last training that ended with a verdict, whatever it was.

    Attributes:
        model: the registered model's name; a volume may be used for several models, one after the other.
        version: the version that it registered.
        started_at: labels that were received from then on are new.
        rows: rows of the source by file, as read, invalid and repeated ones included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    started_at: AwareDatetime
    rows: dict[str, int]

    def new_rows(self, now: dict[str, int]) -> int:
        """How many rows the files have more than when they were read; one that has fewer, or is gone, counts as 0."""
        return sum(max(0, rows - self.rows.get(name, 0)) for name, rows in now.items())


def write_baseline(retrain_dir: Path, baseline: TrainingBaseline) -> None:
    """Replace the record in the folder of the retrain spool, durably. Only the holder of the trainer lock may do so.

    Raises:
        SpoolFullError, OSError: it cannot be written; the former one is kept.
    """
    replace_durably(retrain_dir / BASELINE_FILE, baseline.model_dump_json(indent=1).encode())


def read_baseline(retrain_dir: Path, model: str) -> TrainingBaseline | None:
    """The record; None if no training of this model has left one.

    Raises:
        LoopError: the file is damaged.
        OSError: it cannot be read.
    """
    path = retrain_dir / BASELINE_FILE
    try:
        baseline = TrainingBaseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise LoopError(f"{path} is damaged; the next training replaces it: POST /retrain") from error
    return baseline if baseline.model == model else None
