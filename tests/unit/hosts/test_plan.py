import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.document import NO_CERTIFICATES, Wish, with_ours
from spegel_gossip.hosts.plan import (
    Folder,
    HostsState,
    RemoveFile,
    WriteFile,
    describe,
    folder_name,
    is_registry_folder,
    plan_remove,
    plan_write,
    wanted_in,
)
from spegel_gossip.hosts.registry_url import RegistryUrl

MIRROR = "http://127.0.0.1:29500"
HUB = RegistryUrl("https", "docker.io")
LAN = RegistryUrl("http", "registry.lan:5000")
WISH = Wish(mirror=MIRROR)
THEIRS = b'server = "https://elsewhere"\n'
NEW_FOLDER = with_ours(None, WISH, NO_CERTIFICATES, is_new_folder=True)
NEW_FILE = with_ours(None, WISH, NO_CERTIFICATES, is_new_folder=False)
MERGED = with_ours(THEIRS, WISH, NO_CERTIFICATES, is_new_folder=False)
OURS = Folder(NEW_FOLDER)
FOREIGN = Folder(THEIRS)
BROKEN = Folder(b"[host")
LINK = Folder(obstacle="its hosts.toml is no plain file")


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


def test_without_registries_ours_belongs_everywhere_that_containerd_may_look() -> None:
    seen = dict.fromkeys(["_backup", "_default", "docker.io", "registry.lan_5000_", "..data"], FOREIGN)

    assert list(wanted_in(MIRROR, (), seen)) == ["_default", "docker.io", "registry.lan_5000_"]
    assert list(wanted_in(MIRROR, (), {})) == ["_default"]


def test_with_registries_ours_belongs_into_theirs() -> None:
    wanted = wanted_in(MIRROR, (HUB, LAN), {"ghcr.io": FOREIGN})

    assert {name: wish.registry for name, wish in wanted.items()} == {
        "docker.io": HUB,
        "registry.lan:5000": LAN,
    }


def test_the_folder_that_containerd_prefers_is_used_where_it_exists() -> None:
    assert folder_name(LAN, {"registry.lan_5000_": Folder()}) == "registry.lan_5000_"
    assert folder_name(LAN, {}) == "registry.lan:5000"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("docker.io", True),
        ("registry.lan:5000", True),
        ("registry.lan_5000_", True),
        ("[fd00::1]_5000_", True),
        ("localhost", True),
        ("_default", False),
        ("_backup", False),
        ("..2026_01_01", False),
        ("lost found", False),
    ],
)
def test_a_registry_folder_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert is_registry_folder(name) is is_one


def test_writing_puts_ours_into_what_is_missing_empty_or_somebody_elses() -> None:
    wanted = dict.fromkeys(["_default", "docker.io", "ghcr.io"], WISH)
    seen = {"docker.io": Folder(), "ghcr.io": FOREIGN}

    assert plan_write(MIRROR, wanted, seen) == [
        WriteFile("_default", NEW_FOLDER, None),
        WriteFile("docker.io", NEW_FILE, None),
        WriteFile("ghcr.io", MERGED, THEIRS),
    ]


def test_writing_again_does_nothing() -> None:
    seen = {"_default": OURS, "docker.io": Folder(NEW_FILE), "ghcr.io": Folder(MERGED)}

    assert plan_write(MIRROR, wanted_in(MIRROR, (), seen), seen) == []


@pytest.mark.parametrize("obstacle", [BROKEN, LINK])
def test_what_cannot_be_changed_is_left_alone(obstacle: Folder) -> None:
    seen = {"_default": obstacle, "quay.io": obstacle}

    assert plan_write(MIRROR, wanted_in(MIRROR, (), seen), seen) == []
    assert plan_remove(MIRROR, seen) == []


def test_ours_goes_from_where_it_is_no_longer_wanted() -> None:
    seen = {"_default": OURS, "ghcr.io": Folder(MERGED), "quay.io": Folder(NEW_FILE), "docker.io": FOREIGN}

    assert (
        plan_write(MIRROR, {}, seen)
        == plan_remove(MIRROR, seen)
        == [
            RemoveFile("_default", NEW_FOLDER, with_folder=True),
            WriteFile("ghcr.io", THEIRS, MERGED),
            RemoveFile("quay.io", NEW_FILE, with_folder=False),
        ]
    )


def test_every_folder_is_described_by_what_it_means_for_us() -> None:
    seen = {"_default": OURS, "a": FOREIGN, "b": BROKEN, "d": Folder(MERGED), "y": OURS, "z": FOREIGN}
    wanted = dict.fromkeys(["_default", "a", "b", "c", "d"], WISH)

    states = [(entry.folder, entry.state, entry.is_wanted) for entry in describe(MIRROR, wanted, seen)]

    assert states == [
        ("_default", HostsState.CURRENT, True),
        ("a", HostsState.OUTDATED, True),
        ("b", HostsState.FOREIGN, True),
        ("c", HostsState.MISSING, True),
        ("d", HostsState.CURRENT, True),
        ("y", HostsState.OUTDATED, False),
        ("z", HostsState.FOREIGN, False),
    ]


def test_spegels_leftovers_are_named() -> None:
    spegels = b"[host.'http://10.0.0.7:30020']\ncapabilities = ['pull', 'resolve']\ndial_timeout = '200ms'\n"
    merged = with_ours(spegels, WISH, NO_CERTIFICATES, is_new_folder=False)
    seen = {"_backup": Folder(), "_default": Folder(merged)}

    entries = {entry.folder: entry for entry in describe(MIRROR, wanted_in(MIRROR, (), seen), seen)}

    assert entries["_default"].state is HostsState.CURRENT
    assert "Spegel" in entries["_default"].note
    assert not entries["_backup"].is_wanted
    assert "Spegel" in entries["_backup"].note


def test_a_file_that_its_owner_points_at_us_is_current() -> None:
    by_hand = f'[host."{MIRROR}"]\n  capabilities = ["pull"]\n'.encode()

    (entry,) = describe(MIRROR, {"_default": WISH}, {"_default": Folder(by_hand)})

    assert entry.state is HostsState.CURRENT
    assert "itself" in entry.note
