"""Misspelt names get a suggestion, and other names do not."""

import unicodedata
from pathlib import Path

import pytest

from src.core.inference_settings import InferenceSettings
from src.core.misspelt import did_you_mean, example_text, misspelt
from src.services.local.processes import REPOSITORY
from src.services.stack.variables import REQUIRED

EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MODEL_POL_SECONDS", "MODEL_POLL_SECONDS"),
        ("WRITE_APIKEY", "WRITE_API_KEY"),
        ("WRITE_KEY", "WRITE_API_KEY"),
        ("GRAFANA_ADMIN_PASWORD", "GRAFANA_ADMIN_PASSWORD"),
        ("COMPOSE_PROFILE", "COMPOSE_PROFILES"),
        ("mlflow_prt", "MLFLOW_PORT"),
        ("MLFLOW_DB_PASWORD", "MLFLOW_DB_PASSWORD"),
    ],
)
def test_misspelt_variable_is_reported_with_the_one_that_was_meant(name: str, meant: str) -> None:
    expected = f"{name} in .env is not read by any process; did you mean {meant}?"
    assert misspelt([name, name, "LOG_LEVEL"], EXAMPLE) == [expected]


def test_variable_of_an_older_version_is_reported_without_a_suggestion() -> None:
    expected = (
        "ALERTMANAGER_PORT in .env has no effect: Alertmanager has no port on this machine any more; remove the line"
    )
    assert misspelt(["ALERTMANAGER_PORT", "ALERTMANAGER_PORT"], EXAMPLE) == [expected]


def test_known_variables_and_those_of_other_tools_are_not_reported() -> None:
    ours = [*map(str.upper, InferenceSettings.model_fields), *REQUIRED]
    others = ["COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "DOCKER_BUILDKIT", "HTTP_PROXY", "TZ"]
    assert misspelt([*ours, *others], EXAMPLE) == []


def test_example_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert example_text(REPOSITORY) == EXAMPLE
    assert example_text(tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("contrct", ["kontakt", "contract"], "did you mean 'contract'?"),
        ("churn", ["chuck", "CHURN"], "did you mean 'CHURN'?"),
        ("size", ["sizes", " size "], "did you mean ' size '? (the names differ in the spaces around them)"),
        ("Size ", ["size"], "did you mean 'size'?"),
        ("zzz", ["contract"], None),
        ("a", [], None),
    ],
)
def test_most_similar_name_is_suggested(name: str, known: list[str], suggestion: str | None) -> None:
    assert did_you_mean(name, known) == suggestion


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_that_differ_only_in_unicode_normalization_are_explained(form: str) -> None:
    name, other = (
        unicodedata.normalize(form, "größe"),
        unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[form], "größe"),
    )
    assert did_you_mean(name, ["groesse", other]) == (
        f"did you mean {other!r}? (the same letters in another Unicode normalization; copy the name from the data)"
    )
