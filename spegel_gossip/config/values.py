"""Values that settings have, and how an operator writes them.

Each parser takes the text of a flag, a variable or a TOML string and returns a
checked value, or raises a `ConfigError` that says what to write instead; who calls
it adds which setting it was.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from spegel_gossip.errors import ConfigError
from spegel_gossip.hosts.registry_url import RegistryUrl
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reference import DOCKER_HUB, normalize_registry
from spegel_gossip.oci.tag_policy import TagPolicies
from spegel_gossip.swim.address import MAX_PORT, Address

T = TypeVar("T")

MAX_SOCKET_PATH = 107
"""Bytes in the path of a Unix socket (unix(7): sun_path holds 108 with its final zero)."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"(?=.{1,76}\Z)[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
"""containerd's own grammar (identifiers.Validate) and its length."""

_SRV_PREFIX = re.compile(r"\A_[A-Za-z0-9-]{1,62}\._(?:udp|tcp)\.")
"""Of the name of SRV records (RFC 2782)."""

_SERVICE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Kubernetes' DNS labels."""


class Discovery(StrEnum):
    """Where the addresses of seeds come from, besides `--seed` and remembered members."""

    STATIC = "static"
    DNS = "dns"
    KUBERNETES = "kubernetes"


class Store(StrEnum):
    """Which content store this node reads."""

    CONTAINERD = "containerd"
    LAYOUT = "layout"


class LogLevel(StrEnum):
    """The least important lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class SeedAddress:
    """Where a member may be found to join through: a name or an IP address."""

    host: str
    port: int | None = None
    """None: our own peer port, which the whole cluster has in common."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address.

        Raises:
            ConfigError: if it is none of these.
        """
        if text.count(":") > 1 and not text.startswith("["):
            host, port_text = text, ""
        else:
            host, port_text = _split_port(text)
            if text.endswith(":"):
                raise ConfigError(f"{text!r} ends before its port: {_SEED_FORM}")
        if ":" in host or host.replace(".", "").isdigit():
            try:
                host = str(ipaddress.ip_address(host))
            except ValueError as exc:
                raise ConfigError(f"{host!r} is not an IP address: {_SEED_FORM}") from exc
        elif _NAME.fullmatch(host.removesuffix(".")) is None:
            raise ConfigError(f"{text!r} is neither a host name nor an address: {_SEED_FORM}")
        return cls(host, _port(port_text) if port_text else None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.host if self.port is None else f"{host}:{self.port}"


_SEED_FORM = "write HOST or HOST:PORT, such as 10.0.0.7, node-1:29501 or [fd00::7]:29501"


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        return (host, rest.removeprefix(":")) if bracket else ("", "")
    host, _, port = text.partition(":")
    return host, port


def _port(text: str) -> int:
    if not (
        text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT
    ):
        raise ConfigError(f"{text!r} is not a port: give a number from 1 to {MAX_PORT}")
    return int(text)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in text:
        # A scope means something on this machine only, and addresses travel.
        raise ValueError("an address with a scope")
    return ipaddress.ip_address(text)


def parse_listen_address(text: str) -> Address:
    """Parse `ADDRESS:PORT`, the address an IP: a name could mean several.

    Raises:
        ConfigError: if it is no such thing.
    """
    host, port = _split_port(text)
    if not host or not port or (text.count(":") > 1 and not text.startswith("[")):
        raise ConfigError(
            f"{text!r} is not ADDRESS:PORT: write for example 127.0.0.1:29500, or [::]:29500 for all"
        )
    try:
        return Address.make(str(_ip(host)), _port(port))
    except ValueError as exc:
        raise ConfigError(f"{host!r} is not an IP address: write for example 127.0.0.1:{port}") from exc


def parse_advertise_address(text: str) -> str:
    """Parse an IP address that others can reach; return its usual form.

    Raises:
        ConfigError: if it is no such thing.
    """
    try:
        address = _ip(text)
    except ValueError as exc:
        raise ConfigError(
            f"{text!r} is not an IP address: give the address by which the other nodes reach this one, "
            "without a port, or leave it out to have it found"
        ) from exc
    if address.is_unspecified or address.is_multicast or (address.version == 6 and address.is_link_local):
        raise ConfigError(f"{text} cannot be reached by other nodes: give this node's own address")
    return str(address)


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ConfigError(f"{text!r} is not valid: use {rule}")
        return text

    return parse


parse_node_name = _matching(
    _NAME, "at most 253 letters, digits, '.', '_' and '-', first and last a letter or digit"
)
parse_label = _matching(
    _LABEL, "at most 63 letters, digits, '.', '_' and '-', first and last a letter or digit"
)
parse_namespace = _matching(_NAMESPACE, "a containerd namespace such as k8s.io")


def parse_zone(text: str) -> str:
    """Parse a zone; empty is none."""
    return parse_label(text) if text else text


def parse_seed_dns(text: str) -> str:
    """Parse a DNS name.

    Raises:
        ConfigError: if it is no such thing.
    """
    if _NAME.fullmatch(_SRV_PREFIX.sub("", text.removesuffix("."))) is None:
        raise ConfigError(
            f"{text!r} is not a DNS name: give a name whose addresses are members, without a port"
        )
    return text


def parse_kubernetes_service(text: str) -> str:
    """Parse `NAME` or `NAMESPACE/NAME` of a Kubernetes Service.

    Raises:
        ConfigError: if it is neither.
    """
    if _SERVICE.fullmatch(text) is None:
        raise ConfigError(
            f"{text!r} is no name of a Service: write NAME, or NAMESPACE/NAME if it is in another namespace"
        )
    return text


def parse_default_registry(text: str) -> str:
    """Parse a registry; return its one name.

    Raises:
        ConfigError: if it is no such thing.
    """
    try:
        return normalize_registry(text)
    except InvalidReferenceError as exc:
        raise ConfigError(f"{text!r} is not a registry: give a host name such as {DOCKER_HUB}") from exc


def parse_path(text: str) -> Path:
    """Parse a path; return it absolute, so that no later step depends on the working directory.

    Raises:
        ConfigError: if it is no such thing.
    """
    if not text or "\0" in text:
        raise ConfigError("the path is empty: give one, or leave the setting out")
    return Path(text).absolute()


def parse_socket_path(text: str) -> Path:
    """Parse the path of a Unix socket, `unix://` before it or not, as containerd users write it.

    Raises:
        ConfigError: if it is no such thing.
    """
    path = parse_path(text.removeprefix("unix://"))
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"{path} is longer than the {MAX_SOCKET_PATH} bytes of a Unix socket: give a shorter path"
        )
    return path


def one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Return a parser of the values of an enum."""

    def parse(text: str) -> StrEnum:
        valid = " or ".join(choice.value for choice in choices)
        try:
            return choices(text)
        except ValueError as exc:
            raise ConfigError(f"{text!r} is unknown: use {valid}") from exc

    return parse


def named(where: str, parse: Callable[[Any], T], raw: object) -> T:
    """Return what `parse` makes of `raw`; its error then says `where` it came from.

    Raises:
        ConfigError: as `parse` does.
    """
    try:
        return parse(raw)
    except ConfigError as exc:
        # Parsers that belong to another part of the project name the flag themselves.
        flag = where.partition(" ")[0]
        problem = str(exc).removeprefix(flag).lstrip(": ")
        raise ConfigError(f"{where}: {problem}") from exc


def each(parse: Callable[[str], T]) -> Callable[[Sequence[str]], tuple[T, ...]]:
    """Return a parser of lists from one of single values."""
    return lambda texts: tuple(parse(text) for text in texts)


parse_seeds = each(SeedAddress.parse)
parse_registry_urls = each(RegistryUrl.parse)
parse_tag_policies = TagPolicies.parse


def parse_registry_filters(texts: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Compile the expressions of what to keep out.

    Raises:
        ConfigError: if one does not compile.
    """
    return ContentFilter.make(texts).patterns
