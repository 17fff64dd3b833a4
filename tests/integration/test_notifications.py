"""Where alerts go, with the real Alertmanager started by config/alertmanager/start.sh."""

import itertools
from pathlib import Path

import pytest
import yaml

from src.services.local.processes import REPOSITORY, LocalProcess
from tests.support.alertmanager import TOKEN, StartScript, running_alertmanager
from tests.support.notified import LOGIN, HttpReceiver, certificate, http_receiver, mail_server
from tests.support.prometheus_tools import run_tool, tool_path
from tests.support.running import free_port, running, wait_until
from tests.support.wrong_notifications import EMAIL, SLACK, WRONG

pytestmark = pytest.mark.integration

LABELS = {"alertname": "FeatureDrift", "severity": "warning", "feature": "sepal_length", "action": "retrain"}
ANNOTATIONS = {
    "summary": "sepal_length is not distributed as in training",
    "runbook": "docs/runbook.md#featuredrift",
    "dashboard": "http://localhost:3000/d/mlops-loop-model",
}
TEXT = """WARNING: sepal_length is not distributed as in training
Started: 2026-05-06 07:08:09 UTC
Runbook: docs/runbook.md#featuredrift
Dashboard: http://localhost:3000/d/mlops-loop-model
"""
PARTS = (
    {"SLACK_WEBHOOK_URL": SLACK},
    EMAIL | {"SMTP_USERNAME": "o'loop: #1", "SMTP_PASSWORD": "it's a secret"},
    {"ALERT_WEBHOOK_URL": "https://example.com/secret", "ALERT_PROXY_URL": "http://user:it's@proxy.example:3128"},
)
COMBINATIONS = [
    dict(itertools.chain.from_iterable(part.items() for part in chosen))
    for count in (1, 2, 3)
    for chosen in itertools.combinations(PARTS, count)
]
COMBINATIONS.append({"ALERT_WEBHOOK_URL": "http://[::1]:8080/secret"})


@pytest.mark.parametrize("given", [{}, {"SMTP_SMARTHOST": "smtp.example.com:587", "ALERT_PROXY_URL": "unused"}])
def test_without_a_destination_the_shipped_configuration_is_used(tmp_path: Path, given: dict[str, str]) -> None:
    script = StartScript(tmp_path, "echo")
    done = script.run(given)
    storage = f"--storage.path={tmp_path / 'storage'}"
    assert done.stdout.split() == [f"--config.file={tmp_path}/alertmanager.yml", storage, "--cluster.listen-address="]
    assert {file.name: file.read_text() for file in script.tmp.iterdir()} == {"alert-token": TOKEN}


@pytest.mark.parametrize(
    "given", COMBINATIONS, ids=lambda given: "+".join(name for name in given if "_URL" in name or "TO" in name)
)
def test_alertmanager_accepts_every_combination_and_its_configuration_holds_no_secret(
    tmp_path: Path, given: dict[str, str]
) -> None:
    script = StartScript(tmp_path, "echo")
    done = script.run(given)
    assert done.returncode == 0, done.stderr
    config = script.tmp / "alertmanager.yml"
    assert done.stdout.startswith(f"--config.file={config} ")
    assert "1 templates" in run_tool("amtool", "check-config", str(config))
    assert "secret" not in config.read_text()
    assert {oct(file.stat().st_mode & 0o777) for file in script.tmp.iterdir()} == {"0o600"}
    shipped = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    built = yaml.safe_load(config.read_text())
    assert built["route"] == shipped["route"]
    assert built["receivers"][0] == shipped["receivers"][0]
    kinds = {
        "SLACK_WEBHOOK_URL": "slack_configs",
        "ALERT_EMAIL_TO": "email_configs",
        "ALERT_WEBHOOK_URL": "webhook_configs",
    }
    assert set(built["receivers"][1]) == {"name"} | {kind for name, kind in kinds.items() if name in given}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_end_it_with_one_line_that_shows_no_secret(tmp_path: Path, case: str) -> None:
    given, message = WRONG[case]
    done = StartScript(tmp_path, "echo").run(given)
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "secret" not in line


