"""Retention: selects old versions, runs, requests and rollouts. As a program, it lists or deletes them."""

import argparse
import logging
import os
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from src.core.counting import counted
from src.core.errors import LoopError
from src.core.log import configure_logging
from src.core.model_registry import TAG_MANIFEST_SHA256, TAG_PENDING_PREVIOUS, TAG_REQUEST_IDS, TAG_ZENML_RUN_ID
from src.core.pipeline_config import PipelineConfig, load_pipeline_config
from src.core.retrain_queue import RetrainQueue, open_queue
from src.core.rollouts import Rollouts
from src.core.settings import load_settings
from src.core.training_settings import TrainSettings
from src.training.train_once import library_errors_in_one_line, probe
from src.training.zenml_connection import activate_stack, prepare_environment, quiet_libraries

if TYPE_CHECKING:  # importing MLflow and ZenML reads the environment, which must be prepared first
    from mlflow.entities.model_registry import ModelVersion

    from src.training.pruning import Pruner

SERVICE = "retention"
LOCK_PATIENCE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is deleted: versions with their MLflow runs, ZenML runs with their artifacts, and records that ended."""

    versions: tuple[str, ...] = ()
    zenml_runs: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    rollouts: tuple[str, ...] = ()

    def __str__(self) -> str:
        kinds = (
            ("model version", " with files and MLflow run", self.versions),
            ("ZenML run", " with artifacts", self.zenml_runs),
            ("finished retrain request", "", self.requests),
            ("ended rollout", "", self.rollouts),
        )
        return "; ".join(f"{counted(len(found), kind)}{what}{_named(found)}" for kind, what, found in kinds)


NOTHING = Plan()


def _named(found: Sequence[str], most: int = 20) -> str:
    more = ", …" if len(found) > most else ""
    return f" ({', '.join(found[:most])}{more})" if found else ""


def choose_versions(
    versions: Sequence["ModelVersion"], keep: int, aliases: Mapping[str, str | int], unfinished: Container[str]
) -> list[str]:
    """The versions to delete, oldest first.

    The newest ``keep`` versions are kept. So are all versions that have an alias or await approval, that an
    interrupted move of the aliases points to, that serve a request without an outcome, or that were not registered by
    this pipeline.

    Args:
        versions: all versions.
        keep: how many of the other versions are kept.
        aliases: the version of each alias, and one that awaits approval.
        unfinished: ids of the pending and running requests.
    """
    protected = {str(version) for version in aliases.values()}
    protected |= {found.tags[TAG_PENDING_PREVIOUS] for found in versions if TAG_PENDING_PREVIOUS in found.tags}
    free = [
        int(found.version)
        for found in versions
        # A version of an interrupted training has only the tag of its run.
        if (TAG_MANIFEST_SHA256 in found.tags or TAG_ZENML_RUN_ID in found.tags)
        and str(found.version) not in protected
        and not any(request_id in unfinished for request_id in found.tags.get(TAG_REQUEST_IDS, "").split(","))
    ]
    return [str(number) for number in sorted(sorted(free, reverse=True)[keep:])]


def retain(settings: TrainSettings, config: PipelineConfig) -> None:
    """Delete what is no longer kept; call it under the trainer lock, in a process connected to ZenML."""
    spool, rollouts, pruner = open_queue(settings), Rollouts(settings.rollouts_dir), _connect(settings)
    plan = make_plan(spool, rollouts, pruner, config, datetime.now(UTC))
    if plan != NOTHING:
        carry_out(plan, spool, rollouts, pruner)
        logger.info("retention: deleted %s", plan)


def make_plan(spool: RetrainQueue, rollouts: Rollouts, pruner: "Pruner", config: PipelineConfig, now: datetime) -> Plan:
    """What to delete now, by the section ``retention`` of the configuration."""
    versions, keep = pruner.versions(), config.retention.versions
    waiting = rollouts.waiting(pruner.name)
    protected = pruner.aliases() | ({waiting.state.value: waiting.version} if waiting is not None else {})
    gone = choose_versions(versions, keep, protected, spool.unfinished())
    oldest = now - timedelta(days=config.retention.request_days)
    return Plan(
        versions=tuple(gone),
        zenml_runs=tuple(pruner.runs_without(versions, gone)),
        requests=tuple(spool.finished_before(oldest)),
        rollouts=tuple(rollouts.ended_before(oldest)),
    )


def carry_out(plan: Plan, spool: RetrainQueue, rollouts: Rollouts, pruner: "Pruner") -> None:
    """Delete what the plan lists; failures are logged, and the next plan lists those items again."""
    spool.forget(plan.requests)
    rollouts.forget(plan.rollouts)
    for run in plan.zenml_runs:
        pruner.delete_run(run)
    for version in plan.versions:
        pruner.delete_version(version)


def _connect(settings: TrainSettings) -> "Pruner":
    from src.training.pruning import Pruner  # noqa: PLC0415 - see TYPE_CHECKING above

    return Pruner(settings)


def main() -> int:
    """List what is no longer kept or, with ``--apply``, delete it; return 0, 1 (try again) or 2 (configuration)."""
    parser = argparse.ArgumentParser(prog="python -m src.training.retention", description=__doc__)
    parser.add_argument("--apply", action="store_true", help="delete; without it, nothing is changed")
    apply: bool = parser.parse_args().apply
    configure_logging(SERVICE, log_format="console", level="INFO")
    try:
        settings = load_settings(TrainSettings)
        config = load_pipeline_config(settings.pipeline_config)
        _run(settings, config, apply=apply)
    except LoopError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says what to do; a traceback would bury it
        return 2 if error.permanent else 1
    return 0


def _run(settings: TrainSettings, config: PipelineConfig, *, apply: bool) -> None:
    probe(settings)
    prepare_environment(settings, os.environ)
    spool, pruner = open_queue(settings).create(), _connect(settings)
    rollouts = Rollouts(settings.rollouts_dir)
    # Importing ZenML adds its handlers to the root logger.
    configure_logging(SERVICE, log_format=settings.log_format, level=settings.log_level)
    quiet_libraries(settings.log_level)
    with spool.lock(patience=LOCK_PATIENCE_SECONDS), library_errors_in_one_line():
        activate_stack(settings)
        plan = make_plan(spool, rollouts, pruner, config, datetime.now(UTC))
        if apply:
            carry_out(plan, spool, rollouts, pruner)
    logger.info("%s %s", "deleted" if apply else "would delete (use --apply to delete)", plan)


if __name__ == "__main__":
    sys.exit(main())
