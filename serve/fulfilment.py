"""What people asked for is noted, done and ended (`serve.rights.requests` keeps it)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from customer360.models.identity.erasure import UnknownPerson, accounts_of, identifiers_of, is_followed
from customer360.platform import erasure_list, privacy, restrictions
from customer360.platform.errors import Customer360Error
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.compose import identity_rules, state_folder
from customer360.serve.publication.refusals import publish_refusals
from customer360.serve.rights import requests
from customer360.serve.rights.export import held, write_export
from customer360.serve.rights.proof import newest_report, standing_remains, write_report
from customer360.serve.rights.purge import EXPORTS
from customer360.serve.rights.requests import PURPOSES, Request
from customer360.serve.shared import share
from customer360.serve.stewardship import decide


def open_request(settings: Settings, kind: str, person: str, *, actor: str, **said: Any) -> Request:
    """Note what a person, by any id that leads to it, asks for; see ``requests.open_request``. Who is being erased can
    ask for that alone, and is noted by its digest.

    Raises:
        UnknownPerson: no person has this id, or its erasure has begun.
    """
    lake = lake_of(settings)
    with requests.held(settings):
        current = jobs.current_person(settings, person)
        if jobs.being_erased(lake, current):
            if kind != "erase":
                raise UnknownPerson(f"{person} is being erased: nothing else can be asked for")
            current = erasure_list.person_digest(lake, current)
        return requests.open_request(settings, kind, current, actor=actor, **said)


def fulfil(settings: Settings, number: int, *, actor: str, identity: str = "") -> Request:
    """Do what somebody asked for. A restriction and an opt-out hold from now on; what is rectified shows with the next
    run; an erasure is done only where its proof finds nothing but landing files, which are not the platform's.

    Raises:
        NoSuchRequest: there is none that is open, or whose the records are now is not known before the next run.
        NotProven: nobody said how it was made sure who asks.
        UnknownPerson: the person was erased, or is being erased.
    """
    asked = requests.ready(settings, number, identity)
    if asked.person == privacy.MASK:  # erased in a lake of before, which kept no digest with the request
        nobody = replace(asked.of_nobody(), identity=privacy.MASK)
        return requests.done(settings, nobody, "person erased", actor=actor, state="closed")
    if asked.kind == "erase":
        asked, result = _erasure_fulfilled(settings, asked)
        return requests.done(settings, asked, result, actor=actor)
    with requests.held(settings):
        asked = requests.ready(settings, number, identity)  # as it stands now that nobody else changes it
        asked, result = _fulfilled(settings, asked, actor)
        return requests.done(settings, asked, result, actor=actor)


def _fulfilled(settings: Settings, asked: Request, actor: str) -> tuple[Request, str]:
    """What needs no erasure done, and what came of it. Call it with requests held."""
    lake, person, number = lake_of(settings), jobs.current_person(settings, asked.person), asked.number
    if jobs.being_erased(lake, person):
        raise UnknownPerson(f"{asked.person} is being erased, which closes request {number}")
    if asked.kind != "rectify" and not is_followed(lake, person, identity_rules(settings)):
        raise requests.NoSuchRequest(
            f"who has the records of {person} was decided since the last run: `customer360 run`, then fulfil {number}"
        )
    if asked.kind == "access":
        content = held(settings, person, identifiers_of(lake, person))
        text, sheet = write_export(state_folder(settings) / EXPORTS / f"{number:08d}", content)
        result = f"{sum(len(part['rows']) for part in content['tables'].values())} rows in {text} and {sheet.name}"
    elif asked.kind == "rectify":
        for attribute, value in asked.values.items():
            decide(settings, "override", person, attribute, value, actor=actor, reason=f"request {number}")
        result = f"{', '.join(sorted(asked.values))} set; profiles follow with the next run"
        asked = replace(asked, values={})
    else:
        restrictions.restrict(lake, number, accounts_of(lake, person), PURPOSES[asked.kind])
        publish_refusals(lake, state_folder(settings))
        share(settings)
        result = f"{', '.join(PURPOSES[asked.kind])} refused from now on; tables follow with the next run"
    return asked, result


def _erasure_fulfilled(settings: Settings, asked: Request) -> tuple[Request, str]:
    """An erasure that was asked for, done and proven, and what came of it; of who was erased before, what its report
    left is looked for once more. What is kept says nothing of the person.

    Raises:
        Customer360Error: files that are not landing files still tell the person.
    """
    lake = lake_of(settings)
    nobody = replace(asked.of_nobody(), identity=privacy.MASK)
    if ended_at := privacy.erased_at(lake, asked.person):
        report = newest_report(settings, asked.person)
        if report and (standing := standing_remains(settings, report[1])):
            raise Customer360Error(_still_told(len(standing), report[0]))
        shown = f"report {report[0].name}" if report else "no proof was asked for"
        return nobody, f"erased on {ended_at:%Y-%m-%d}; {shown}"
    _, proof = jobs.erase_proven(settings, jobs.current_person(settings, asked.person))
    file = write_report(settings, proof)
    if proof.remains and not proof.is_landing_alone:
        raise Customer360Error(_still_told(len(proof.remains), file))
    result = f"erased; report {file.name}" + (", which names landing files" if proof.remains else "")
    return replace(nobody, person=proof.person), result


def _still_told(files: int, report: Path) -> str:
    return f"{files} files still tell the person, {report} names them; take them away, the request stays open"


def release(settings: Settings, number: int, *, actor: str) -> Request:
    """End a restriction or an opt-out that was fulfilled.

    Raises:
        NoSuchRequest: there is none.
    """
    with requests.held(settings):
        asked = requests.request_of(lake_of(settings), number)
        if asked.state != "fulfilled" or asked.kind not in PURPOSES:
            raise requests.NoSuchRequest(f"request {number} restricts nothing")
        restrictions.release(lake_of(settings), number)
        publish_refusals(lake_of(settings), state_folder(settings))
        share(settings)
        said = "released; tables follow with the next run"
        return requests.done(settings, asked, said, actor=actor, state="released")
