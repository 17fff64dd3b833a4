"""docs/kubernetes.md: its commands and names are those of the manifests. Commands that need a cluster do not run."""

import re
import shlex
import subprocess

import yaml

from src.core.settings import SourceSettings
from src.services.local.processes import REPOSITORY
from tests.support.manifests import FOLDER, OVERLAYS, Manifest, find, kubectl, pod_templates, rendered

PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def command_with(text: str) -> str:
    (found,) = [line for line in COMMANDS if text in line]
    return found


def made_by(command: str) -> Manifest:
    """The object of a ``kubectl create`` command, which no cluster is asked for."""
    words = [
        word for word in shlex.split(command.partition(" | ")[0]) if not word.startswith(("--dry-run", "--output"))
    ]
    words = [word for word in words if word != "yaml"]
    assert words[0] == "kubectl"
    text = subprocess.run(
        [kubectl(), *words[1:], "--dry-run=client", "--output=yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    return dict(yaml.safe_load(text))


def test_files_and_folders_of_the_commands_exist() -> None:
    named = [path for line in COMMANDS for path in re.findall(r"(?:--filename|--file|--kustomize) ([^- ]\S+)", line)]
    assert len(named) == 5
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_images_are_built_under_the_names_of_the_manifests() -> None:
    rendered_images = {
        container["image"]
        for template in pod_templates(rendered("minimal")).values()
        for container in template["spec"]["containers"]
    }
    assert set(re.findall(r"--tag (\S+)", "\n".join(COMMANDS))) == rendered_images
    assert set(command_with("kind load").split()[3:]) == rendered_images


def test_configuration_is_mounted_where_a_training_reads_it() -> None:
    rendered("minimal")  # skips where there is no kubectl
    made = made_by(command_with("create configmap"))
    spec = pod_templates(rendered("minimal"))["train-model"]["spec"]
    mount = next(item for item in spec["containers"][0]["volumeMounts"] if item["name"] == "pipeline")
    volume = next(item for item in spec["volumes"] if item["name"] == "pipeline")
    assert volume["configMap"]["name"] == made["metadata"]["name"]
    (file,) = made["data"]
    config = SourceSettings.model_fields["pipeline_config"].default
    assert f"{mount['mountPath']}/{file}" == f"/app/{config}"


def test_secret_has_the_keys_that_the_pods_read() -> None:
    templates = pod_templates(rendered("production")).values()
    variables = [item for template in templates for item in template["spec"]["containers"][0]["env"]]
    references = [
        item["valueFrom"]["secretKeyRef"] for item in variables if "secretKeyRef" in item.get("valueFrom", {})
    ]
    made = made_by(command_with("create secret"))
    assert {reference["name"] for reference in references} == {made["metadata"]["name"]}
    assert {reference["key"] for reference in references} == set(made["data"])


def test_table_of_secrets_and_connections_is_that_of_the_manifests() -> None:
    objects = rendered("production")
    for name, template in pod_templates(objects).items():
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
        rights, secrets, connections = row
        assert (rights == "none") is not template["spec"]["automountServiceAccountToken"]
        variables = template["spec"]["containers"][0]["env"]
        keys = {item["name"] for item in variables if "secretKeyRef" in item.get("valueFrom", {})}
        assert set(re.findall(r"[A-Z][A-Z_]+", secrets)) == keys
        sources = [
            item["secretRef"]["name"] for item in template["spec"]["containers"][0]["envFrom"] if "secretRef" in item
        ]
        assert re.findall(r"`(\w+)`", secrets) == sources
        ports = [port for rule in policy_of(objects, name)["egress"] for port in rule.get("ports", [])]
        assert re.findall(r"\d+", connections) == sorted((str(port["port"]) for port in ports), key=int)
        assert (connections == "anything") is (policy_of(objects, name)["egress"] == [{}])


def policy_of(objects: list[Manifest], name: str) -> Manifest:
    return dict(find(objects, "NetworkPolicy", name)["spec"])


def test_objects_of_the_page_exist_and_overlays_are_described() -> None:
    objects = {(item["kind"], item["metadata"]["name"]) for item in rendered("minimal")}
    table = re.findall(r"^\| (\w+) `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(table) >= 7
    assert {row for row in table if row[0] != "Job"} <= objects
    for name in re.findall(r"(?:deployment|service|cronjob)/([a-z-]+)", "\n".join(COMMANDS)):
        assert name in {found for _, found in objects}
    assert {folder.name for folder in (FOLDER / "overlays").iterdir()} == set(OVERLAYS)
    assert all(f"| `{overlay}` |" in PAGE for overlay in OVERLAYS)
    (label,) = re.findall(r"kubectl label namespace \S+ (\S+)=true", PAGE)
    assert label in (FOLDER / "base" / "network.yaml").read_text(encoding="utf-8")
