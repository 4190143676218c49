import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.variants import CUSTOM, DIGEST, VARIANTS
from spegel_gossip.cli.run import command
from spegel_gossip.cli.settings import load_settings
from spegel_gossip.config import NodeConfig, default_of
from spegel_gossip.node.lifecycle import DRAIN_TIMEOUT

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "chart"
# What a node's kubelet puts in the place of $(NAME); the second node has IPv6 alone, and no zone.
NODES = [
    {"NODE_NAME": "node-a", "ADDRESS": "10.0.0.1", "ZONE": "eu-1a"},
    {"NODE_NAME": "node-b.example", "ADDRESS": "fd00::2", "ZONE": ""},
]
CLUSTERWIDE = {"Namespace", "CiliumClusterwideNetworkPolicy", "ClusterRole", "ClusterRoleBinding"}

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]


@pytest.fixture(scope="session", params=list(VARIANTS.values()), ids=list(VARIANTS))
def objects(request: pytest.FixtureRequest, render: Render) -> Objects:
    return render(*request.param)


def named(objects: Objects, kind: str, name: str = "mirror-spegel-gossip") -> dict[str, Any]:
    return next(one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)


def pod_specs(objects: Objects) -> Iterator[dict[str, Any]]:
    for one in objects:
        if one["kind"] in {"DaemonSet", "Job"}:
            yield one["spec"]["template"]["spec"]


def arguments_of(objects: Objects, node: dict[str, str], container: str = "mirror") -> list[str]:
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    both = [*spec["containers"], *spec.get("initContainers", [])]
    arguments: list[str] = next(one["args"] for one in both if one["name"] == container)
    for name, value in node.items():
        arguments = [argument.replace(f"$({name})", value) for argument in arguments]
    assert not any("$(" in argument for argument in arguments)
    return arguments


def config_of(objects: Objects, node: dict[str, str]) -> NodeConfig:
    given = command.make_context("run", arguments_of(objects, node)[1:]).params
    return NodeConfig(**load_settings(given, {}))


def test_helm_finds_nothing_to_complain_of(
    helm: Callable[..., subprocess.CompletedProcess[str]], request: pytest.FixtureRequest
) -> None:
    done = helm("lint", "--strict", str(CHART), "--set", "cluster.key.existingSecret=k")

    assert done.returncode == 0, done.stdout


