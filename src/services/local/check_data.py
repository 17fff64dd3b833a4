"""Entry point of `make check-data`: reads and checks the configured data set, and writes nothing.

Returns 0, 1 where a server does not answer, or 2 where the configuration or the data must be fixed.
"""

import sys
from dataclasses import replace

from src.core.errors import LoopError
from src.core.log import show_progress
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.settings import TrainSettings, load_settings
from src.pipeline.data_preprocess import clean
from src.pipeline.metrics import METRICS
from src.pipeline.train_model import check_model
from src.training.check_rows import check_rows
from src.training.describe_data import as_table, describe_classes, describe_columns, describe_split
from src.training.scoring import metrics_of
from src.training.sources import RawData, read
from src.training.splitting import split_rows

# The check asks no registry, and so knows no champion.
INHERITED = "; a retrain keeps the champion's rule, if there is one (split.inherit)"


def main() -> int:
    """Check, print the findings, return the exit code."""
    show_progress()
    try:
        settings = load_settings(TrainSettings)
        config = load_pipeline_config(settings.pipeline_config)
        raw = read(config.dataset, settings.dataset_url)
        raw = replace(raw, frame=clean(raw.frame))
    except LoopError as error:
        return fail([error])
    print("\n".join(as_table(column.cells for column in describe_columns(raw.frame, config.dataset))))  # noqa: T201
    lines, errors = findings(raw, config)
    print("\n".join(["", *lines]))  # noqa: T201 - the command's own output
    return fail(errors) if errors else 0


def findings(raw: RawData, config: PipelineConfig) -> tuple[list[str], list[LoopError]]:
    """What the checks beyond single columns say, each in a line, and the errors that would stop a training."""
    lines, errors = [], []
    try:
        rows = check_rows(raw, config.dataset)
        lines.append(rows.report.summary())
        if config.dataset.classes is not None:
            lines.append(f"classes: {describe_classes(rows.frame[config.dataset.target])}")
        kept = INHERITED if config.split.inherit else ""
        lines.append(f"split: {describe_split(split_rows(rows.frame, config, None), config.dataset)}{kept}")
    except LoopError as error:
        errors.append(error)
    try:
        lines.append(f"metrics: {', '.join(metrics_of(config, METRICS))}")
    except LoopError as error:
        errors.append(error)
    try:
        check_model(config.model, config.dataset)
        lines.append(f"estimator: {config.model.estimator}")
    except LoopError as error:
        errors.append(error)
    return lines, errors


def fail(errors: list[LoopError]) -> int:
    """Print the errors; return the exit code."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
    return 2 if any(error.permanent for error in errors) else 1


if __name__ == "__main__":
    sys.exit(main())
