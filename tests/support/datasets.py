"""Small made-up data sets of every kind, as CSV files, each with its configuration."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.core.pipeline_config import PipelineConfig
from tests.support.training import config

ROWS = 400


def passengers(file: Path, **model: Any) -> PipelineConfig:
    """Two classes; numbers, booleans and categories, some of them missing, under names that are no identifiers."""
    random = np.random.default_rng(0)
    member, age = random.random(ROWS) < 0.4, random.normal(40, 12, ROWS).clip(1, 90).round(1)
    # pandas would take NA for a missing value.
    port = random.choice(["North", "South", "NA"], ROWS)
    likely = 0.1 + 0.6 * member + 0.2 * (port == "NA") + 0.2 * (age < 20)
    cabin = np.where(member, "yes", "no")
    frame = pd.DataFrame(
        {
            "age (years)": _with_gaps(random, age.astype(str)),
            "port, of call": _with_gaps(random, port),
            "is member": np.where(member, "true", "false"),
            "has cabin?": _with_gaps(random, cabin),
            "fare": random.lognormal(3, 1, ROWS).round(2),
            "survived": np.where(random.random(ROWS) < likely, "yes", "no"),
        }
    )
    _write(frame, file)
    dataset = {
        "source": str(file),
        "target": "survived",
        "features": {
            "age (years)": {"minimum": 0.0, "maximum": 120.0, "missing": True},
            "port, of call": {"type": "category", "values": ["North", "South", "NA"], "missing": True},
            "is member": {"type": "boolean"},
            "has cabin?": {"type": "boolean", "missing": True},
            "fare": {"minimum": 0.0, "maximum": 1000.0},
        },
        "classes": ["no", "yes"],
        "min_rows_per_class": 20,
    }
    return config(dataset=dataset, model={"n_estimators": 20, **model}, gate={"floor": 0.3})


def houses(file: Path, **model: Any) -> PipelineConfig:
    """A regression on a number, a boolean and a category."""
    random = np.random.default_rng(0)
    area, garden = random.uniform(30, 250, ROWS).round(1), random.random(ROWS) < 0.5
    district = random.choice(["old town", "harbour", "hills"], ROWS)
    price = 2000 * area + 40_000 * garden + 100_000 * (district == "hills") + random.normal(0, 10_000, ROWS)
    frame = pd.DataFrame({"area (m²)": area, "garden": garden, "district": district, "price": price.round(2)})
    _write(frame, file)
    dataset = {
        "source": str(file),
        "target": "price",
        "features": {
            "area (m²)": {"minimum": 1.0, "maximum": 1000.0},
            "garden": {"type": "boolean"},
            "district": {"type": "category", "values": ["old town", "harbour", "hills"]},
        },
        "classes": None,
        "min_rows_per_class": None,
        "target_range": {"minimum": 0.0, "maximum": 1e7},
    }
    return config(dataset=dataset, model={"n_estimators": 20, **model}, gate={"metric": "r2", "floor": 0.5})


def readings(file: Path, **model: Any) -> PipelineConfig:
    """Three classes on numbers alone, one of which may be missing: still one matrix."""
    random = np.random.default_rng(0)
    level, flow = random.normal(0, 1, ROWS).round(3), random.normal(0, 1, ROWS).round(3)
    state = np.select([level > 0.5, flow > 0.3], ["high", "fast"], "calm")
    frame = pd.DataFrame(
        {
            "level": np.where(random.random(ROWS) < 0.1, "NaN", level.astype(str)),
            "flow": flow,
            "state": state,
        }
    )
    _write(frame, file)
    limits = {"minimum": -9.0, "maximum": 9.0}
    dataset = {
        "source": str(file),
        "target": "state",
        "features": {"level": {**limits, "missing": True}, "flow": limits},
        "classes": ["calm", "fast", "high"],
        "min_rows_per_class": 20,
    }
    return config(dataset=dataset, model={"n_estimators": 20, **model}, gate={"floor": 0.3})


def churn(file: Path, **model: Any) -> PipelineConfig:
    """Two classes, one of them rare; gaps, categories, dates, whole numbers and an id."""
    random = np.random.default_rng(0)
    months, support = random.integers(1, 72, ROWS), random.poisson(1.5, ROWS)
    since = np.datetime64("2020-01-01") + random.integers(0, 1500, ROWS).astype("timedelta64[D]")
    plan = random.choice(["basic", "family", "pro"], ROWS, p=[0.6, 0.3, 0.1])
    leaves = 1 / (1 + np.exp(4.5 + 0.05 * months - 0.9 * support - 1.5 * (plan == "basic")))
    frame = pd.DataFrame(
        {
            "customer": np.arange(ROWS),
            "months": _with_gaps(random, months.astype(str)),
            "support calls": support,
            "since": _with_gaps(random, np.datetime_as_string(since)),
            "plan": _with_gaps(random, plan),
            "charge": random.lognormal(3, 0.5, ROWS).round(2),
            "left": np.where(random.random(ROWS) < leaves, "yes", "no"),
        }
    )
    _write(frame, file)
    dataset = {
        "source": str(file),
        "target": "left",
        "id": ["customer"],
        "features": {
            "months": {"type": "integer", "minimum": 0.0, "maximum": 100.0, "missing": True},
            "support calls": {"type": "integer", "minimum": 0.0, "maximum": 50.0},
            "since": {"type": "date", "missing": True},
            "plan": {"type": "category", "values": ["basic", "family", "pro"], "missing": True},
            "charge": {"minimum": 0.0, "maximum": 1000.0},
        },
        "classes": ["no", "yes"],
        "min_rows_per_class": 10,
    }
    return config(dataset=dataset, model={"params": {}, **model}, gate={"metric": "f1", "floor": 0.0})


def _with_gaps(random: np.random.Generator, texts: NDArray[Any]) -> NDArray[Any]:
    """The texts of a column, one in ten of them empty."""
    return np.where(random.random(len(texts)) < 0.1, "", texts)


def _write(frame: pd.DataFrame, file: Path) -> None:
    """The file as if it had not changed for a long time: a training would wait until it is complete."""
    frame.to_csv(file, index=False)
    os.utime(file, (1e9, 1e9))
