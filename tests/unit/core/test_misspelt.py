"""A typo in ``.env`` is told, and nothing else is."""

import pytest

from src.core.misspelt import misspelt
from src.core.settings import InferenceSettings
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
def test_a_name_that_is_nearly_ours_is_told_with_the_one_that_is_meant(name: str, meant: str) -> None:
    assert misspelt([name, name, "LOG_LEVEL"], EXAMPLE) == [f"nothing reads {name} in .env; did you mean {meant}?"]


def test_our_own_names_and_those_of_other_tools_are_not() -> None:
    ours = [*map(str.upper, InferenceSettings.model_fields), *REQUIRED]
    others = ["COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "DOCKER_BUILDKIT", "HTTP_PROXY", "TZ"]
    assert misspelt([*ours, *others], EXAMPLE) == []
