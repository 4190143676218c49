from pathlib import Path

import pytest

from spegel_gossip.config import SETTINGS, NodeConfig, default_of
from spegel_gossip.config.surroundings import check_surroundings
from spegel_gossip.config.values import (
    MAX_SOCKET_PATH,
    Discovery,
    LogLevel,
    SeedAddress,
    Store,
    one_of,
    parse_advertise_address,
    parse_listen_address,
    parse_namespace,
    parse_node_name,
    parse_path,
    parse_seed_dns,
    parse_socket_path,
    parse_zone,
)
from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address
from spegel_gossip.wire.keyring import new_key

ANY_V4 = "0.0.0.0"  # noqa: S104 - not bound


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("10.0.0.7", SeedAddress("10.0.0.7")),
        ("10.0.0.7:1", SeedAddress("10.0.0.7", 1)),
        ("node-1.example", SeedAddress("node-1.example")),
        ("node-1:29501", SeedAddress("node-1", 29501)),
        ("fd00::7", SeedAddress("fd00::7")),
        ("[fd00::7]", SeedAddress("fd00::7")),
        ("[fd00::7]:29501", SeedAddress("fd00::7", 29501)),
        ("svc.ns.svc.cluster.local.", SeedAddress("svc.ns.svc.cluster.local.")),
    ],
)
def test_a_seed_is_a_name_or_an_address_with_or_without_a_port(text: str, seed: SeedAddress) -> None:
    assert SeedAddress.parse(text) == seed
    assert SeedAddress.parse(str(seed)) == seed


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "a:b:c",
        "[fd00::7",
        "[fd00::7]x",
        "1.2.3",
        "999.1.1.1",
        "a b",
    ],
)
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        SeedAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:29500", Address("127.0.0.1", 29500)),
        ("[::]:29501", Address("::", 29501)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_a_listen_address_is_an_ip_and_a_port(text: str, address: Address) -> None:
    assert parse_listen_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "29500",
        ":29500",
        "127.0.0.1",
        "localhost:29500",
        "::1:29500",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "[::1]",
    ],
)
def test_what_is_no_listen_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_listen_address(text)


@pytest.mark.parametrize(
    "text", ["", "node-1", "10.0.0.1:29501", ANY_V4, "::", "224.0.0.1", "fe80::1", "fd00::1%eth0"]
)
def test_an_address_that_others_cannot_reach_is_not_advertised(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_advertise_address(text)


def test_an_advertised_address_has_its_usual_form() -> None:
    assert parse_advertise_address("FD00:0::7") == "fd00::7"


@pytest.mark.parametrize("parse", [parse_node_name, parse_zone, parse_namespace, parse_seed_dns])
@pytest.mark.parametrize("text", ["a b", "-a", "a/b", "a\n", "ä", "x" * 300])
def test_a_name_with_anything_but_letters_digits_and_joints_is_refused(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(ConfigError):
        parse(text)


def test_a_path_is_absolute_and_not_empty() -> None:
    assert parse_path("x").is_absolute()
    with pytest.raises(ConfigError):
        parse_path("")


def test_a_socket_may_be_written_as_containerd_writes_it() -> None:
    assert parse_socket_path("unix:///run/containerd/containerd.sock") == Path(
        "/run/containerd/containerd.sock"
    )


def test_a_path_longer_than_a_socket_may_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=str(MAX_SOCKET_PATH)):
        parse_socket_path("/" + "x" * MAX_SOCKET_PATH)


def test_a_word_is_one_of_those_there_are() -> None:
    assert one_of(LogLevel)("debug") is LogLevel.DEBUG
    with pytest.raises(ConfigError, match="unknown"):
        one_of(Discovery)("consul")


def test_without_a_key_nothing_starts_unless_plaintext_is_given() -> None:
    with pytest.raises(ConfigError, match=r"--cluster-key-file.*--plaintext"):
        NodeConfig()
    assert NodeConfig(plaintext=True).plaintext


def test_plaintext_beside_a_key_is_the_stage_between_the_two() -> None:
    assert NodeConfig(plaintext=True, cluster_key_file=Path("/key")).plaintext


def test_a_dns_seed_chooses_dns() -> None:
    assert NodeConfig(plaintext=True).seed_source is Discovery.STATIC
    assert NodeConfig(plaintext=True, seed_dns="seeds.example").seed_source is Discovery.DNS


@pytest.mark.parametrize(("discovery", "name"), [(Discovery.DNS, None), (Discovery.STATIC, "seeds.example")])
def test_discovery_and_the_dns_seed_must_agree(discovery: Discovery, name: str | None) -> None:
    with pytest.raises(ConfigError, match="--seed-dns"):
        NodeConfig(plaintext=True, discovery=discovery, seed_dns=name)


def test_a_service_chooses_kubernetes_and_may_go_with_dns() -> None:
    config = NodeConfig(plaintext=True, kubernetes_service="mirror/peers", seed_dns="peers.mirror.svc")

    assert config.seed_source is Discovery.KUBERNETES


@pytest.mark.parametrize(
    ("discovery", "service"),
    [(Discovery.KUBERNETES, None), (Discovery.STATIC, "peers"), (Discovery.DNS, "peers")],
)
def test_discovery_and_the_service_must_agree(discovery: Discovery, service: str | None) -> None:
    with pytest.raises(ConfigError, match="--kubernetes-service"):
        NodeConfig(
            plaintext=True,
            discovery=discovery,
            kubernetes_service=service,
            seed_dns="peers.svc" if discovery is Discovery.DNS else None,
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "::", ANY_V4])
def test_two_endpoints_do_not_share_a_port(host: str) -> None:
    with pytest.raises(ConfigError, match="--status-listen"):
        NodeConfig(plaintext=True, status_listen=Address(host, default_port()))


