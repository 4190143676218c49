"""What an answer that is not the wanted one means: the only table from HTTP statuses to errors."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from spegel_gossip.client.errors import (
    ClientError,
    DeniedError,
    NotThereError,
    RegistryProtocolError,
    TransientError,
)

MAX_ERROR_BYTES = 16 * 1024
"""Bytes of an error's body that are read."""

MAX_REASON_LENGTH = 300
"""Characters of a registry's own words that are shown."""

_TRANSIENT = frozenset({408, 425, 500, 502, 503, 504})
_MAX_DELAY_DIGITS = 9


def error_of(
    status: int, *, what: str, host: str, body: bytes = b"", retry_after: str | None = None, now: float
) -> ClientError:
    """Return what an answer means for whoever asked.

    Args:
        status: of the answer
        what: was asked for, fit for a sentence: "the manifest v1 of team/app"
        host: who answered
        body: of the answer, or its beginning
        retry_after: that header
        now: unix seconds, against which a date in that header counts
    """
    said = registry_reason(body)
    quoted = f' ("{said}")' if said else ""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        delay = parse_retry_after(retry_after, now)
        when = "later" if delay is None else f"in {delay:.0f} s"
        return TransientError(
            f"{host} had too many requests{quoted}: try again {when}, or log in for a higher limit",
            retry_after=delay,
        )
    if status in _TRANSIENT:
        return TransientError(
            f"{host} failed with {status} when asked for {what}{quoted}: try again later",
            retry_after=parse_retry_after(retry_after, now),
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return DeniedError(
            f"{host} refuses {what}{quoted}: check the name, and log in (`docker login {host}`, --username)"
        )
    if status == HTTPStatus.NOT_FOUND:
        return NotThereError(f"{host} does not have {what}{quoted}: check the name")
    return RegistryProtocolError(f"{host} answered {status} when asked for {what}{quoted}")


def registry_reason(body: bytes) -> str:
    """Return a registry's own words on an error (distribution-spec, "Error Codes"), fit to be shown."""
    try:
        document = json.loads(body[:MAX_ERROR_BYTES])
    except (ValueError, RecursionError):
        return ""
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return ""
    message = errors[0].get("message") or errors[0].get("code")
    if not isinstance(message, str):
        return ""
    words = " ".join(message.split())[:MAX_REASON_LENGTH]
    return "".join(character for character in words if character.isprintable())


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, None where it is absent or makes no sense."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DELAY_DIGITS])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
