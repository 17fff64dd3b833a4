"""A canary in the loop of real processes: a training starts it, and true labels abort or promote it."""

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from sklearn.datasets import load_iris

from src.core.durable_file import replace_durably
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts
from tests.support.configuration import CONFIG_FILE
from tests.support.inference_client import FLOWER
from tests.support.loop import Loop
from tests.support.running import wait_until

pytestmark = pytest.mark.e2e

SHARE, ROWS, KEY = 0.3, 30, "x-customer"
CANARY = f"rollout: {{ canary: {{ share: {SHARE}, key_header: {KEY}, max_drop: 0.2, minimum_rows: {ROWS} }} }}\n"
CUSTOMERS = [f"customer {number}" for number in range(150)]
NAMES = ("setosa", "versicolor", "virginica")
LABELS_AT_ONCE = 20
CHAMPION, NEW = ("1", None), "canary"


class Answer(NamedTuple):
    """To whom which version answered, in which role: None is the champion's."""

    customer: str
    version: str
    role: str | None
    prediction: str


def write_source(file: Path, shift: int) -> None:
    """Iris with the name of each class replaced by that of a later one, complete at once."""
    iris = load_iris(as_frame=True)
    frame = iris.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    species = [NAMES[(number + shift) % len(NAMES)] for number in iris.target]
    replace_durably(file, frame.assign(species=species).to_csv(index=False).encode())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("source") / "iris.csv"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Iterator[Loop]:
    """A loop that learns from the source and starts canaries, with version 1 served."""
    write_source(source, 0)
    config = source.with_name("pipeline.yaml")
    text = CONFIG_FILE.read_text(encoding="utf-8")
    assert "source: iris #" in text
    config.write_text(text.replace("source: iris #", f"source: '{source}' #") + CANARY, encoding="utf-8")
    loop = Loop(tmp_path_factory.mktemp("canary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_CONFIG", str(config))
        with loop.started():
            yield loop


@contextlib.contextmanager
def labelled_traffic(loop: Loop, truth: str) -> Iterator[list[Answer]]:
    """Predict setosa flowers for one customer after the other, and send their true labels; fails with any request."""
    answers: list[Answer] = []
    failures: list[Exception] = []
    over = threading.Event()

    def send() -> None:
        labels: list[dict[str, str]] = []
        with httpx.Client(base_url=loop.url, timeout=10) as client:
            for customer in itertools.cycle(CUSTOMERS):
                found = client.post("/predict", json=FLOWER, headers={KEY: customer}).raise_for_status()
                version, role = found.headers["x-model-version"], found.headers.get("x-model-role")
                answers.append(Answer(customer, version, role, found.json()["prediction"]))
                labels.append({"request_id": found.json()["request_id"], "label": truth})
                if len(labels) >= LABELS_AT_ONCE:
                    taken = client.post("/feedback", json=labels).raise_for_status()
                    assert taken.json()["accepted"] == len(labels), taken.text
                    labels = []
                if over.wait(0.02):
                    return

    def keep_failure() -> None:
        try:
            send()
        except (httpx.HTTPError, AssertionError) as error:
            failures.append(error)

    thread = threading.Thread(target=keep_failure)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
    assert failures == []


def start_canary(loop: Loop, version: str) -> Rollout:
    """Train a version; return its record. It has passed the gate, and the champion is another one."""
    ended = loop.wait_for_end(loop.request_retrain())
    assert (ended["state"], ended["model_version"]) == ("passed", version), ended["reason"]
    assert "answers 30 % of the requests as a canary beside version 1" in ended["reason"]
    record = newest(loop)
    assert (record.version, record.previous, record.state) == (version, "1", RolloutState.CANARY)
    return record


def newest(loop: Loop) -> Rollout:
    return Rollouts(loop.settings().rollouts_dir).recent("iris", 1)[0]


def wait_for_end(loop: Loop) -> Rollout:
    """The record once the canary has ended, however it did."""

    def ended() -> Rollout | None:
        record = newest(loop)
        return record if record.state is not RolloutState.CANARY else None

    return wait_until("the canary ends", ended, seconds=90)


def check_share(answers: list[Answer], version: str) -> None:
    """From its first answer to its last one, the canary had its share of the customers, and always the same ones."""
    places = [place for place, answer in enumerate(answers) if answer.role == NEW]
    during = answers[places[0] : places[-1] + 1]
    by_customer: dict[str, set[tuple[str, str | None]]] = {}
    for answer in during:
        by_customer.setdefault(answer.customer, set()).add((answer.version, answer.role))
    assert len(during) >= 2 * len(CUSTOMERS), "each customer was answered twice"
    assert by_customer.keys() == set(CUSTOMERS)
    assert all(found in ({(version, NEW)}, {CHAMPION}) for found in by_customer.values())
    chosen = sum(found == {(version, NEW)} for found in by_customer.values())
    assert abs(chosen - SHARE * len(CUSTOMERS)) < 5 * math.sqrt(len(CUSTOMERS) * SHARE * (1 - SHARE))


def test_a_canary_that_labels_prove_worse_is_aborted_and_the_champion_goes_on(loop: Loop, source: Path) -> None:
    write_source(source, 1)  # a mistake, which the gate cannot see through
    with labelled_traffic(loop, "setosa") as answers:
        start_canary(loop, "2")
        record = wait_for_end(loop)
        wait_until("only the champion answers", lambda: {answer[1:3] for answer in answers[-100:]} == {CHAMPION})
    check_share(answers, "2")
    assert {(answer.version, answer.prediction) for answer in answers} == {("1", "setosa"), ("2", "versicolor")}
    assert record.state is RolloutState.ABORTED
    assert record.reason is not None
    assert record.reason.startswith("version 2 is worse than version 1 by 100.0% on ")
    assert record.is_worse
    assert not record.is_not_worse


def test_a_canary_that_labels_prove_good_is_promoted_and_then_watched(loop: Loop, source: Path) -> None:
    write_source(source, 2)  # what is now true
    with labelled_traffic(loop, "virginica") as answers:
        canary = start_canary(loop, "3")
        record = wait_for_end(loop)
        loop.wait_for_version("3")
        wait_until("version 3 answers all", lambda: {answer[1:3] for answer in answers[-100:]} == {("3", None)})
        # By new rows, which version 1 answers as a shadow.
        wait_until("the watch compares labelled rows", lambda: newest(loop).rows > 0)
    check_share(answers, "3")
    assert (record.id, record.state, record.previous) == (canary.id, RolloutState.WATCHING, "1")
    assert record.answered >= ROWS
    assert record.decision_reason is not None
    assert record.decision_reason.startswith("version 3 is not worse than version 1 by 20.0% or more on ")
    assert (newest(loop).id, newest(loop).state) == (canary.id, RolloutState.WATCHING)
