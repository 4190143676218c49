"""Credentials as `docker login` keeps them: its config.json, and the helpers that it names."""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from spegel_gossip.client.credentials import Credentials
from spegel_gossip.client.errors import CredentialsError
from spegel_gossip.oci.reference import DOCKER_HUB, normalize_registry

MAX_CONFIG_BYTES = 1024 * 1024
HELPER_TIMEOUT = 30.0
"""Seconds for a credential helper; some ask a cloud's API, or a person to unlock a keychain."""

_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HUB_KEY = "https://index.docker.io/v1/"
"""The name by which docker keeps Docker Hub's credentials, in the file and in helpers."""

_TOKEN_USER = "<token>"  # noqa: S105 - what helpers say instead of a name when the secret is an identity token


class DockerConfig:
    """One config.json; a file that is not there holds nothing."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is read at the first question."""
        self._path = path
        self._content: Mapping[str, Any] | None = None

    async def credentials_for(self, registry: str) -> Credentials | None:
        """Return what the file, or the helper that it names, holds for a registry.

        Raises:
            CredentialsError: the file or the helper's answer could not be read.
        """
        if self._content is None:
            self._content = await trio.to_thread.run_sync(_read, self._path)
        helper = self._entry("credHelpers", registry) or self._content.get("credsStore")
        if isinstance(helper, str) and helper:
            found = await _ask_helper(helper, registry)
            if found is not None:
                return found
        entry = self._entry("auths", registry)
        return self._parse(entry, registry) if isinstance(entry, dict) else None

    def _entry(self, section: str, registry: str) -> object:
        table = (self._content or {}).get(section)
        if not isinstance(table, dict):
            return None
        return next((value for key, value in table.items() if _registry_of(key) == registry), None)

    def _parse(self, entry: Mapping[str, Any], registry: str) -> Credentials | None:
        username, password = _text(entry, "username"), _text(entry, "password")
        encoded = _text(entry, "auth")
        if encoded:
            try:
                decoded = base64.b64decode(encoded, validate=True).decode()
            except (binascii.Error, ValueError) as exc:
                raise CredentialsError(
                    f"{self._path}: the credentials of {registry} are not base64: log in again"
                ) from exc
            username, _, password = decoded.rstrip("\0").partition(":")
        return _credentials(
            username, password, _text(entry, "identitytoken"), registry_token=_text(entry, "registrytoken")
        )


def _credentials(
    username: str, password: str, identity_token: str = "", *, registry_token: str = ""
) -> Credentials | None:
    if username == _TOKEN_USER:
        return Credentials(identity_token=password)
    if not (username or identity_token or registry_token):
        return None
    return Credentials(username, password, identity_token, registry_token)


def _registry_of(key: str) -> str | None:
    """Return the registry that a key of the file means; None for one that means only a part of it."""
    try:
        parts = urlsplit(key if "://" in key else f"//{key}")
        is_whole = parts.path.strip("/") in {"", "v1", "v2"}
        return normalize_registry(parts.netloc) if is_whole else None
    except ValueError:
        return None


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise CredentialsError(
            f"cannot read {path} ({exc.strerror}): make it readable, or name another with --auth-file"
        ) from exc
    try:
        content = json.loads(raw) if len(raw) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError) as exc:
        raise CredentialsError(f"{path} is not JSON ({exc}): correct it, or log in again") from exc
    if not isinstance(content, dict):
        raise CredentialsError(f"{path} is not a docker config.json: name another file with --auth-file")
    return content


async def _ask_helper(name: str, registry: str) -> Credentials | None:
    """Run `docker-credential-<name> get` (docker's credential helper protocol)."""
    program = f"docker-credential-{name}"
    if _HELPER_NAME.fullmatch(name) is None:
        raise CredentialsError(f"{name!r} in docker's config.json cannot be the name of a credential helper")
    server = _HUB_KEY if registry == DOCKER_HUB else registry
    try:
        with trio.fail_after(HELPER_TIMEOUT):
            done: subprocess.CompletedProcess[bytes] = await trio.run_process(
                [program, "get"], stdin=server.encode(), capture_stdout=True, capture_stderr=True, check=False
            )
    except OSError as exc:
        raise CredentialsError(
            f"docker's config.json wants {program}, which cannot be run ({exc.strerror}): "
            "install it, or use --username"
        ) from exc
    except trio.TooSlowError as exc:
        raise CredentialsError(f"{program} gave no answer in {HELPER_TIMEOUT:.0f} s: use --username") from exc
    if done.returncode != 0:
        # "credentials not found in native keychain": the protocol has no other way to say none.
        if b"not found" in done.stdout + done.stderr:
            return None
        raise CredentialsError(f"{program} failed with exit code {done.returncode}: use --username")
    return _helper_answer(program, done.stdout)


def _helper_answer(program: str, output: bytes) -> Credentials | None:
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError) as exc:
        raise CredentialsError(f"{program} did not answer with JSON: use --username") from exc
    if not isinstance(answer, dict):
        raise CredentialsError(f"{program} did not answer with an object: use --username")
    return _credentials(_text(answer, "Username"), _text(answer, "Secret"))
