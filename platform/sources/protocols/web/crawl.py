"""All pages of one question, in order; those that were read before a crash are not asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from customer360.platform.errors import SourceError
from customer360.platform.sources.protocols.web.paging import AnyPaging, Auto, ByNumber, ByOffset, at, following
from customer360.platform.sources.protocols.web.session import Answer, Request, Session
from customer360.platform.sources.spool import Page, Spool

DEEPEST = 4  # objects that are looked into for the list of records
LIMITS = ("limit", "per_page", "page_size", "pageSize", "page[size]", "$top", "size", "count", "maxResults", "first")


@dataclass(frozen=True)
class Question:
    """The first request, where its answers hold the records, and how they lead on.

    ``errors`` is a path of the body at which faults stand although the answer is a success (GraphQL).
    """

    request: Request
    records: str = ""
    paging: AnyPaging = field(default_factory=Auto)
    errors: str = ""

    @property
    def first(self) -> Request:
        match self.paging:
            case ByNumber(parameter=parameter, first=first) if parameter not in self.request.parameters:
                return replace(self.request, parameters={**self.request.parameters, parameter: str(first)})
            case ByOffset(parameter=parameter) if parameter not in self.request.parameters:
                return replace(self.request, parameters={**self.request.parameters, parameter: "0"})
        return self.request


@dataclass(frozen=True)
class Found:
    """One page: its bytes, the path of its records, how many there are, and the request for the next one."""

    content: bytes
    records: str
    count: int
    then: Request | None
    answer: Answer | None = None


def first_page(session: Session, question: Question) -> Found:
    """The first page of a question: whether there is anything."""
    return _asked(session, question, question.first, 0)


def pages(session: Session, question: Question, spool: Spool) -> Iterator[Found]:
    """All pages of a question.

    Raises:
        TransientError, SourceError: as `Session.ask`; what was read until then is kept, and not asked for again.
    """
    number, before, content = 0, 0, b""
    request: Request | None = question.first
    seen: set[str] = set()
    for page in spool:
        then = page.note["then"]
        request = Request(**then) if then else None
        number, before = number + 1, before + page.note["count"]
        seen.add(_mark(request))
        content = page.content
        yield Found(page.content, page.note["records"], page.note["count"], request)
    while request is not None:
        found = _asked(session, question, request, before)
        if found.then is not None and _mark(found.then) in seen:
            raise SourceError(f"{request.place} leads in a circle: page {number + 1} names one that was read before")
        seen.add(_mark(found.then))
        if found.count and found.content == content:
            raise SourceError(
                f"{request.place} gives page {number} again as page {number + 1}: say how many there are "
                "(`paging`: total, total_pages, more or last)"
            )
        content = found.content
        number, before = number + 1, before + found.count
        spool.keep(number, Page(found.content, {"then": found.then and asdict(found.then), "count": found.count,
                                                "records": found.records}))  # fmt: skip
        yield found
        request = found.then


def _mark(request: Request | None) -> str:
    return json.dumps(request and asdict(request), sort_keys=True)


def _asked(session: Session, question: Question, request: Request, before: int) -> Found:
    answer = session.ask(request)
    if not answer.content.strip():  # 204: nothing
        return Found(b"[]", "", 0, None, answer)
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        kind = answer.headers.get("content-type", "no content type")
        raise SourceError(f"{request.place} answers with no JSON ({kind}): is `url` the API's?") from None
    if question.errors and (faults := at(body, question.errors)):
        told = session.caller.without_secrets(json.dumps(faults, ensure_ascii=False))[:300]
        raise SourceError(f"{request.place} answers with faults: {told}")
    path = _records_path(request, body, question.records)
    held = at(body, path) if path else body
    count = len(held or ())
    then = following(question.paging, request, answer, body, count, before)
    if then is None and isinstance(question.paging, Auto):
        _refuse_cut(request, count)
    content = answer.content if held is not None else b"[]"
    return Found(content, path if held is not None else "", count, then, answer)


def _refuse_cut(request: Request, count: int) -> None:
    """A page that is as long as it may be, and leads nowhere, is likely not the last one."""
    for name in LIMITS:
        if (said := request.parameters.get(name, "")).isdigit() and 0 < int(said) <= count:
            raise SourceError(
                f"{request.place} gives {count} records, all that `{name}` lets it, and no link to more: say how it is "
                "paged (`paging`), or that it is not (`paging: {kind: none}`)"
            )


def _records_path(request: Request, body: Any, stated: str) -> str:
    """Where the records of an answer stand; empty for all of it."""
    if stated:
        held = at(body, stated)
        if not isinstance(held, list | None) or (held is None and not _leads(body, stated)):
            names = ", ".join(list(body)[:20]) if isinstance(body, dict) else "a list"
            raise SourceError(f"{request.place} has no list at `records: {stated}`; it has {names}")
        return stated
    if isinstance(body, list):
        return ""
    found = _lists(body, DEEPEST) if isinstance(body, dict) else []
    if len(found) != 1:
        where = f"lists at {', '.join(found)}" if found else "no list of records"
        raise SourceError(f"{request.place} answers with {where}: say where they are, `records: PATH`")
    return found[0]


def _leads(body: Any, path: str) -> bool:
    """Whether a path stands in a body, be it with null."""
    above, _, name = path.rpartition(".")
    held = at(body, above) if above else body
    return isinstance(held, dict) and name in held


def _lists(value: dict[str, Any], deepest: int) -> list[str]:
    """Paths of the lists inside an object that may be records: of objects, or empty."""
    found = []
    for key, held in value.items():
        if isinstance(held, list) and all(isinstance(element, dict) for element in held[:1]):
            found.append(key)
        elif isinstance(held, dict) and deepest > 1:
            found += [f"{key}.{path}" for path in _lists(held, deepest - 1)]
    return found
