"""Settings with which Alertmanager could not send alerts, and what the set-up and start.sh say of them."""

SLACK = "https://hooks.slack.example/services/T0/B0/secret"
EMAIL = {
    "ALERT_EMAIL_TO": "on-call@example.com, Team <team@example.com>",
    "SMTP_SMARTHOST": "smtp.example.com:587",
    "SMTP_FROM": "Loop's alerts <loop@example.com>",
}
URL = "an http:// or https:// URL"
EACH_OTHER = "SMTP_USERNAME and SMTP_PASSWORD need each other; set both in .env, or neither"
LOGIN = {"SMTP_USERNAME": "loop", "SMTP_PASSWORD": "secret"}

WRONG = {
    "no scheme": ({"SLACK_WEBHOOK_URL": "hooks.slack.example/secret"}, f"SLACK_WEBHOOK_URL must be {URL}"),
    "a space": ({"ALERT_WEBHOOK_URL": "https://example.com/a secret"}, f"ALERT_WEBHOOK_URL must be {URL}"),
    "a template": ({"ALERT_WEBHOOK_URL": "https://example.com/{{ secret }}"}, f"ALERT_WEBHOOK_URL must be {URL}"),
    "two lines": ({"SLACK_WEBHOOK_URL": f"{SLACK}\n{SLACK}"}, f"SLACK_WEBHOOK_URL must be {URL}"),
    "no host": ({"SLACK_WEBHOOK_URL": SLACK, "ALERT_PROXY_URL": "http:///secret"}, f"ALERT_PROXY_URL must be {URL}"),
    "an open bracket": ({"ALERT_WEBHOOK_URL": "http://[::1/secret"}, f"ALERT_WEBHOOK_URL must be {URL}"),
    "no address": ({**EMAIL, "ALERT_EMAIL_TO": "on-call"}, "ALERT_EMAIL_TO must be one or more e-mail addresses"),
    "no server": (EMAIL | {"SMTP_SMARTHOST": ""}, "SMTP_SMARTHOST must be host:port, such as smtp.example.com:587"),
    "no port": (EMAIL | {"SMTP_SMARTHOST": "smtp.example.com"}, "SMTP_SMARTHOST must be host:port"),
    "no sender": (EMAIL | {"SMTP_FROM": ""}, "SMTP_FROM must be an e-mail address"),
    "no password": (EMAIL | {"SMTP_USERNAME": "loop"}, EACH_OTHER),
    "no user": (EMAIL | {"SMTP_PASSWORD": "secret"}, EACH_OTHER),
    "a password in clear": (
        EMAIL | LOGIN | {"SMTP_REQUIRE_TLS": "false"},
        "SMTP_PASSWORD would be sent unencrypted; set SMTP_REQUIRE_TLS=true in .env",
    ),
    "neither true nor false": (EMAIL | {"SMTP_REQUIRE_TLS": "no"}, "SMTP_REQUIRE_TLS must be true or false"),
}
