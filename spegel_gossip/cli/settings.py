"""Flags, environment and TOML file: the only reader of all three.

What a setting is called and how its text is parsed stands in `config`; here is where
the text comes from, and which source wins: flag, then environment, then file, then
the default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from spegel_gossip.config import SETTINGS, default_of
from spegel_gossip.config.setting import Setting
from spegel_gossip.config.values import named
from spegel_gossip.errors import ConfigError

CONFIG_ENVVAR = "SPEGEL_GOSSIP_CONFIG"

MAX_CONFIG_BYTES = 1024 * 1024
"""A settings file is a page; more is another file given by mistake."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

_Command = TypeVar("_Command", bound=Callable[..., Any])

Raw = str | bool | Sequence[str]


@dataclass(frozen=True, slots=True)
class _Given:
    raw: Raw
    where: str
    """How to call the setting in an error: always with its flag."""


def setting_options(*names: str) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command `--config` and the flags of some settings.

    The command receives the raw texts by the fields' names, to pass to `load_settings`.
    """

    def decorate(command: _Command) -> _Command:
        # Click puts the decorator nearest to the function last.
        for name in reversed(names):
            command = _option(name, SETTINGS[name])(command)
        return click.option(
            "--config",
            metavar="FILE",
            help=f"A TOML file whose keys are the flags below, without their dashes.  [{CONFIG_ENVVAR}]",
        )(command)

    return decorate


def _option(name: str, setting: Setting) -> Callable[[_Command], _Command]:
    default = setting.default_text or shown(default_of(name))
    text = f"{setting.help}  [{setting.envvar}; default: {default}]".replace("`", "")
    if setting.is_switch:
        flags = f"--{setting.flag}/--no-{setting.flag}" if setting.has_negative else f"--{setting.flag}"
        return click.option(flags, name, is_flag=True, default=None, help=text)
    return click.option(
        f"--{setting.flag}", name, metavar=setting.metavar, multiple=setting.is_many, default=None, help=text
    )


def shown(value: object) -> str:
    """Return a default as an operator would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def load_settings(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the checked values of the settings among `flags`, from the source that wins for each.

    Args:
        flags: what click read, by field name, with `config`; None or empty where not given
        environment: the process's own if None

    Raises:
        ConfigError: if a value is wrong, whichever source it came from; naming its flag.
    """
    environment = os.environ if environment is None else environment
    config_path = flags.get("config") or environment.get(CONFIG_ENVVAR)
    file = _read_file(Path(config_path)) if config_path else {}
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        # The whole file is checked, whichever part of it this command needs.
        in_file = _from_file(setting, file, config_path)
        if name not in flags:
            continue
        given = _from_flag(setting, flags[name]) or _from_environment(setting, environment) or in_file
        values[name] = default_of(name) if given is None else _parsed(setting, given)
    return values


def _from_flag(setting: Setting, raw: Raw | None) -> _Given | None:
    return None if raw is None or raw == () else _Given(raw, f"--{setting.flag}")


def _from_environment(setting: Setting, environment: Mapping[str, str]) -> _Given | None:
    text = environment.get(setting.envvar, "")
    where = f"--{setting.flag} (from {setting.envvar})"
    if not text.strip():
        # Charts and unit files set variables to nothing; that is not an answer.
        return None
    if setting.is_switch:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ConfigError(f"{where}: {text!r} is neither true nor false")
        return _Given(word in _TRUE, where)
    return _Given(split_list(text) if setting.is_many else text, where)


def split_list(text: str) -> list[str]:
    """Split a list as it stands in an environment variable: by lines if there are several, else by commas.

    A regular expression may hold a comma; written on a line of its own, it may.
    """
    parts = text.split("\n") if "\n" in text else text.split(",")
    return [part.strip() for part in parts if part.strip()]


def _from_file(setting: Setting, file: Mapping[str, object], path: str | None) -> _Given | None:
    if setting.flag not in file:
        return None
    raw = file[setting.flag]
    where = f"--{setting.flag} (from {path})"
    if setting.is_switch:
        if not isinstance(raw, bool):
            raise ConfigError(f"{where}: must be true or false without quotes, not {_toml_type(raw)}")
        return _Given(raw, where)
    if setting.is_many:
        if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
            raise ConfigError(f'{where}: must be an array of strings, such as ["..."], not {_toml_type(raw)}')
        return _Given(raw, where) if raw else None
    if not isinstance(raw, str):
        raise ConfigError(f"{where}: must be a string in quotes, not {_toml_type(raw)}")
    return _Given(raw, where)


def _toml_type(raw: object) -> str:
    match raw:
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array of something else"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _parsed(setting: Setting, given: _Given) -> object:
    if setting.parse is None:
        return given.raw
    return named(given.where, setting.parse, given.raw)


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as exc:
        raise ConfigError(
            f"--config: cannot read {path} ({exc.strerror}): give a TOML file that this user may read"
        ) from exc
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(
            f"--config: {path} is larger than {MAX_CONFIG_BYTES} bytes: give a TOML file of settings"
        )
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigError(f"--config: {path} is not TOML ({exc}): correct it") from exc
    known = {setting.flag for setting in SETTINGS.values()}
    for key in table:
        if key not in known:
            raise ConfigError(f"--config: {path} has the unknown key {key!r}: {_nearest(key, known)}")
    return table


def _nearest(key: str, known: set[str]) -> str:
    folded = key.replace("_", "-").lower()
    near = difflib.get_close_matches(folded, sorted(known), n=1)
    return (
        f"did you mean {near[0]!r}?"
        if near
        else "remove it; keys are the flags of `run` without their dashes"
    )
