"""Every server of the catalogue can be started as it says and is asked in a way that its answers are understood."""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks.environments import REQUIREMENTS
from benchmarks.servers.catalogue import SERVERS
from benchmarks.servers.server import JSON, PROJECT, Place, Server

PLACE = Place(*([Path("/x")] + [1, 2, 3] + [Path("/x")] * 5))  # type: ignore[arg-type] # every attribute by its place


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_server_is_complete(server: Server) -> None:
    texts = (*server.command, *server.variables.values(), *server.files.values())
    assert all("$" not in PLACE.fill(text) for text in texts)
    assert "$port" in "".join(texts)
    assert server.environment == PROJECT or (REQUIREMENTS / f"{server.environment}.txt").is_file()
    body = server.encode(("a", "b"), [[1.0, 2.0]])
    if server.content_type == JSON:
        assert isinstance(json.loads(body), dict)


def test_names_are_unique() -> None:
    assert len({server.name for server in SERVERS}) == len(SERVERS)
    assert len({server.title for server in SERVERS}) == len(SERVERS)


def test_every_pin_is_exact_and_every_wish_is_pinned() -> None:
    for wishes in REQUIREMENTS.glob("*.in"):
        pins = [line for line in wishes.with_suffix(".txt").read_text().splitlines() if not line.startswith("#")]
        assert all("==" in pin for pin in pins)
        names = {pin.partition("==")[0] for pin in pins}
        wished = [line for line in wishes.read_text().splitlines() if line and not line.startswith("#")]
        assert all(any(wish.startswith(name) for name in names) for wish in wished)


def test_place_fills_every_name() -> None:
    names = [field.name for field in dataclasses.fields(Place)]
    assert "$" not in PLACE.fill(" ".join(f"${name}" for name in names))
