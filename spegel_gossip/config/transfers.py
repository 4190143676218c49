"""The settings of how bytes move, a part of `NodeConfig` in a file of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spegel_gossip.config import setting, values
from spegel_gossip.errors import ConfigError
from spegel_gossip.splice.config import PumpConfig
from spegel_gossip.transfer.config import TransferConfig
from spegel_gossip.wire.tls import TlsFiles

# Read from instances: with slots a class attribute is a descriptor, not the default.
_TRANSFER = TransferConfig()
_PUMP = PumpConfig()

_SIZE: Final = re.compile(r"([0-9]{1,15})([KMGT]i?B?|B)?", re.IGNORECASE)
_FACTORS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Read a number of bytes: `1000000`, `64MiB`, `1G`. KB and KiB are both 1,024.

    Raises:
        ConfigError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) < 1:
        raise ConfigError(f"{text[:80]!r} is no size: write it as 64MiB or 1GiB")
    unit = (match[2] or "b")[0].lower()
    return int(match[1]) * _FACTORS[unit]


def parse_count(text: str) -> int:
    """Read a positive whole number.

    Raises:
        ConfigError: it is none.
    """
    if re.fullmatch(r"[0-9]{1,6}", text) is None or int(text) < 1:
        raise ConfigError(f"{text[:80]!r} is no number from 1 to 999999")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSettings:
    """What an operator may decide about the moving of bytes."""

    swarm: bool = field(
        default=True,
        metadata=setting.about(
            "swarm",
            None,
            "",
            "One node of the cluster fetches a blob from the registry, the others read it from there as it "
            "arrives. Without, each node that asks before the first one is done goes to the registry itself.",
            has_negative=True,
        ),
    )
    max_uploads: int = field(
        default=_TRANSFER.max_uploads,
        metadata=setting.about(
            "max-uploads",
            parse_count,
            "COUNT",
            "Blobs sent to other nodes at once; who asks for one more is told to go elsewhere.",
        ),
    )
    max_partial_uploads: int = field(
        default=_TRANSFER.max_partial_uploads,
        metadata=setting.about(
            "max-partial-uploads",
            parse_count,
            "COUNT",
            "Blobs still arriving here that are sent on at once; who asks for one more is named others that "
            "receive it.",
        ),
    )
    upload_limit: int | None = field(
        default=_TRANSFER.upload_rate,
        metadata=setting.about(
            "upload-limit",
            parse_size,
            "SIZE",
            "Bytes a second sent to other nodes, all together: `100MiB`. At least 64KiB, which is what each "
            "upload has: under 16MiB fewer than 256 are sent at once.",
            default_text="none",
        ),
    )
    drop_cache_above: int | None = field(
        default=_PUMP.drop_cache_above,
        metadata=setting.about(
            "drop-cache-above",
            parse_size,
            "SIZE",
            "Blobs of this size and more leave the page cache once they were sent, for nodes whose "
            "workloads need the memory: `1GiB`.",
            default_text="none: what was sent stays cached",
        ),
    )
    peer_tls_cert: Path | None = field(
        default=None,
        metadata=setting.about(
            "peer-tls-cert",
            values.parse_path,
            "FILE",
            "This node's certificate (PEM), for TLS between the nodes. All three or none, on all nodes or "
            "on none; read again when they change.",
            default_text="none: signed requests, blob bytes in clear",
        ),
    )
    peer_tls_key: Path | None = field(
        default=None,
        metadata=setting.about(
            "peer-tls-key",
            values.parse_path,
            "FILE",
            "The key of `--peer-tls-cert` (PEM).",
            default_text="none",
        ),
    )
    peer_tls_ca: Path | None = field(
        default=None,
        metadata=setting.about(
            "peer-tls-ca",
            values.parse_path,
            "FILE",
            "The authority whose certificates the other nodes must show (PEM).",
            default_text="none",
        ),
    )

    @property
    def peer_tls(self) -> TlsFiles | None:
        """The files of TLS between the nodes; None for none.

        Raises:
            ConfigError: some of the three were given, and not all.
        """
        files = (self.peer_tls_cert, self.peer_tls_key, self.peer_tls_ca)
        if files == (None, None, None):
            return None
        certificate, key, authority = files
        if certificate is None or key is None or authority is None:
            raise ConfigError(
                "--peer-tls-cert, --peer-tls-key and --peer-tls-ca belong together: give all three, or none"
            )
        return TlsFiles(certificate, key, authority)

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        _ = self.peer_tls
        if self.upload_limit is not None:
            TransferConfig(upload_rate=self.upload_limit)
