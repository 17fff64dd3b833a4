import pytest
from pydantic import ValidationError

from src.serving.models.model_version import ModelVersion

ZERO, ONE = "0" * 64, "1" * 64


def test_version_has_one_digest_that_is_part_of_its_key() -> None:
    ours = ModelVersion(name="m", version="3", manifest_sha256=ZERO)
    theirs = ModelVersion(name="m", version="3", origin_sha256=ONE)
    assert (ours.verified, ours.key) == (True, "3-000000000000")
    assert (theirs.verified, theirs.key) == (False, "3-111111111111")


@pytest.mark.parametrize(
    "digests",
    [{}, {"manifest_sha256": ZERO, "origin_sha256": ONE}, {"manifest_sha256": ""}, {"origin_sha256": "../../etc"}],
)
def test_version_without_one_digest_is_none(digests: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ModelVersion(name="m", version="3", **digests)


@pytest.mark.parametrize("number", ["../1", "1/2", "", "1a", "-1", "\uff11"])
def test_version_that_could_leave_the_cache_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="version"):
        ModelVersion(name="iris", version=number, manifest_sha256="0" * 64)
