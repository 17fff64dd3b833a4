"""Mapping a function over items: retries, permanent errors, and workers with other versions."""

import pytest

from src.compute.mapping import RETRIES, InProcess, Outcome, attempted, failure
from src.compute.versions import CODE, PACKAGES, PYTHON, differences, versions_here
from src.core.errors import ConfigError, DataError, LoopError


def test_every_item_has_its_result_in_order() -> None:
    assert list(InProcess().map(lambda item: item * 2, [1, 2, 3])) == [(1, 2, None), (2, 4, None), (3, 6, None)]


def test_items_are_worked_on_one_after_the_other_as_they_are_asked_for() -> None:
    done: list[int] = []
    outcomes = InProcess().map(done.append, [1, 2])
    assert done == []
    next(outcomes)
    assert done == [1]


@pytest.mark.parametrize("failures", [1, RETRIES])
def test_error_that_passes_is_tried_again(failures: int) -> None:
    left = [failures]

    def flaky(item: str) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("the disk fails")
        return item

    assert list(InProcess().map(flaky, ["a"])) == [Outcome("a", "a")]


def test_error_that_stays_is_the_outcome_and_other_items_go_on(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[int] = []

    def failing(item: int) -> int:
        attempts.append(item)
        if item == 1:
            raise LoopError("it fails")
        return item

    first, second = InProcess().map(failing, [1, 2])
    assert (first.item, first.result, str(first.error)) == (1, None, "it fails")
    assert second == Outcome(2, 2)
    assert attempts == [1] * (RETRIES + 1) + [2]
    assert caplog.text.count("trying again: it fails") == RETRIES


def test_permanent_error_is_not_tried_again() -> None:
    attempts: list[int] = []

    def refusing(item: int) -> None:
        attempts.append(item)
        raise DataError("no such column")

    (outcome,) = InProcess().map(refusing, [1])
    assert isinstance(outcome.error, DataError)
    assert attempts == [1]


def test_error_of_a_library_is_reported_by_type_and_first_line() -> None:
    found = failure(ValueError("first\nsecond"))
    assert (type(found), str(found)) == (LoopError, "ValueError: first")


def test_worker_with_other_versions_refuses_the_item() -> None:
    called: list[int] = []
    outcome = attempted(called.append, 1, {**versions_here(), "numpy": "0.1"})
    assert isinstance(outcome.error, ConfigError)
    assert "a worker has other versions than this client: numpy 0.1 here and " in str(outcome.error)
    assert called == []


def test_worker_with_the_same_versions_works() -> None:
    assert attempted(str, 1, versions_here()) == Outcome(1, "1")


def test_versions_are_of_python_the_code_and_the_packages() -> None:
    found = versions_here()
    assert set(found) == {PYTHON, CODE, *PACKAGES}
    assert found[PYTHON].count(".") == 1
    assert len(found[CODE]) == 12


def test_differences_name_both_versions_and_packages_of_one_side() -> None:
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == (
        "b 2 here and 3 there, c not installed here and 4 there"
    )
    assert differences({"a": "1"}, {"a": "1"}) == ""
