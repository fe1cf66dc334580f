"""Experiments: what runs, and the report of one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse

from customer360.platform.access import Principal
from customer360.platform.errors import Customer360Error
from customer360.serve.activation.experiments import analysis, register
from customer360.serve.console import pages
from customer360.serve.stewardship import Desk

router = APIRouter()
Marketer = Annotated[Principal, Depends(pages.signed_in("service"))]
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


@router.get("/experiments", summary="Experiments")
def experiments(request: Request, marketer: Marketer, lake: pages.CurrentLake) -> HTMLResponse:
    """Experiments that started, the newest first, and where the file says otherwise by now."""
    desk: Desk = request.app.state.desk
    known = register.rules(desk.settings)
    readable, faults = register.readable(lake)
    begun = sorted(readable.values(), key=lambda of: of.started_at, reverse=True)
    shown = [(of, register.changed(of, known)) for of in begun]
    waiting = sorted(set(known.experiments) - {of.name for of in begun})
    return pages.render("experiments.html", marketer, begun=shown, waiting=waiting, faults=faults)


@router.get("/experiments/{name}")
def experiment(request: Request, marketer: Marketer, lake: pages.CurrentLake, name: Name) -> HTMLResponse:
    """The report of one: sums of many, of nobody alone."""
    desk: Desk = request.app.state.desk
    try:
        register.started(lake, name)
    except register.NotPossible as fault:
        return pages.render("experiment.html", marketer, 404, name=name, report=None, problem=str(fault))
    try:
        found = analysis.report(desk.settings, name)
    except Customer360Error as fault:  # the data cannot be read, or are not there yet
        return pages.render("experiment.html", marketer, 503, name=name, report=None, problem=str(fault))
    return pages.render("experiment.html", marketer, name=name, report=found, problem=found.fault)
