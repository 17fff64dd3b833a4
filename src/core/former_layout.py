"""Reads ``config/pipeline.yaml`` as it was written before the estimator could be chosen."""

import logging
from typing import Any

# The parameters of the random forest, which were keys of ``model`` itself.
FORMER_KEYS = ("n_estimators", "max_depth", "min_samples_leaf", "random_state")

logger = logging.getLogger(__name__)


def from_former_layout(raw: Any) -> Any:
    """The parsed file with the forest's parameters under ``model.params``; any other file unchanged.

    Where both layouts are mixed, nothing is changed, and the validation says what to write.
    """
    model = raw.get("model") if isinstance(raw, dict) else None
    if not isinstance(model, dict) or not model or not set(model) <= set(FORMER_KEYS):
        return raw
    keys = ", ".join(model)
    logger.warning("keys of 'model' are read as keys of 'model.params', as in an older version; move them: %s", keys)
    return raw | {"model": {"params": model}}
