"""How a version's probabilities become calibrated ones: a file that training writes and the quality service reads.

Each class has a beta calibration, a logistic regression on ``ln p`` and ``-ln(1 - p)`` (Kull, Silva Filho & Flach 2017,
Beta calibration, AISTATS), with one more term that tells whether the class is the predicted one. That term makes the
expected confusion matrix unbiased even where the model is not. Each file has many curves of the same class, fitted to
resamples of the holdout, as a sample of what chance may have made of the calibration.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from src.core.durable_file import replace_durably
from src.core.errors import ConfigError
from src.core.folders import make_folder, model_folder

Floats = NDArray[np.float64]
# Probabilities closer to 0 or 1 are replaced by this distance.
CLIP = 1e-3
# Coefficients of a curve: of ln p, of -ln(1 - p), of 1, and of whether the class is the predicted one.
TERMS = 4


class Calibration(BaseModel):
    """The calibration of one version of a classifier.

    Attributes:
        rows: the holdout rows that it is from.
        reason: why there is none, in a sentence; None if there is one.
        classes: in the order of the probabilities; empty without a calibration.
        scores: the version's scores on the holdout rows, by metric.
        curves: (resamples, curves, 4) coefficients; a curve for each class, or for the second one of two. Empty
            without a calibration.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    reason: str | None = None
    classes: tuple[str, ...] = ()
    scores: Mapping[str, float] = {}
    curves: list[list[tuple[float, float, float, float]]] = []


def terms_of(shares: Floats, is_predicted: NDArray[np.bool_]) -> Floats:
    """(n, 4) what the coefficients of a curve are multiplied with.

    Args:
        shares: (n,) a class's probabilities.
        is_predicted: (n,) whether it is the predicted class.
    """
    clipped = np.clip(shares, CLIP, 1 - CLIP)
    return np.column_stack([np.log(clipped), -np.log1p(-clipped), np.ones(len(clipped)), is_predicted])


def curve_places(classes: int) -> list[int]:
    """The indices of the classes that have a curve."""
    return [1] if classes == 2 else list(range(classes))  # noqa: PLR2004 - the first of two is the rest


def calibrated(shares: Floats, predicted: NDArray[np.intp], curves: Floats) -> Floats:
    """(n, classes) calibrated probabilities, which sum to 1.

    Args:
        shares: (n, classes) the model's probabilities.
        predicted: (n,) the predicted class's index.
        curves: (curves, 4) or, a curve of its own for each row, (curves, n, 4).
    """
    places = curve_places(shares.shape[1])
    found = np.empty((len(shares), len(places)))
    for column, (place, curve) in enumerate(zip(places, curves, strict=True)):
        logits = (terms_of(shares[:, place], predicted == place) * curve).sum(axis=1)
        found[:, column] = 1 / (1 + np.exp(-logits))
    if len(places) == 1:
        return np.column_stack([1 - found[:, 0], found[:, 0]])
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def calibration_file(folder: Path, model: str, version: str) -> Path:
    """The file of a version.

    Args:
        folder: ``CommonSettings.calibration_dir``.
        model: the registered model's name.
        version: its version.
    """
    return model_folder(folder, model) / f"{version}.json"


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write or replace a file; its folder is created. Raises OSError, SpoolFullError."""
    make_folder(path.parent)
    replace_durably(path, calibration.model_dump_json().encode())


def read_calibration(path: Path) -> Calibration | None:
    """A file's calibration; None if there is no file.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise ConfigError(f"the calibration {path} cannot be read ({reason}); delete it, and train again") from error
