"""A promotion that the gate cannot see through, in the loop of real processes: the labels take it back."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_iris

from src.core.rollout_record import RolloutState
from src.core.rollouts import Rollouts
from tests.support.configuration import CONFIG_FILE
from tests.support.loop import Loop
from tests.support.running import wait_until

pytestmark = pytest.mark.e2e

NAMES = ("setosa", "versicolor", "virginica")
# A mistake in the source: every name is that of the next class.
WRONG = dict(zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True))
ROWS = 60


def write_source(file: Path, names: Mapping[str, str]) -> None:
    """Iris with other names of the classes."""
    iris = load_iris(as_frame=True)
    frame = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    frame.assign(species=[names[NAMES[number]] for number in iris.target]).to_csv(file, index=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("source") / "iris.csv"
    write_source(file, dict(zip(NAMES, NAMES, strict=True)))
    return file


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Iterator[Loop]:
    """A loop that learns from the source, with version 1 served."""
    loop = Loop(tmp_path_factory.mktemp("story"))
    config = source.with_name("pipeline.yaml")
    text = CONFIG_FILE.read_text(encoding="utf-8")
    assert "source: iris #" in text
    config.write_text(text.replace("source: iris #", f"source: '{source}' #"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_CONFIG", str(config))
        with loop.started():
            yield loop


def predict_and_tell_the_truth(loop: Loop) -> None:
    """Predict setosa flowers one by one, and send the labels, all setosa."""
    sent = [{"request_id": loop.predict()["request_id"], "label": "setosa"} for _ in range(ROWS)]
    httpx.post(f"{loop.url}/feedback", json=sent, timeout=20).raise_for_status()


def shadow_is_active(loop: Loop) -> bool:
    return "inference_shadow_active 1.0" in httpx.get(f"{loop.url}/metrics", timeout=5).text


def test_a_version_that_learned_from_wrong_labels_is_rolled_back_by_true_ones(loop: Loop, source: Path) -> None:
    assert loop.predict()["prediction"] == "setosa"
    write_source(source, WRONG)
    # A file that has just been written is left for the next run.
    wait_until("the source rests", lambda: time.time() - source.stat().st_mtime > 6, seconds=20)
    ended = loop.wait_for_end(loop.request_retrain())
    assert (ended["state"], ended["model_version"]) == ("promoted", "2"), ended["reason"]
    loop.wait_for_version("2")
    assert loop.predict()["prediction"] == "versicolor"

    rollouts = Rollouts(loop.settings().rollouts_dir)
    watched = rollouts.watched("iris")
    assert watched is not None
    assert (watched.version, watched.previous) == ("2", "1")
    wait_until("the shadow answers", lambda: shadow_is_active(loop), seconds=30)
    with loop.constant_load() as answers:
        predict_and_tell_the_truth(loop)

        def rolled_back() -> Any:
            record = rollouts.recent("iris", 1)[0]
            return record if record.state is not RolloutState.WATCHING else None

        record = wait_until("the promotion is taken back", rolled_back, seconds=90)
        loop.wait_for_version("1")
    assert set(answers) == {"200 v1", "200 v2"}
    assert (record.state, record.requested) == (RolloutState.ROLLED_BACK, True)
    assert record.reason.startswith("version 2 is worse than version 1 by 100.0% on ")
    assert record.by.endswith("request automatic-rollback")
    assert record.rows < ROWS
    assert loop.predict()["prediction"] == "setosa"
    wait_until("the shadow is released", lambda: not shadow_is_active(loop), seconds=30)

    # The same data, settings and code are not promoted again.
    ended = loop.wait_for_end(loop.request_retrain())
    assert ended["state"] == "rejected"
    assert "version 2" in ended["reason"]
    assert rollouts.watched("iris") is None
