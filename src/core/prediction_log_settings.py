"""Environment settings of processes that write or read the prediction log."""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from src.core.settings import BASE

# After a name: the served model need not have the column.
OPTIONAL = "?"


class LoggedColumnsSettings(BaseSettings):
    """Which columns the prediction log does not have as they are."""

    model_config = BASE

    prediction_log_omit: str = Field(
        "", description="columns that are not kept, separated by commas; with ? one may be absent"
    )
    prediction_log_hash: str = Field("", description="columns of which only a keyed hash is kept, separated by commas")

    @property
    def omitted_columns(self) -> frozenset[str]:
        """The names in ``prediction_log_omit``."""
        return _names(self.prediction_log_omit)

    @property
    def hashed_columns(self) -> frozenset[str]:
        """The names in ``prediction_log_hash``."""
        return _names(self.prediction_log_hash)


class LogStoreSettings(BaseSettings):
    """Where the rows of the prediction log and the labels are stored, for processes that read or change them."""

    model_config = BASE

    prediction_log_store: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?$",
        description="bucket for rows and labels, as s3://bucket/prefix; unset: the shared volume",
    )


class PredictionLogSettings(LoggedColumnsSettings):
    """Settings of processes that write or read the prediction log."""

    prediction_log: bool = Field(default=True, description="whether rows and their predictions are kept")
    prediction_log_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        200.0, description="most rows per second that are kept, on average; of more rows, a random sample"
    )
    prediction_log_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="secret key of hashed columns and of the sampling"
    )

    @model_validator(mode="after")
    def _hashes_need_key(self) -> Self:
        if self.hashed_columns and self.prediction_log_key is None:
            raise ValueError("PREDICTION_LOG_HASH needs PREDICTION_LOG_KEY; set both, or neither")
        return self

    def unknown_columns(self, known: Iterable[str]) -> list[str]:
        """The names that a model with these columns lacks, except those with a question mark, which may be absent.

        While there are any, no value may be logged: one may be the misspelt name of a column that has to be hidden.
        """
        given = _given(self.prediction_log_omit) | _given(self.prediction_log_hash)
        return sorted(name for name in given.difference(known) if not name.endswith(OPTIONAL))

    @property
    def log_key(self) -> str:
        """The key as text; empty if there is none."""
        return self.prediction_log_key.get_secret_value() if self.prediction_log_key else ""


def _given(listed: str) -> frozenset[str]:
    """Names separated by commas, without the spaces around them."""
    return frozenset(name.strip() for name in listed.split(",")) - {""}


def _names(listed: str) -> frozenset[str]:
    """The columns that are meant: ``x?`` is the column ``x``, which may be absent, or one that has this name."""
    given = _given(listed)
    return given | {name.removesuffix(OPTIONAL).rstrip() for name in given} - {""}
