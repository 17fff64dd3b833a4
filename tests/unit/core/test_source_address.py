import pytest

from src.core.source_address import without_secrets


@pytest.mark.parametrize(
    "source",
    [
        "iris",
        "sql",
        "data-file/incoming/part?token=1.csv",
        "data-file/ann@example.com/[0-9]*.csv",
        "https://example.com/x.csv",
        "https://example.com/ann@home/x.csv?format=csv&monkey=1&design=2",
        "s3://bucket/part-?.parquet",
        "s3://bucket/[ab]*/",
    ],
)
def test_source_without_secrets_stays_as_it_is(source: str) -> None:
    assert without_secrets(source) == source


@pytest.mark.parametrize("user", ["ann:s3cret", "s3cret"])
@pytest.mark.parametrize("scheme", ["https", "s3", "HTTPS"])
def test_user_in_an_address_is_refused_and_not_repeated(scheme: str, user: str) -> None:
    with pytest.raises(ValueError, match="must not contain a user name or a password; use s3://") as caught:
        without_secrets(f"{scheme}://{user}@example.com/x.csv")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("X-Amz-Signature", "X-Amz-Credential", "X-Goog-Signature", "Signature", "AWSAccessKeyId", "sig", "token"),
        *("access_token", "client_secret", "password", "api_key", "apikey", "api-key", "access_key", "key"),
    ],
)
def test_parameter_that_gives_access_is_refused_by_its_name_alone(name: str) -> None:
    for value in ("s3cret", ""):
        with pytest.raises(ValueError, match=f"must not contain a secret such as {name}; use s3://") as caught:
            without_secrets(f"https://example.com/x.csv?year=2026&{name}={value}")
        assert "s3cret" not in str(caught.value)
