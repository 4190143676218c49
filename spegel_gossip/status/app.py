"""The status listener: metrics, readiness, JSON and the page. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from quart import Response, abort, jsonify, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from spegel_gossip.errors import SpegelGossipError
from spegel_gossip.health import HealthCheck
from spegel_gossip.status.page import content_security_policy, page

Snapshot = Callable[[Mapping[str, str]], Awaitable[object]]
"""Gives what JSON can say of some part of the node; the query comes as the argument."""

SNAPSHOT_TIMEOUT = 10.0
"""Seconds for one snapshot: those that ask other nodes take a second at the worst."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def create_status_app(
    *,
    health: HealthCheck,
    snapshots: Mapping[str, Snapshot],
    registry: CollectorRegistry = REGISTRY,
) -> QuartTrio:
    """Return the status listener's application.

    Args:
        health: asked anew for each `/readyz`
        snapshots: by name, what `/api/<name>.json` answers
        registry: the metrics to export
    """
    app = QuartTrio(__name__, static_folder=None)

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(HTTPException)
    async def tell(error: HTTPException) -> tuple[Response, int, dict[str, str]]:
        # Allow comes with a 405, and is the only header of these that says anything.
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        return jsonify(error=error.description or error.name), error.code or 500, headers

    @app.get("/")
    async def show_page() -> Response:
        headers = {"Content-Security-Policy": content_security_policy()}
        return Response(page(), headers=headers, content_type="text/html; charset=utf-8")

    @app.get("/metrics")
    async def metrics() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    @app.get("/readyz")
    async def readyz() -> tuple[Response, int]:
        current = health()
        return jsonify(
            ready=current.is_ready, reasons=list(current.reasons)
        ), 200 if current.is_ready else 503

    @app.get("/livez")
    async def livez() -> Response:
        return jsonify(live=True)

    @app.get("/api/<name>.json")
    async def api(name: str) -> tuple[Response, int]:
        snapshot = snapshots.get(name)
        if snapshot is None:
            abort(
                404, description=f"there is no {name[:64]!r} here; there are {', '.join(sorted(snapshots))}"
            )
        return await _take(snapshot, request.args.to_dict())

    return app


async def _take(snapshot: Snapshot, query: Mapping[str, str]) -> tuple[Response, int]:
    try:
        with trio.fail_after(SNAPSHOT_TIMEOUT):
            return jsonify(await snapshot(query)), 200
    except trio.TooSlowError:
        return jsonify(error="that took too long: the node's log says why"), 504
    except SpegelGossipError as exc:
        # A name that breaks a grammar is a ValueError too; anything else could not find out.
        return jsonify(error=str(exc)), 400 if isinstance(exc, ValueError) else 503
