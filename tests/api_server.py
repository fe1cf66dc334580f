"""An API for tests: OAuth 2.0, REST in every way of paging, GraphQL, a limit of requests, and faults on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

SCHEMA = """
type Order { id: ID!  total: Float  updatedAt: String  lines: [Line!]! }
type Line { sku: String  quantity: Int }
type Edge { node: Order!  cursor: String! }
type PageInfo { hasNextPage: Boolean!  endCursor: String }
type Orders { edges: [Edge!]!  pageInfo: PageInfo! }
type Query { orders(first: Int!, after: String, since: String): Orders! }
"""


@dataclass
class Shop:
    """What the API holds and what it saw. ``faults`` are answers that the next requests get instead of theirs:
    a status, headers and a body; None lets one through.
    """

    orders: list[dict[str, Any]] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str], str] | None] = field(default_factory=list)
    per_minute: float = 1e9
    burst: int = 1_000_000
    token_seconds: float = 3600.0
    said_seconds: float | None = None  # what the server says of that, where it is not so
    seen: list[float] = field(default_factory=list)  # moments of requests
    asked: list[str] = field(default_factory=list)  # paths with their queries
    refused: int = 0  # requests beyond the limit
    tokens: dict[str, float] = field(default_factory=dict)
    before_answer: Callable[[], None] = lambda: None
    url: str = ""
    _bucket: float = -1.0
    _at: float = 0.0

    def since(self, moment: str) -> list[dict[str, Any]]:
        """Orders in the order of their change, from a moment on."""
        start = datetime.fromisoformat(moment) if moment else None
        found = [o for o in self.orders if not start or datetime.fromisoformat(o["updated_at"]) >= start]
        return sorted(found, key=lambda o: (o["updated_at"], o["id"]))

    def allows(self) -> bool:
        now = time.monotonic()
        self.seen.append(now)
        if self._bucket < 0:
            self._bucket, self._at = float(self.burst), now
        self._bucket = min(self.burst, self._bucket + (now - self._at) * self.per_minute / 60)
        self._at = now
        if self._bucket < 1:
            self.refused += 1
            return False
        self._bucket -= 1
        return True


def application(shop: Shop) -> FastAPI:
    """The API over a shop."""
    app = FastAPI()

    @app.middleware("http")
    async def guarded(request: Request, answer: Any) -> Response:
        if request.url.path == "/oauth/token":
            return await answer(request)
        shop.asked.append(f"{request.url.path}?{request.url.query}")
        if not shop.allows():
            return JSONResponse({"error": "slow down"}, 429, {"Retry-After": "1"})
        if shop.faults and (fault := shop.faults.pop(0)):
            return Response(fault[2], fault[0], fault[1])
        if request.url.path.startswith("/secured"):
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if shop.tokens.get(token, 0) < time.monotonic():
                return JSONResponse({"error": "token expired"}, 401)
        shop.before_answer()
        return await answer(request)

    @app.post("/oauth/token")
    async def token(request: Request) -> Any:
        form = dict(pair.split("=", 1) for pair in (await request.body()).decode().split("&"))
        if form.get("client_secret") != "open-sesame" or form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "invalid_client", "error_description": "unknown client"}, 401)
        made = f"t{len(shop.tokens)}"
        shop.tokens[made] = time.monotonic() + shop.token_seconds
        said = shop.token_seconds if shop.said_seconds is None else shop.said_seconds
        return {"access_token": made, "token_type": "bearer", "expires_in": said}

    _add_pages(app, shop)
    _add_graphql(app, shop)
    return app


def _add_pages(app: FastAPI, shop: Shop) -> None:
    @app.get("/header/orders.json")
    @app.get("/secured/orders.json")
    def by_header(
        request: Request,
        response: Response,
        limit: int = 50,
        since: str = "",
        page_info: int = 0,
        updated_at_min: str = "",
    ) -> Any:
        since = since or updated_at_min
        found = shop.since(since)
        if len(found) > page_info + limit:
            base = f"{shop.url}{request.url.path}?limit={limit}&since={since.replace('+', '%2B')}"
            before, after = f"{base}&fields=a,b;c&page_info=0", f"{base}&page_info={page_info + limit}"
            response.headers["Link"] = f'<{before}>; rel="prev first", <{after}>; rel=next'
        return {"orders": found[page_info : page_info + limit]}

    @app.get("/body/orders")
    def by_body(limit: int = 50, since: str = "", start: int = 0) -> Any:
        found = shop.since(since)
        then = f"/body/orders?limit={limit}&start={start + limit}" if len(found) > start + limit else None
        return {"data": {"items": found[start : start + limit]}, "links": {"next": then}}

    @app.get("/cursor/orders")
    def by_cursor(limit: int = 50, since: str = "", cursor: str = "") -> Any:
        found = shop.since(since)
        start = int(cursor or 0)
        more = len(found) > start + limit
        meta = {"has_more": more, "after": str(start + limit)}
        return {"orders": found[start : start + limit], "meta": meta}

    @app.get("/number/orders")
    def by_number(page: int, limit: int = 50) -> Any:
        return shop.since("")[(page - 1) * limit : page * limit]

    @app.get("/offset/orders")
    def by_offset(offset: int, limit: int = 50) -> Any:
        found = shop.since("")
        return {"total": len(found), "orders": found[offset : offset + limit]}

    @app.get("/zendesk/incremental/tickets/cursor.json")
    def by_stream(limit: int = 100, start_time: int = 0, cursor: int = 0) -> Any:
        found = [o for o in shop.since("") if datetime.fromisoformat(o["updated_at"]).timestamp() >= start_time]
        part = found[cursor : cursor + limit]
        url = f"{shop.url}/zendesk/incremental/tickets/cursor.json?cursor={cursor + len(part)}&start_time={start_time}"
        return {"tickets": part, "after_url": url, "end_of_stream": cursor + limit >= len(found)}

    @app.get("/stuck/orders")
    def stuck(page: int) -> Any:
        found = shop.since("")
        return {"orders": found[-7:] if page * 50 >= len(found) else found[(page - 1) * 50 : page * 50]}

    @app.get("/cut/orders")
    def cut(limit: int = 50) -> Any:
        return {"orders": shop.since("")[:limit]}

    @app.get("/circle/orders")
    def circle(start: int = 0) -> Any:
        return {"orders": shop.since("")[:1], "next": f"/circle/orders?start={1 - start}"}


def _add_graphql(app: FastAPI, shop: Shop) -> None:
    from graphql import build_schema, graphql_sync

    schema = build_schema(SCHEMA)

    def orders(_: Any, first: int, after: str | None = None, since: str | None = None) -> Any:
        found, start = shop.since(since or ""), int(after or 0)
        part = found[start : start + first]
        edges = [
            {"node": {**o, "updatedAt": o["updated_at"], "lines": o.get("lines", [])}, "cursor": str(start + i + 1)}
            for i, o in enumerate(part)
        ]
        more = len(found) > start + first
        return {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": str(start + len(part))}}

    @app.post("/graphql")
    async def graphql(request: Request) -> Any:
        asked = json.loads(await request.body())
        done = graphql_sync(schema, asked["query"], {"orders": orders}, variable_values=asked.get("variables"))
        return done.formatted


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """The API on a free port of this machine; its URL."""
    server = uvicorn.Server(uvicorn.Config(application(shop), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    shop.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield shop.url
    finally:
        server.should_exit = True
        thread.join()
