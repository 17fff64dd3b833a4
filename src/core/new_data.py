"""How much is new since the last training, as the quality service last counted it; inference and the page show it."""

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from src.core.durable_file import explaining_unusable, replace_durably

# In the folder of the retrain spool.
NEW_DATA_FILE = "new_data.json"

Kind = Literal["rows", "labels"]


class NewAmount(BaseModel):
    """What counts towards the next training that an amount requests.

    Attributes:
        kind: what is counted.
        new: how many are new.
        needed: how many request a training: ``RETRAIN_MIN_NEW_ROWS`` or ``RETRAIN_MIN_NEW_LABELS``.
        since: since when: ``version 7``, or ``the last request`` if that has led to no newer version.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    new: int
    needed: int
    since: str

    def __str__(self) -> str:
        return f"{self.new:,} of {self.needed:,} new {self.kind} since {self.since}"


class _NewData(BaseModel):
    model: str
    amounts: list[NewAmount]


def write_new_data(retrain_dir: Path, model: str, amounts: list[NewAmount]) -> None:
    """Replace the figures.

    Raises:
        SpoolFullError, OSError: they cannot be written; the former ones are kept.
    """
    text = _NewData(model=model, amounts=amounts).model_dump_json()
    replace_durably(retrain_dir / NEW_DATA_FILE, text.encode())


def read_new_data(retrain_dir: Path, model: str) -> list[NewAmount]:
    """The figures; none before the first count, without a threshold, or if they are damaged or of another model.

    Raises:
        SpoolUnavailableError: the file cannot be read.
    """
    with explaining_unusable("the retrain spool"), contextlib.suppress(FileNotFoundError, ValidationError):
        found = _NewData.model_validate_json((retrain_dir / NEW_DATA_FILE).read_bytes())
        return found.amounts if found.model == model else []
    return []
