"""What the stack's published ports leave open to other machines."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from src.services.stack.compose_config import TLS_PROXY, Port, Stack

_INFERENCE = ("inference", "gateway")


def exposures(stack: Stack) -> Iterator[str]:
    """One line for each plain port that other machines reach, and for what can be done there without a key."""
    opened = [port for port in stack.ports() if port.service != TLS_PROXY and not _is_loopback(port)]
    advice = "unset BIND_ADDRESS" if stack.has(TLS_PROXY) else "for both see docs/tls.md"
    for port in opened:
        address = f"{port.host or 'every address'}, port {port.number}"
        yield f"{port.service} is open to other machines ({address}) without TLS and sign-in; {advice}"
    if any(port.service in _INFERENCE for port in opened) and not stack.variable("inference", "WRITE_API_KEY"):
        yield (
            "WRITE_API_KEY is not set: every client of inference can request trainings and rollbacks; set it in .env "
            "to at least 16 characters"
        )


def _is_loopback(port: Port) -> bool:
    return bool(port.host) and ipaddress.ip_address(port.host).is_loopback
