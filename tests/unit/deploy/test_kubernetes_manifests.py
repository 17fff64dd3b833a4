"""The Kubernetes manifests: valid for the API, confined, and of one mind with the code, the images and Compose."""

import contextlib
import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from src.core.inference_settings import InferenceSettings
from src.core.monitor_settings import MonitorSettings
from src.core.training_settings import TrainSettings
from src.services.inference.routes import health
from src.services.inference.run_inference import GRACE_SECONDS
from src.services.local.processes import REPOSITORY
from src.services.monitor.kubernetes_api import KubernetesApi
from src.services.monitor.kubernetes_trainer import KubernetesTrainer
from src.services.monitor.trainer import StartOutcome
from src.serving.http.guards import HostGuard
from tests.support.fake_kubernetes import BASE, NAME, FakeKubernetes
from tests.support.http_server import serving
from tests.support.manifests import (
    OVERLAYS,
    Manifest,
    breaches_of_restricted,
    denials,
    find,
    pod_templates,
    rendered,
)

# The oldest that has all that is used, and the pinned one.
VERSIONS = ("1.31", "1.36")
OF_CLUSTER = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
SETTINGS = {"inference": InferenceSettings, "monitor": MonitorSettings, "train-model": TrainSettings}
MONITOR = "system:serviceaccount:loop:mlops-loop-monitor"
POLICY = "mlops-loop-training-jobs"
# Of a container without a setting of that name.
OTHER_VARIABLES = {"POD_NAMESPACE", "WRITE_KEY_IS_SET"}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(request.param)


@pytest.fixture
def minimal() -> list[Manifest]:
    return rendered("minimal")


def container_of(template: Manifest) -> Manifest:
    (container,) = template["spec"]["containers"]
    return dict(container)


def environment_of(objects: list[Manifest], name: str) -> dict[str, Any]:
    """The variables of a pod; those from Secrets have no value."""
    given: dict[str, Any] = {}
    container = container_of(pod_templates(objects)[name])
    for source in container["envFrom"]:
        if "configMapRef" in source:
            given |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return given | {item["name"]: item.get("value") for item in container["env"]}


# -- for the API server --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_has_the_schema_of_its_kind(objects: list[Manifest], version: str) -> None:
    assert len(objects) > 15
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_schema_check_finds_a_misspelt_field(minimal: list[Manifest]) -> None:
    job = find(minimal, "CronJob", NAME)
    job["spec"]["jobTemplate"]["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_objects_of_the_cluster_have_no_namespace_and_all_others_have_it(objects: list[Manifest]) -> None:
    for item in objects:
        expected = None if item["kind"] in OF_CLUSTER else "loop"
        assert item["metadata"].get("namespace") == expected, item["metadata"]["name"]


def test_selectors_select_the_pods_of_their_own_name(objects: list[Manifest]) -> None:
    pods = {name: template["metadata"]["labels"] for name, template in pod_templates(objects).items()}
    assert set(pods) == set(SETTINGS)
    seen = set()
    for item in objects:
        selector = item.get("spec", {}).get("selector") or item.get("spec", {}).get("podSelector") or {}
        labels = selector.get("matchLabels", selector)
        if labels:
            selected = {name for name, given in pods.items() if labels.items() <= given.items()}
            assert selected == {item["metadata"]["name"]}, item
            seen.add((item["kind"], item["metadata"]["name"]))
    assert {("NetworkPolicy", name) for name in pods} <= seen
    assert {("Service", "inference"), ("Service", "monitor"), ("PodDisruptionBudget", "inference")} <= seen


def test_nothing_is_reached_and_nothing_reaches_out_by_default(objects: list[Manifest]) -> None:
    spec = find(objects, "NetworkPolicy", "default-deny")["spec"]
    assert spec["podSelector"] == {}
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in spec
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53]
    assert "ingress" not in find(objects, "NetworkPolicy", NAME)["spec"]


