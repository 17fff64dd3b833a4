"""Writes a table of customers, made up: which of them will leave within a month?"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

FILE = Path("data-file/incoming/churn.csv")
ROWS = 4000
SEED = 11


def table() -> pd.DataFrame:
    """(4000, 12): numbers with gaps, categories, booleans, dates, a customer number, and a rare answer."""
    random = np.random.default_rng(SEED)
    months = random.integers(0, 72, ROWS)
    contract = random.choice(["monthly", "one year", "two years"], ROWS, p=[0.55, 0.25, 0.2])
    region = random.choice(["north", "south", "east", "west"], ROWS)
    charges = random.normal(65, 25, ROWS).clip(15, 130).round(2)
    calls = random.poisson(1.2, ROWS)
    usage = random.gamma(4, 12, ROWS).round(1)
    # Those who pay by the month, are new and call often leave.
    leaning = -2.4 + 1.5 * (contract == "monthly") + 0.5 * calls - 0.06 * months + 0.015 * (charges - 65)
    leaves = random.random(ROWS) < 1 / (1 + np.exp(-leaning))
    signed = pd.Timestamp("2026-01-01") - pd.to_timedelta(months * 30 + random.integers(0, 30, ROWS), unit="D")
    return pd.DataFrame(
        {
            "customerID": [
                f"{number:04d}-{letter}" for number, letter in enumerate(random.choice(list("ABCDEFG"), ROWS))
            ],
            "region": region,
            "contract": _with_gaps(contract, 0.05, random),
            "months": months,
            "monthly charges": charges,
            "usage (GB)": _with_gaps(usage.astype(str), 0.12, random),
            "support calls": calls,
            "paperless": random.choice(["yes", "no"], ROWS),
            "partner?": _with_gaps(random.choice(["true", "false"], ROWS), 0.03, random),
            "signed up": signed.strftime("%Y-%m-%d"),
            "branch": [f"{number:03d}" for number in random.integers(1, 25, ROWS)],
            "Churn?": np.where(leaves, "Yes", "No"),
        }
    )


def _with_gaps(values: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The texts with some of them empty."""
    return np.where(random.random(len(values)) < share, "", values)


def write(file: Path) -> None:
    """Write the table as CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table().to_csv(file, index=False)
    # Of a minute ago: a file that has just changed is read after 10 seconds only.
    written = file.stat().st_mtime - 60
    os.utime(file, (written, written))


def main() -> None:
    """Write the table to the first argument, or to its usual place."""
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)


if __name__ == "__main__":
    main()
