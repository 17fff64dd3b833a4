"""The stack with docker-compose.tls.yml: every web interface behind TLS and a sign-in, for browsers and programs."""

import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as NotThereError

from src.services.local.processes import REPOSITORY
from src.services.stack import certificate
from tests.support.browser import chromium, goto, tab
from tests.support.doors import FOREIGN_PAGE, TLS_ACTIONS, Headers, TlsSender, basic, table
from tests.support.running import free_port, wait_until
from tests.support.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

FILES = "docker-compose.yml:docker-compose.tls.yml"
KEY = "the-key-for-writing"
PORTS = {
    "inference": "8443",
    "mlflow": "5443",
    "zenml": "8444",
    "prometheus": "9443",
    "alertmanager": "9444",
    "grafana": "3443",
}
SIGNED_IN_HERE = ("inference", "mlflow", "prometheus", "alertmanager")
TABLE = table("The ports with TLS and sign-in")
PAGE = (REPOSITORY / "docs/tls.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
TRAINING_MS = 120_000
# A fetch that is sent again where Chromium drops it; see tests/support/browser.py.
FETCH = """const again = async (...request) => {
    for (let left = 5; ; left--) try { return await fetch(...request); } catch (error) { if (!left) throw error; }
};"""


@dataclass(frozen=True)
class Secured:
    """The stack behind its proxy.

    Attributes:
        stack: the stack.
        ports: each service's TLS port.
        login: the user and the password.
    """

    stack: Stack
    ports: dict[str, int]
    login: tuple[str, str]

    def url(self, service: str) -> str:
        return f"https://localhost:{self.ports[service]}"

    def curl(self, url: str, *options: str) -> str:
        """The status of curl's answer, which is thrown away."""
        words = ("curl", "--silent", "--cacert", certificate.FILE, "--output", os.devnull, "--write-out")
        return self.stack.run(*words, "%{http_code}", *options, url).stdout


@pytest.fixture(scope="module")
def secured(stack: Stack) -> Iterator[Secured]:
    """The overlay on top of the running stack, by the set-up and `docker compose up`; afterwards it is gone."""
    ports = {service: free_port() for service in PORTS}
    overlay = {f"{service.upper()}_TLS_PORT": str(port) for service, port in ports.items()}
    before = dict(stack.environment)
    stack.environment |= {**overlay, "COMPOSE_FILE": FILES, "WRITE_API_KEY": KEY}
    running = _started(stack)
    try:
        absent = stack.compose("up", "-d", "--no-deps", "tls-proxy", check=False)
        assert absent.returncode != 0
        assert "bind source path does not exist" in absent.stderr
        said = stack.run("python3", "setup_zenml_api_key.py", "--keep-key").stdout
        assert re.search(r"^==> tls/server\.pem: made; SHA-256 fingerprint [0-9A-F:]{95}$", said, re.MULTILINE)
        stack.compose("up", "-d", "--wait", "--no-deps", "tls-proxy", "inference")
        changed = {name for name, moment in _started(stack).items() if running.get(name) != moment}
        assert changed == {"tls-proxy", "inference"}
        yield Secured(stack, ports, ("team", stack.secrets()["SIGN_IN_PASSWORD"]))
    finally:
        stack.environment = before
        stack.compose("up", "-d", "--wait", "--remove-orphans", "--no-deps", "inference")
    assert stack.replicas("tls-proxy") == []


def _started(stack: Stack) -> dict[str, str]:
    return {service: container.attrs["State"]["StartedAt"] for service, container in stack.containers().items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, secured: Secured) -> Iterator[Page]:
    """A tab of someone who has signed in and trusts the certificate."""
    user, password = secured.login
    credentials: Any = {"username": user, "password": password}
    context = browser.new_context(ignore_https_errors=True, http_credentials=credentials)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("service", SIGNED_IN_HERE)
def test_curl_is_answered_with_the_password_alone(secured: Secured, service: str) -> None:
    url = f"{secured.url(service)}/{'health' if service in {'inference', 'mlflow'} else ''}"
    assert secured.curl(url) == "401"
    assert secured.curl(url, "--user", "team:wrong") == "401"
    assert secured.curl(url, "--user", ":".join(secured.login), "--location") == "200"
    foreign = ("--user", ":".join(secured.login), "--request", "POST", "--header", "Origin: https://evil.example")
    assert secured.curl(url, *foreign) == "403"


@pytest.mark.parametrize("name", TABLE)
def test_action_needs_the_sign_in_that_the_security_page_names(secured: Secured, name: str) -> None:
    action, row = TLS_ACTIONS[name], TABLE[name]
    if action.server == "grafana" and not secured.stack.has_grafana:
        pytest.skip("no Grafana image is available")
    trust = ssl.create_default_context(cafile=secured.stack.checkout / certificate.FILE)

    def sender(headers: Headers) -> TlsSender:
        return TlsSender(secured.stack, "localhost", headers, secured.ports, trust)

    password = basic(*secured.login)
    seen = {
        "At": action.server,
        "Without the password": action.as_stranger(sender({})),
        "Signed in": action.as_program(sender(password)),
        "A web page of another site, signed in": action.as_page(sender({**password, **FOREIGN_PAGE})),
    }
    secured.stack.wait_for_all()
    assert seen == {**row, "At": row["At"].lower()}


def test_curl_without_the_certificate_trusts_nothing(secured: Secured) -> None:
    refused = secured.stack.run("curl", "--silent", secured.url("inference"), check=False)
    assert refused.returncode == 60  # of curl: the certificate cannot be verified
    plain = secured.stack.run("curl", "--silent", secured.url("inference").replace("https", "http"), check=False)
    assert plain.returncode != 0


def test_browser_without_the_password_gets_nothing(secured: Secured, browser: Browser) -> None:
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    answer = page.request.get(secured.url("mlflow"))
    assert answer.status == 401
    context.close()


def test_mlflow_pages_load_and_change_a_run(secured: Secured, page: Page) -> None:
    goto(page, f"{secured.url('mlflow')}/#/experiments")
    wait_until("MLflow lists the experiment", lambda: _shows(page, "iris-training"))
    # As the page's own scripts send it.
    answer = page.evaluate(
        f"""async () => {{ {FETCH}"""
        """
            const send = (path, body) => again(`/ajax-api/2.0/mlflow/${path}`, {
                method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
            const made = await send("experiments/create", {name: `from the browser ${Date.now()}`});
            const {experiment_id} = await made.json();
            const renamed = await send("experiments/update", {experiment_id, new_name: `renamed ${Date.now()}`});
            const deleted = await send("experiments/delete", {experiment_id});
            return [made.status, renamed.status, deleted.status];
        }"""
    )
    assert answer == [200, 200, 200]


def _shows(page: Page, text: str) -> bool:
    try:
        page.get_by_text(text).first.wait_for(timeout=10_000)
    except NotThereError:
        page.reload()  # a script of the page may have been dropped; see goto
        return False
    return True


@pytest.mark.parametrize("service", SIGNED_IN_HERE)
def test_page_of_another_site_changes_nothing_with_the_browsers_password(
    secured: Secured, page: Page, service: str
) -> None:
    """From ZenML's origin, whose port makes it another one, while the browser knows the password."""
    goto(page, f"{secured.url('zenml')}/health")
    options = "{method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x'}"
    url = f"{secured.url(service)}/x"
    with page.expect_response(url) as caught:
        page.evaluate(f"async url => {{ {FETCH} await again(url, {options}); }}", url)
    assert caught.value.status == 403


def test_zenml_is_signed_in_to_by_its_own_password(secured: Secured, page: Page) -> None:
    goto(page, f"{secured.url('zenml')}/health")
    password = secured.stack.secrets()["ZENML_ADMIN_PASSWORD"]
    statuses = page.evaluate(
        f"""async (password) => {{ {FETCH}"""
        """
            const user = () => again("/api/v1/current-user");
            const before = await user();
            const body = new URLSearchParams({username: "admin", password});
            const login = await again("/api/v1/login", {method: "POST", body});
            return [before.status, login.status, (await user()).status];
        }""",
        password,
    )
    assert statuses == [401, 200, 200]
    (cookie,) = page.context.cookies()
    assert cookie["secure"]


def test_prometheus_and_alertmanager_answer_the_browser(secured: Secured, page: Page) -> None:
    for service, path in (("prometheus", "/api/v1/query?query=up"), ("alertmanager", "/api/v2/status")):
        assert goto(page, f"{secured.url(service)}{path}").status == 200


def test_grafana_or_its_absence_is_answered(secured: Secured) -> None:
    assert secured.curl(f"{secured.url('grafana')}/api/health") == ("200" if secured.stack.has_grafana else "503")


def test_mlflow_client_logs_a_run(secured: Secured) -> None:
    script = (
        "import mlflow; mlflow.set_experiment('through TLS')\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_metric('score', 1.0); mlflow.log_text('words', 'note.txt')\n"
        "print(mlflow.artifacts.load_text(f'{run.info.artifact_uri}/note.txt'))"
    )
    user, password = secured.login
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": secured.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(secured.stack.checkout / certificate.FILE),
    }
    python = str(REPOSITORY / ".venv/bin/python")
    ended = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "words" in ended.stdout


