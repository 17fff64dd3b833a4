"""Which rows of a prepared data set are labelled live rows: rows of the prediction log whose true label is known."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.dataset_config import FEEDBACK_TIME


def are_live(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows are labelled live rows, shape (n,); none in a data set without ``dataset.feedback``."""
    if FEEDBACK_TIME not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return frame[FEEDBACK_TIME].notna().to_numpy()


def source_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are no labelled live rows."""
    return frame[~are_live(frame)]
