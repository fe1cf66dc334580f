"""Errors as `application/problem+json` (RFC 9457): which fault gets which status, in words without path or value."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as RoutingError
from starlette.responses import Response

from customer360.models.identity.erasure import UnknownPerson
from customer360.models.identity.lookup.index import IdentityIndexError
from customer360.models.identity.registry import AmbiguousId, RegistryError, UnknownId
from customer360.models.identity.registry.stewardship import Contradiction
from customer360.platform.access import KeysUnreadable, WrongRole
from customer360.platform.errors import AccessDenied, Customer360Error, LakeLocked
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.online import NotPublished
from customer360.serve.rights.requests import NoSuchRequest, NotProven

MEDIA_TYPE = "application/problem+json"
DOCTOR = "`customer360 doctor` says which"


class Problem(BaseModel):
    """An error, as RFC 9457 says."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no such person"])


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that is an error."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def _later(status: HTTPStatus, detail: str, seconds: int) -> Callable[[Any], Response]:
    return lambda fault: problem(status, detail, {"Retry-After": str(seconds)})


def _said(status: HTTPStatus) -> Callable[[Any], Response]:
    return lambda fault: problem(status, str(fault))


def _http(fault: HTTPException) -> Response:
    return problem(fault.status_code, str(fault.detail), dict(fault.headers or {}))


def _validation(fault: RequestValidationError) -> Response:
    """Names the parameters and what is wrong, without their values."""
    wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(wrong))


HANDLERS: dict[type[Exception], Callable[[Any], Response]] = {
    WrongRole: _said(HTTPStatus.FORBIDDEN),
    AccessDenied: lambda fault: problem(HTTPStatus.UNAUTHORIZED, str(fault), {"WWW-Authenticate": "Bearer"}),
    KeysUnreadable: _later(HTTPStatus.SERVICE_UNAVAILABLE, "the API keys cannot be read; see the log", 60),
    NotPublished: _later(HTTPStatus.SERVICE_UNAVAILABLE, "nothing is published yet", 5),
    IdentityIndexError: _said(HTTPStatus.SERVICE_UNAVAILABLE),
    Contradiction: _said(HTTPStatus.CONFLICT),
    AmbiguousId: _said(HTTPStatus.CONFLICT),
    UnknownId: lambda fault: problem(HTTPStatus.NOT_FOUND, "the registry knows no such person, record or event"),
    UnknownPerson: lambda fault: problem(HTTPStatus.NOT_FOUND, "the lake knows no such person"),
    NoSuchRequest: _said(HTTPStatus.UNPROCESSABLE_ENTITY),
    NotProven: _said(HTTPStatus.UNPROCESSABLE_ENTITY),
    RegistryError: _said(HTTPStatus.UNPROCESSABLE_ENTITY),
    LakeLocked: _later(HTTPStatus.CONFLICT, "a run is changing the lake; try again when it has ended", 60),
    Customer360Error: _later(HTTPStatus.SERVICE_UNAVAILABLE, "this cannot be answered now; the log says why", 60),
    RoutingError: _http,
    RequestValidationError: _validation,
}


def unexpected(fault: Exception) -> Response:
    """The answer to a fault that has no handler: a file that cannot be read, or a mistake of ours."""
    if isinstance(fault, UNREADABLE):
        return _later(HTTPStatus.SERVICE_UNAVAILABLE, f"a stored file cannot be read or written; {DOCTOR}", 60)(fault)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this should not have happened; the log says where")


def answer_to(fault: Exception) -> Response:
    """The answer to any fault."""
    for kind in type(fault).__mro__:
        if kind in HANDLERS:
            return HANDLERS[kind](fault)
    return unexpected(fault)
