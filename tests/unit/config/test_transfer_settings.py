from pathlib import Path
from typing import Any

import pytest

from spegel_gossip.config import NodeConfig
from spegel_gossip.config.transfers import parse_count, parse_size
from spegel_gossip.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500B", 500),
        ("64MiB", 64 << 20),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("2GiB", 2 << 30),
        ("1Ki", 1024),
        ("3T", 3 << 40),
    ],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "GiB", "1 GiB", "1PiB", "1" * 16])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "1000000", "٣"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_count(text)


def test_an_upload_limit_that_no_reader_would_bear_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 64KiB"):
        NodeConfig(plaintext=True, upload_limit=63 << 10)
    assert NodeConfig(plaintext=True, upload_limit=64 << 10).upload_limit == 64 << 10


FILES: dict[str, Any] = {f"peer_tls_{name}": Path(f"/{name}") for name in ("cert", "key", "ca")}


@pytest.mark.parametrize("missing", sorted(FILES))
def test_tls_between_nodes_takes_all_its_files_or_none(missing: str) -> None:
    given = {name: path for name, path in FILES.items() if name != missing}

    with pytest.raises(ConfigError, match="belong together"):
        NodeConfig(plaintext=True, **given)
    assert NodeConfig(plaintext=True).peer_tls is None
    assert NodeConfig(plaintext=True, **FILES).peer_tls is not None
