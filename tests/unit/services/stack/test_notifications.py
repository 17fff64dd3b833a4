import pytest

from src.services.stack import variables
from src.services.stack.errors import StackError
from tests.support.wrong_notifications import EMAIL, SLACK, WRONG


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_could_send_nothing_are_refused_without_showing_a_secret(case: str) -> None:
    given, message = WRONG[case]
    with pytest.raises(StackError) as refused:
        variables.check(given, {})
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_environment_wins_over_env_file() -> None:
    variables.check({"SLACK_WEBHOOK_URL": "wrong"}, {"SLACK_WEBHOOK_URL": SLACK})
    with pytest.raises(StackError, match="SLACK_WEBHOOK_URL"):
        variables.check({"SLACK_WEBHOOK_URL": SLACK}, {"SLACK_WEBHOOK_URL": "wrong"})


@pytest.mark.parametrize(
    "given",
    [
        {"SLACK_WEBHOOK_URL": SLACK, "ALERT_PROXY_URL": "http://user:secret@proxy.example:3128"},
        EMAIL,
        EMAIL | {"SMTP_SMARTHOST": "[2001:db8::1]:25", "SMTP_REQUIRE_TLS": "false"},
        EMAIL | {"SMTP_USERNAME": "loop", "SMTP_PASSWORD": "it's a secret"},
        {"SMTP_SMARTHOST": "unused"},
        {"ALERT_WEBHOOK_URL": "${FROM_ELSEWHERE}"},
        {"ALERT_WEBHOOK_URL": "http://[::1]:8080/x"},
    ],
)
def test_good_settings_are_accepted(given: dict[str, str]) -> None:
    variables.check(given, {})


def test_secrets_of_the_destinations_are_hidden_in_output() -> None:
    assert variables.secret_values({"SLACK_WEBHOOK_URL": SLACK, "SMTP_PASSWORD": "hidden"}, {}) == [SLACK, "hidden"]
