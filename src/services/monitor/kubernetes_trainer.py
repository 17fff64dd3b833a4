"""Starts training runs as a Kubernetes Job."""

import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus

from src.core.errors import ConnectionFailedError
from src.core.exit_codes import SIGNALS, ExitCode
from src.services.monitor.kubernetes_api import Answer, KubernetesApi, KubernetesObject
from src.services.monitor.trainer import StartOutcome

# In the message of a Job that its podFailurePolicy has failed: "Container … failed with exit code 3 matching …".
EXIT_CODE = re.compile(r"\bexit code (\d{1,3})\b")
# Fields of a Job's status, of which one is not empty as soon as a pod of it has run.
HAS_RUN = ("ready", "succeeded", "failed", "terminating", "uncountedTerminatedPods")
SIGKILL = 9

logger = logging.getLogger(__name__)


class KubernetesTrainer:
    """Creates a Job from the template of a suspended CronJob, as ``kubectl create job --from`` does.

    The Job has the CronJob's name: the API server admits one object of a name, so two trainings never run at once, and
    a new monitor finds the run of a previous one. The Job of the last run stays until the next start. It is never
    stopped while its pod runs, so that the monitor can restart.

    Args:
        api: the Kubernetes API.
        name: of the CronJob and of the Job.
        start_seconds: how long the Job may take until its pod runs. A Job whose pod is refused, by Pod Security or a
            quota, or cannot be scheduled, stays without one and does not fail by itself; it is deleted after that time.
        clock: seconds that never go back.
    """

    def __init__(
        self, api: KubernetesApi, name: str, *, start_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._name, self._start_seconds, self._clock = api, name, start_seconds, clock
        self._watched: str | None = None  # the uid of the Job that the next attribute is about
        self._waits_since: float | None = None  # for a pod; None once one has run
        self._given_up: str | None = None  # the uid of the Job that was deleted because no pod of it ran

    def start(self) -> StartOutcome:
        """Create the Job; delete that of the last run before."""
        try:
            template = self._get("cronjobs")
            if template is None:
                logger.error("there is no CronJob %s in namespace %s to train from", self._name, self._api.namespace)
                return StartOutcome.MISSING
            last = self._get("jobs")
            if last is not None:
                if _end_of(last) is None:
                    return StartOutcome.ALREADY_RUNNING
                self._delete(last, "Background")
            answer = self._api.call("POST", "jobs", _job_from(template))
        except ConnectionFailedError as error:
            logger.error("cannot start the training Job %s: %s", self._name, error)  # noqa: TRY400 - expected
            return StartOutcome.FAILED
        if answer.reason == "AlreadyExists":
            return StartOutcome.ALREADY_RUNNING
        if answer.is_error:
            logger.error("cannot start the training Job %s: %s", self._name, answer)
            return StartOutcome.FAILED
        if answer.warning is not None:  # the only trace of a pod that Pod Security will refuse
            logger.warning("training Job %s: %s", self._name, answer.warning)
        self._given_up = None
        logger.info("training Job %s created", self._name)
        return StartOutcome.STARTED

    def is_running(self) -> bool:
        """Whether the Job exists and has not ended. Raises ConnectionFailedError if Kubernetes does not say."""
        job = self._get("jobs")
        if job is None or _end_of(job) is not None:
            return False
        if job["metadata"]["uid"] != self._given_up and self._is_overdue(job):
            logger.error(
                "training Job %s: no pod of it ran within %g s; it is deleted (kubectl get events says why)",
                self._name,
                self._start_seconds,
            )
            # Foreground: the Job exists until its pods are gone. It stays if its status has changed since it was read.
            if self._delete(job, "Foreground", "resourceVersion"):
                self._given_up = job["metadata"]["uid"]
        return True

    def exit_code(self) -> int | None:
        """That of the last run, by its Job's podFailurePolicy; ``ExitCode.NOT_STARTED`` if no pod of it ran.

        The kernel ends the whole container at its memory limit, with SIGKILL: that is ``ExitCode.OUT_OF_MEMORY`` here.
        """
        try:
            job = self._get("jobs")
        except ConnectionFailedError:
            return None
        if self._given_up is not None and (job is None or job["metadata"]["uid"] == self._given_up):
            return ExitCode.NOT_STARTED
        end = None if job is None else _end_of(job)
        if end is None:
            return None
        if end["type"] == "Complete":
            return ExitCode.OK
        logger.warning("training Job %s failed: %s: %s", self._name, end.get("reason"), end.get("message"))
        match = EXIT_CODE.search(end.get("message") or "")
        code = int(match[1]) if match else None
        return ExitCode.OUT_OF_MEMORY if code == SIGNALS + SIGKILL else code

    def close(self) -> bool:
        """Close the connections to the API; the Job runs on."""
        self._api.close()
        return False

    def _get(self, kind: str) -> KubernetesObject | None:
        answer = self._api.call("GET", f"{kind}/{self._name}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return _accepted(answer).body

    def _delete(self, job: KubernetesObject, propagation: str, *also_unchanged: str) -> bool:
        """Delete this very Job, whose other fields named here are unchanged; return whether that was still there."""
        preconditions = {key: job["metadata"][key] for key in ("uid", *also_unchanged)}
        options = {"propagationPolicy": propagation, "preconditions": preconditions}
        answer = self._api.call("DELETE", f"jobs/{self._name}", options)
        if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            return False
        _accepted(answer)
        return True

    def _is_overdue(self, job: KubernetesObject) -> bool:
        uid = job["metadata"]["uid"]
        if uid != self._watched:
            self._watched, self._waits_since = uid, self._clock()
        if any(job.get("status", {}).get(field) for field in HAS_RUN):
            self._waits_since = None
        return self._waits_since is not None and self._clock() - self._waits_since >= self._start_seconds


def _accepted(answer: Answer) -> Answer:
    if answer.is_error:
        raise ConnectionFailedError(str(answer))
    return answer


def _job_from(cron_job: KubernetesObject) -> KubernetesObject:
    template = cron_job["spec"]["jobTemplate"]
    given = template.get("metadata", {})
    metadata = {key: given[key] for key in ("labels", "annotations") if key in given}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "name": cron_job["metadata"]["name"]},
        "spec": template["spec"],
    }


def _end_of(job: KubernetesObject) -> KubernetesObject | None:
    """The condition that says how the Job has ended, once all its pods have; None before."""
    conditions = job.get("status", {}).get("conditions") or []
    return next(
        (item for item in conditions if item["type"] in {"Complete", "Failed"} and item["status"] == "True"), None
    )
