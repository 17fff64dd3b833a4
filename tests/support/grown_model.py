"""A model of Iris whose last two columns are optional: a number and a text that other models do not have."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.models import CLASSES, COLUMNS
from tests.support.typed_model import write_model

INPUTS = [
    *({"name": name, "type": "double", "required": True} for name in COLUMNS),
    {"name": "height", "type": "double", "required": False},
    {"name": "colour", "type": "string", "required": False},
]


def build_grown_model(directory: Path) -> str:
    """Write it as the registry contract has it, for serving; return its manifest's digest."""
    # Slow to import, and only a few tests need them.
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.datasets import load_iris  # noqa: PLC0415
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    values, target = load_iris(return_X_y=True)
    rows = pd.DataFrame(values, columns=COLUMNS)
    rng = np.random.default_rng(3)
    rows["height"], rows["colour"] = rng.uniform(10, 90, len(rows)), rng.choice(["blue", "white"], len(rows))
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), [*COLUMNS, "height"]),
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour"]),
        ]
    )
    model = Pipeline([("prepare", prepare), ("tree", DecisionTreeClassifier(max_depth=3, random_state=3))])
    return write_model(directory, INPUTS, CLASSES, model.fit(rows, np.array(CLASSES)[target]), rows[::15])
