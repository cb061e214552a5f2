"""What must stay true of the manifests, read from their sources: no kubectl is needed."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from postern.api.health import PATIENCE
from postern.assembly import create_app
from postern.server.process import GRACE
from postern.settings import load_settings
from tests.databases import put_sqlite

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
OVERLAYS = ("aks", "local")
Object = Mapping[str, Any]


def read(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def kustomization(folder: Path) -> Object:
    (found,) = read(folder / "kustomization.yaml")
    return dict(found)


def objects_of(folder: Path) -> Iterator[Object]:
    for name in kustomization(folder)["resources"]:
        path = (folder / name).resolve()
        yield from objects_of(path) if path.is_dir() else read(path)


@cache
def objects(overlay: str) -> list[Object]:
    return list(objects_of(FOLDER / "overlays" / overlay))


def one(overlay: str, kind: str, name: str = "postern") -> Any:
    (found,) = [each for each in objects(overlay) if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def settings_of(overlay: str) -> dict[str, str]:
    """The ConfigMap that Kustomize makes of the base's and the overlay's values."""
    written: list[str] = []
    for folder in (FOLDER / "base", FOLDER / "overlays" / overlay):
        (generator,) = kustomization(folder)["configMapGenerator"]
        assert generator["name"] == "postern-settings"
        written += generator["literals"]
    return dict(literal.split("=", 1) for literal in written)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pod(overlay: str) -> Any:
    return one(overlay, "Deployment")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod: Any) -> Any:
    (found,) = pod["containers"]
    return found


def test_the_pod_may_do_nothing_that_it_need_not(overlay: str, pod: Any, container: Any):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    assert one(overlay, "ServiceAccount")["automountServiceAccountToken"] is False
    labels = one(overlay, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_user_port_and_writable_folders_are_the_images(pod: Any, container: Any):
    image = dict(re.findall(r"^(USER|EXPOSE|WORKDIR) (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE))
    context = pod["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image["USER"]
    assert context["fsGroup"] == context["runAsGroup"]
    assert container["ports"] == [{"name": "http", "containerPort": int(image["EXPOSE"])}]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {f"{image['WORKDIR']}/var", "/tmp"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"])


def test_the_probes_ask_what_the_server_answers_without_a_token(container: Any):
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {
            "path": "/healthz",
            "port": "http",
        },  # never /readyz: a restart does not fix a database
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert container["readinessProbe"]["timeoutSeconds"] > PATIENCE


def test_a_pod_is_out_of_the_way_before_it_stops_and_has_time_to_end(pod: Any, container: Any):
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= container["readinessProbe"]["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + GRACE + 10


def test_resources_are_bounded(container: Any):
    assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_an_image_has_a_version(overlay: str, container: Any):
    changed = kustomization(FOLDER / "overlays" / overlay).get("images", [])
    assert re.fullmatch(r"postern:\d+\.\d+\.\d+", container["image"])
    assert all(image["name"] == "postern" and re.match(r"\d", image["newTag"]) for image in changed)


def test_the_service_sets_no_variables_in_the_pod(pod: Any):
    assert pod["enableServiceLinks"] is False  # POSTERN_PORT=tcp://... would stop the start


def test_the_settings_are_real_and_let_the_server_start(overlay: str, tmp_path: Path):
    settings = load_settings(settings_of(overlay), folder=tmp_path)
    assert (settings.host, settings.port, settings.log_format) == ("0.0.0.0", 8080, "json")
    (tmp_path / "hello.py").write_text(
        "from postern import workflow\n\n\n@workflow()\nasync def hello(ctx): ...\n", "utf-8"
    )
    here = {"POSTERN_WORKFLOWS": str(tmp_path), "POSTERN_DATABASE_URL": put_sqlite(tmp_path / "journal.db")}
    create_app(load_settings(settings_of(overlay) | here, folder=tmp_path))


def test_the_cluster_on_azure_needs_no_password_and_believes_no_stranger():
    settings = settings_of("aks")
    assert settings["POSTERN_AZURE_CREDENTIAL"] == "workload_identity"
    assert "sslmode=verify-full" in settings["POSTERN_DATABASE_URL"]
    assert "passwordless=entra" in settings["POSTERN_DATABASE_URL"]
    assert re.search(r"//[^:@/]+@", settings["POSTERN_DATABASE_URL"])
    assert settings["POSTERN_PUBLIC_URL"].startswith("https://")
    assert settings["POSTERN_TRUSTED_PROXIES"]
    account = one("aks", "ServiceAccount")["metadata"]
    assert "azure.workload.identity/client-id" in account["annotations"]
    labels = one("aks", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["azure.workload.identity/use"] == "true"


def test_vault_and_registration_trust_the_service_account_that_the_pods_have():
    """The identity does for Azure's own resources, and the app registration for calls of Postern's own triggers: in a
    cluster the account's token is what proves either (`app/postern/connections/auth/entra.py`)."""
    account = one("aks", "ServiceAccount")["metadata"]["name"]
    assert one("aks", "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == account
    subject = f"system:serviceaccount:{kustomization(FOLDER / 'overlays' / 'aks')['namespace']}:{account}"
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for command in ("az identity federated-credential create", "az ad app federated-credential create"):
        (text,) = re.findall(rf"^\$ ({command} (?:.*\\\n)*.*)$", page, re.MULTILINE)
        assert subject in text
        assert "api://AzureADTokenExchange" in text


def test_no_manifest_has_a_secret():
    for path in FOLDER.rglob("*.yaml"):
        for document in read(path):
            assert document["kind"] != "Secret", path
            assert "secretGenerator" not in document, path


def test_nothing_goes_in_or_out_but_what_is_named(overlay: str):
    deny = one(overlay, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policies = [each["spec"] for each in objects(overlay) if each["kind"] == "NetworkPolicy"]
    for rule in (rule for policy in policies for rule in policy.get("ingress", ())):
        assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
        assert all(set(peer) == {"namespaceSelector"} for peer in rule["from"])
    out = one(overlay, "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for rule in out for port in rule["ports"]} == {53, 443, 5432}
    assert {port["port"] for rule in out if "to" not in rule for port in rule["ports"]} == {53}


def test_the_metadata_service_of_the_cloud_cannot_be_reached(overlay: str):
    blocks = [
        peer["ipBlock"] for rule in one(overlay, "NetworkPolicy")["spec"]["egress"] for peer in rule.get("to", ())
    ]
    for address in (ip_address("169.254.169.254"), ip_address("fd00:ec2::254"), ip_address("fe80::1")):
        for block in (each for each in blocks if address in ip_network(each["cidr"])):
            assert any(address in ip_network(part) for part in block["except"]), address


def test_from_outside_there_is_no_way_to_metrics_and_health():
    (rule,) = one("aks", "Ingress")["spec"]["rules"]
    paths = {(each["path"], each["pathType"]) for each in rule["http"]["paths"]}
    assert ("/triggers", "Prefix") in paths
    assert not {path for path, _ in paths} & {"/", "/metrics", "/healthz", "/readyz"}
    assert {kind for _, kind in paths} == {"Exact", "Prefix"}
    (tls,) = one("aks", "Ingress")["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    assert settings_of("aks")["POSTERN_PUBLIC_URL"] == f"https://{rule['host']}"


def test_two_pods_at_least_serve_and_one_always_does():
    assert "replicas" not in one("aks", "Deployment")["spec"]  # it would undo what the autoscaler decided
    assert one("aks", "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    assert one("aks", "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert one("aks", "Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_one_pod_with_its_own_database_stays_alone():
    assert "POSTERN_DATABASE_URL" not in settings_of("local")
    kinds = {each["kind"] for each in objects("local")}
    assert not kinds & {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress"}


def test_who_deploys_may_make_what_an_overlay_has_and_read_no_secret():
    roles = [each for each in objects_of(FOLDER / "deployer") if "rules" in each]
    may = {name: set(rule["verbs"]) for role in roles for rule in role["rules"] for name in rule["resources"]}
    made = {each["kind"].lower().removesuffix("y") for each in objects("aks")} - {"namespace"} | {"configmap"}
    creatable = [name for name, verbs in may.items() if "create" in verbs]
    assert [kind for kind in made if not any(name.startswith(kind) for name in creatable)] == []
    assert may["namespaces"] == {"get"}
    assert not set(may) & {"secrets", "pods/exec", "serviceaccounts/token", "roles", "rolebindings", "*"}
    assert not any("*" in verbs for verbs in may.values())
    assert read(FOLDER / "deployer" / "namespace.yaml") == read(FOLDER / "base" / "namespace.yaml")
