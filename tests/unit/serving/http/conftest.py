"""Fixtures of the tests of the HTTP layer."""

import pytest

from tests.support.front_world import World


@pytest.fixture
async def world() -> World:
    return World()