def test_certificate_is_one_that_strict_clients_take(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=secured.stack.checkout / certificate.FILE)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with httpx.Client(verify=context, trust_env=False) as client:
        assert client.get(f"{secured.url('inference')}/health", auth=secured.login).status_code == 200


def test_proxy_is_denied_what_it_does_not_need_and_names_who_was_refused(secured: Secured) -> None:
    secured.stack.require_limits()
    host = secured.stack.container("tls-proxy").attrs["HostConfig"]
    assert {binding["HostIp"] for (binding,) in host["PortBindings"].values()} == {"127.0.0.1"}
    secured.curl(f"{secured.url('mlflow')}/who-is-this?token=secret", "--user", "team:a-wrong-password")
    logs = secured.stack.container("tls-proxy").logs().decode()
    assert re.search(r'status=401 .* path="/who-is-this"', logs)
    assert "secret" not in logs
    assert secured.login[1] not in logs


# The last ones, since a training's container comes and goes, which makes Chromium drop its requests.


def test_page_works_in_a_browser_and_trains_with_the_key(secured: Secured, browser: Browser) -> None:
    user, password = secured.login
    credentials = {"username": user, "password": password}
    with tab(browser, secured.url("inference"), ignore_https_errors=True, http_credentials=credentials) as opened:
        page = opened.page
        expect(page.get_by_role("heading", name="Served model ready")).to_be_visible()
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#answer strong")).not_to_be_empty()
        assert f"{secured.url('inference')}/predict" in page.locator("#curl").inner_text()
        link = page.get_by_role("link", name=re.compile("MLflow")).first.get_attribute("href")
        assert link == secured.url("mlflow")
        assert opened.complaints == []

        page.on("dialog", lambda dialog: dialog.accept())
        for key, notice in (
            ("", "The key is missing or wrong"),
            ("not-the-key-for-writing", "The key is missing or wrong"),
            (KEY, "A training was requested"),
        ):
            page.get_by_label("Key for retraining").fill(key)
            wait_until(notice, lambda notice=notice: _retrain_button_tells(page, notice))
        newest = page.locator(".runs li").first
        expect(newest.locator(".tag").last).to_have_text("running", timeout=TRAINING_MS)
        expect(newest.get_by_text("promoted")).to_be_visible(timeout=TRAINING_MS)
        assert opened.strangers == []


