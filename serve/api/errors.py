"""Errors in the OpenAPI document: the statuses that are answered, as the problems that are sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from customer360.serve.problems import MEDIA_TYPE, Problem

MEANINGS = {
    400: "The request is no HTTP or JSON that can be read",
    401: "No key, an unknown or an expired one",
    403: "The key's role or scope does not reach here",
    404: "There is no such person, account, product, record, event or decision",
    408: "The body did not come in time, or no answer was ready in time",
    409: "Records of a former id were parted, a decision binds otherwise, or a run is changing the lake",
    413: "The body is too large",
    422: "A parameter or the body is wrong",
    429: "Too many requests",
    500: "A fault of the application",
    503: "Nothing is published, or something stored cannot be read",
}
EVERYWHERE = tuple(MEANINGS)
UNEXPLAINED = "HTTPValidationError"  # what the framework writes of 422 where a route says nothing


def explained(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a router that answers with these errors."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with errors under the media type that they are sent as."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )  # fmt: skip
        for operation in (o for path in document["paths"].values() for o in path.values()):
            for answer in operation["responses"].values():
                schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
                if schema.get("$ref", "").rpartition("/")[2] in (Problem.__name__, UNEXPLAINED):
                    answer["content"] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
        app.openapi_schema = document
    return app.openapi_schema
