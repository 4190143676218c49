import pytest

from spegel_gossip.errors import ConfigError
from spegel_gossip.swim.address import Address


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("10.0.0.1", 1, "10.0.0.1:1"),
        ("FD00::0:1", 65535, "[fd00::1]:65535"),
        ("::ffff:10.0.0.1", 29501, "10.0.0.1:29501"),
        ("fe80::1%eth0", 29501, "[fe80::1]:29501"),
    ],
)
def test_an_address_has_one_spelling(host: str, port: int, text: str) -> None:
    assert str(Address.make(host, port)) == text


@pytest.mark.parametrize(
    ("host", "port"), [("node-1", 1), ("", 1), ("10.0.0.1", 0), ("10.0.0.1", 65536), ("10.0.0.256", 1)]
)
def test_what_is_no_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError):
        Address.make(host, port)
