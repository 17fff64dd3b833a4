"""Entry point of `make check-data`: checks the data set, the holdout and your transformers, and writes nothing.

Returns 0; 1 if trying again may help; 2 if the configuration or the data must be fixed.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace

from src.core.errors import LoopError
from src.core.log import show_progress
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.settings import load_settings
from src.core.training_settings import TrainSettings
from src.pipeline.data_preprocess import clean
from src.pipeline.metrics import METRICS
from src.pipeline.train_model import build_model, check_model
from src.quality.training_rows import training_rows
from src.training.check_rows import check_rows
from src.training.describe_data import as_table, describe_classes, describe_columns, describe_split
from src.training.holdout_size import size_warnings
from src.training.learned_columns import learn_columns
from src.training.scoring import metrics_of
from src.training.sources import RawData, read
from src.training.splitting import Split, split_rows
from src.training.try_steps import try_steps

NO_ID = (
    "without dataset.id a row is identified by all its features: once a later training reads other values of the same "
    "rows, such as an age or a balance, the gate cannot compare with the champion; name an id column, or keep rows as "
    "they are"
)
OWN_ESTIMATOR = (
    "an estimator of your own is served through pyfunc: with Docker set INFERENCE_EXTRA_GROUPS=pyfunc in .env and run "
    "make up"
)
# The check does not ask the registry whether there is a champion.
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
    """The results of the checks beyond single columns, one per line, and the errors that would stop a training."""
    lines: list[str] = []
    warnings = [NO_ID] if config.split.by == "hash" and not config.dataset.id else []
    warnings += [OWN_ESTIMATOR] if ":" in config.model.estimator else []
    errors: list[LoopError] = []
    split: Split | None = None
    with collected(errors):
        rows = check_rows(raw, config.dataset, training_rows(config.dataset))
        lines.append(rows.report.summary())
        if config.dataset.classes is not None:
            lines.append(f"classes: {describe_classes(rows.frame[config.dataset.target])}")
        kept = INHERITED if config.split.inherit else ""
        split = split_rows(rows.frame, config, None)
        lines.append(f"split: {describe_split(split, config.dataset)}{kept}")
    with collected(errors):
        metrics = metrics_of(config, METRICS)
        lines.append(f"metrics: {', '.join(metrics)}")
        if split is not None:
            warnings += size_warnings(split, config, metrics[config.gate.metric])
    with collected(errors):
        check_model(config.model, config.dataset)
        if split is not None:
            try_steps(
                lambda dataset: build_model(config.model, dataset),
                split.train,
                learn_columns(split.train, config.dataset),
            )
        lines.append(f"estimator: {config.model.estimator}")
    return [*lines, *(f"warning: {text}" for text in warnings)], errors


@contextlib.contextmanager
def collected(errors: list[LoopError]) -> Iterator[None]:
    """Add an error to the list, so that the other checks still run."""
    try:
        yield
    except LoopError as error:
        errors.append(error)


def fail(errors: list[LoopError]) -> int:
    """Print the errors; return the exit code."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
    return 2 if any(error.permanent for error in errors) else 1


if __name__ == "__main__":
    sys.exit(main())
