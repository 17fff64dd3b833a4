"""docs/configuration.md names every key, default and metric."""

import re

import pytest
from pydantic import BaseModel

from src.core.canary_config import CanaryConfig
from src.core.dataset_config import FEATURE_TYPES, CsvFormat, DatasetConfig, FeedbackConfig, InvalidRows
from src.core.gate_config import GateConfig, RetentionConfig, RolloutConfig, SplitConfig
from src.core.model_config import ModelConfig, SearchConfig
from src.core.pipeline_config import REPORT, LabelsConfig
from src.pipeline.train_model import ESTIMATORS
from src.services.local.processes import REPOSITORY
from src.training.catalogue import CATALOGUE

PAGE = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE))


def keys_of(section: str) -> dict[str, str]:
    """The section's keys with their defaults."""
    return dict(re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", SECTIONS[section], flags=re.MULTILINE))


def fields(model: type[BaseModel], prefix: str = "", without: tuple[str, ...] = ()) -> set[str]:
    return {prefix + name for name in model.model_fields if name not in without}


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        (
            "dataset",
            fields(DatasetConfig, without=("csv", "ignored", "invalid_rows", "feedback"))
            | fields(CsvFormat, "csv.")
            | fields(InvalidRows, "invalid_rows.")
            | fields(FeedbackConfig, "feedback."),
        ),
        ("split", fields(SplitConfig)),
        ("model", fields(ModelConfig, without=("search",)) | fields(SearchConfig, "search.")),
        ("gate", fields(GateConfig)),
        (
            "rollout",
            fields(RolloutConfig, "rollout.", without=("canary",)) | fields(CanaryConfig, "rollout.canary."),
        ),
        ("report, retention", {"report"} | fields(RetentionConfig, "retention.")),
        ("labels", fields(LabelsConfig)),
    ],
)
def test_every_key_has_a_line(section: str, keys: set[str]) -> None:
    assert set(keys_of(section)) == keys


@pytest.mark.parametrize(
    ("section", "prefix", "model"),
    [
        ("dataset", "csv.", CsvFormat),
        ("dataset", "invalid_rows.", InvalidRows),
        ("dataset", "feedback.", FeedbackConfig),
        ("split", "", SplitConfig),
        ("model", "", ModelConfig),
        ("model", "search.", SearchConfig),
        ("gate", "", GateConfig),
        ("rollout", "rollout.", RolloutConfig),
        ("rollout", "rollout.canary.", CanaryConfig),
        ("report, retention", "retention.", RetentionConfig),
        ("labels", "", LabelsConfig),
    ],
)
def test_defaults_are_the_ones_of_the_code(section: str, prefix: str, model: type[BaseModel]) -> None:
    page = keys_of(section)
    for name, field in model.model_fields.items():
        if prefix + name not in page:  # a section of its own
            continue
        written = page[prefix + name].strip("`")
        if field.is_required():
            assert written == "\N{EN DASH}", name
        elif field.default is None:
            assert written == "none" or written.startswith("comma"), name
        elif isinstance(field.default, bool):
            assert written == str(field.default).lower(), name
        elif isinstance(field.default, str | int | float):
            assert written == str(field.default), name


def test_every_metric_estimator_and_type_is_listed() -> None:
    assert set(re.findall(r"`([a-z0-9_]+)`", SECTIONS["Metrics"].partition("|---")[2])) - {"positive_class"} == set(
        CATALOGUE
    )
    assert [name for name in ESTIMATORS if f"`{name}`" not in SECTIONS["model"]] == []
    assert [kind for kind in (*FEATURE_TYPES, "ignore") if f"type: {kind} " not in SECTIONS["dataset"]] == []
    assert [
        name for names in REPORT.values() for name in names if f"`{name}`" not in keys_of("report, retention")["report"]
    ] == []
