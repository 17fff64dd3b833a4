"""A configuration in the former layout is read as it was meant."""

import logging
from pathlib import Path

import pytest

from src.core.errors import ConfigError
from src.core.pipeline_config import load_pipeline_config
from tests.support.configuration import CONFIG_FILE

FORMER = """model:
  n_estimators: 50
  max_depth: null
  min_samples_leaf: 2
  random_state: 42
"""


def written(tmp_path: Path, model: str) -> Path:
    """The shipped file with another section ``model``, and a section ``split`` without ``by``."""
    text = CONFIG_FILE.read_text(encoding="utf-8")
    start, end = text.index("model:\n"), text.index("gate:")
    file = tmp_path / "pipeline.yaml"
    file.write_text(text[:start].replace("  by: hash", "  #") + model + text[end:], encoding="utf-8")
    return file


def test_parameters_are_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_pipeline_config(written(tmp_path, FORMER))
    assert config.model.estimator == "random_forest"
    assert config.model.params == {"n_estimators": 50, "max_depth": None, "min_samples_leaf": 2, "random_state": 42}
    assert config.split.by == "hash"
    ((_, level, message),) = caplog.record_tuples
    assert level == logging.WARNING
    assert message.endswith("move them: n_estimators, max_depth, min_samples_leaf, random_state")


def test_present_layout_is_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    load_pipeline_config(CONFIG_FILE)
    assert caplog.records == []


@pytest.mark.parametrize("more", ["  estimator: extra_trees\n", "  params: { max_depth: 3 }\n", "  n_estimator: 3\n"])
def test_mixed_layouts_are_refused(tmp_path: Path, more: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'model\.n_estimators?'; write 'n_estimators' under"):
        load_pipeline_config(written(tmp_path, FORMER + more))


@pytest.mark.parametrize("model", ["model: forest\n", "model: {}\n", "model: []\n"])
def test_other_sections_are_left_alone(tmp_path: Path, model: str, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path, model)
    if model == "model: {}\n":
        assert load_pipeline_config(file).model.params == {}
    else:
        with pytest.raises(ConfigError, match="model: expected a mapping"):
            load_pipeline_config(file)
    assert caplog.records == []
