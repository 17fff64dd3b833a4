"""One promotion on real services: rows and labels are sent under load, until its watch ends."""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pandas as pd

from benchmarks.rollback_versions import Versions
from benchmarks.services import Service
from src.core.rollout_record import Rollout, RolloutState
from src.core.rollouts import Rollouts

WATCH_SECONDS, LONGEST_SECONDS = 35.0, 60.0
# Labelled rows of a run, and how they are sent; with fewer compared rows a run proves nothing.
ROWS, BATCH, LEAST_ROWS = 1000, 50, 500
PAUSE_SECONDS, ANSWER_SECONDS = 0.02, 20.0
STATES = {True: RolloutState.ROLLED_BACK, False: RolloutState.KEPT}


@dataclass(frozen=True)
class Run:
    """One promotion.

    Attributes:
        is_worse: whether the version was trained on mislabelled rows.
        difference: its accuracy minus that of the version before, on fresh rows.
        rollout: its record after the end of the watch.
        seconds: from the promotion to the end of the watch.
        answers: to the requests meanwhile, by status or error.
    """

    is_worse: bool
    difference: float
    rollout: Rollout
    seconds: float
    answers: Counter[str]

    @property
    def faults(self) -> list[str]:
        """What did not go as it must, as sentences."""
        record, found = self.rollout, list[str]()
        expected = STATES[self.is_worse]
        if record.state is not expected:
            found.append(f"version {record.version} is {record.state}, not {expected}: {record.reason}")
        if self.is_worse and not record.requested:
            found.append(f"the rollback of version {record.version} was not requested by the process quality")
        if not self.is_worse and record.rows < LEAST_ROWS:
            found.append(f"version {record.version} was compared on {record.rows} rows only")
        if set(self.answers) != {"200"}:
            found.append(f"version {record.version}: requests failed: {dict(self.answers)}")
        return found


def promoted(
    inference: Service, versions: Versions, pair: tuple[str, str], labelled: pd.DataFrame
) -> tuple[Rollout, float, Counter[str]]:
    """Promote the first version of a pair over the second, send rows with labels, and wait for the end of the watch.

    Returns:
        The record, the seconds until its end, and the answers to all requests meanwhile.
    """
    (version, previous), rollouts = pair, Rollouts(versions.settings.rollouts_dir)
    now, started, url = datetime.now(UTC), time.monotonic(), inference.url.removesuffix("/health")
    until = now + timedelta(seconds=WATCH_SECONDS)
    begun = Rollout(model=versions.registry.name, version=version, previous=previous, started=now, until=until)

    def ended() -> Rollout:
        return rollouts.get(begun.id) or begun

    with _load(url, labelled) as answers, httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
        versions.promote(version, previous, begun)
        inference.wait_for(lambda: _is_shadowed(client, begun.id), LONGEST_SECONDS)
        _send(client, labelled, versions.config.dataset.target, answers)
        inference.wait_for(lambda: ended().state is not RolloutState.WATCHING, LONGEST_SECONDS)
        seconds = time.monotonic() - started
        served = previous if ended().state is RolloutState.ROLLED_BACK else version
        inference.wait_for(lambda: client.get("/health").json()["model"]["version"] == served, LONGEST_SECONDS)
    return ended(), seconds, answers


def _is_shadowed(client: httpx.Client, rollout_id: str) -> bool:
    (newest,) = client.get("/rollouts", params={"limit": 1}).raise_for_status().json()["rollouts"]
    return bool(newest["id"] == rollout_id and newest["shadow"])


def _send(client: httpx.Client, labelled: pd.DataFrame, target: str, answers: Counter[str]) -> None:
    """Predict rows in batches, and send the label of each."""
    for start in range(0, len(labelled), BATCH):
        some = labelled.iloc[start : start + BATCH]
        found = client.post("/predict/batch", json=some.drop(columns=target).to_dict("records"))
        request_id = found.headers["X-Request-ID"]
        labels = [{"request_id": f"{request_id}/{row}", "label": name} for row, name in enumerate(some[target])]
        for answer in (found, client.post("/feedback", json=labels)):
            answers["200" if answer.is_success else str(answer.status_code)] += 1


@contextlib.contextmanager
def _load(url: str, labelled: pd.DataFrame) -> Iterator[Counter[str]]:
    """Predict single rows without labels until the block ends; counts the answers by status or error."""
    answers, stop = Counter[str](), threading.Event()
    rows = labelled.iloc[:, :-1].to_dict("records")

    def predict() -> None:
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
            for place in range(sys.maxsize):
                if stop.wait(PAUSE_SECONDS):
                    return
                try:
                    answers[str(client.post("/predict", json=rows[place % len(rows)]).status_code)] += 1
                except httpx.HTTPError as error:
                    answers[type(error).__name__] += 1

    thread = threading.Thread(target=predict)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
