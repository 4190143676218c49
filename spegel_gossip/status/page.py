"""The status page: one file, nothing from elsewhere, and a policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page() -> str:
    """Return the page."""
    return files("spegel_gossip.status").joinpath("page.html").read_text(encoding="utf-8")


@cache
def content_security_policy() -> str:
    """Return the policy under which a browser runs nothing but the page's own script and style.

    Member names on it come from other nodes; this is the net beneath setting them as
    text only. Styles set by the script need no permission.
    """
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(page()):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(sources['script'])}; "
        f"style-src {' '.join(sources['style'])}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
