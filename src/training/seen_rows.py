"""Which rows an earlier version has been trained on, as far as that can be found out."""

import logging

from src.core.errors import InvalidModelError
from src.core.model_registry import CHAMPION
from src.training.registry import ModelRegistry
from src.training.splitting import SplitRule

logger = logging.getLogger(__name__)


def inherited_rule(registry: ModelRegistry) -> SplitRule | None:
    """The champion's split rule; None without a champion, or where it has none that can be read."""
    champion = registry.version_of(CHAMPION)
    if champion is None:
        return None
    try:
        return registry.split_rule(str(champion.version))
    except InvalidModelError as error:
        logger.warning("the champion's split rule cannot be read: %s", error)
        return None
