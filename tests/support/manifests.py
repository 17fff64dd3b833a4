"""The objects of deploy/kubernetes, as ``kubectl kustomize`` renders them, and a cluster's rules for them."""

import copy
import subprocess
from functools import cache
from typing import Any

import cel
import yaml

from src.services.local.processes import REPOSITORY
from tests.support.installed import program_from

FOLDER = REPOSITORY / "deploy" / "kubernetes"
OVERLAYS = ("minimal", "production")
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
RESTRICTED_VOLUMES |= {"secret"}
Manifest = dict[str, Any]


@cache
def kubectl() -> str:
    """Where a kubectl lies."""
    return program_from("kubectl.sh")


@cache
def rendered_text(overlay: str) -> str:
    command = [kubectl(), "kustomize", str(FOLDER / "overlays" / overlay)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@cache
def _parsed(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(rendered_text(overlay)))


def rendered(overlay: str) -> list[Manifest]:
    """The overlay's objects, which the caller may change."""
    return copy.deepcopy(_parsed(overlay))


def find(objects: list[Manifest], kind: str, name: str) -> Manifest:
    found = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, (kind, name)
    return found[0]


def pod_templates(objects: list[Manifest]) -> dict[str, Manifest]:
    """The template of each pod, by the name of what makes it."""
    templates = {}
    for item in objects:
        spec = item.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            templates[item["metadata"]["name"]] = template
    return templates


def breaches_of_restricted(spec: Manifest) -> list[str]:
    """What of a pod the level "restricted" of the Pod Security Standards forbids; for pods of Linux.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec.get("volumes", []):
        found += [f"volume of kind {kind}" for kind in volume.keys() - {"name"} - RESTRICTED_VOLUMES]
    of_pod = spec.get("securityContext", {})
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        merged = {**of_pod, **own}
        capabilities = own.get("capabilities", {})
        found += [
            problem
            for problem, holds in {
                "privileged": own.get("privileged"),
                "escalation": own.get("allowPrivilegeEscalation") is not False,
                "root": merged.get("runAsNonRoot") is not True,
                "user 0": merged.get("runAsUser") == 0,
                "seccomp": merged.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"},
                "capabilities kept": "ALL" not in capabilities.get("drop", []),
                "capabilities added": not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
                "host port": any(port.get("hostPort") for port in container.get("ports", [])),
                "proc mount": own.get("procMount", "Default") != "Default",
                "unconfined": merged.get("appArmorProfile", {}).get("type") == "Unconfined",
            }.items()
            if holds
        ]
    return found


def denials(policy: Manifest, job: Manifest, cron_job: Manifest, user: str) -> list[str] | None:
    """The messages of a ValidatingAdmissionPolicy about a Job; None where it does not apply to this user."""
    spec = policy["spec"]
    context = {"object": job, "params": cron_job, "request": {"userInfo": {"username": user}}}
    if not all(cel.evaluate(item["expression"], context) for item in spec["matchConditions"]):
        return None
    return [item["message"] for item in spec["validations"] if not cel.evaluate(item["expression"], context)]
