import pytest

from spegel_gossip.client.platforms import choose, parse_platform, platform_of_machine
from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.descriptor import Descriptor
from spegel_gossip.oci.digest import Digest
from spegel_gossip.oci.manifest import IndexEntry, Platform
from spegel_gossip.oci.media_type import OCI_MANIFEST


def entry(text: str, *, is_attestation: bool = False) -> IndexEntry:
    platform = None if text == "none" else parse_platform(text)
    return IndexEntry(Descriptor(Digest.of(text.encode()), 1, OCI_MANIFEST), platform, is_attestation)


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", "linux/arm64"),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/arm/v7"], "linux/arm/v6", None),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm", "linux/arm/v7"),
        (["linux/amd64", "linux/amd64/v3"], "linux/amd64/v4", "linux/amd64/v3"),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64/v3"], "linux/amd64", None),
        (["linux/mips/softfloat"], "linux/mips", None),
        (["none"], "linux/amd64", None),
        ([], "linux/amd64", None),
    ],
)
def test_the_best_that_the_machine_runs_is_chosen(
    offered: list[str], wanted: str, chosen: str | None
) -> None:
    found = choose([entry(text) for text in offered], parse_platform(wanted))

    assert (None if found is None else str(found.platform)) == chosen


def test_the_first_of_equals_is_chosen() -> None:
    first, second = entry("linux/amd64"), entry("linux/amd64")

    assert choose([first, second], Platform("linux", "amd64")) is first


def test_an_attestation_is_never_chosen() -> None:
    assert choose([entry("linux/amd64", is_attestation=True)], Platform("linux", "amd64")) is None


@pytest.mark.parametrize("text", ["linux", "", "linux/", "linux/amd64/v1/x", "linux/a b", "../amd64/x/y"])
def test_what_is_no_platform_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="linux/arm64"):
        parse_platform(text)


def test_a_machine_is_known_by_the_name_the_kernel_gives_it() -> None:
    assert str(platform_of_machine("aarch64")) == "linux/arm64"
    with pytest.raises(ConfigError, match="--platform"):
        platform_of_machine("pdp11")
