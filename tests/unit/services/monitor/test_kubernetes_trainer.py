"""The launcher of training Jobs, against an HTTP server in the Kubernetes API's place."""

import contextlib
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.errors import ConfigError, ConnectionFailedError
from src.services.monitor.kubernetes_api import KubernetesApi
from src.services.monitor.kubernetes_trainer import KubernetesTrainer
from src.services.monitor.trainer import StartOutcome
from tests.support.fake_kubernetes import BASE, NAME, FakeKubernetes, refusal
from tests.support.http_server import serving
from tests.support.running import free_port

START_SECONDS = 600.0
# As Kubernetes words it.
FAILED = "Container train for pod loop/train-model-x7k2p failed with exit code {} matching FailJob rule at index 0"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeKubernetes]:
    fake = FakeKubernetes(tmp_path / "account")
    with serving(fake.server):
        yield fake


@pytest.fixture(autouse=True)
def warnings_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The tests compare what is logged from warnings on, whatever level another test has left."""
    caplog.set_level(logging.WARNING, "src.services.monitor")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.contextmanager
def trainer_in(
    cluster: FakeKubernetes, clock: Clock | None = None, *, url: str = "", name: str = NAME, timeout: float = 10
) -> Iterator[KubernetesTrainer]:
    api = KubernetesApi(url or cluster.url, cluster.account, timeout)
    with contextlib.closing(
        KubernetesTrainer(api, name, start_seconds=START_SECONDS, clock=clock or Clock())
    ) as trainer:
        yield trainer


@pytest.fixture
def trainer(cluster: FakeKubernetes, clock: Clock) -> Iterator[KubernetesTrainer]:
    with trainer_in(cluster, clock) as opened:
        yield opened


def wait_in_vain(trainer: KubernetesTrainer, clock: Clock) -> None:
    """Start a run of which no pod runs in time, and look until it is given up."""
    trainer.start()
    trainer.is_running()
    clock.now = START_SECONDS
    trainer.is_running()


# -- start ---------------------------------------------------------------------------------------------


def test_start_creates_the_job_of_the_cron_jobs_template(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    assert trainer.start() is StartOutcome.STARTED
    assert cluster.job is not None
    template = cluster.objects[f"{BASE}/cronjobs/{NAME}"]["spec"]["jobTemplate"]
    assert cluster.job["spec"] == template["spec"]
    assert (cluster.job["apiVersion"], cluster.job["kind"]) == ("batch/v1", "Job")
    assert cluster.job["metadata"]["name"] == NAME
    assert cluster.job["metadata"]["labels"] == template["metadata"]["labels"]
    assert "creationTimestamp" not in cluster.job["metadata"]
    assert [request[:2] for request in cluster.requests] == [
        ("GET", f"{BASE}/cronjobs/{NAME}"),
        ("GET", f"{BASE}/jobs/{NAME}"),
        ("POST", f"{BASE}/jobs"),
    ]


def test_annotations_of_the_template_are_kept(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    template = {"metadata": {"annotations": {"a": "b"}}, "spec": {}}
    cluster.objects[f"{BASE}/cronjobs/{NAME}"]["spec"] = {"jobTemplate": template}
    trainer.start()
    assert cluster.job is not None
    assert cluster.job["metadata"]["annotations"] == {"a": "b"}


def test_second_start_while_running_creates_nothing(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    trainer.start()
    first = cluster.job
    assert trainer.start() is StartOutcome.ALREADY_RUNNING
    assert cluster.job is first
    assert trainer.is_running()


def test_next_start_replaces_the_job_of_the_last_run(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    trainer.start()
    first = cluster.job
    assert first is not None
    cluster.end("Complete")
    assert trainer.start() is StartOutcome.STARTED
    assert cluster.job is not None
    assert cluster.job["metadata"]["uid"] != first["metadata"]["uid"]
    deleted = [body for method, _, body in cluster.requests if method == "DELETE"]
    assert deleted == [{"propagationPolicy": "Background", "preconditions": {"uid": first["metadata"]["uid"]}}]
    assert trainer.is_running()


def test_two_monitors_that_start_at_once_create_one_job(cluster: FakeKubernetes) -> None:
    with trainer_in(cluster) as one, trainer_in(cluster) as other:
        one.start()
        cluster.end("Complete")
        both_look = threading.Barrier(2)
        cluster.before = lambda method: both_look.wait(10) if method == "DELETE" else None  # type: ignore[assignment]
        outcomes: list[StartOutcome] = []
        threads = [threading.Thread(target=lambda t=t: outcomes.append(t.start())) for t in (one, other)]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == [StartOutcome.ALREADY_RUNNING, StartOutcome.STARTED]
    assert sum(1 for method, _, _ in cluster.requests if method == "POST") == 3


def test_job_of_another_monitor_is_never_deleted(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    trainer.start()
    cluster.end("Complete")

    def replace(method: str) -> None:
        if method == "DELETE":
            assert cluster.job is not None
            cluster.job["metadata"]["uid"] = "of-another"
            cluster.set_status(ready=1)

    cluster.before = replace
    assert trainer.start() is StartOutcome.ALREADY_RUNNING
    assert cluster.job is not None
    assert cluster.job["metadata"]["uid"] == "of-another"


def test_start_without_the_cron_job_is_missing_and_keeps_the_last_job(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.start()
    cluster.end("Complete")
    del cluster.objects[f"{BASE}/cronjobs/{NAME}"]
    assert trainer.start() is StartOutcome.MISSING
    assert cluster.job is not None
    assert caplog.messages == [f"there is no CronJob {NAME} in namespace loop to train from"]


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (409, "Conflict"), (500, ""), (422, "Invalid")]
)
def test_creation_that_is_refused_fails_with_the_answer_in_the_log(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture, status: int, reason: str
) -> None:
    cluster.refusals["POST"] = refusal(status, reason, "not\nallowed")
    assert trainer.start() is StartOutcome.FAILED
    assert caplog.messages == [f"cannot start the training Job {NAME}: Kubernetes answers {status}: not allowed"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_start_fails_where_reading_or_deleting_is_refused(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    trainer.start()
    cluster.end("Failed")
    cluster.refusals[method] = refusal(403, "Forbidden", "no right")
    assert trainer.start() is StartOutcome.FAILED
    assert caplog.messages == [f"cannot start the training Job {NAME}: Kubernetes answers 403: no right"]


def test_creation_whose_answer_is_lost_is_found_running_and_not_repeated(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.lost = {"POST"}
    assert trainer.start() is StartOutcome.FAILED
    assert "cannot reach the Kubernetes API" in caplog.text
    cluster.lost = set()
    first = cluster.job
    assert trainer.is_running()
    assert trainer.start() is StartOutcome.ALREADY_RUNNING
    assert cluster.job is first


def test_warning_of_the_api_server_is_logged(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.warning = '299 - "would violate PodSecurity"'
    assert trainer.start() is StartOutcome.STARTED
    assert caplog.messages == [f'training Job {NAME}: 299 - "would violate PodSecurity"']


def test_absent_api_fails_a_start_and_leaves_is_running_open(
    cluster: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    with trainer_in(cluster, url=f"http://127.0.0.1:{free_port()}") as trainer:
        assert trainer.start() is StartOutcome.FAILED
        with pytest.raises(
            ConnectionFailedError, match=r"cannot reach the Kubernetes API at http.* \(ConnectionError\)"
        ):
            trainer.is_running()
        assert trainer.exit_code() is None
    assert len(caplog.messages) == 1


def test_answer_that_is_no_object_is_a_refusal(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    cluster.refusals["GET"] = 502, "bad gateway"
    with pytest.raises(ConnectionFailedError, match="Kubernetes answers 502"):
        trainer.is_running()


def test_silent_api_ends_a_call_after_the_time_out(cluster: FakeKubernetes) -> None:
    cluster.silent.set()
    with trainer_in(cluster, timeout=0.2) as trainer:
        with pytest.raises(ConnectionFailedError, match="ReadTimeout"):
            trainer.is_running()
        cluster.silent.clear()
        cluster.release.set()
        assert not trainer.is_running()


# -- the end -------------------------------------------------------------------------------------------


def test_is_running_until_the_job_has_ended(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    assert not trainer.is_running()
    trainer.start()
    cluster.set_status(active=1, ready=1)
    assert trainer.is_running()
    assert trainer.exit_code() is None
    # Kubernetes says that a Job will fail before its pods are gone.
    cluster.set_status(terminating=1, conditions=[{"type": "FailureTarget", "status": "True"}])
    assert trainer.is_running()
    cluster.set_status(conditions=[{"type": "Failed", "status": "False"}])
    assert trainer.is_running()
    cluster.end("Failed")
    assert not trainer.is_running()


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("Complete", "Reached expected number of succeeded pods", 0),
        ("Failed", FAILED.format(3), 3),
        ("Failed", FAILED.format(143), 143),
        ("Failed", FAILED.format(76), 76),
        ("Failed", FAILED.format(137), 76),
        ("Failed", "Job has reached the specified backoff limit", None),
        ("Failed", "Job was active longer than specified deadline", None),
    ],
)
def test_exit_code_is_read_from_the_jobs_end(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, kind: str, message: str, code: int | None
) -> None:
    trainer.start()
    cluster.end(kind, "AnyReason", message)
    assert trainer.exit_code() == code


def test_failure_is_logged_with_what_kubernetes_says(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.start()
    cluster.end("Failed", "DeadlineExceeded", "too long")
    trainer.exit_code()
    assert caplog.messages == [f"training Job {NAME} failed: DeadlineExceeded: too long"]


def test_exit_code_of_a_job_that_somebody_deleted_is_unknown(
    cluster: FakeKubernetes, trainer: KubernetesTrainer
) -> None:
    trainer.start()
    cluster.remove()
    assert not trainer.is_running()
    assert trainer.exit_code() is None


def test_later_monitor_knows_of_the_run_of_one_that_is_gone(
    cluster: FakeKubernetes, trainer: KubernetesTrainer
) -> None:
    trainer.start()
    assert not trainer.close()
    with trainer_in(cluster) as later:
        assert later.is_running()
        assert later.start() is StartOutcome.ALREADY_RUNNING
        cluster.end("Failed", "PodFailurePolicy", FAILED.format(2))
        assert not later.is_running()
        assert later.exit_code() == 2


def test_close_leaves_the_job_alone(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    trainer.start()
    trainer.close()
    assert cluster.job is not None
    assert len(cluster.requests) == 3


# -- a pod that never runs -----------------------------------------------------------------------------


def test_job_without_a_running_pod_is_deleted_after_its_time_and_named(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.start()
    assert trainer.is_running()
    cluster.set_status(active=1, ready=0, uncountedTerminatedPods={})
    clock.now = START_SECONDS - 1
    assert trainer.is_running()
    assert cluster.job is not None
    assert "deletionTimestamp" not in cluster.job["metadata"]
    clock.now = START_SECONDS
    assert trainer.is_running()  # until its pods are gone
    assert "deletionTimestamp" in cluster.job["metadata"]
    assert trainer.is_running()
    cluster.remove()
    assert not trainer.is_running()
    assert trainer.exit_code() == 125
    assert caplog.messages == [
        f"training Job {NAME}: no pod of it ran within 600 s; it is deleted (kubectl get events says why)"
    ]
    assert sum(1 for method, _, _ in cluster.requests if method == "DELETE") == 1


def test_deleted_job_that_failed_before_it_was_gone_has_not_started(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock
) -> None:
    wait_in_vain(trainer, clock)
    cluster.end("Failed", "BackoffLimitExceeded", "x")
    assert trainer.exit_code() == 125


def test_run_after_one_that_never_started_has_its_own_exit_code_and_time(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock
) -> None:
    wait_in_vain(trainer, clock)
    cluster.remove()
    assert trainer.start() is StartOutcome.STARTED
    assert trainer.is_running()
    clock.now += START_SECONDS - 1
    assert trainer.is_running()
    assert cluster.job is not None
    assert "deletionTimestamp" not in cluster.job["metadata"]
    cluster.remove()
    assert trainer.exit_code() is None


def test_job_that_somebody_made_after_a_deleted_one_has_its_own_exit_code(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock
) -> None:
    wait_in_vain(trainer, clock)
    cluster.remove()
    with trainer_in(cluster) as other:
        other.start()
    cluster.end("Complete")
    assert trainer.exit_code() == 0


@pytest.mark.parametrize(
    "status",
    [
        {"ready": 1},
        {"succeeded": 1},
        {"failed": 1},
        {"terminating": 1},
        {"uncountedTerminatedPods": {"succeeded": ["uid"]}},
    ],
)
def test_run_that_has_begun_may_take_any_time(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock, status: dict[str, object]
) -> None:
    trainer.start()
    cluster.set_status(**status)
    assert trainer.is_running()
    cluster.set_status(active=1, ready=0)  # its node does not answer any more
    clock.now = START_SECONDS * 100
    assert trainer.is_running()
    assert cluster.job is not None
    assert "deletionTimestamp" not in cluster.job["metadata"]


def test_pod_that_runs_at_the_last_moment_is_kept(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock
) -> None:
    trainer.start()
    trainer.is_running()
    clock.now = START_SECONDS
    cluster.before = lambda method: cluster.set_status(ready=1) if method == "DELETE" else None
    assert trainer.is_running()
    assert cluster.job is not None
    assert "deletionTimestamp" not in cluster.job["metadata"]
    assert trainer.is_running()
    cluster.end("Complete")
    assert trainer.exit_code() == 0


def test_deletion_that_is_refused_leaves_is_running_open(
    cluster: FakeKubernetes, trainer: KubernetesTrainer, clock: Clock
) -> None:
    trainer.start()
    trainer.is_running()
    clock.now = START_SECONDS
    cluster.refusals["DELETE"] = refusal(403, "Forbidden", "no right")
    with pytest.raises(ConnectionFailedError, match="Kubernetes answers 403: no right"):
        trainer.is_running()
    assert trainer.exit_code() is None


# -- the pod's account ---------------------------------------------------------------------------------


def test_token_is_read_anew_for_each_call(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    trainer.is_running()
    (cluster.account / "token").write_text("second\n")
    trainer.is_running()
    assert cluster.tokens == ["Bearer first", "Bearer second"]


def test_token_that_is_gone_leaves_is_running_open(cluster: FakeKubernetes, trainer: KubernetesTrainer) -> None:
    (cluster.account / "token").unlink()
    with pytest.raises(ConnectionFailedError, match="FileNotFoundError"):
        trainer.is_running()


def test_proxies_of_the_environment_are_not_used(cluster: FakeKubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with trainer_in(cluster) as trainer:
        assert not trainer.is_running()


def test_outside_a_pod_the_setting_is_named(cluster: FakeKubernetes) -> None:
    shutil.rmtree(cluster.account)
    with pytest.raises(ConfigError, match=r"TRAIN_JOB needs the service account of a Kubernetes pod .*unset TRAIN_JOB"):
        KubernetesApi(cluster.url, cluster.account)
