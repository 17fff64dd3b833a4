"""The monitor over a Kubernetes API, through restarts: one Job at a time, and its end in the requests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from src.core.retrain_signal import RetrainSpool
from src.services.monitor.kubernetes_api import KubernetesApi
from src.services.monitor.kubernetes_trainer import KubernetesTrainer
from src.services.monitor.metrics import MonitorMetrics
from src.services.monitor.monitor_service import MonitorService
from src.services.monitor.retrain_policy import RetrainPolicy
from tests.support.fake_kubernetes import FakeKubernetes
from tests.support.http_server import serving
from tests.unit.services.monitor.conftest import FakeClock

POLICY = RetrainPolicy(max_attempts=2, backoff_seconds=2, backoff_max_seconds=5, poll_seconds=1)
MESSAGE = "Container train for pod loop/x failed with exit code 137 matching FailJob rule at index 0"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    fake = FakeKubernetes(tmp_path / "account")
    with serving(fake.server):
        yield fake


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spool(tmp_path: Path) -> RetrainSpool:
    return RetrainSpool(tmp_path / "retrain").create()


@pytest.fixture
def start_monitor(
    cluster: FakeKubernetes, spool: RetrainSpool, clock: FakeClock
) -> Iterator[Callable[[], MonitorService]]:
    trainers = []

    def start() -> MonitorService:
        api = KubernetesApi(cluster.url, cluster.account)
        trainer = KubernetesTrainer(api, "train-model", start_seconds=600, clock=lambda: clock().timestamp())
        trainers.append(trainer)
        return MonitorService(spool, trainer, MonitorMetrics(CollectorRegistry()), POLICY, clock)

    yield start
    for trainer in trainers:
        trainer.close()


def creations(cluster: FakeKubernetes) -> int:
    return sum(1 for method, _, _ in cluster.requests if method == "POST")


def test_restarted_monitor_waits_for_the_job_and_records_its_end(
    cluster: FakeKubernetes, spool: RetrainSpool, clock: FakeClock, start_monitor: Callable[[], MonitorService]
) -> None:
    request_id = spool.submit("api").id
    start_monitor().step()
    later = start_monitor()
    later.step()
    assert creations(cluster) == 1
    cluster.end("Failed", "PodFailurePolicy", MESSAGE)
    clock.advance(POLICY.backoff_max_seconds)
    later.step()
    record = spool.get(request_id)
    assert record is not None
    assert record.last_error is not None
    assert record.last_error.startswith("out of memory")
    assert (record.attempts, creations(cluster)) == (2, 2)


def test_request_whose_pods_never_ran_fails_with_that_reason(
    cluster: FakeKubernetes, spool: RetrainSpool, clock: FakeClock, start_monitor: Callable[[], MonitorService]
) -> None:
    request_id = spool.submit("api").id
    monitor = start_monitor()
    for attempt in (1, 2):
        monitor.step()
        monitor.step()
        assert creations(cluster) == attempt
        clock.advance(600)
        monitor.step()
        cluster.remove()
    monitor.step()
    record = spool.get(request_id)
    assert record is not None
    assert record.result is not None
    assert record.result.reason == (
        "gave up after 2 attempts: no pod of the training Job ran within TRAIN_START_SECONDS; "
        "kubectl get events says why"
    )


def test_request_is_charged_nothing_while_the_api_refuses(
    cluster: FakeKubernetes, spool: RetrainSpool, clock: FakeClock, start_monitor: Callable[[], MonitorService]
) -> None:
    request_id = spool.submit("api").id
    cluster.refusals["POST"] = 403, {"reason": "Forbidden", "message": "no right"}
    monitor = start_monitor()
    for _ in range(5):
        monitor.step()
        clock.advance(60)
    record = spool.get(request_id)
    assert record is not None
    assert record.attempts == 0
    cluster.refusals.clear()
    monitor.step()
    assert cluster.job is not None
