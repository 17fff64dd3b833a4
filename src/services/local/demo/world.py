"""The demo's world: made-up customers who leave or stay, and a change of why they leave.

``python -m src.services.local.demo.world FOLDER`` writes the table, its configuration, and rows with their true labels
from before and after the change.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from src.core.durable_file import replace_durably

ID, TARGET, LEFT, STAYED = "customer", "left", "yes", "no"
# Rows of the source, and of the tables of live rows: few before the change, since they count as the present, too.
SOURCE_ROWS, BEFORE, AFTER = 1000, 250, 1200
CONFIG = """\
dataset:
  source: {source}
  target: left
  id: [customer]
  features:
    monthly_charge: {{ minimum: 0.0, maximum: 1000.0 }}
    months: {{ type: integer, minimum: 0 }}
    support_calls: {{ type: integer, minimum: 0 }}
    contract: {{ type: category, values: [monthly, yearly] }}
  classes: ["no", "yes"]
  min_rows_per_class: 20
  duplicates: drop
  feedback: {{ use: true, max_age_days: 30, weight: 10 }}

split:
  by: hash
  holdout_fraction: 0.4
  seed: 2

model:
  estimator: random_forest
  params:
    n_estimators: 100
    max_depth: null
    min_samples_leaf: 10
    random_state: 42

gate:
  metric: accuracy
  floor: 0.7
  tolerance: 0.01

report: [f1_macro]
"""


def customers(count: int, *, seed: int, changed: bool = False) -> pd.DataFrame:
    """Customers with their true label, (count, 6): ``customer``, four features and ``left``.

    Before the change, customers with a high monthly charge leave. After it, those with a low one do.
    """
    random = np.random.default_rng(seed)
    charge = random.gamma(9.0, 7.0, count).round(2)
    months, calls = random.integers(1, 72, count), random.poisson(1.5, count)
    contract = random.choice(["monthly", "yearly"], count, p=[0.6, 0.4])
    expensive = (charge - 60.0) / 20.0
    leaning = (-5.0 if changed else 5.0) * expensive + 2.5 * (calls - 1.5) - 0.02 * (months - 36)
    leaning += np.where(contract == "yearly", -0.4, 0.3)
    left = random.random(count) < 1.0 / (1.0 + np.exp(-1.5 * leaning))
    return pd.DataFrame(
        {
            ID: [f"c{seed}-{number}" for number in range(count)],
            "monthly_charge": charge,
            "months": months,
            "support_calls": calls,
            "contract": contract,
            TARGET: np.where(left, LEFT, STAYED),
        }
    )


def write_source(folder: Path) -> Path:
    """Write the table and its configuration into an existing folder; return the configuration's file."""
    table = folder / "customers.csv"
    replace_durably(table, customers(SOURCE_ROWS, seed=1).to_csv(index=False).encode())
    config = folder / "pipeline.yaml"
    replace_durably(config, CONFIG.format(source=table).encode())
    return config


def write_live_rows(folder: Path) -> None:
    """Write rows to predict and, separately, their labels, from before and after the change."""
    for name, rows_of, seed, changed in (("before", BEFORE, 2, False), ("after", AFTER, 3, True)):
        rows = customers(rows_of, seed=seed, changed=changed)
        labels = rows[[ID, TARGET]].rename(columns={ID: "id", TARGET: "label"})
        for kind, table in (("rows", rows.drop(columns=TARGET)), ("labels", labels)):
            replace_durably(folder / f"{kind}-{name}.csv", table.to_csv(index=False).encode())


def main() -> None:
    """Write everything into the folder of the first argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_source(folder)
    write_live_rows(folder)


if __name__ == "__main__":
    main()
