"""Receivers of notifications: an HTTP server that stands for Slack, a webhook, inference or a proxy; a mail server."""

import contextlib
import json
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.http_server import serving
from tests.support.running import free_port

LOGIN = LoginPassword(b"loop", b"it's a secret")


@dataclass
class HttpReceiver:
    """What was posted, by path."""

    url: str
    posted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)

    def of(self, path: str) -> list[dict[str, Any]]:
        return self.posted.get(path, [])


@contextlib.contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """Accept every POST as Slack does, with the text ``ok``."""
    received = HttpReceiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.tokens.append(self.headers.get("Authorization", ""))
            received.posted.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield received


@dataclass
class MailServer:
    """The messages that were accepted, and to whom."""

    smarthost: str
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients.append(envelope.rcpt_tos)
        return "250 accepted"


def certificate(folder: Path) -> Path:
    """A certificate of localhost and its key, in one file."""
    file = folder / "localhost.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    output = ["-keyout", str(file), "-out", str(file)]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, "-days", "2", *subject, *output], check=True, capture_output=True)
    return file


@contextlib.contextmanager
def mail_server(tls: Path | None = None) -> Iterator[MailServer]:
    """Accept mail at ``localhost``: with a certificate, only after STARTTLS and from the user of ``LOGIN``."""
    port = free_port()
    server = MailServer(f"localhost:{port}")

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object
    ) -> AuthResult:
        return AuthResult(success=given == LOGIN)

    options: dict[str, Any] = {}
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        options = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "auth_exclude_mechanism": ["LOGIN"],
        }
        options["authenticator"] = authenticate
    controller = Controller(server, hostname="localhost", port=port, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
