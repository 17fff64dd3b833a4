"""The configuration of the tests: Iris, as shipped, whatever ``config/pipeline.yaml`` says by now."""

from pathlib import Path

CONFIG_FILE = Path(__file__).with_name("pipeline.yaml")