def test_the_same_port_on_two_addresses_is_fine() -> None:
    NodeConfig(plaintext=True, status_listen=Address("10.0.0.1", default_port()))


def default_port() -> int:
    return NodeConfig(plaintext=True).registry_listen.port


def test_the_admin_socket_is_in_the_state_directory_unless_given() -> None:
    assert NodeConfig(plaintext=True, state_dir=Path("/s")).admin_socket_path == Path("/s/admin.sock")
    assert NodeConfig(plaintext=True, admin_socket=Path("/a")).admin_socket_path == Path("/a")


def test_a_state_directory_too_deep_for_its_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unix socket"):
        NodeConfig(plaintext=True, state_dir=Path("/" + "x" * MAX_SOCKET_PATH))


def test_a_host_name_that_is_no_node_name_asks_for_one() -> None:
    with pytest.raises(ConfigError, match=r"^--node-name: 'my host' is not valid"):
        NodeConfig(plaintext=True, node_name="my host")


def test_mirrored_registries_and_filters_decide_what_is_served() -> None:
    assert NodeConfig(plaintext=True).content_filter.allows("ghcr.io", "a/b")
    limited = NodeConfig(plaintext=True, mirror_registries=(RegistryUrl("https", "docker.io"),))
    assert limited.content_filter.allows("docker.io", "library/nginx")
    assert not limited.content_filter.allows("ghcr.io", "a/b")


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"node_name"}))
def test_every_default_is_what_its_own_text_would_be_read_as(name: str) -> None:
    setting, default = SETTINGS[name], default_of(name)
    if setting.parse is not None and not setting.is_many and default is not None:
        assert setting.parse(str(default)) == default


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(new_key())
    return path


def test_surroundings_that_are_there_pass_and_the_state_directory_is_made(
    tmp_path: Path, key_file: Path
) -> None:
    config = NodeConfig(
        cluster_key_file=key_file, state_dir=tmp_path / "state", hosts_dir=tmp_path, write_hosts=True
    )

    check_surroundings(config)

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_missing_default_root_of_containerd_is_no_error(tmp_path: Path) -> None:
    check_surroundings(NodeConfig(plaintext=True, state_dir=tmp_path))


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--cluster-key-file", {"plaintext": False, "cluster_key_file": "missing"}),
        ("--cluster-key-file", {"plaintext": False, "cluster_key_file": "."}),
        ("--cluster-key-file", {"plaintext": False, "cluster_key_file": "file"}),
        ("--state-dir", {"state_dir": "missing/state"}),
        ("--state-dir", {"state_dir": "file"}),
        ("--admin-socket", {"admin_socket": "missing/admin.sock"}),
        ("--containerd-root", {"containerd_root": "missing"}),
        ("--layout-root", {"store": Store.LAYOUT, "layout_root": "missing/layout"}),
        ("--layout-root", {"store": Store.LAYOUT, "layout_root": "file"}),
        ("--hosts-dir", {"hosts_dir": "missing", "write_hosts": True}),
        ("--hosts-dir", {"hosts_dir": "file", "write_hosts": True}),
    ],
)
def test_surroundings_that_are_not_there_are_named_with_their_flag(
    tmp_path: Path, flag: str, changes: dict[str, object]
) -> None:
    (tmp_path / "file").write_text("not a key")
    given: dict[str, object] = {"plaintext": True, "state_dir": "."} | changes
    paths = {name: tmp_path / value if type(value) is str else value for name, value in given.items()}

    with pytest.raises(ConfigError, match=f"^{flag}"):
        check_surroundings(NodeConfig(**paths))  # type: ignore[arg-type]  # drawn from the table above


def test_a_dns_seed_may_be_the_name_of_srv_records() -> None:
    assert parse_seed_dns("_peers-udp._udp.mirror.svc.cluster.local.").startswith("_peers")
    for text in ("_udp.mirror.svc", "_peers._sctp.mirror.svc", "_peers"):
        with pytest.raises(ConfigError, match="is not a DNS name"):
            parse_seed_dns(text)
