"""What is asked most often goes straight from the gate to its endpoint: matching routes, solving dependencies and
validating by way of Python objects costs the framework more than an answer takes.

The endpoint, its model, and who may ask are the same. A body that the model refuses, or of another media type, goes the
usual way, which says what is wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.serve.api import policy
from customer360.serve.gate import own_path

TAKES = ("request", "wanted", "principal", "view")
LISTS = ("request", "person_id", "wanted", "principal", "view")
PERSON = "{person_id}"  # in the path of those
JSON = b"application/json"


class Straight:
    """Around the routes of the application, within the gate. ``routes``: those of POST that take `TAKES` alone,
    ``wanted`` being the body, and those of GET that take `LISTS` alone, where it is the query; ``prefix`` stands before
    their paths.

    Raises:
        TypeError: a route takes something else, which nothing here would give it.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], prefix: str) -> None:
        self._app = app
        checked = [_checked(route) for route in routes]
        self._bodies = {prefix + route.path: (route, model) for method, route, model in checked if method == "POST"}
        self._queries = [
            ((prefix + route.path).split(PERSON), route, model) for method, route, model in checked if method == "GET"
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["type"] == "http" else ""
        if method == "GET":
            await self._listed(scope, receive, send)
            return
        found = self._bodies.get(own_path(scope)) if method == "POST" else None
        if found is None or _media_type(scope) != JSON:
            await self._app(scope, receive, send)
            return
        await self._posted(found, scope, receive, send)

    def _asked_of(self, path: str) -> tuple[str, APIRoute, type[BaseModel]] | None:
        """The person in a path, and what answers it."""
        for (before, after), route, model in self._queries:
            person_id = path[len(before) : len(path) - len(after)]
            if path.startswith(before) and path.endswith(after) and person_id and "/" not in person_id:
                return person_id, route, model
        return None

    async def _listed(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (found := self._asked_of(own_path(scope))) is None:
            await self._app(scope, receive, send)
            return
        person_id, route, model = found
        try:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            wanted = model.model_validate(dict(query))
        except ValueError:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {"person_id": person_id}
        request = Request(scope, receive)
        principal = await policy.caller(request, await policy.known_caller(request, None, None))
        view = await policy.current_view(request)
        response: Response = await route.endpoint(request, person_id, wanted, principal, view)
        await response(scope, receive, send)

    async def _posted(
        self, found: tuple[APIRoute, type[BaseModel]], scope: Scope, receive: Receive, send: Send
    ) -> None:
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


def _media_type(scope: Scope) -> bytes:
    found: bytes = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return found.lower()


def _checked(route: BaseRoute) -> tuple[str, APIRoute, type[BaseModel]]:
    """Method, route, and the model of its body or query."""
    methods = (route.methods or set()) if isinstance(route, APIRoute) else set()
    method = "POST" if methods == {"POST"} else "GET" if methods == {"GET"} else ""
    takes = inspect.signature(route.endpoint, eval_str=True).parameters if isinstance(route, APIRoute) else {}
    if (
        not isinstance(route, APIRoute)
        or route.dependencies
        or tuple(takes) != {"POST": TAKES, "GET": LISTS}.get(method)
        or route.path.count(PERSON) != (method == "GET")
    ):
        place = getattr(route, "path", route)
        raise TypeError(
            f"{place}: an endpoint that is asked straight takes {', '.join(TAKES)} of a POST alone, or "
            f"{', '.join(LISTS)} of a GET"
        )
    return method, route, _model_of(takes["wanted"].annotation)


def _model_of(annotation: Any) -> type[BaseModel]:
    """Without what tells the framework where it is found."""
    model: type[BaseModel] = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return model


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
