"""Parses the answers of MLflow's registry defensively: tags and fields may contain anything."""

import contextlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from src.core.model_registry import TAG_SCORE, says_missing

API = "/api/2.0/mlflow"


def tags_of(found: Mapping[str, Any]) -> dict[str, str]:
    """A version's tags. Raises TypeError or KeyError if they are malformed."""
    return {tag["key"]: tag["value"] for tag in found.get("tags", [])}


def scores_of(tags: Mapping[str, str]) -> dict[str, float]:
    """The scores among a version's tags; values that are not numbers are ignored."""
    found = {}
    for key, text in tags.items():
        if key.startswith(TAG_SCORE):
            with contextlib.suppress(ValueError):
                found[key.removeprefix(TAG_SCORE)] = float(text)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def moment_of(milliseconds: object) -> datetime | None:
    """MLflow's time stamps are milliseconds since the epoch, as a number or as text."""
    return None if milliseconds is None else datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC)


def names_nothing(answer: httpx.Response) -> bool:
    """Whether MLflow reports that the model, or its alias, does not exist."""
    if answer.status_code not in {400, 404}:
        return False
    try:
        content = answer.json()
    except ValueError:
        return False
    return isinstance(content, dict) and says_missing(content.get("error_code"), content.get("message"))
