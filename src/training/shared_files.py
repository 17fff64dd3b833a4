"""The files on the shared volume that a training changes, as passed to its steps."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from src.core.training_settings import TrainSettings


class SharedFiles(BaseModel):
    """A parameter of ZenML's steps; all paths are absolute.

    Attributes:
        alias_lock: the lock for moving the model's aliases.
        rollouts: the folder with the records of versions that have passed the gate.
        audit: the audit log.
        calibration: the folder with the calibrations of all versions.
    """

    model_config = ConfigDict(frozen=True)

    alias_lock: Path
    rollouts: Path
    audit: Path
    calibration: Path

    @classmethod
    def of(cls, settings: TrainSettings) -> Self:
        """Those of a process."""
        return cls(
            alias_lock=settings.alias_lock.resolve(),
            rollouts=settings.rollouts_dir.resolve(),
            audit=settings.audit_file.resolve(),
            calibration=settings.calibration_dir.resolve(),
        )
