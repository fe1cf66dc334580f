"""Pages for data stewards: the review queue, two records side by side with a picture of their weight, the decision."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, Response

from customer360.models.identity.weighing.comparisons import BIRTH
from customer360.models.identity.weighing.households import HOUSEHOLD
from customer360.platform.access import Principal
from customer360.serve.console import pages
from customer360.serve.console.waterfall import waterfall
from customer360.serve.stewardship import SHOWN, Desk

router = APIRouter()
QUEUE = f"{pages.PREFIX}/review"
QUEUE_LENGTH = 100
Steward = Annotated[Principal, Depends(pages.signed_in("steward"))]


@router.get("/review", summary="Review queue")
def queue(request: Request, principal: Steward, page: Annotated[int, Query(ge=1, le=10**6)] = 1) -> HTMLResponse:
    """The pairs that wait, strongest first, page by page."""
    desk: Desk = request.app.state.desk
    waiting, total = desk.queue(QUEUE_LENGTH, (page - 1) * QUEUE_LENGTH), desk.queue_length()
    request.state.readings.append(f"{len(waiting)} pairs of the queue")
    pairs = [
        row | {"address": _address(row["record_id_l"], row["record_id_r"]), "reason": told(row)} for row in waiting
    ]
    first = (page - 1) * QUEUE_LENGTH + 1
    return pages.render("queue.html", principal, pairs=pairs, page=page, first=first, total=total, queue=QUEUE)


@router.get("/review/pair")
def pair(request: Request, principal: Steward, one: str, other: str) -> HTMLResponse:
    """Two records side by side, and what speaks for and against one person."""
    desk: Desk = request.app.state.desk
    records, edge = desk.pair(one, other)
    request.state.readings.extend(desk.holders(one, other))
    evidence = (edge or {}).get("evidence") or []
    picture = None
    if edge is not None and edge["match_weight"] is not None:
        prior = edge["match_weight"] - sum(e["weight"] or 0.0 for e in evidence)
        picture = waterfall(prior, evidence, desk.accept_weight)
    rows = [(name, *(record[name] for record in records)) for name in SHOWN]
    shown = None if edge is None else edge | {"reason": told(edge)}
    return pages.render("pair.html", principal, rows=rows, edge=shown, picture=picture, one=one, other=other)


@router.post("/review/decide")
def decide(
    request: Request,
    principal: Steward,
    one: Annotated[str, Form()],
    other: Annotated[str, Form()],
    verdict: Annotated[Literal["confirm", "reject"], Form()],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Keep the decision and go back to the queue."""
    desk: Desk = request.app.state.desk
    desk.decide(verdict, one, other, actor=principal.name, reason=reason)
    return pages.redirect(QUEUE)


def told(edge: Mapping[str, Any]) -> str | None:
    """Why a pair is held apart, in the words of the rule; where a birth date is missing, that it is."""
    reason: str | None = edge["reason"]
    levels = {e["comparison"]: e["level"] for e in edge["evidence"] or ()}
    if reason == HOUSEHOLD and levels.get(BIRTH.name, "missing") in (None, "missing"):
        return "given names differ and there is no birth date to compare"
    return reason


def _address(one: str, other: str) -> str:
    return f"{QUEUE}/pair?{urlencode({'one': one, 'other': other})}"
