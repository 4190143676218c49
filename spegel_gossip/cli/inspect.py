"""What the inspecting commands have in common: whom to ask, and `--json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from spegel_gossip.admin.client import ask_node, tell_node
from spegel_gossip.admin.keys import parse_key
from spegel_gossip.cli.settings import load_settings, setting_options
from spegel_gossip.config import admin_socket_path
from spegel_gossip.oci.errors import InvalidDigestError, InvalidReferenceError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def inspecting(command: _Command) -> _Command:
    """Give a command `--json` and the flags that say which node is asked."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return setting_options("admin_socket", "state_dir")(as_json(command))


def ask(flags: Mapping[str, object], route: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Return the running node's answer, from the socket that the flags mean."""
    values = load_settings(flags)
    return ask_node(admin_socket_path(values["admin_socket"], values["state_dir"]), route, query)


def tell(flags: Mapping[str, object], route: str, arguments: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """Have the running node do something; return what it says of the outcome."""
    values = load_settings(flags)
    return tell_node(admin_socket_path(values["admin_socket"], values["state_dir"]), route, arguments)


def key_argument(text: str) -> str:
    """Return the full form of a key that a person typed.

    Raises:
        click.BadParameter: if it is neither a digest nor an image.
    """
    try:
        return str(parse_key(text))
    except (InvalidDigestError, InvalidReferenceError) as exc:
        raise click.BadParameter(f"{exc}: give an image such as nginx:1.27, or a digest sha256:...") from exc
