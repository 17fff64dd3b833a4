"""Delivers a growing table, made up, file by file: will a delivery be late?

``python -m examples.growing.make_data 6`` writes the first six months into ``data-file/incoming/deliveries/``; with
``8`` the two months after them follow.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path("data-file/incoming/deliveries")
FIRST = pd.Period("2026-01", "M")
ROWS = 700
SEED = 13


def month_of(number: int) -> pd.DataFrame:
    """(700, 7): the deliveries of a month, counted from 0; from the fifth month on, rail is late more often."""
    random = np.random.default_rng([SEED, number])
    period = FIRST + number
    seconds = random.integers(0, period.days_in_month * 86_400, ROWS)
    moments = period.start_time + pd.to_timedelta(np.sort(seconds), unit="s")
    distance = random.gamma(3, 120, ROWS).round(1)
    carrier = random.choice(["road", "rail", "air"], ROWS, p=[0.6, 0.25, 0.15])
    weight, rain = random.gamma(2, 40, ROWS).round(1), random.random(ROWS) < 0.3
    rail = 2.2 if number > 3 else 0.2
    leaning = -1.6 + 0.004 * (distance - 360) + 1.1 * rain + rail * (carrier == "rail") - 1.0 * (carrier == "air")
    late = random.random(ROWS) < 1 / (1 + np.exp(-leaning))
    return pd.DataFrame(
        {
            "delivery_id": [f"{period}-{row:04d}" for row in range(ROWS)],
            "shipped_at": moments.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "distance": distance,
            "weight": weight,
            "carrier": carrier,
            "rain": np.where(rain, "true", "false"),
            "late": np.where(late, "late", "on time"),
        }
    )


def deliver(folder: Path, months: int) -> list[Path]:
    """Write the months that are not there yet, each under another name first: a file counts once it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    added = []
    for number in range(months):
        file = folder / f"deliveries-{FIRST + number}.csv"
        if not file.exists():
            partial = file.with_name(f"{file.name}.part")
            month_of(number).to_csv(partial, index=False)
            # File systems' clocks are coarse: a rename within milliseconds of the last write would not be seen as one.
            written = partial.stat().st_mtime - 1
            os.utime(partial, (written, written))
            added.append(partial.rename(file))
    return added


def main() -> None:
    """Deliver so many months into the folder of the second argument, or into its usual place."""
    months = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    deliver(Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER, months)


if __name__ == "__main__":
    main()
