"""The TLS proxy as docker-compose.tls.yml runs it, before services that answer with what they were sent."""

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from src.services.local.processes import REPOSITORY
from src.services.stack import certificate
from src.services.stack.compose_config import Stack
from src.services.stack.docker_cli import Docker
from tests.e2e.docker_gate import docker
from tests.e2e.test_gateway import PYTHON_IMAGE, run
from tests.support.running import free_port, wait_until

pytestmark = pytest.mark.docker

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.tls.yml").read_text(encoding="utf-8"))
PROXY: dict[str, Any] = COMPOSE["services"]["tls-proxy"]
# A name that is on no command line, with what a shell or a configuration file could read as its own.
TEAM = ("team", 'pass: "word" $HOME # 16')
KEY, PROXY_KEY = "k" * 20, "p" * 20
SERVICES = {
    "inference": (8443, "127.0.0.1:8000"),
    "mlflow": (5443, "mlflow:5000"),
    "zenml": (8444, "zenml:8080"),
    "prometheus": (9443, "prometheus:9090"),
    "alertmanager": (9444, "alertmanager:9093"),
    "grafana": (3443, "grafana:3000"),
}
SIGNED_IN_HERE = [name for name in SERVICES if name not in {"zenml", "grafana"}]


@dataclass(frozen=True)
class Rig:
    """A proxy before one container that is all services but Grafana and the gateway."""

    client: httpx.Client
    ports: dict[str, int]
    network: str

    def origin(self, service: str) -> str:
        return f"https://localhost:{self.ports[service]}"

    def ask(
        self, service: str, path: str = "/", *, method: str = "GET", auth: Any = TEAM, **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(method, self.origin(service) + path, auth=auth, headers=named)

    def sent_on(self, service: str, path: str = "/", **options: Any) -> dict[str, Any]:
        """What the service was sent."""
        sent: dict[str, Any] = self.ask(service, path, **options).raise_for_status().json()
        return sent


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("tls")
    said: list[str] = []
    config = Stack({"name": "rig", "services": {"tls-proxy": {**PROXY, "environment": {"TLS_NAMES": "localhost"}}}})
    certificate.prepare_certificate(Docker(folder, os.environ), config, folder, said.append)
    network = f"mlops-loop-tls-{uuid4().hex[:8]}"
    ports = {service: free_port() for service in SERVICES}
    with ExitStack() as stack:
        docker("network", "create", network)
        stack.callback(docker, "network", "rm", network)
        script = f"--volume={REPOSITORY}/tests/e2e/echo_services.py:/echo.py:ro"
        aliases = [f"--network-alias={name}" for name in SERVICES if name != "grafana"]
        names = (f"--network={network}", *aliases, "--hostname=inference")
        stack.enter_context(run(*names, script, "--init", PYTHON_IMAGE, "python", "/echo.py"))
        stack.enter_context(run(*_proxy(folder, network, ports)))
        context = ssl.create_default_context(cafile=folder / certificate.FILE)
        client = stack.enter_context(httpx.Client(verify=context, timeout=20, trust_env=False))
        rig = Rig(client, ports, network)
        wait_until("the proxy finds the services", lambda: _finds_them(rig))
        yield rig


def _proxy(folder: Path, network: str, ports: dict[str, int]) -> list[str]:
    """The arguments of docker run that make the container that the Compose file describes."""
    words = [f"--network={network}", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
    words += [f"--user={PROXY['user']}", f"--memory={PROXY['mem_limit']}", f"--pids-limit={PROXY['pids_limit']}"]
    words += [f"--ulimit=nofile={PROXY['ulimits']['nofile']}"]
    words += [f"--publish=127.0.0.1:{ports[service]}:{inside}" for service, (inside, _) in SERVICES.items()]
    words += [f"--env=SIGN_IN_USER={TEAM[0]}", f"--env=SIGN_IN_PASSWORD={TEAM[1]}", f"--env=WRITE_API_KEY={KEY}"]
    words += [f"--env=SIGN_IN_PROXY_KEY={PROXY_KEY}"]
    words += [f"--volume={REPOSITORY}/config/tls/haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]
    words += [f"--volume={folder / certificate.FILE}:{PROXY['volumes'][1]['target']}:ro"]
    return [*words, PROXY["image"]]


def _finds_them(rig: Rig) -> bool:
    try:
        return all(rig.ask(name).is_success for name in SERVICES if name != "grafana")
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("service", SIGNED_IN_HERE)
@pytest.mark.parametrize("auth", [None, ("team", "wrong"), ("other", TEAM[1])], ids=["none", "password", "user"])
def test_nothing_is_answered_without_the_password(rig: Rig, service: str, auth: Any) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = rig.ask(service, "/any", method=method, auth=auth)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert set(answer.json()) == {"detail", "request_id"}


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "grafana"])
def test_service_gets_its_own_name_and_no_password_and_what_the_proxy_says_of_the_client(
    rig: Rig, service: str
) -> None:
    lies = {"X_Forwarded_For": "9.9.9.9", "X_Forwarded_Prefix": "/x", "Forwarded": "for=9.9.9.9"}
    sent = rig.sent_on(service, "/a/%2e?b=c", Origin=rig.origin(service), **lies)
    headers = sent["headers"]
    assert sent["path"] == "/a/%2e?b=c"
    assert headers["host"] == SERVICES[service][1]
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == f"localhost:{rig.ports[service]}"
    assert "9.9.9.9" not in str(headers)
    assert {"origin", "forwarded", "x-forwarded-prefix"} & set(headers) == set()
    assert ("authorization" in headers) == (service == "zenml")


def test_inference_alone_gets_the_name_of_who_has_signed_in_and_no_client_can_choose_it(rig: Rig) -> None:
    lies = {"X_Forwarded_User": "eve", "X_Forwarded_User_Key": PROXY_KEY}
    names = ("x-forwarded-user", "x-forwarded-user-key")
    signed_in = rig.sent_on("inference", **lies)["headers"]
    assert [signed_in[name] for name in names] == [TEAM[0], PROXY_KEY]
    with_key = rig.sent_on("inference", auth=None, Authorization=f"Bearer {KEY}", **lies)["headers"]
    elsewhere = [rig.sent_on(service, **lies)["headers"] for service in ("mlflow", "zenml", "prometheus")]
    assert not any(name in headers for name in names for headers in (with_key, *elsewhere))


def test_own_sign_in_of_zenml_goes_through(rig: Rig) -> None:
    assert "authorization" not in rig.sent_on("zenml", auth=None)["headers"]
    sent = rig.sent_on("zenml", auth=None, Authorization="Bearer of-zenml")
    assert sent["headers"]["authorization"] == "Bearer of-zenml"


def test_inference_takes_its_key_instead_of_the_password_and_gets_it(rig: Rig) -> None:
    sent = rig.sent_on("inference", "/retrain", method="POST", auth=None, Authorization=f"Bearer {KEY}")
    assert sent["headers"]["authorization"] == f"Bearer {KEY}"
    for wrong in (KEY[:-1], KEY + "k", "x" * 20):
        answer = rig.ask("inference", "/retrain", method="POST", auth=None, Authorization=f"Bearer {wrong}")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert set(answer.json()) == {"detail", "request_id"}
    assert rig.ask("mlflow", auth=None, Authorization=f"Bearer {KEY}").status_code == 401


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_pages_of_other_sites_change_nothing_with_the_password(rig: Rig, service: str, method: str) -> None:
    own = rig.origin(service)
    foreign = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own.replace("https", "http")},
        {"Origin": own + "0"},
        {"Origin": "https://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": own},
    )
    assert {rig.ask(service, "/x", method=method, **headers).status_code for headers in foreign} == {403}
    if service not in {"grafana", "alertmanager"}:
        rig.ask(service, "/x", method=method, Origin=own, Sec_Fetch_Site="same-origin").raise_for_status()
        rig.ask(service, "/x", method=method).raise_for_status()  # as other clients than browsers send it


