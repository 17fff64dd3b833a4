"""A docker program and a ZenML server, written by hand after what the real ones were seen to answer."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.support import http_server

# One line a call: its arguments and the variables it was given. What it answers stands in rules.json; where no rule
# fits, it is a healthy machine on which the stack's zenml and mysql run.
DOCKER = """import json, os, pathlib, sys, time
folder, arguments = pathlib.Path({folder!r}), sys.argv[1:]
with open(folder / "calls.jsonl", "a") as calls:
    calls.write(json.dumps([arguments, dict(os.environ)]) + "\\n")
said = " ".join(arguments)
for words, output, errors, code, seconds in json.loads((folder / "rules.json").read_text()):
    if words in said:
        print(output, end="", flush=True)
        print(errors, end="", file=sys.stderr, flush=True)
        time.sleep(seconds)
        sys.exit(code)
given = dict(os.environ)
if pathlib.Path(".env").exists():
    lines = [line.split("=", 1) for line in pathlib.Path(".env").read_text().splitlines() if "=" in line]
    given = {{**{{name: value for name, value in lines if name[:1] != "#"}}, **given}}
if said == "version --format {{{{.Server.APIVersion}}}}":
    print("1.51")
elif said == "compose version --short":
    print("2.40.3")
elif said == "compose config --format json":
    config = (folder / "config.json").read_text()
    for name in {required!r}:
        if not given.get(name):
            sys.exit("required variable " + name + " is missing a value: run python3 setup_zenml_api_key.py first")
        config = config.replace("${{" + name + "}}", given[name])
    print(config)
elif said == "compose ps --format json":
    print(json.dumps(dict(Service="mysql", State="running")))
    print(json.dumps(dict(Service="zenml", State="running")))
elif "up --detach" in said:
    print(" Container loop-zenml-1  Healthy", file=sys.stderr)
"""
REQUIRED = (
    "MYSQL_ROOT_PASSWORD",
    "ZENML_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "MYSQL_EXPORTER_PASSWORD",
    "ZENML_ADMIN_PASSWORD",
    "ZENML_JWT_SECRET_KEY",
    "ZENML_SECRETS_ENCRYPTION_KEY",
    "GRAFANA_ADMIN_PASSWORD",
    "ALERT_TOKEN",
    "PREDICTION_LOG_KEY",
    "SIGN_IN_PASSWORD",
    "SIGN_IN_PROXY_KEY",
    "ZENML_STORE_API_KEY",
)


def compose_config(**ports: int) -> dict[str, Any]:
    """What ``docker compose config`` makes of the stack, with services at these ports of 127.0.0.1."""
    services: dict[str, Any] = {
        name: {"ports": [{"host_ip": "127.0.0.1", "target": 8080, "published": str(port), "protocol": "tcp"}]}
        for name, port in ports.items()
    }
    services.setdefault("zenml", {})["environment"] = {"ZENML_DEFAULT_USER_PASSWORD": "${ZENML_ADMIN_PASSWORD}"}
    services["mysql"] = {"volumes": [{"type": "volume", "source": "mysql", "target": "/var/lib/mysql"}]}
    return {"name": "loop", "services": services, "volumes": {"mysql": {"name": "loop_mysql"}}}


class FakeDocker:
    """The fake docker program in ``folder``, to be put on a PATH."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        folder.mkdir()
        self.folder = folder
        self._rules: dict[str, tuple[str, str, int, float]] = {}
        (folder / "rules.json").write_text("[]")
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "docker.py").write_text(DOCKER.format(folder=str(folder), required=REQUIRED))
        program = folder / "docker"
        # No path of an interpreter with a space works behind "#!".
        program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-SE", str(folder / "docker.py")])} "$@"\n')
        program.chmod(0o755)

    def answers(self, words: str, output: str = "", *, errors: str = "", code: int = 0, seconds: float = 0) -> None:
        """From now on, let a call with these words in its arguments end so, after that long."""
        self._rules[words] = (output, errors, code, seconds)
        rules = [(said, *answer) for said, answer in self._rules.items()]
        (self.folder / "rules.json").write_text(json.dumps(rules))

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without the stack's variables, and nothing but the fake on its PATH."""
        clean = {name: value for name, value in os.environ.items() if name not in REQUIRED and name[:7] != "COMPOSE"}
        clean.pop("DOCKER_HOST", None)
        return {**clean, "PATH": str(self.folder)}

    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        """Every call so far: its arguments and its environment."""
        log = self.folder / "calls.jsonl"
        return [tuple(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []

    def said(self) -> list[str]:
        """Every call's arguments in one line each."""
        return [" ".join(arguments) for arguments, _ in self.calls()]


class FakeZenml:
    """A ZenML server's REST API in memory: one admin, service accounts, and keys with generations."""

    def __init__(self, password: str = "right") -> None:  # noqa: S107 - of no server that exists
        self.password = password
        self.port = 0
        self.accounts: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.fails: dict[str, tuple[int, bytes]] = {}
        self.rejects_keys = False

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """The status and the JSON to answer with."""
        if path == "/info":
            return 200, {"version": "0.98.0", "deployment_type": "docker", "name": "default"}
        if path == "/login":
            return self._log_in({name: value[0] for name, value in parse_qs(body.decode()).items()})
        if headers.get("Authorization") != "Bearer admins-token":
            return 401, {"detail": ["CredentialsNotValid", "Authentication error"]}
        return self._manage(method, path.strip("/").split("/"), json.loads(body) if body else {})

    def _manage(self, method: str, parts: list[str], request: dict[str, Any]) -> tuple[int, Any]:
        if len(parts) == 1:
            account = {"id": "4711", "name": request["name"], "body": {"active": request["active"]}}
            return 200, self.accounts.setdefault(request["name"], account)
        if method == "GET":
            missing = {"detail": ["KeyError", "No service account with this name"]}
            return (200, self.accounts[parts[1]]) if parts[1] in self.accounts else (404, missing)
        if method == "PUT":
            return 200, self._key(parts[3], retain=request["retain_period_minutes"])
        if request["name"] in self.keys:
            return 409, {"detail": ["EntityExistsError", "Found an existing API key"]}
        return 200, self._key(request["name"], retain=0)

    def _key(self, name: str, retain: int) -> dict[str, Any]:
        key = self.keys.setdefault(name, {"generation": 0, "active": True})
        key.update(generation=key["generation"] + 1, retain=retain)
        key["value"] = f"ZENKEY_generation/{key['generation']}+=="
        return {"id": "4712", "body": {"key": key["value"], "active": key["active"]}}

    def _log_in(self, form: dict[str, str]) -> tuple[int, Any]:
        keys = [] if self.rejects_keys else [key["value"] for key in self.keys.values()]
        if form == {"grant_type": "password", "username": "admin", "password": self.password}:
            return 200, {"access_token": "admins-token"}
        if form["grant_type"] == "zenml-api-key" and form["password"] in keys:
            return 200, {"access_token": "keys-token"}
        return 401, {"detail": ["CredentialsNotValid", "Authentication error: invalid username or password"]}


@contextlib.contextmanager
def serving(zenml: FakeZenml, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the fake on a free port; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            path = self.path.removeprefix("/api/v1")
            zenml.requests.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path in zenml.fails:
                status, raw = zenml.fails[path]
            else:
                status, answer = zenml.answer(self.command, path, dict(self.headers), body)
                raw = json.dumps(answer).encode()
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("Location", f"http://127.0.0.1:{zenml.port}/api/v1/elsewhere")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    zenml.port = server.server_port
    with http_server.serving(server):
        yield f"http://{host}:{zenml.port}"
