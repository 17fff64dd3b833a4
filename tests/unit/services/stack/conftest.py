from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.services.stack.fakes import FakeDocker, FakeZenml, compose_config, serving


@pytest.fixture
def zenml() -> Iterator[FakeZenml]:
    """A fake ZenML server that serves on ``zenml.port``."""
    fake = FakeZenml()
    with serving(fake):
        yield fake


@pytest.fixture
def docker(tmp_path: Path, zenml: FakeZenml) -> FakeDocker:
    """A fake docker program for a stack whose zenml is the fake server."""
    return FakeDocker(tmp_path / "bin", compose_config(zenml=zenml.port))
