import re

import pytest

from src.services.stack import variables
from src.services.stack.errors import StackError
from tests.unit.services.stack.fakes import REQUIRED

FULL = dict.fromkeys(REQUIRED, "given-and-long-enough")


def test_new_values_fill_every_secret_but_the_key_each_differently() -> None:
    fresh = variables.new_values({}, {})
    assert set(fresh) == {*REQUIRED, "COMPOSE_PROFILES"} - {"ZENML_STORE_API_KEY"}
    assert fresh.pop("COMPOSE_PROFILES") == "monitoring"
    assert len(set(fresh.values())) == len(fresh)
    assert all(re.fullmatch(r"[0-9a-f]{32,64}", value) for value in fresh.values())
    assert len(fresh["ZENML_SECRETS_ENCRYPTION_KEY"]) == 64
    assert fresh != variables.new_values({}, {})


def test_new_values_replace_nothing_but_what_is_empty() -> None:
    assert variables.new_values({**FULL, "COMPOSE_PROFILES": ""}, {}) == {}
    assert list(variables.new_values({**FULL, "COMPOSE_PROFILES": "", "ZENML_DB_PASSWORD": ""}, {})) == [
        "ZENML_DB_PASSWORD"
    ]


def test_new_values_are_not_made_for_what_the_environment_sets() -> None:
    assert "GRAFANA_ADMIN_PASSWORD" not in variables.new_values({}, {"GRAFANA_ADMIN_PASSWORD": "set"})


@pytest.mark.parametrize(
    ("file", "environment", "message"),
    [
        ({}, {"COMPOSE_ENV_FILES": "other.env"}, "COMPOSE_ENV_FILES is set, so docker compose would not read .env"),
        ({}, {"COMPOSE_DISABLE_ENV_FILE": "1"}, "unset COMPOSE_DISABLE_ENV_FILE"),
        (FULL, {"ZENML_DB_PASSWORD": ""}, "ZENML_DB_PASSWORD is set but empty in the environment"),
        ({"ZENML_DB_PASSWORD": "p@ss"}, {}, "ZENML_DB_PASSWORD goes into a URL and may hold"),
        (FULL, {"MLFLOW_DB_PASSWORD": "p/ss"}, "MLFLOW_DB_PASSWORD goes into a URL and may hold"),
        ({"SIGN_IN_PASSWORD": "15-characters.."}, {}, "SIGN_IN_PASSWORD must have at least 16 characters"),
        (FULL, {"SIGN_IN_PASSWORD": "short"}, "SIGN_IN_PASSWORD must have at least 16 characters"),
        ({"WRITE_API_KEY": "15-characters.."}, {}, "WRITE_API_KEY must have at least 16 characters; change it in .env"),
        (FULL, {"ALERT_TOKEN": "short"}, "ALERT_TOKEN must have at least 16 characters"),
        (FULL, {"PREDICTION_LOG_KEY": "short"}, "PREDICTION_LOG_KEY must have at least 16 characters"),
        ({"SIGN_IN_USER": "a:b"}, {}, "SIGN_IN_USER must not contain a colon"),
    ],
)
def test_check_refuses_what_compose_would_not_use(
    file: dict[str, str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(StackError, match=re.escape(message)) as caught:
        variables.check(file, environment)
    assert "ss;" not in str(caught.value)


@pytest.mark.parametrize("password", ["", "Ab1.-_~", "${FROM_ELSEWHERE}"])
def test_check_takes_passwords_that_a_url_can_hold(password: str) -> None:
    variables.check(
        {**FULL, "ZENML_DB_PASSWORD": password, "MYSQL_ROOT_PASSWORD": "any p@ss"}, {"COMPOSE_ENV_FILES": ""}
    )


def test_child_environment_stands_in_for_what_is_missing_alone() -> None:
    child = variables.child_environment({"ZENML_DB_PASSWORD": "file"}, {"PATH": "/bin", "MYSQL_ROOT_PASSWORD": "real"})
    assert (child["PATH"], child["MYSQL_ROOT_PASSWORD"]) == ("/bin", "real")
    assert "ZENML_DB_PASSWORD" not in child  # docker compose reads the file itself
    assert child["ZENML_STORE_API_KEY"] == "not-set-yet"
    assert child["COMPOSE_PROFILES"] == "monitoring"
    assert "COMPOSE_PROFILES" not in variables.child_environment({"COMPOSE_PROFILES": ""}, {})
    assert variables.child_environment({}, {"COMPOSE_PROFILES": ""})["COMPOSE_PROFILES"] == ""


def test_secret_values_come_longest_first_so_that_none_shows_in_part() -> None:
    file = {"MYSQL_ROOT_PASSWORD": "ab", "ZENML_ADMIN_PASSWORD": "abc", "ZENML_PORT": "8080", "ZENML_DB_PASSWORD": ""}
    assert variables.secret_values(file, {"ZENML_STORE_API_KEY": "abcd", "HOME": "/root"}) == ["abcd", "abc", "ab"]
