"""The application that containerd's mirror requests reach: Quart, with the hot paths beneath it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Response, jsonify
from quart_trio import QuartTrio

from spegel_gossip.content import ContentStore
from spegel_gossip.fetching import BlobFetcher
from spegel_gossip.health import HealthCheck
from spegel_gossip.oci.filters import ContentFilter
from spegel_gossip.oci.reach import Reach
from spegel_gossip.oci.request import origin_path
from spegel_gossip.registry.asgi import METHODS, DistributionApi
from spegel_gossip.registry.config import RegistryConfig
from spegel_gossip.registry.mirror import Mirror
from spegel_gossip.routing import Router

_QUART_PATHS = frozenset({"/readyz", "/livez"})


def create_app(
    *,
    store: ContentStore,
    router: Router,
    fetcher: BlobFetcher,
    health: HealthCheck,
    filters: ContentFilter,
    config: RegistryConfig,
    reach: Reach | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> QuartTrio:
    """Return the registry's application.

    Args:
        store: what this node holds
        router: who else has what
        fetcher: gets it from them
        health: asked anew for each `/readyz`
        filters: what is not served
        config: the operator's choices
        reach: told what requests lead to, where filters or scopes need to know it
        wall_clock: unix seconds, to judge the age of a tag's observation
    """
    app = QuartTrio(__name__, static_folder=None)
    mirror = Mirror(
        store=store,
        router=router,
        fetcher=fetcher,
        filters=filters,
        config=config,
        reach=reach,
        wall_clock=wall_clock,
    )
    api = DistributionApi(mirror, default_registry=config.default_registry)
    quart_asgi_app = app.asgi_app

    async def asgi_app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await quart_asgi_app(scope, receive, send)
            return
        if not scope["path"].startswith("/"):
            scope = scope.copy()
            scope["path"] = origin_path(scope["path"])
        if scope["path"] in _QUART_PATHS and scope["method"] in METHODS:
            await quart_asgi_app(scope, receive, send)
        else:
            await api(scope, receive, send)

    # Quart's documented way to put something between the server and itself.
    app.asgi_app = asgi_app  # type: ignore[method-assign]

    @app.get("/readyz")
    async def readyz() -> tuple[Response, int]:
        current = health()
        return jsonify(
            ready=current.is_ready, reasons=list(current.reasons)
        ), 200 if current.is_ready else 503

    @app.get("/livez")
    async def livez() -> dict[str, Any]:
        return {"live": True}

    return app
