"""What an operator is told about one field of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

KEY: Final = "setting"
"""Under which a dataclass field's metadata holds its `Setting`."""

_ENVIRONMENT_PREFIX: Final = "SPEGEL_GOSSIP_"


@dataclass(frozen=True, slots=True)
class Setting:
    """How one field of `NodeConfig` is given, and shown, to an operator."""

    flag: str
    """The flag without its dashes; also the key of the TOML file."""

    parse: Callable[[Any], object] | None
    """From text, or from a list of texts if `is_many`; None for a switch."""

    metavar: str
    help: str
    is_many: bool = False
    has_negative: bool = False
    """A switch that can also be turned off, by `--no-`."""

    default_text: str = ""
    """What the default is in words, where its value would say nothing."""

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off rather than a text."""
        return self.parse is None

    @property
    def envvar(self) -> str:
        """The environment variable that gives it."""
        return _ENVIRONMENT_PREFIX + self.flag.upper().replace("-", "_")


def about(
    flag: str,
    parse: Callable[[Any], object] | None,
    metavar: str,
    text: str,
    *,
    is_many: bool = False,
    has_negative: bool = False,
    default_text: str = "",
) -> dict[str, Setting]:
    """Return the metadata of a dataclass field."""
    return {KEY: Setting(flag, parse, metavar, text, is_many, has_negative, default_text)}