def test_alert_and_its_end_reach_every_destination_and_the_training_it_asks_for(tmp_path: Path) -> None:
    with http_receiver() as received, mail_server() as mail:
        given = {
            "SLACK_WEBHOOK_URL": f"{received.url}/slack/secret",
            "ALERT_WEBHOOK_URL": f"{received.url}/webhook/secret",
            **EMAIL,
            "SMTP_SMARTHOST": mail.smarthost,
            "SMTP_REQUIRE_TLS": "false",
        }
        with running_alertmanager(tmp_path, given, inference=received.url) as alertmanager:
            environment = Path(f"/proc/{alertmanager.pid}/environ")
            assert not environment.exists() or b"secret" not in environment.read_bytes()
            alertmanager.send(LABELS, ANNOTATIONS)
            wait_until("all have the alert", lambda: everyone(received) and mail.messages)
            alertmanager.send(LABELS, ANNOTATIONS, resolved=True)
            wait_until("all have its end", lambda: everyone(received, 2) and len(mail.messages) > 1)

    fired, ended = received.of("/slack/secret")
    (attachment,) = fired["attachments"]
    assert (attachment["title"], attachment["color"]) == ("[FIRING] FeatureDrift", "danger")
    assert attachment["title_link"] == ANNOTATIONS["dashboard"]
    assert attachment["text"].strip() == TEXT.strip()
    (attachment,) = ended["attachments"]
    assert (attachment["title"], attachment["color"]) == ("[RESOLVED] FeatureDrift", "good")
    assert "\nResolved: 20" in attachment["text"]

    fired, ended = received.of("/webhook/secret")
    assert (fired["version"], fired["status"], ended["status"]) == ("4", "firing", "resolved")
    assert (fired["alerts"][0]["labels"], fired["alerts"][0]["annotations"]) == (LABELS, ANNOTATIONS)

    first, second = mail.messages
    assert mail.recipients[0] == ["on-call@example.com", "team@example.com"]
    assert (first["Subject"], second["Subject"]) == ("[FIRING] FeatureDrift", "[RESOLVED] FeatureDrift")
    assert first["From"] == EMAIL["SMTP_FROM"]
    (part,) = first.iter_parts()
    assert part.get_content_type() == "text/plain"
    assert part.get_content().strip().splitlines() == TEXT.strip().splitlines()

    (asked,) = received.of("/alerts")
    assert asked["alerts"][0]["labels"]["action"] == "retrain"
    assert f"Bearer {TOKEN}" in received.tokens


def everyone(received: HttpReceiver, count: int = 1) -> bool:
    return all(len(received.of(f"/{path}/secret")) >= count for path in ("slack", "webhook"))


def test_mail_is_sent_over_tls_with_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls))
    with mail_server(tls) as mail:
        given = {**EMAIL, "SMTP_SMARTHOST": mail.smarthost}
        given |= {"SMTP_USERNAME": LOGIN.login.decode(), "SMTP_PASSWORD": LOGIN.password.decode()}
        with running_alertmanager(tmp_path, given) as alertmanager:
            alertmanager.send(LABELS, ANNOTATIONS)
            wait_until("the mail is there", lambda: mail.messages)


def test_slack_and_the_webhook_are_reached_through_the_proxy(tmp_path: Path) -> None:
    elsewhere = {"SLACK_WEBHOOK_URL": "http://slack.invalid/secret", "ALERT_WEBHOOK_URL": "http://hook.invalid/secret"}
    with http_receiver() as proxy:
        given = {**elsewhere, "ALERT_PROXY_URL": proxy.url}
        with running_alertmanager(tmp_path, given) as alertmanager:
            alertmanager.send(LABELS, ANNOTATIONS)
            wait_until("both went through it", lambda: set(proxy.posted) == set(elsewhere.values()))


def test_alert_of_prometheus_arrives_with_its_links_and_without_the_labels_that_make_them(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with http_receiver() as received:
        given = {"ALERT_WEBHOOK_URL": f"{received.url}/webhook"}
        with running_alertmanager(tmp_path, given) as alertmanager:
            content = yaml.safe_load((REPOSITORY / "config/prometheus.yml").read_text(encoding="utf-8"))
            content["scrape_configs"] = []  # nothing answers: TargetDown
            content["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager.url[7:]]}]}]
            content["global"] |= {"evaluation_interval": "1s"}
            (folder / "prometheus.yml").write_text(yaml.safe_dump(content))
            rules = (REPOSITORY / "config/alerts.yml").read_text(encoding="utf-8")
            (folder / "alerts.yml").write_text(rules.replace("for: 30s", "for: 1s"))
            options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
            # Prometheus finds Alertmanager after some seconds; what it has sent before is sent again after a minute.
            options += [f"--web.listen-address=127.0.0.1:{free_port()}", "--rules.alert.resend-delay=1s"]
            links = {
                "RUNBOOK_URL": "https://wiki.example/runbook",
                "GRAFANA_PUBLIC_URL": "",
                "STACK_GRAFANA_URL": "http://localhost:3001",
                "STACK_PROFILES": "monitoring",
            }
            with running(LocalProcess("prometheus", (tool_path("prometheus"), *options)), folder / "log", **links):
                wait_until("the alert is there", lambda: received.of("/webhook"))
    (alert,) = received.of("/webhook")[0]["alerts"]
    assert alert["labels"] == {"alertname": "TargetDown", "job": "inference", "severity": "critical"}
    assert alert["annotations"] == {
        "summary": "inference does not answer (no container)",
        "runbook": "https://wiki.example/runbook#targetdown",
        "dashboard": "http://localhost:3001/d/mlops-loop-service",
    }
