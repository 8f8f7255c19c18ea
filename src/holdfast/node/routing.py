"""Several services behind one port: each request goes to the service of its path."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.wire.http import Handler, Request, Response


def by_prefix(services: Mapping[str, Handler]) -> Handler:
    """Return a handler that hands a request to the service whose prefix its path begins with, else 404.

    A prefix is one path element or more, ``/storage`` say, and fits ``/storage`` and what lies below it.
    """

    async def route(request: Request) -> Response:
        for prefix, handler in services.items():
            if request.path == prefix or request.path.startswith(prefix + "/"):
                return await handler(request)
        return Response(404)

    return route
