"""Which tests ``make test-fast`` leaves out."""

import subprocess

import pytest

from src.services.local.processes import REPOSITORY
from tests.support.served import Serving, serving

__all__ = ["serving"]


def is_slow(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("slow") is not None


def test_with_an_application_is_slow_by_its_fixture(request: pytest.FixtureRequest, serving: Serving) -> None:
    assert callable(serving)
    assert is_slow(request)


def test_of_functions_alone_is_not_slow(request: pytest.FixtureRequest) -> None:
    assert not is_slow(request)


def test_make_test_fast_leaves_out_slow_tests_and_those_that_need_docker() -> None:
    command = ["make", "--dry-run", "--old-file=.venv/.ready", "test-fast"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert 'tests/unit --ignore=tests/unit/benchmarks -m "not slow and not docker"' in answer.stdout
