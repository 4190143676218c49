"""The chart against a real API server: what it would take, what helm keeps, what the token may do."""

import json
import re
from pathlib import Path

import pytest
import yaml
from kubernetes.client import Configuration

from api_server.control_plane import CommandFailedError, ControlPlane
from deploy.variants import CUSTOM, VARIANTS
from spegel_gossip.discovery.node_zone import read_node_zone

ROOT = Path(__file__).resolve().parents[2]
CHART = str(ROOT / "deploy" / "chart")
MANIFESTS = sorted(path.name for path in (ROOT / "deploy" / "manifests").glob("*.yaml"))
# Given instead of a cluster's controllers and custom resources.
NO_HOOKS = "--no-hooks"


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name)[:60].strip("-")
    control_plane.kubectl("create", "namespace", name)
    return name


def key_of(control_plane: ControlPlane, namespace: str) -> str:
    key: str = control_plane.get("secret", "mirror-spegel-gossip-key", namespace)["data"]["key"]
    return key


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_taken_as_it_is(control_plane: ControlPlane, manifest: str) -> None:
    objects = [
        one for one in yaml.safe_load_all((ROOT / "deploy" / "manifests" / manifest).read_text()) if one
    ]
    namespaces = [one for one in objects if one["kind"] == "Namespace"]
    control_plane.kubectl("apply", "-f", "-", document=namespaces[0])
    rest = {"apiVersion": "v1", "kind": "List", "items": [one for one in objects if one not in namespaces]}

    printed = control_plane.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", document=rest
    )

    assert len(printed.split()) == len(rest["items"])


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_of_the_chart_is_taken(control_plane: ControlPlane, variant: str) -> None:
    settings = ("--set", "cluster.key.existingSecret=a-key", *VARIANTS[variant])
    rendered = control_plane.helm("template", "mirror", CHART, "--namespace", "default", *settings)
    objects = [one for one in yaml.safe_load_all(rendered) if one and one["apiVersion"] not in CUSTOM]
    document = {"apiVersion": "v1", "kind": "List", "items": objects}

    printed = control_plane.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-", document=document
    )

    assert len(printed.split()) == len(objects)


@pytest.mark.parametrize("settings", ["hostNetwork=true", "hostNetwork=false,networkPolicy.enabled=true"])
def test_a_release_with_its_hooks_is_taken(
    control_plane: ControlPlane, namespace: str, settings: str
) -> None:
    where = ("--namespace", namespace, "--dry-run=server", "--set", f"{settings},cleanup.removeState=true")
    rendered = control_plane.helm("install", "mirror", CHART, *where, "-o", "json")
    hooks = json.loads(rendered)["hooks"]

    assert {hook["kind"] for hook in hooks} == {"Service", "DaemonSet", "Job"}
    for hook in hooks:
        document = yaml.safe_load(hook["manifest"])
        control_plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", document=document)


def test_a_key_is_made_once_and_outlives_upgrades_and_the_release(
    control_plane: ControlPlane, namespace: str
) -> None:
    where = ("mirror", CHART, "--namespace", namespace, NO_HOOKS)
    control_plane.helm("install", *where)
    first = key_of(control_plane, namespace)
    control_plane.helm("upgrade", *where, "--set", "spegelGossip.logLevel=debug")
    assert key_of(control_plane, namespace) == first

    control_plane.helm("uninstall", "mirror", "--namespace", namespace, NO_HOOKS)
    assert key_of(control_plane, namespace) == first
    control_plane.helm("install", *where)
    assert key_of(control_plane, namespace) == first


def test_a_key_goes_with_the_release_when_asked(control_plane: ControlPlane, namespace: str) -> None:
    remove = ("--set", "cleanup.removeKey=true")
    control_plane.helm("install", "mirror", CHART, "--namespace", namespace, NO_HOOKS, *remove)
    control_plane.helm("uninstall", "mirror", "--namespace", namespace, NO_HOOKS)

    with pytest.raises(CommandFailedError, match="NotFound"):
        key_of(control_plane, namespace)


def test_the_token_may_watch_the_slices_of_its_namespace_and_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    kind = ("--set", "discovery.kind=kubernetes")
    control_plane.helm("install", "mirror", CHART, "--namespace", namespace, NO_HOOKS, *kind)
    token = control_plane.kubectl("create", "token", "mirror-spegel-gossip", "-n", namespace).strip()

    control_plane.kubectl("get", "endpointslices", "-n", namespace, token=token)
    for refused in (
        ("get", "endpointslices", "-n", "default"),
        ("get", "pods", "-n", namespace),
        ("get", "secrets", "-n", namespace),
        ("get", "nodes"),
        ("delete", "endpointslices", "any", "-n", namespace),
    ):
        with pytest.raises(CommandFailedError, match="Forbidden"):
            control_plane.kubectl(*refused, token=token)


def test_without_discovery_by_kubernetes_the_account_may_do_nothing(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.helm("install", "mirror", CHART, "--namespace", namespace, NO_HOOKS)
    token = control_plane.kubectl("create", "token", "mirror-spegel-gossip", "-n", namespace).strip()

    with pytest.raises(CommandFailedError, match="Forbidden"):
        control_plane.kubectl("get", "endpointslices", "-n", namespace, token=token)


async def test_the_zone_of_a_node_can_be_read_with_leave_for_it_and_nothing_more(
    control_plane: ControlPlane, namespace: str
) -> None:
    labels = {"topology.kubernetes.io/zone": "eu-1a"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": labels}}
    control_plane.kubectl("apply", "-f", "-", document=node)
    zone = ("--set", "zoneFromNode=true")
    control_plane.helm("install", "mirror", CHART, "--namespace", namespace, NO_HOOKS, *zone)
    token = control_plane.kubectl("create", "token", "mirror-spegel-gossip", "-n", namespace).strip()

    def configure(configuration: Configuration) -> None:
        configuration.host = control_plane.url
        configuration.ssl_ca_cert = str(control_plane.authority)
        configuration.api_key = {"authorization": f"Bearer {token}"}

    assert await read_node_zone("node-a", configure=configure) == "eu-1a"
    for refused in (("get", "nodes"), ("delete", "node", "node-a"), ("get", "secrets", "-n", namespace)):
        with pytest.raises(CommandFailedError, match="Forbidden"):
            control_plane.kubectl(*refused, token=token)
