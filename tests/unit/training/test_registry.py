import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from src.core.errors import OtherSchemaError
from src.training.registry import ModelRegistry


class FakeVersion:
    def __init__(self, **tags: str) -> None:
        self.tags = tags


class FakeClient:
    """Fails look-ups as prepared."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_model_version_by_alias(self, *_: str) -> None:
        raise self._error

    def get_model_version(self, *_: str) -> FakeVersion:
        return FakeVersion(unrelated="tag")


def registry(error: Exception) -> ModelRegistry:
    return ModelRegistry(FakeClient(error), "iris")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("Registered Model with name=iris not found", RESOURCE_DOES_NOT_EXIST),
        MlflowException("Registered model alias champion not found.", INVALID_PARAMETER_VALUE),
    ],
)
def test_version_of_an_alias_that_is_not_there_is_none(error: MlflowException) -> None:
    assert registry(error).version_of("champion") is None


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("Invalid alias name", INVALID_PARAMETER_VALUE),
        MlflowException("API request failed with exception", INTERNAL_ERROR),
    ],
)
def test_version_of_never_takes_a_failing_server_for_a_missing_champion(error: MlflowException) -> None:
    with pytest.raises(MlflowException):
        registry(error).version_of("champion")


def test_fetch_refuses_a_version_that_was_not_registered_by_us() -> None:
    with pytest.raises(OtherSchemaError, match=r"version 3 was not registered by this training .*manifest\.sha256 tag"):
        registry(ValueError()).fetch("3")
