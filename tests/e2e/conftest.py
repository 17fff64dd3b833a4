"""The one Compose stack that the tests marked `docker` share: from nothing to serving, and removed at the end."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, copy_checkout


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Set up by `make up`, which is the README's two commands, in a checkout without state."""
    stack = Stack(copy_checkout(tmp_path_factory.mktemp("a clone")))  # with a space, as on many desktops
    stack.remove()  # what a killed run has left
    try:
        stack.run("make", "up")
        yield stack
    finally:
        stack.remove()
