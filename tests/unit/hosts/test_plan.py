import tomllib

import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.document import is_ours, mirror_url, render
from spegel_gossip.hosts.plan import (
    Folder,
    HostsState,
    RemoveFile,
    WriteFile,
    describe,
    folder_name,
    plan_remove,
    plan_write,
    wanted_files,
)
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.swim.address import Address

MIRROR = "http://127.0.0.1:29500"
HUB = RegistryUrl("https", "docker.io")
LAN = RegistryUrl("http", "registry.lan:5000")
FOREIGN = Folder(b'server = "https://elsewhere"\n')
OURS = Folder(render(MIRROR, None))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://ghcr.io", RegistryUrl("https", "ghcr.io")),
        ("http://registry.lan:5000/", LAN),
        ("ghcr.io", RegistryUrl("https", "ghcr.io")),
        ("registry.lan:5000", RegistryUrl("https", "registry.lan:5000")),
        ("https://registry-1.docker.io", HUB),
        ("https://[fd00::1]:5000", RegistryUrl("https", "[fd00::1]:5000")),
    ],
)
def test_a_registry_is_scheme_and_host(text: str, url: RegistryUrl) -> None:
    assert RegistryUrl.parse(text) == url
    assert RegistryUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://ghcr.io",
        "https://ghcr.io/v2",
        "https://me:pw@ghcr.io",
        "https://ghcr.io?x=1",
        "https://[::",
        "a b",
    ],
)
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        RegistryUrl.parse(text)


def test_the_file_for_all_registries_has_our_host_and_no_server() -> None:
    document = tomllib.loads(render(MIRROR, None).decode())

    # containerd 1.6 rejects a file without a host table.
    assert document == {"host": {MIRROR: {"capabilities": ["pull", "resolve"], "dial_timeout": "200ms"}}}


@pytest.mark.parametrize(
    ("registry", "server"), [(HUB, "https://registry-1.docker.io"), (LAN, "http://registry.lan:5000")]
)
def test_the_file_of_a_registry_says_where_a_miss_goes(registry: RegistryUrl, server: str) -> None:
    assert tomllib.loads(render(MIRROR, registry).decode())["server"] == server


def test_ours_is_known_by_its_mark_and_nothing_else_is() -> None:
    assert is_ours(render(MIRROR, HUB))
    assert not is_ours(b'[host."http://127.0.0.1:29500"]\n')


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        (Address("127.0.0.1", 29500), MIRROR),
        (Address("0.0.0.0", 1), "http://127.0.0.1:1"),  # noqa: S104 - not bound
        (Address("::", 1), "http://[::1]:1"),
        (Address("10.0.0.1", 1), "http://10.0.0.1:1"),
    ],
)
def test_the_mirror_is_named_as_this_machine_reaches_it(listen: Address, url: str) -> None:
    assert mirror_url(listen) == url


def test_without_registries_there_is_one_file_for_all() -> None:
    assert list(wanted_files(MIRROR, (), {})) == ["_default"]
    assert list(wanted_files(MIRROR, (HUB, LAN), {})) == ["docker.io", "registry.lan:5000"]


def test_the_folder_that_containerd_prefers_is_used_where_it_exists() -> None:
    assert folder_name(LAN, {"registry.lan_5000_": Folder()}) == "registry.lan_5000_"
    assert folder_name(LAN, {}) == "registry.lan:5000"


def test_writing_puts_in_place_what_is_missing_or_outdated() -> None:
    wanted = {"_default": b"new", "quay.io": b"new"}
    seen = {"_default": OURS, "quay.io": Folder()}

    assert plan_write(wanted, seen) == [WriteFile("_default", b"new"), WriteFile("quay.io", b"new")]


def test_writing_again_does_nothing() -> None:
    wanted = wanted_files(MIRROR, (), {})

    assert plan_write(wanted, {"_default": Folder(wanted["_default"])}) == []


@pytest.mark.parametrize("foreign", [FOREIGN, Folder(None, has_others=True)])
def test_what_others_wrote_is_never_changed(foreign: Folder) -> None:
    wanted = wanted_files(MIRROR, (), {})

    assert plan_write(wanted, {"_default": foreign, "quay.io": foreign}) == []
    assert plan_remove({"_default": foreign, "quay.io": foreign}) == []


def test_ours_goes_when_it_is_no_longer_wanted() -> None:
    wanted = wanted_files(MIRROR, (HUB,), {})
    seen = {"_default": OURS, "docker.io": Folder(wanted["docker.io"])}

    assert plan_write(wanted, seen) == [RemoveFile("_default")]


def test_removing_takes_ours_from_everywhere_even_beside_certificates() -> None:
    seen = {
        "_default": OURS,
        "quay.io": Folder(render("http://old", HUB), has_others=True),
        "ghcr.io": FOREIGN,
    }

    assert plan_remove(seen) == [RemoveFile("_default"), RemoveFile("quay.io")]


def test_every_folder_is_described_by_what_it_means_for_us() -> None:
    wanted = {"_default": OURS.content or b"", "a": b"new", "b": b"new", "c": b"new"}
    seen = {"_default": OURS, "a": OURS, "b": FOREIGN, "y": OURS, "z": FOREIGN}

    states = [(entry.folder, entry.state, entry.is_wanted) for entry in describe(wanted, seen)]

    assert states == [
        ("_default", HostsState.CURRENT, True),
        ("a", HostsState.OUTDATED, True),
        ("b", HostsState.FOREIGN, True),
        ("c", HostsState.MISSING, True),
        ("y", HostsState.OUTDATED, False),
        ("z", HostsState.FOREIGN, False),
    ]


def test_even_an_empty_folder_hides_the_file_for_all() -> None:
    entries = describe(wanted_files(MIRROR, (), {}), {"_default": OURS, "quay.io": Folder()})

    assert [(entry.folder, entry.state) for entry in entries][1] == ("quay.io", HostsState.FOREIGN)
