"""Which errors are permanent, and the fields of invalid input."""

import pytest

from src.core import errors


@pytest.mark.parametrize("error", [errors.ConfigError, errors.DataError])
def test_error_that_requires_an_edit_is_permanent(error: type[errors.LoopError]) -> None:
    assert error("x").permanent


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectionFailedError,
        errors.RegistryError,
        errors.InvalidModelError,
        errors.TrainerBusyError,
        errors.SpoolFullError,
    ],
)
def test_error_that_may_pass_is_not_permanent(error: type[errors.LoopError]) -> None:
    assert not error("x").permanent


def test_invalid_input_names_kind_and_field() -> None:
    error = errors.InvalidInputError("petal_width must be finite", kind="not_finite", field="petal_width")
    assert (str(error), error.kind, error.field) == ("petal_width must be finite", "not_finite", "petal_width")
    assert errors.InvalidInputError("x", kind="missing").field is None
