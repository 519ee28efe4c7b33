"""Prefect's own router, asked by the tests: "METHOD TARGET" a line in, the chosen route a line out.

The target is decoded as uvicorn does it; "-" says that no route takes it (404, 405 or a redirect).
With the argument "routes" it prints every route below /api instead, websockets as WS.
"""

import sys
from urllib.parse import unquote

from prefect.server.api.server import create_app
from starlette.routing import Match, Mount

API = next(r for r in create_app(ephemeral=True).routes if isinstance(r, Mount) and r.path == "/api")
ROUTES = [leaf for r in API.app.routes for leaf in ([r] if hasattr(r, "path") else r.original_router.routes)]
ROUTES = [r for r in ROUTES if not isinstance(r, Mount)]  # /static: pictures


def name(route: object, method: str) -> str:
    """Give a route as the table writes it."""
    return f"{method} {route.path.replace(':str}', '}')}"


def resolve(method: str, target: str) -> str:
    """Give the route that the server would choose."""
    path = unquote(target)
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    if method == "WS":
        scope["type"] = "websocket"
    match, child = API.matches(scope)
    if match is Match.NONE:
        return "-"
    scope.update(child)
    for route in ROUTES:
        if route.matches(scope)[0] is Match.FULL:
            return name(route, method)
    return "-"


if sys.argv[1:] == ["routes"]:
    for each in ROUTES:
        for verb in sorted(getattr(each, "methods", None) or ["WS"]):
            print(name(each, verb))
    sys.exit()
print("ready", flush=True)
for line in sys.stdin:
    print(resolve(*line.rstrip("\n").split(" ", 1)), flush=True)
