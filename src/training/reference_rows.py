"""Golden rows: rows that are registered with a model, with its own predictions for them."""

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from src.core.feature_schema import FeatureSchema
from src.core.golden_rows import GoldenRows
from src.training.fitted_parts import threshold_of
from src.training.frames import rows_of, table_of
from src.training.sklearn_engine import SklearnEngine

GOLDEN_PER_CLASS = 5
GOLDEN_NUMBERS = 15
GOLDEN_SYNTHETIC = 8


def golden_rows(
    model: Pipeline, schema: FeatureSchema, train: pd.DataFrame, target: str, synthetic: pd.DataFrame
) -> GoldenRows:
    """Rows with the model's own predictions.

    For a classification some rows of each class and the synthetic rows with the least certain predictions; for a
    regression rows from the smallest to the largest target and some synthetic rows.
    """
    known = train[list(schema.names)]
    if not is_classifier(model):
        places = np.linspace(0, len(train) - 1, min(GOLDEN_NUMBERS, len(train))).astype(int)
        typical = known.iloc[train[target].argsort(kind="stable").to_numpy()[places]]
        rows = pd.concat([typical, synthetic.head(GOLDEN_SYNTHETIC)], ignore_index=True)
        table = table_of(rows, schema)
        return GoldenRows(rows=rows_of(table), values=list(SklearnEngine(model, ()).predict(table).values))
    engine = SklearnEngine(model, tuple(str(name) for name in model.classes_), threshold_of(model))
    typical = known.groupby(train[target].to_numpy(), sort=True).head(GOLDEN_PER_CLASS)
    answers = engine.predict(table_of(synthetic, schema))
    ranked = np.sort(np.asarray(answers.probabilities), axis=1)
    # Exact ties come last: MLflow's own loaders, which may serve this model, resolve them differently.
    ties = model.predict(synthetic) != np.array(answers.values, dtype=object)
    closest = np.argsort(ranked[:, -1] - ranked[:, -2] + ties, kind="stable")[:GOLDEN_SYNTHETIC]
    table = table_of(pd.concat([typical, synthetic.iloc[closest]], ignore_index=True), schema)
    found = engine.predict(table)
    return GoldenRows(
        rows=rows_of(table), labels=list(found.values), probabilities=np.asarray(found.probabilities).tolist()
    )
