"""The page's templates, rendered without a service."""

import html
import re
from datetime import UTC, datetime
from typing import Any

from src.core.inference_settings import InferenceSettings
from src.services.inference.page.rendering import create_templates

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOTHING: dict[str, Any] = {
    "now": NOW, "model": None, "rows": 0, "bars": [], "versions": None, "versions_problem": None, "requests": [],
    "requests_problem": None, "quality": None, "quality_problem": None, "promotion": None,
    "promotion_problem": None, "candidate": None, "amounts": [],
}  # fmt: skip


def rendered(template: str, **given: Any) -> str:
    """The HTML of a template of the service for iris; ``logs`` and ``omit`` are settings of its log."""
    settings = InferenceSettings(
        _env_file=None,
        model_name="iris",
        mlflow_public_url="http://mlflow",
        prediction_log=given.pop("logs", True),
        prediction_log_omit=given.pop("omit", ""),
    )
    return create_templates(settings).get_template(template).render(given)


def watched(**given: Any) -> str:
    """The HTML of the live part; what is not given is empty."""
    return rendered("watch.html", **NOTHING | given)


def text_of(markup: str) -> str:
    """What a person reads of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())
