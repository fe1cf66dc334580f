"""What is asked most often goes straight from the gate to its endpoint: matching routes, solving dependencies and
validating by way of Python objects costs the framework more than an answer takes.

The endpoint, its model, and who may ask are the same. A body that the model refuses, or of another media type, goes the
usual way, which says what is wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.serve.api import policy
from customer360.serve.gate import own_path

TAKES = ("request", "wanted", "principal", "view")
JSON = "application/json"


class Straight:
    """Around the routes of the application, within the gate. ``routes``: those that take `TAKES` alone, ``wanted``
    being the body; ``prefix`` stands before their paths.

    Raises:
        TypeError: a route takes something else, which nothing here would give it.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], prefix: str) -> None:
        self._app = app
        self._routes = {prefix + route.path: (route, model) for route, model in map(_checked, routes)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.get(own_path(scope)) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None or Headers(scope=scope).get("content-type", "").lower() != JSON:
            await self._app(scope, receive, send)
            return
        route, model = found
        messages = await _whole(receive)
        try:
            wanted = model.model_validate_json(b"".join(message.get("body", b"") for message in messages))
        except ValidationError:
            await self._app(scope, _again(messages, receive), send)
            return
        scope["route"], scope["path_params"] = route, {}
        request = Request(scope, receive)
        principal = await policy.caller(request, await policy.known_caller(request, None, None))
        view = await policy.current_view(request)
        response: Response = await route.endpoint(request, wanted, principal, view)
        await response(scope, receive, send)


def _checked(route: BaseRoute) -> tuple[APIRoute, type[BaseModel]]:
    """A route and the model of its body."""
    takes = inspect.signature(route.endpoint, eval_str=True).parameters if isinstance(route, APIRoute) else {}
    if not isinstance(route, APIRoute) or tuple(takes) != TAKES or route.dependencies or route.methods != {"POST"}:
        place = getattr(route, "path", route)
        raise TypeError(f"{place}: an endpoint that is asked straight takes {', '.join(TAKES)} of a POST alone")
    return route, takes["wanted"].annotation


async def _whole(receive: Receive) -> list[Message]:
    """The messages of a body, to its end or that of the connection."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received already, then the rest."""
    waiting: list[Any] = list(reversed(messages))

    async def next_one() -> Message:
        message: Message = waiting.pop() if waiting else await receive()
        return message

    return next_one
