"""The variables that docker-compose.yml requires: which are missing, and random values for them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from src.services.stack.errors import StackError
from src.services.stack.notifications import SECRETS, check_notifications

ADMIN_PASSWORD = "ZENML_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
API_KEY = "ZENML_STORE_API_KEY"
ALERT_TOKEN = "ALERT_TOKEN"  # noqa: S105 - as above
LOG_KEY = "PREDICTION_LOG_KEY"
WRITE_KEY = "WRITE_API_KEY"
SIGN_IN_PASSWORD = "SIGN_IN_PASSWORD"  # noqa: S105 - a variable's name
SIGN_IN_PROXY_KEY = "SIGN_IN_PROXY_KEY"
PROFILES = {"COMPOSE_PROFILES": "monitoring"}

# The number of random bytes of each, written in hexadecimal: safe in .env, in a URL and in a shell. Three are short
# because people type them. ZenML hashes its encryption key, so any length is accepted (its documentation proposes 32).
_RANDOM_BYTES = {
    "MYSQL_ROOT_PASSWORD": 32,
    "ZENML_DB_PASSWORD": 32,
    "MLFLOW_DB_PASSWORD": 32,
    "MYSQL_EXPORTER_PASSWORD": 32,
    ADMIN_PASSWORD: 16,
    "ZENML_JWT_SECRET_KEY": 32,
    "ZENML_SECRETS_ENCRYPTION_KEY": 32,
    "GRAFANA_ADMIN_PASSWORD": 16,
    ALERT_TOKEN: 32,
    LOG_KEY: 32,
    SIGN_IN_PASSWORD: 16,
    SIGN_IN_PROXY_KEY: 32,
}
REQUIRED = (*_RANDOM_BYTES, API_KEY)
# Secrets that the database was created with: it does not accept new values.
KEPT_IN_DATABASE = (
    "MYSQL_ROOT_PASSWORD",
    "ZENML_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    ADMIN_PASSWORD,
    "ZENML_SECRETS_ENCRYPTION_KEY",
)
_KEY_CHARACTERS = 16
_IN_A_URL = ("ZENML_DB_PASSWORD", "MLFLOW_DB_PASSWORD")


def missing(file: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """The required variables that neither the file nor the real environment gives a value."""
    return [name for name in REQUIRED if not file.get(name) and not environment.get(name)]


def new_values(file: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to the file: a random value for every missing secret, and the profiles unless set."""
    absent = missing(file, environment)
    fresh = {name: secrets.token_hex(size) for name, size in _RANDOM_BYTES.items() if name in absent}
    fresh.update({name: value for name, value in PROFILES.items() if name not in file})
    return fresh


def check(file: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Refuse variables that docker compose would read differently, or could not use.

    Raises:
        StackError: names the variable and what to do.
    """
    for name in ("COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE"):
        if environment.get(name):
            raise StackError(f"{name} is set, so docker compose would not read .env; unset {name}")
    for name in REQUIRED:
        if environment.get(name) == "":
            raise StackError(f"{name} is set but empty in the environment, which wins over .env; unset {name}")
    for name in _IN_A_URL:
        value = environment.get(name) or file.get(name, "")
        if "$" not in value and re.search(r"[^A-Za-z0-9._~-]", value):  # docker compose would expand a $ in the value
            raise StackError(f"{name} goes into a URL and may hold letters, digits and - . _ ~ only; change it in .env")
    _check_keys(file, environment)
    check_notifications({**file, **environment})


def _check_keys(file: Mapping[str, str], environment: Mapping[str, str]) -> None:
    for name in (SIGN_IN_PASSWORD, SIGN_IN_PROXY_KEY, ALERT_TOKEN, LOG_KEY, WRITE_KEY):
        value = environment.get(name) or file.get(name, "")
        if value and "$" not in value and len(value) < _KEY_CHARACTERS:
            advice = "" if name == WRITE_KEY else ", or remove it there to get a random one"
            raise StackError(f"{name} must have at least {_KEY_CHARACTERS} characters; change it in .env{advice}")
    if ":" in (environment.get("SIGN_IN_USER") or file.get("SIGN_IN_USER", "")):
        raise StackError("SIGN_IN_USER must not contain a colon; change it in .env")


def child_environment(file: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for docker compose, with placeholders for variables that .env lacks, as it requires them all.

    No container that this script starts uses one: when ZenML starts, only training's API key is missing.
    """
    stand_ins = dict.fromkeys(missing(file, environment), "not-set-yet")
    profiles = {name: value for name, value in PROFILES.items() if name not in file}
    return {**profiles, **stand_ins, **environment}


def secret_values(*sources: Mapping[str, str]) -> list[str]:
    """Every secret value, the longest first."""
    found = {source[name] for source in sources for name in (*REQUIRED, *SECRETS, WRITE_KEY) if source.get(name)}
    return sorted(found, key=len, reverse=True)
