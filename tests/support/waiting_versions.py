"""A served application beside a version that has passed the gate, and the records of rollouts that it reads."""

from typing import Any

from src.core.model_registry import TAG_MANIFEST_SHA256
from src.core.rollout_record import Rollout
from src.core.rollouts import Rollouts
from tests.support.fake_mlflow import FakeMlflow


def let_version_2_pass(mlflow: FakeMlflow) -> None:
    """Version 1 is champion, and 0 was it before; version 2 has passed the gate."""
    first = mlflow.versions["1"]
    mlflow.add("0", first.directory, first.tags[TAG_MANIFEST_SHA256])
    mlflow.aliases |= {"champion": "1", "previous": "0", "challenger": "2"}
    mlflow.versions["2"].tags |= {"gate.verdict": "passed"}


def records(served: Any) -> Rollouts:
    return Rollouts(served.service.settings.rollouts_dir)


def record_of(served: Any, rollout: Rollout) -> Rollout:
    found = records(served).get(rollout.id)
    assert found is not None
    return found
