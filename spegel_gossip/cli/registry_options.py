"""What `pull` and `push` have in common: how to reach a registry, and who is asking."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spegel_gossip.errors import ConfigError
from spegel_gossip.oci.errors import InvalidReferenceError
from spegel_gossip.oci.reference import Reference

if TYPE_CHECKING:
    from spegel_gossip.client.credentials import CredentialSource
    from spegel_gossip.oci.manifest import Platform

PASSWORD_ENVVAR = "SPEGEL_GOSSIP_REGISTRY_PASSWORD"  # noqa: S105 - the name, not the password

MAX_PASSWORD_BYTES = 64 * 1024
"""Read of standard input at most; some clouds' passwords are tokens of several KiB."""

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--plain-http", is_flag=True, help="Speak HTTP without TLS to the registry."),
    click.option("--username", metavar="NAME", help="Log in as NAME; the password is asked for."),
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
    click.option(
        "--auth-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read logins from this config.json, not docker's own (~/.docker, or $DOCKER_CONFIG).",
    ),
    click.option("--quiet", "-q", is_flag=True, help="Print nothing but the image with its digest."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, at the end."),
)


def registry_options(command: _Command) -> _Command:
    """Give a command the options of every command that talks to a registry."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def reference_argument(text: str) -> Reference:
    """Return the image that a person typed.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return Reference.parse(text)
    except InvalidReferenceError as exc:
        raise click.BadParameter(f"{exc}: give an image such as nginx:1.27 or ghcr.io/team/app:v1") from exc


def platform_option(text: str | None) -> Platform:
    """Return the platform that was asked for, or this machine's.

    Raises:
        ConfigError: there is no such.
    """
    from spegel_gossip.client.platforms import parse_platform, platform_of_machine

    return platform_of_machine(platform.machine()) if text is None else parse_platform(text)


def credential_source(
    registry: str, flags: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> CredentialSource:
    """Return where the logins come from that the flags mean.

    Raises:
        ConfigError: a name without a password, or a password without a name.
    """
    from spegel_gossip.client.credentials import Credentials, GivenCredentials
    from spegel_gossip.client.docker_config import DockerConfig

    environment = os.environ if environment is None else environment
    auth_file: Path | None = flags["auth_file"]
    if auth_file is not None and not auth_file.is_file():
        raise ConfigError(f"--auth-file: there is no file {auth_file}: give a docker config.json")
    kept = DockerConfig(auth_file or _docker_directory(environment) / "config.json")
    username: str | None = flags["username"]
    if username is None:
        if flags["password_stdin"]:
            raise ConfigError("--password-stdin needs --username: whose password is it?")
        return kept
    password = _password(username, environment, from_stdin=flags["password_stdin"])
    return GivenCredentials(registry, Credentials(username, password), kept)


def _docker_directory(environment: Mapping[str, str]) -> Path:
    named = environment.get("DOCKER_CONFIG", "")
    return Path(named) if named else Path(environment.get("HOME") or "/") / ".docker"


def _password(username: str, environment: Mapping[str, str], *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.read(MAX_PASSWORD_BYTES).rstrip("\r\n")
    if environment.get(PASSWORD_ENVVAR):
        return environment[PASSWORD_ENVVAR]
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Password of {username}", hide_input=True, err=True)
        return answer
    raise ConfigError(f"--username needs a password: give --password-stdin, or set {PASSWORD_ENVVAR}")
