"""Section ``rollout.canary`` of ``config/pipeline.yaml``: a share of the requests, before a promotion."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from src.core.dataset_config import ColumnName, Strict

# In lower case, as the service compares them.
HeaderName = Annotated[
    str, StringConstraints(strict=True, to_lower=True, max_length=64, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
]


class CanaryConfig(Strict):
    """Before a promotion, the new version answers a fixed ``share`` of the requests for ``hours``; 0 switches it off.

    Which requests it answers depends on a key alone: the value of the header ``key_header`` or of the column
    ``key_column``, so that a caller or a customer always gets the same version; with neither, the request's id.

    It ends with a promotion once it has answered ``minimum_rows`` and true labels prove, on rows that both versions
    have answered, that the new version is not worse by ``max_drop`` or more; with null, once it has answered
    ``minimum_rows`` and ``hours`` have passed. It is aborted as soon as labels, errors or latency prove that it is
    worse, and if nothing is proved in time.
    """

    share: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.0
    hours: Annotated[float, Field(gt=0, le=24 * 30, allow_inf_nan=False)] = 24
    key_header: HeaderName | None = None
    key_column: ColumnName | None = None
    max_drop: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = 0.02
    minimum_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 1000

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if self.key_header is not None and self.key_column is not None:
            raise ValueError("set key_header or key_column, not both")
        return self
