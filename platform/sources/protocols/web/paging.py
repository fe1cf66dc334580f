"""Which page comes next: by a link, a cursor, a number or an offset, as the answer to the page before says it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import Field

from customer360.platform.errors import SourceError
from customer360.platform.settings import Frozen
from customer360.platform.sources.protocols.web.session import Answer, Request

# Where answers are known to hold the URL of the next page.
LINKS = (
    "next", "next_page", "next_url", "nextLink", "@odata.nextLink", "odata.nextLink", "nextPage", "next_page_url",
    "links.next", "links.next.href", "_links.next", "_links.next.href", "paging.next", "paging.next.link",
    "pagination.next", "pagination.next_url", "pagination.next_link", "meta.next", "meta.next_page_url",
    "nextRecordsUrl",
)  # fmt: skip
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[\w*]+\s*=\s*(?:\"[^\"]*\"|[^\s,;\"]+))*)")
_REL = re.compile(r"(?:^|;)\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s,;]+))", re.I)


class Ended(Frozen):
    """What else an answer may say of its end: ``more`` is a path of the body that is true where there is a next page,
    ``last`` one that is true on the last.
    """

    more: str = ""
    last: str = ""

    def says_last(self, body: Any) -> bool:
        return (bool(self.more) and not at(body, self.more)) or (bool(self.last) and bool(at(body, self.last)))


class ByLink(Ended):
    """A URL in the ``Link`` header (RFC 8288), or at a path of the body."""

    kind: Literal["link"]
    path: str = ""  # of the body; empty: the header


class ByCursor(Ended):
    """A mark at a path of the body, which the next request names."""

    kind: Literal["cursor"]
    path: str
    parameter: str  # of the query, or a path of the body (`variables.after`) where there is one


class ByNumber(Ended):
    """Pages are counted. The last one is empty, or the ``total_pages``th, or reaches the ``total`` of records."""

    kind: Literal["page"]
    parameter: str = "page"
    first: int = 1
    total_pages: str = ""  # path of the body that holds how many pages there are
    total: str = ""  # path of the body that holds how many records there are


class ByOffset(Ended):
    """Records are counted. The last page is empty, or reaches the ``total``."""

    kind: Literal["offset"]
    parameter: str = "offset"
    total: str = ""  # path of the body that holds how many records there are


class One(Frozen):
    """There is one page."""

    kind: Literal["none"]


class Auto(Frozen):
    """By a link in the header, or where bodies are known to hold one."""

    kind: Literal["auto"] = "auto"


Paging = Annotated[Auto | ByLink | ByCursor | ByNumber | ByOffset | One, Field(discriminator="kind")]
AnyPaging = Auto | ByLink | ByCursor | ByNumber | ByOffset | One


def following(
    paging: AnyPaging, asked: Request, answer: Answer, body: Any, records: int, before: int
) -> Request | None:
    """The request for the page after this one; None where it was the last.

    ``records`` are those of this page, ``before`` those of the pages before it.

    Raises:
        SourceError: the next page is on another server, or is this one again.
    """
    then: Request | None = None
    reached = before + records
    match paging:
        case Ended() if paging.says_last(body):
            return None
        case Auto():
            link = _header_link(answer) or next((v for p in LINKS if _is_link(v := at(body, p))), None)
            then = _linked(asked, link)
        case ByLink(path=path):
            then = _linked(asked, at(body, path) if path else _header_link(answer))
        case ByCursor(path=path, parameter=parameter):
            mark = at(body, path)
            then = None if mark in (None, "", False) else _with(asked, parameter, mark)
        case ByNumber(parameter=parameter, first=first):
            number = int(asked.parameters.get(parameter, first))
            pages, total = _number(body, paging.total_pages), _number(body, paging.total)
            is_last = (pages is not None and number - first + 1 >= pages) or (total is not None and total <= reached)
            then = None if is_last or not records else _with(asked, parameter, number + 1)
        case ByOffset(parameter=parameter, total=path):
            total = _number(body, path)
            is_last = total is not None and total <= reached
            then = None if is_last or not records else _with(asked, parameter, reached)
    if then == asked:
        raise SourceError(f"{asked.place} names the page that was read as the next one: `paging` does not fit")
    return then


def _number(body: Any, path: str) -> int | None:
    found = at(body, path) if path else None
    try:
        return None if found is None else int(found)
    except (ValueError, TypeError):
        raise SourceError(f"`paging`: {path} holds no number") from None


def at(body: Any, path: str) -> Any:
    """The value at a path of names and places joined by dots; None where there is none. A name may hold dots."""
    if isinstance(body, dict) and path in body:
        return body[path]
    name, _, rest = path.partition(".")
    if isinstance(body, list) and name.lstrip("-").isdigit():
        held = body[int(name)] if -len(body) <= int(name) < len(body) else None
    else:
        held = body.get(name) if isinstance(body, dict) else None
    return at(held, rest) if rest else held


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(("http://", "https://", "/", "?")))


def _linked(asked: Request, link: Any) -> Request | None:
    """The request that a link leads to. Its query is whole: that of the request before is not added again."""
    if not link or not isinstance(link, str):
        return None
    url = urljoin(asked.url, link)
    here, there = urlsplit(asked.url), urlsplit(url)
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        raise SourceError(
            f"{asked.place} names a next page on {there.scheme}://{there.netloc}: "
            f"credentials are for {here.netloc} alone"
        )
    return replace(asked, url=url, parameters={})


def _header_link(answer: Answer) -> str | None:
    """The URL of relation ``next``; URLs may hold commas and semicolons, and one link may have several relations."""
    for url, rest in _LINK.findall(answer.headers.get("link", "")):
        said = _REL.search(rest)
        if said and "next" in (said[1] or said[2] or "").lower().split():
            return str(url)
    return None


def _with(asked: Request, parameter: str, value: Any) -> Request:
    if asked.body is None:
        return replace(asked, parameters={**asked.parameters, parameter: str(value)})
    return replace(asked, body=put(asked.body, parameter, value))


def put(body: Any, path: str, value: Any) -> Any:
    """A body with a value at a path."""
    name, _, rest = path.partition(".")
    held = dict(body) if isinstance(body, dict) else {}
    held[name] = put(held.get(name), rest, value) if rest else value
    return held
