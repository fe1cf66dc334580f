"""Pages for data stewards: the review queue, two records side by side with the picture of their weight, the decision.

A browser signs in with an API key (role steward), which it keeps in a cookie that no script and no other site can use;
a revoked key ends the session. Pages load nothing and run no script.
"""

from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from customer360.platform import access
from customer360.platform.access import Principal
from customer360.platform.errors import AccessDenied
from customer360.serve.console.waterfall import waterfall
from customer360.serve.stewardship import SHOWN, Desk

router = APIRouter(prefix="/console", include_in_schema=False)
COOKIE, HOME = "c360_key", "/console/review"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
QUEUE_LENGTH = 100
pages = Environment(
    loader=PackageLoader("customer360.serve.console"), autoescape=select_autoescape(), undefined=StrictUndefined
)


class SignInNeeded(Exception):
    """The browser has no good key; it is led to the sign-in page."""


def steward(request: Request) -> Principal:
    """Who sits at the desk. Raises SignInNeeded; for a request that another site sent, AccessDenied."""
    origin = request.headers.get("origin")
    if request.method == "POST" and origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise AccessDenied("the form was sent by another site")
    try:
        principal = access.verify(request.app.state.folder, request.cookies.get(COOKIE))
    except AccessDenied as fault:
        raise SignInNeeded from fault
    access.require(principal, "steward")
    return principal


Steward = Annotated[Principal, Depends(steward)]


def sign_in_first(_: Request, __: Exception) -> Response:
    """Handler of SignInNeeded."""
    return RedirectResponse("/console/sign-in", 303)


def _page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(pages.get_template(name).render(**values), status, HEADERS)


@router.get("/sign-in")
def sign_in_page() -> HTMLResponse:
    return _page("sign_in.html", problem=None)


@router.post("/sign-in")
def sign_in(request: Request, key: Annotated[str, Form()]) -> Response:
    try:
        access.require(access.verify(request.app.state.folder, key.strip()), "steward")
    except AccessDenied as fault:
        return _page("sign_in.html", 401, problem=str(fault))
    answer = RedirectResponse(HOME, 303, HEADERS)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, key.strip(), httponly=True, samesite="strict", secure=secure, path="/console")
    return answer


@router.post("/sign-out")
def sign_out() -> Response:
    answer = RedirectResponse("/console/sign-in", 303, HEADERS)
    answer.delete_cookie(COOKIE, path="/console")
    return answer


@router.get("/review")
def queue(request: Request, principal: Steward) -> HTMLResponse:
    """The pairs that wait, strongest first."""
    desk: Desk = request.app.state.desk
    pairs = [row | {"address": _address(row["record_id_l"], row["record_id_r"])} for row in desk.queue(QUEUE_LENGTH)]
    return _page("queue.html", pairs=pairs, most=QUEUE_LENGTH, steward=principal.name)


@router.get("/review/pair")
def pair(request: Request, principal: Steward, one: str, other: str) -> HTMLResponse:
    """Two records side by side, and what speaks for and against one person."""
    desk: Desk = request.app.state.desk
    records, edge = desk.pair(one, other)
    evidence = (edge or {}).get("evidence") or []
    picture = None
    if edge is not None and edge["match_weight"] is not None:
        prior = edge["match_weight"] - sum(e["weight"] or 0.0 for e in evidence)
        picture = waterfall(prior, evidence, desk.accept_weight)
    rows = [(name, *(record[name] for record in records)) for name in SHOWN]
    return _page("pair.html", rows=rows, edge=edge, picture=picture, one=one, other=other, steward=principal.name)


@router.post("/review/decide")
def decide(
    request: Request,
    principal: Steward,
    one: Annotated[str, Form()],
    other: Annotated[str, Form()],
    verdict: Annotated[str, Form(pattern="^(confirm|reject)$")],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Keep the decision and go back to the queue."""
    desk: Desk = request.app.state.desk
    desk.decide(verdict, one, other, actor=principal.name, reason=reason)
    return RedirectResponse(HOME, 303, HEADERS)


def _address(one: str, other: str) -> str:
    return f"/console/review/pair?one={quote(one, safe='')}&other={quote(other, safe='')}"
