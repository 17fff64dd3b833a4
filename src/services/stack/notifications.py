"""Where alerts are sent: the variables that config/alertmanager/start.sh reads, checked before anything starts.

Both apply the same patterns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from src.services.stack.errors import StackError

_URL = (r"https?://(\[[0-9A-Fa-f:]+\]|[^\]\[\s/{}])[^\s{}]*", "an http:// or https:// URL")
_WEB = ("SLACK_WEBHOOK_URL", "ALERT_WEBHOOK_URL", "ALERT_PROXY_URL")
SECRETS = (*_WEB, "SMTP_PASSWORD")
_EMAIL = {
    "ALERT_EMAIL_TO": (r"[^{}]+@[^{}]+", "one or more e-mail addresses, separated by commas"),
    "SMTP_FROM": (r"[^{}]+@[^{}]+", "an e-mail address"),
    "SMTP_SMARTHOST": (
        r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}",
        "host:port, such as smtp.example.com:587",
    ),
    "SMTP_REQUIRE_TLS": (r"true|false", "true or false"),
}


def check_notifications(values: Mapping[str, str]) -> None:
    """Refuse values with which Alertmanager would not start, or would send nothing.

    Raises:
        StackError: names the variable; its value is not shown, as it may be a secret.
    """
    patterns = {name: _URL for name in _WEB if values.get(name)}
    if values.get("ALERT_EMAIL_TO"):
        patterns |= _EMAIL
        if bool(values.get("SMTP_USERNAME")) != bool(values.get("SMTP_PASSWORD")):
            raise StackError("SMTP_USERNAME and SMTP_PASSWORD need each other; set both in .env, or neither")
        if values.get("SMTP_PASSWORD") and values.get("SMTP_REQUIRE_TLS") == "false":
            raise StackError(
                "SMTP_PASSWORD would be sent unencrypted; set SMTP_REQUIRE_TLS=true in .env, or remove SMTP_USERNAME "
                "and SMTP_PASSWORD"
            )
    for name, (pattern, meaning) in patterns.items():
        value = values.get(name) or ("true" if name == "SMTP_REQUIRE_TLS" else "")
        # docker compose would expand a $ in the value.
        if "$" not in value and not (value.isprintable() and re.fullmatch(pattern, value)):
            raise StackError(f"{name} must be {meaning}; change it in .env")
