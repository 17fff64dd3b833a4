"""Checks the data set column by column: text or values in, typed values out, and a line for all that is wrong."""

from collections.abc import Callable

import pandas as pd

from src.core.dataset_config import BooleanFeature, CategoryFeature, DatasetConfig, Feature, NumberFeature, Range

# What stands for a missing value in a CSV file, unless it is a name in the configuration ("NA" may be North America).
MISSING_TEXTS = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None"})
BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "1.0": True, "0.0": False}
EXAMPLES = 3


def missing_texts(config: DatasetConfig) -> dict[str, list[str]]:
    """For each configured column the texts that mean a missing value."""
    names = {
        name: feature.values or [] for name, feature in config.features.items() if isinstance(feature, CategoryFeature)
    }
    names[config.target] = config.classes or []
    columns = (*config.features, config.target)
    return {column: sorted(MISSING_TEXTS - set(names.get(column, []))) for column in columns}


def check_feature(raw: pd.Series, name: str, feature: Feature, problems: list[str]) -> pd.Series:
    """A column's values, typed: float64, bool or text, a missing one NaN or None; problems are added to the list."""
    missing = raw.isna()
    if not feature.missing:
        report(problems, f"{name}: missing", missing)
    elif missing.all():
        problems.append(f"{name}: no row has a value")
    return CHECKS[type(feature)](raw, name, feature, problems)


def check_target(raw: pd.Series, config: DatasetConfig, problems: list[str]) -> pd.Series:
    """The target's values: class names, or float64 for a regression; problems are added to the list."""
    report(problems, f"{config.target}: missing", raw.isna())
    if config.target_range is not None:
        return _number(raw, config.target, config.target_range, problems)
    return _names(raw, config.target, config.classes or [], "dataset.classes", problems).astype("str")


def report(problems: list[str], what: str, wrong: pd.Series) -> None:
    """Add one problem with its count and the first row numbers."""
    count = int(wrong.sum())
    if count:
        rows = ", ".join(str(position + 1) for position in wrong.to_numpy().nonzero()[0][:EXAMPLES])
        more = ", …" if count > EXAMPLES else ""
        problems.append(f"{what}: {count} {'row' if count == 1 else 'rows'} ({rows}{more})")


def _number(raw: pd.Series, name: str, limits: Range, problems: list[str]) -> pd.Series:
    values = pd.to_numeric(raw, errors="coerce").astype("float64")
    infinite = values.isin([float("inf"), float("-inf")])
    low, high = limits.minimum, limits.maximum
    outside = ((values < low) if low is not None else False) | ((values > high) if high is not None else False)
    report(problems, f"{name}: not a number", values.isna() & raw.notna())
    report(problems, f"{name}: infinite", infinite)
    if low is not None or high is not None:
        report(problems, f"{name}: outside {low} to {high}", outside & ~infinite)
    return values


def _boolean(raw: pd.Series, name: str, _: BooleanFeature, problems: list[str]) -> pd.Series:
    values = raw.map(lambda value: BOOLEANS.get(str(value).strip().lower()), na_action="ignore")
    report(problems, f"{name}: not true or false", values.isna() & raw.notna())
    found = values.astype("object").where(values.notna(), None)
    return found if values.isna().any() else found.astype("bool")


def _category(raw: pd.Series, name: str, feature: CategoryFeature, problems: list[str]) -> pd.Series:
    known = sorted(set(raw.dropna().astype("str"))) if feature.values is None else feature.values
    values = _names(raw, name, known, f"dataset.features.{name}.values", problems)
    return values.astype("object").where(raw.notna(), None)


def _names(raw: pd.Series, name: str, known: list[str], where: str, problems: list[str]) -> pd.Series:
    names = raw.astype("str")
    unknown = raw.notna() & ~names.isin(known)
    examples = ", ".join(repr(text) for text in sorted(set(names[unknown]))[:EXAMPLES])
    report(problems, f"{name}: not one of {where} ({examples})", unknown)
    return names


CHECKS: dict[type, Callable[..., pd.Series]] = {
    NumberFeature: _number,
    BooleanFeature: _boolean,
    CategoryFeature: _category,
}