def test_every_object_is_what_kubernetes_knows(objects: Objects) -> None:
    for one in objects:
        if one["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(one, "1.34.0", strict=True)


def test_every_object_is_in_the_namespace_of_the_release(objects: Objects) -> None:
    for one in objects:
        if one["kind"] not in CLUSTERWIDE:
            assert one["metadata"]["namespace"] == "images", one["kind"]


@pytest.mark.parametrize("node", NODES, ids=["v4", "v6"])
def test_the_program_takes_the_arguments_on_every_node(objects: Objects, node: dict[str, str]) -> None:
    config = config_of(objects, node)

    assert config.node_name == node["NODE_NAME"]
    assert config.peer_listen.host == config.status_listen.host == config.advertise_address == node["ADDRESS"]
    assert (config.mirror_address or config.registry_listen).host == "127.0.0.1"


def test_the_registry_is_on_the_nodes_loopback_alone(objects: Objects) -> None:
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    ports = {port["name"]: port for port in spec["containers"][0]["ports"]}

    if spec.get("hostNetwork"):
        assert config_of(objects, NODES[0]).registry_listen.host == "127.0.0.1"
        # Or the name of the headless Service never resolves.
        assert spec["dnsPolicy"] == "ClusterFirstWithHostNet"
    else:
        assert ports["registry"]["hostIP"] == "127.0.0.1"
        assert ports["registry"]["hostPort"] == default_of("registry_listen").port  # type: ignore[attr-defined] # an Address


def test_what_the_init_step_writes_is_what_the_node_looks_after(objects: Objects) -> None:
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    if not spec.get("initContainers"):
        assert not config_of(objects, NODES[0]).write_hosts
        return
    written = arguments_of(objects, NODES[0], "hosts")
    assert written[:3] == ["hosts", "write", "--lenient"]
    assert set(written[3:]) <= set(arguments_of(objects, NODES[0]))
    removed = named(objects, "DaemonSet", "mirror-spegel-gossip-cleanup")["spec"]["template"]["spec"]
    removing = [one.replace("$(ADDRESS)", NODES[0]["ADDRESS"]) for one in removed["containers"][0]["args"]]
    assert set(written[3:]) <= set(removing)


def test_everything_that_is_named_by_an_argument_is_mounted(objects: Objects) -> None:
    config = config_of(objects, NODES[0])
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    host_paths = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
    wanted = {str(config.state_dir), str(config.containerd_address.parent)}
    content = str(config.containerd_root / "io.containerd.content.v1.content")
    if config.write_hosts:
        wanted.add(str(config.hosts_dir))

    assert wanted | {content} <= set(mounts)
    assert mounts[content]["readOnly"]
    # The same path inside as outside: what is logged is found on the node.
    assert all(host_paths[mounts[path]["name"]] == path for path in wanted)
    if config.cluster_key_file is not None:
        assert str(config.cluster_key_file.parent) in mounts


def test_a_command_run_in_the_pod_finds_what_the_node_was_told(objects: Objects) -> None:
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    environment = {one["name"]: one["value"] for one in spec["containers"][0]["env"] if "value" in one}
    config = config_of(objects, NODES[0])
    settings = load_settings({"state_dir": None, "hosts_dir": None, "mirror_address": None}, environment)

    assert settings["state_dir"] == config.state_dir
    assert settings["hosts_dir"] == config.hosts_dir
    assert settings["mirror_address"] == (config.mirror_address or config.registry_listen)


def test_no_pod_may_do_more_than_it_must(objects: Objects) -> None:
    for spec in pod_specs(objects):
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_only_who_asks_the_api_server_gets_a_token_and_no_more_than_it_reads(objects: Objects) -> None:
    rules = {one["kind"]: one["rules"] for one in objects if one["kind"] in {"Role", "ClusterRole"}}
    spec = named(objects, "DaemonSet")["spec"]["template"]["spec"]
    arguments = spec["containers"][0]["args"]
    expected: dict[str, list[dict[str, list[str]]]] = {}
    if "--discovery=kubernetes" in arguments:
        expected["Role"] = [
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
        ]
    if "--zone-from-node" in arguments:
        expected["ClusterRole"] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]

    assert rules == expected
    assert spec["automountServiceAccountToken"] is bool(expected)
    assert named(objects, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_seeds_are_behind_a_name_that_exists(objects: Objects) -> None:
    config = config_of(objects, NODES[0])
    service = named(objects, "Service", "mirror-spegel-gossip-bootstrap")

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    if config.seed_dns is not None:
        assert config.seed_dns == "mirror-spegel-gossip-bootstrap.images.svc.cluster.local."
    if config.kubernetes_service is not None:
        assert config.kubernetes_service == "images/mirror-spegel-gossip-bootstrap"


def test_no_service_takes_the_cleaning_pods_for_mirrors(objects: Objects) -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in objects if one["kind"] == "DaemonSet"]
    for service in (one for one in objects if one["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        assert sum(selector <= each.items() for each in labels) == 1


def test_the_state_goes_when_asked_whoever_writes_the_hosts_files(render: Render) -> None:
    settings = "spegelGossip.containerdMirrorAdd=false,cleanup.removeState=true"
    cleaning = named(render("--set", settings), "DaemonSet", "mirror-spegel-gossip-cleanup")
    spec = cleaning["spec"]["template"]["spec"]

    assert [volume["name"] for volume in spec["volumes"]] == ["state"]
    assert spec["containers"][0]["args"] == [
        *("cleanup", "node", "--answer=[$(ADDRESS)]:29503", "--keep-hosts"),
        *("--state-dir=/var/lib/spegel-gossip", "--remove-state"),
    ]


def test_a_pod_has_time_to_drain_and_a_roll_out_takes_a_tenth_at_a_time(render: Render) -> None:
    daemonset = named(render(), "DaemonSet")["spec"]

    assert daemonset["template"]["spec"]["terminationGracePeriodSeconds"] > DRAIN_TIMEOUT
    assert daemonset["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == "10%"


def test_the_charts_defaults_are_the_programs(render: Render) -> None:
    config = config_of(render(), NODES[0])
    here = {"node_name", "advertise_address", "zone", "seed_dns", "discovery"}
    here |= {"cluster_key_file", "write_hosts", "peer_listen", "status_listen"}

    for name in set(NodeConfig.__dataclass_fields__) - here:
        assert getattr(config, name) == default_of(name), name
    for name in ("peer_listen", "status_listen"):
        assert getattr(config, name).port == default_of(name).port  # type: ignore[attr-defined] # an Address


def test_an_image_may_be_named_by_digest(render: Render) -> None:
    for spec in pod_specs(render("--set", f"image.digest={DIGEST}")):
        for container in spec["containers"]:
            assert container["image"] == f"ghcr.io/spegel-gossip/spegel-gossip@{DIGEST}"


def test_without_a_cluster_no_key_is_made_up(render: Render) -> None:
    with pytest.raises(ValueError, match=r"set cluster\.key\.existingSecret to its name"):
        render(key="")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("networkPolicy.enabled=true", "no effect with hostNetwork"),
        ("hostNetwork=false,networkPolicy.cilium.enabled=true", "is for hostNetwork"),
        ("hostNetwrok=false", "hostNetwrok"),
        ("service.registry.port=0", "port"),
        ("discovery.kind=consul", "kind"),
        ("terminationGracePeriodSeconds=10", "terminationGracePeriodSeconds"),
        ("spegelGossip.containerdSock=run/containerd.sock", "containerdSock"),
        ("image.digest=latest", "digest"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(render: Render, setting: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        render("--set", setting)


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def compare(values: dict[str, Any], schema: dict[str, Any], where: str) -> None:
        known = schema.get("properties", {})
        if not known:
            return
        assert set(values) == set(known) - {"global"}, where
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, known[name], f"{where}.{name}")

    compare(values, schema, "values")


def test_the_manifests_are_what_the_chart_renders(
    tmp_path: Path, helm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    subprocess.run(["sh", "scripts/render-manifests", str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    kept = ROOT / "deploy" / "manifests"

    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in kept.iterdir()}
    for path in tmp_path.iterdir():
        assert (kept / path.name).read_text() == path.read_text(), "run scripts/render-manifests"
