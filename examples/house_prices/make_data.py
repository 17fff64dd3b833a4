"""Writes a table of sold houses, made up, as a spreadsheet with German settings saves it: what do they cost?"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

FILE = Path("data-file/incoming/house_prices.csv")
ROWS = 3000
DISTRICTS = 40
SEED = 12


def table() -> pd.DataFrame:
    """(3000, 9): numbers, 40 districts, a boolean, gaps, names that need quotes, and prices with a long tail."""
    random = np.random.default_rng(SEED)
    area = random.gamma(9, 14, ROWS).clip(20, 600).round(1)
    built = random.integers(1880, 2026, ROWS)
    district = random.integers(0, DISTRICTS, ROWS)
    value = np.exp(random.normal(0, 0.35, DISTRICTS))
    garden, floors = random.random(ROWS) < 0.4, random.integers(1, 5, ROWS)
    energy = random.choice(list("ABCDEFG"), ROWS)
    price = 2600 * area * value[district] * (1 + 0.15 * garden) * (0.8 + (built - 1880) / 500)
    price *= np.exp(random.normal(0, 0.12, ROWS))
    return pd.DataFrame(
        {
            "Wohnfläche (m²)": area,
            "built: year": pd.Series(built).astype("Int64").mask(random.random(ROWS) < 0.06),
            "Bezirk": [f"Bezirk {number:02d}" for number in district],
            "owner's garden?": np.where(garden, "yes", "no"),
            "2nd floor, no. of rooms": np.where(floors > 1, floors, 0),
            "energy #": pd.Series(energy).mask(random.random(ROWS) < 0.1),
            "no": random.normal(0, 1, ROWS).round(3),
            "Bemerkung": [f"Objekt {number} in ruhiger Lage, nach Absprache sofort frei" for number in range(ROWS)],
            "Preis €": price.round(2),
        }
    )


def write(file: Path) -> None:
    """Write the table as that spreadsheet does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table().to_csv(file, index=False, sep=";", decimal=",", encoding="cp1252")
    # Of a minute ago: a file that has just changed is read after 10 seconds only.
    written = file.stat().st_mtime - 60
    os.utime(file, (written, written))


def main() -> None:
    """Write the table to the first argument, or to its usual place."""
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)


if __name__ == "__main__":
    main()
