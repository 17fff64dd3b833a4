"""A model of 30 columns: numbers, and categories that the training rows list, two of which may be missing."""

from pathlib import Path

import numpy as np
import pandas as pd

from src.core.model_registry import DriftReference
from tests.support.typed_model import write_model

NUMBERS = [f"reading_{place:02}" for place in range(1, 25)]
CATEGORIES = {
    "contract": ["monthly", "one year", "two years"],
    "region": ["east", "north", "south", "west"],
    "payment": ["bank transfer", "card", "invoice"],
    "device": ["desktop", "phone", "tablet"],
    "channel": ["partner", "shop", "web"],
    "campaign": ["autumn", "spring"],
}
OPTIONAL = ("channel", "campaign")
CLASSES = ("leaves", "stays")
INPUTS = [
    *({"name": name, "type": "double", "required": True} for name in NUMBERS),
    *({"name": name, "type": "string", "required": name not in OPTIONAL} for name in CATEGORIES),
]


def build_wide_model(directory: Path) -> str:
    """Write it as the registry contract has it, for serving; return its manifest's digest."""
    # Slow to import, and only a few tests need them.
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    rng = np.random.default_rng(5)
    numbers = {name: rng.uniform(0, 100, 200).round(1) for name in NUMBERS}
    rows = pd.DataFrame(numbers | {name: rng.choice(values, 200) for name, values in CATEGORIES.items()})
    text = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = ColumnTransformer([("text", text, list(CATEGORIES)), ("numbers", "passthrough", NUMBERS)])
    model = Pipeline([("prepare", prepare), ("tree", DecisionTreeClassifier(max_depth=4, random_state=5))])
    fitted = model.fit(rows, np.where(rows["contract"] == "monthly", *CLASSES))
    return write_model(directory, INPUTS, CLASSES, fitted, rows.head(20), _reference(rows))


def _reference(rows: pd.DataFrame) -> DriftReference:
    return DriftReference(
        rows=1000,
        edges={name: [50.0] for name in NUMBERS},
        shares={name: [0.5, 0.5] for name in NUMBERS},
        category_shares={name: dict.fromkeys(values, 1 / len(values)) for name, values in CATEGORIES.items()},
        minimum=rows[NUMBERS].min().to_dict(),
        maximum=rows[NUMBERS].max().to_dict(),
        class_shares=dict.fromkeys(CLASSES, 0.5),
    )
