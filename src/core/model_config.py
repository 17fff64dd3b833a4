"""The ``model`` section of ``config/pipeline.yaml``: the estimator and how its parameters are chosen."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from src.core.dataset_config import Strict

Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class SearchConfig(Strict):
    """A search for the estimator's parameters by cross-validation on the training rows.

    ``params`` lists the values to try, by the estimator's own parameter names. ``random`` tries ``trials``
    random combinations on all rows; ``halving`` starts with few rows and continues with the best. The folds keep groups
    together and, with ``split.by: time``, never validate on rows older than those of the fit.
    """

    method: Literal["random", "halving"] = "random"
    trials: Annotated[int, Field(ge=2, le=1000)] = 20
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    params: Annotated[dict[str, list[Any]], Field(min_length=1)]


class ModelConfig(Strict):
    """The estimator and its parameters.

    ``estimator`` is a name of the catalogue in ``src/pipeline/train_model.py`` or your own ``module:Class`` below
    ``src/pipeline``; ``params`` are that estimator's own parameters. For a classification, ``class_weight`` sets the
    weight of each class, ``calibrate`` calibrates probabilities by cross-validation, and ``threshold`` is the
    probability from which the positive class of two is predicted, or ``tune`` to find the best one on training folds.
    For a regression, ``target_transform: log`` fits log(1 + target). A model that is estimated from small fits to
    exceed ``max_megabytes`` in the registry is refused before the fit.
    """

    estimator: Annotated[str, Field(min_length=1)] = "random_forest"
    params: dict[str, Any] = Field(default_factory=dict)
    class_weight: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    calibrate: Literal["sigmoid", "isotonic"] | None = None
    threshold: Literal["tune"] | Fraction | None = None
    target_transform: Literal["log"] | None = None
    search: SearchConfig | None = None
    max_megabytes: Annotated[int, Field(ge=1)] = 500

    @model_validator(mode="after")
    def _searched_once(self) -> Self:
        twice = sorted(set(self.params) & set(self.search.params if self.search else {}))
        if twice:
            raise ValueError(f"{', '.join(twice)}: given in params and in search.params; keep one")
        return self