def test_pages_of_other_sites_open_no_web_socket(rig: Rig) -> None:
    socket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert rig.ask("zenml", Origin="https://evil.example", **socket).status_code == 403
    assert rig.ask("zenml", Origin=rig.origin("zenml"), **socket).status_code == 200


def test_answers_stay_on_the_origin_and_are_for_no_other(rig: Rig) -> None:
    for service in ("mlflow", "zenml", "inference"):
        answer = rig.ask(service, "/moved", Origin="https://evil.example")
        assert answer.headers["Location"] == "/there?a=b"
        assert answer.headers["Set-Cookie"] == "session=1; Path=/; HttpOnly; Secure"
        assert [name for name in answer.headers if name.startswith("access-control")] == []


def test_alertmanager_takes_silences_and_no_alerts(rig: Rig) -> None:
    for method, path, status in (
        ("POST", "/api/v2/silences", 200),
        ("DELETE", "/api/v2/silence/4711", 200),
        ("POST", "/api/v2/alerts", 403),
        ("POST", "/api/v2//alerts", 403),
        ("POST", "/-/reload", 403),
        ("PUT", "/api/v2/silences", 403),
        ("DELETE", "/api/v2/alerts", 403),
    ):
        assert rig.ask("alertmanager", path, method=method).status_code == status, (method, path)


def test_service_that_does_not_run_gets_503(rig: Rig) -> None:
    answer = rig.ask("grafana", auth=None)
    assert (answer.status_code, set(answer.json())) == (503, {"detail", "request_id"})


def test_old_versions_of_tls_are_refused(rig: Rig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match=r"PROTOCOL_VERSION|protocol version"):
        httpx.get(rig.origin("zenml"), verify=context, trust_env=False)


def test_gateway_is_used_while_it_is_there(rig: Rig) -> None:
    script = f"--volume={REPOSITORY}/tests/e2e/echo_services.py:/echo.py:ro"
    names = (f"--network={rig.network}", "--network-alias=gateway", "--hostname=gateway")

    def answers(name: str) -> bool:
        return bool(rig.sent_on("inference")["by"] == name)

    with run(*names, script, "--init", PYTHON_IMAGE, "python", "/echo.py"):
        wait_until("the gateway answers", lambda: answers("gateway"), seconds=20)
    assert answers("inference")