def test_ports_are_those_of_the_images(objects: list[Manifest]) -> None:
    for name, port in {"inference": 8000, "monitor": 8001}.items():
        dockerfile = (REPOSITORY / "dockerfiles" / f"Dockerfile.{name}").read_text(encoding="utf-8")
        assert f"EXPOSE {port}\n" in dockerfile
        assert container_of(pod_templates(objects)[name])["ports"] == [{"name": "http", "containerPort": port}]
        assert find(objects, "Service", name)["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]


# -- confinement ---------------------------------------------------------------------------------------


def test_pods_meet_pod_security_restricted_which_their_namespace_enforces(objects: list[Manifest]) -> None:
    labels = find(objects, "Namespace", "loop")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, template in pod_templates(objects).items():
        assert breaches_of_restricted(template["spec"]) == [], name


def changed(path: str, *, to: object) -> Callable[[Manifest], None]:
    """Sets a value inside a pod's spec; ``containers.securityContext`` is that of the first container."""

    def change(spec: Manifest) -> None:
        *parents, last = path.split(".")
        here: Any = spec
        for part in parents:
            here = here.setdefault(part, {})
            here = here[0] if isinstance(here, list) else here
        here[last] = to

    return change


BREACHES = [
    ("hostNetwork is set", changed("hostNetwork", to=True)),
    ("volume of kind hostPath", changed("volumes.hostPath", to={"path": "/"})),
    ("root", changed("securityContext.runAsNonRoot", to=False)),
    ("user 0", changed("containers.securityContext.runAsUser", to=0)),
    ("seccomp", changed("securityContext.seccompProfile", to={"type": "Unconfined"})),
    ("privileged", changed("containers.securityContext.privileged", to=True)),
    ("escalation", changed("containers.securityContext.allowPrivilegeEscalation", to=None)),
    ("capabilities kept", changed("containers.securityContext.capabilities", to={"drop": ["NET_RAW"]})),
    (
        "capabilities added",
        changed("containers.securityContext.capabilities", to={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    ),
    ("host port", changed("containers.ports", to=[{"hostPort": 80}])),
    ("proc mount", changed("containers.securityContext.procMount", to="Unmasked")),
    ("unconfined", changed("securityContext.appArmorProfile", to={"type": "Unconfined"})),
]


@pytest.mark.parametrize(("breach", "change"), BREACHES, ids=[breach for breach, _ in BREACHES])
def test_check_of_pod_security_finds_each_breach(
    minimal: list[Manifest], breach: str, change: Callable[[Manifest], None]
) -> None:
    spec = pod_templates(minimal)[NAME]["spec"]
    change(spec)
    assert breaches_of_restricted(spec) == [breach]


def test_pods_run_as_the_images_user_on_a_read_only_root(objects: list[Manifest]) -> None:
    files = {"inference": "inference", "monitor": "monitor", NAME: "train"}
    for name, template in pod_templates(objects).items():
        dockerfile = (REPOSITORY / "dockerfiles" / f"Dockerfile.{files[name]}").read_text(encoding="utf-8")
        user = template["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in dockerfile
        assert user["fsGroup"] == user["runAsGroup"]
        container = container_of(template)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        # What the image makes writable is on a volume.
        found = re.search(r"install --directory --owner loop --group loop --mode 0770 (.*)", dockerfile)
        assert found is not None
        mounts = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert mounts == {*found[1].split(), "/tmp"}  # noqa: S108 - a path in the container


def test_only_the_monitor_has_a_token_of_the_api(objects: list[Manifest]) -> None:
    for name, template in pod_templates(objects).items():
        assert template["spec"]["automountServiceAccountToken"] is (name == "monitor")
    binding = find(objects, "RoleBinding", "mlops-loop-monitor")
    account = pod_templates(objects)["monitor"]["spec"]["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "loop"}]
    assert binding["roleRef"]["name"] == find(objects, "Role", "mlops-loop-monitor")["metadata"]["name"]
    assert MONITOR.endswith(f":{account}")


# -- of one mind with the code and Compose -------------------------------------------------------------


def test_variables_are_settings_and_none_comes_from_a_services_name(objects: list[Manifest]) -> None:
    for name, template in pod_templates(objects).items():
        assert template["spec"]["enableServiceLinks"] is False
        own = {item["name"] for item in container_of(template)["env"]} - OTHER_VARIABLES
        assert {variable.lower() for variable in own} <= set(SETTINGS[name].model_fields)
    addresses = environment_of(objects, NAME)
    shared = {variable.lower() for variable in addresses if addresses[variable]} - {"write_key_is_set"}
    assert shared == {"mlflow_tracking_uri", "zenml_store_url", "model_name"} <= set(TrainSettings.model_fields)


def test_memory_is_that_of_compose(objects: list[Manifest]) -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name, template in pod_templates(objects).items():
        limit = container_of(template)["resources"]["limits"]["memory"]
        compose = re.sub(r"^\$\{TRAIN_MEMORY:-(.*)\}$", r"\1", services[name]["mem_limit"])
        assert limit.removesuffix("i").lower() == compose


def test_inference_is_reached_by_the_names_of_its_service(objects: list[Manifest]) -> None:
    value = environment_of(objects, "inference")["ALLOWED_HOSTS"].replace("$(POD_NAMESPACE)", "loop")
    hosts = InferenceSettings(_env_file=None, allowed_hosts=value).allowed_hosts
    guard = HostGuard(hosts.split(","))

    def is_allowed(host: str) -> bool:
        return guard({"http_version": "1.1", "headers": [(b"host", host.encode())]}) is None

    for name in ("inference", "inference.loop", "inference.loop.svc", "inference.loop.svc.cluster.local", "localhost"):
        assert is_allowed(f"{name}:8000")
    assert is_allowed("10.244.0.7:8000")  # as the kubelet probes
    assert not is_allowed("inference.other.svc")
    names = [item["name"] for item in container_of(pod_templates(objects)["inference"])["env"]]
    assert names.index("POD_NAMESPACE") < names.index("ALLOWED_HOSTS")  # or it would not be replaced


def test_inference_stops_within_its_time_and_is_replaced_without_a_gap(objects: list[Manifest]) -> None:
    deployment = find(objects, "Deployment", "inference")
    drain = float(environment_of(objects, "inference")["DRAIN_SECONDS"])
    assert InferenceSettings(_env_file=None, drain_seconds=drain).drain_seconds >= 1
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain + GRACE_SECONDS
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_probes_ask_routes_that_there_are(objects: list[Manifest]) -> None:
    container = container_of(pod_templates(objects)["inference"])
    routes = {getattr(route, "path", None) for route in health.router.routes}
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/v2/health/live", "liveness": "/v2/health/live", "readiness": "/health"}
    assert set(paths.values()) <= routes


def test_monitor_is_checked_as_in_its_image_and_never_runs_twice(objects: list[Manifest]) -> None:
    deployment = find(objects, "Deployment", "monitor")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    command = container_of(pod_templates(objects)["monitor"])["livenessProbe"]["exec"]["command"]
    quoted = ", ".join(f'"{part}"' for part in command)
    assert f"CMD [{quoted}]" in (REPOSITORY / "dockerfiles" / "Dockerfile.monitor").read_text(encoding="utf-8")


def test_overlays_differ_in_volume_replicas_and_images() -> None:
    minimal, production = rendered("minimal"), rendered("production")
    assert find(minimal, "PersistentVolumeClaim", "data")["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert find(minimal, "Deployment", "inference")["spec"]["replicas"] == 1
    assert not [item for item in minimal if item["kind"] == "HorizontalPodAutoscaler"]
    data = find(production, "PersistentVolumeClaim", "data")["spec"]
    assert (data["accessModes"], data["storageClassName"]) == (["ReadWriteMany"], "STORAGE-CLASS")
    assert find(production, "HorizontalPodAutoscaler", "inference")["spec"]["minReplicas"] == 3
    assert "replicas" not in find(production, "Deployment", "inference")["spec"]  # or each apply would reset them
    for name, template in pod_templates(production).items():
        assert container_of(template)["image"] == f"REGISTRY/mlops-loop-{name}:VERSION"
    for name, template in pod_templates(minimal).items():
        assert container_of(template)["image"] == f"mlops-loop-{name}"  # as Compose tags what it builds


# -- the training Job ----------------------------------------------------------------------------------


@pytest.fixture
def job_and_requests(objects: list[Manifest], tmp_path: Path) -> tuple[Manifest, list[tuple[str, str]]]:
    """The Job that the monitor makes of the manifests' CronJob, and all its calls until one was given up."""
    cluster, now = FakeKubernetes(tmp_path / "account"), [0.0]
    cluster.objects[f"{BASE}/cronjobs/{NAME}"] = copy.deepcopy(find(objects, "CronJob", NAME))
    with serving(cluster.server):
        name = environment_of(objects, "monitor")["TRAIN_JOB"]
        api = KubernetesApi(cluster.url, cluster.account)
        with contextlib.closing(KubernetesTrainer(api, name, start_seconds=1, clock=lambda: now[0])) as trainer:
            assert trainer.start() is StartOutcome.STARTED
            cluster.end("Complete")
            assert trainer.exit_code() == 0
            assert trainer.start() is StartOutcome.STARTED
            job = copy.deepcopy(cluster.job)
            trainer.is_running()
            now[0] = 1.0
            trainer.is_running()
    assert job is not None
    return job, [(method, path.removeprefix(f"{BASE}/")) for method, path, _ in cluster.requests]


def test_role_allows_the_monitors_calls_and_no_more(
    objects: list[Manifest], job_and_requests: tuple[Manifest, list[tuple[str, str]]]
) -> None:
    verbs = {"GET": "get", "DELETE": "delete", "POST": "create"}
    used = set()
    for method, path in job_and_requests[1]:
        resource, _, name = path.partition("/")
        used.add((resource, verbs[method], name))
    given = set()
    for rule in find(objects, "Role", "mlops-loop-monitor")["rules"]:
        assert rule["apiGroups"] == ["batch"]
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                given |= {(resource, verb, name) for name in rule.get("resourceNames", [""])}
    assert given == used


def test_policy_admits_what_the_monitor_makes(
    objects: list[Manifest], job_and_requests: tuple[Manifest, list[tuple[str, str]]]
) -> None:
    job = job_and_requests[0]
    # What the API server adds before policies are asked.
    job["spec"]["template"]["metadata"]["labels"] |= {
        "batch.kubernetes.io/controller-uid": "u",
        "batch.kubernetes.io/job-name": NAME,
        "controller-uid": "u",
        "job-name": NAME,
    }
    job["spec"] |= {"parallelism": 1, "completions": 1}
    policy, cron_job = find(objects, "ValidatingAdmissionPolicy", POLICY), find(objects, "CronJob", NAME)
    assert denials(policy, job, cron_job, MONITOR) == []
    binding = find(objects, "ValidatingAdmissionPolicyBinding", POLICY)["spec"]
    assert binding["policyName"] == POLICY
    assert binding["validationActions"] == ["Deny"]
    assert binding["paramRef"] == {"name": NAME, "parameterNotFoundAction": "Deny"}
    assert policy["spec"]["failurePolicy"] == "Fail"


OTHER_POD = "the Job's pod differs from that of the CronJob"
OTHER_LABELS = "the Job's pod has other labels than that of the CronJob"
POD = "spec.template.spec"
ATTACKS = [
    (OTHER_POD, changed(f"{POD}.containers.image", to="evil")),
    (OTHER_POD, changed(f"{POD}.containers.command", to=["sh"])),
    (OTHER_POD, changed(f"{POD}.containers.args", to=["python", "-c", "1"])),
    (OTHER_POD, changed(f"{POD}.containers.env", to=[])),
    (OTHER_POD, changed(f"{POD}.serviceAccountName", to="admin")),
    (OTHER_POD, changed(f"{POD}.volumes.hostPath", to={"path": "/"})),
    (OTHER_POD, changed(f"{POD}.containers.securityContext.capabilities.add", to=["SYS_ADMIN"])),
    (OTHER_POD, changed(f"{POD}.initContainers", to=[{"name": "x", "image": "evil"}])),
    (OTHER_POD, changed(f"{POD}.hostNetwork", to=True)),
    (OTHER_POD, changed(f"{POD}.automountServiceAccountToken", to=True)),
    ("the monitor may create a Job of the CronJob's name only", changed("metadata.name", to="other")),
    ("the Job may have one pod only", changed("spec.parallelism", to=2)),
    ("the Job may have one pod only", changed("spec.completions", to=2)),
    (OTHER_LABELS, changed("spec.template.metadata.labels.role", to="db")),
    (OTHER_LABELS, changed("spec.template.metadata.labels", to={"app.kubernetes.io/name": "inference"})),
    ("the Job's pod lacks a label of that of the CronJob", changed("spec.template.metadata.labels", to={})),
]


@pytest.mark.parametrize(("message", "attack"), ATTACKS)
def test_policy_denies_the_monitor_any_other_job(
    minimal: list[Manifest], message: str, attack: Callable[[Manifest], None]
) -> None:
    policy, cron_job = find(minimal, "ValidatingAdmissionPolicy", POLICY), find(minimal, "CronJob", NAME)
    job = copy.deepcopy(cron_job["spec"]["jobTemplate"])
    job["metadata"]["name"] = NAME
    assert denials(policy, job, cron_job, MONITOR) == []
    attack(job)
    assert denials(policy, job, cron_job, MONITOR) == [message]


@pytest.mark.parametrize("user", ["system:serviceaccount:loop:other", "alice", "x:mlops-loop-monitor"])
def test_policy_is_about_the_monitors_account_alone(minimal: list[Manifest], user: str) -> None:
    policy, cron_job = find(minimal, "ValidatingAdmissionPolicy", POLICY), find(minimal, "CronJob", NAME)
    assert denials(policy, {"metadata": {"name": "x"}}, cron_job, user) is None


def test_training_is_never_repeated_by_kubernetes_and_its_exit_code_is_named(minimal: list[Manifest]) -> None:
    cron_job = find(minimal, "CronJob", NAME)["spec"]
    spec = cron_job["jobTemplate"]["spec"]
    assert cron_job["suspend"] is True
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert spec["podFailurePolicy"]["rules"] == [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": container_of(spec["template"])["name"],
                "operator": "NotIn",
                "values": [0],
            },
        }
    ]