def _retrain_button_tells(page: Page, notice: str) -> bool:
    page.get_by_role("button", name="Retrain now").click()
    try:
        page.get_by_role("status").get_by_text(notice).wait_for(timeout=5_000)
    except NotThereError:
        return False  # Chromium may have dropped the request; see goto
    return True


def test_commands_of_the_page_work_as_written(secured: Secured) -> None:
    assert BLOCKS[0] == "make up\n"  # run by the fixture of the stack, and by tests/e2e/test_make_up.py
    here = "".join(BLOCKS[1:])
    for service, port in PORTS.items():
        here = here.replace(f"localhost:{port}", f"localhost:{secured.ports[service]}")
    here = here.replace(".venv/bin/python", str(REPOSITORY / ".venv/bin/python"))
    here = re.sub(r"\bcurl ", "curl --fail --silent --show-error ", here)
    env = secured.stack.checkout / ".env"
    text = env.read_text(encoding="utf-8")
    env.write_text(f"{text}WRITE_API_KEY={KEY}\n", encoding="utf-8")
    try:
        ended = secured.stack.run("bash", "-euo", "pipefail", "-c", here)
    finally:
        env.write_text(text, encoding="utf-8")
    outputs = ("sha256 Fingerprint=", '"prediction":"setosa"', '"status":"success"', "['iris']", '"state":"queued"')
    assert [output for output in outputs if output not in ended.stdout] == []
    (request_id,) = re.findall(r'"id":"([^"]+)","state":"queued"', ended.stdout)
    assert secured.stack.wait_for_end(request_id, seconds=240)["state"] == "promoted"
