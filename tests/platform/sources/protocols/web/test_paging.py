"""The next page, in every way in which answers name it."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.platform.errors import SourceError
from customer360.platform.sources.protocols.web.paging import (
    AnyPaging,
    Auto,
    ByCursor,
    ByLink,
    ByNumber,
    ByOffset,
    One,
    following,
)
from customer360.platform.sources.protocols.web.session import Answer, Request

HERE = Request("GET", "https://shop.example/v1/orders", {"limit": "2"})


def then(
    paging: AnyPaging, body: Any = None, link: str = "", asked: Request = HERE, records: int = 2, before: int = 0
) -> Any:
    answer = Answer(b"", {"link": link} if link else {}, None)
    found = following(paging, asked, answer, body, records, before)
    return None if found is None else (found.url, found.parameters)


@pytest.mark.parametrize(
    "link",
    [
        '<https://shop.example/v1/orders?page_info=x>; rel="next"',
        "<https://shop.example/v1/orders?page_info=x>; rel=next",
        '<https://shop.example/v1/orders?a=1,2;b>; rel="prev", </v1/orders?page_info=x>; title="a, b"; rel="last next"',
        '<?page_info=x>;REL="NEXT"',
    ],
)
def test_links_of_the_header(link: str) -> None:
    assert then(Auto(), {}, link) == ("https://shop.example/v1/orders?page_info=x", {})
    assert then(ByLink(kind="link"), {}, link) == ("https://shop.example/v1/orders?page_info=x", {})


@pytest.mark.parametrize(
    "body",
    [
        {"next": "https://shop.example/v1/orders?c=2"},
        {"@odata.nextLink": "https://shop.example/v1/orders?c=2"},
        {"links": {"next": "/v1/orders?c=2"}},
        {"_links": {"next": {"href": "/v1/orders?c=2"}}},
        {"paging": {"next": {"link": "/v1/orders?c=2"}}},
    ],
)
def test_links_of_the_body(body: Any) -> None:
    assert then(Auto(), body) == ("https://shop.example/v1/orders?c=2", {})


@pytest.mark.parametrize("body", [{}, {"next": None}, {"next": ""}, {"next": False}, {"next": 2}, [], {"links": []}])
def test_where_nothing_leads_on_it_was_the_last(body: Any) -> None:
    assert then(Auto(), body) is None


def test_cursors() -> None:
    way = ByCursor(kind="cursor", path="meta.after", parameter="cursor", more="meta.more")
    assert then(way, {"meta": {"after": 7, "more": True}}) == (HERE.url, {"limit": "2", "cursor": "7"})
    assert then(way, {"meta": {"after": 7, "more": False}}) is None
    assert then(way, {"meta": {"after": None, "more": True}}) is None
    last = ByCursor(kind="cursor", path="data.-1.id", parameter="starting_after", more="has_more")  # as Stripe has it
    assert then(last, {"data": [{"id": "a"}, {"id": "b"}], "has_more": True})[1]["starting_after"] == "b"


def test_a_link_may_stand_on_the_last_page_too() -> None:
    way = ByLink(kind="link", path="after_url", last="end_of_stream")
    assert then(way, {"after_url": "/v1/orders?cursor=x", "end_of_stream": False})[0].endswith("cursor=x")
    assert then(way, {"after_url": "/v1/orders?cursor=x", "end_of_stream": True}) is None


def test_a_cursor_of_a_body_goes_into_the_body() -> None:
    asked = Request("POST", HERE.url, body={"query": "…", "variables": {"first": 2}})
    way = ByCursor(kind="cursor", path="data.orders.pageInfo.endCursor", parameter="variables.after",
                   more="data.orders.pageInfo.hasNextPage")  # fmt: skip
    body = {"data": {"orders": {"pageInfo": {"endCursor": "c", "hasNextPage": True}}}}
    found = following(way, asked, Answer(b"", {}, None), body, 2, 0)
    assert found is not None and found.body["variables"] == {"first": 2, "after": "c"}
    assert asked.body["variables"] == {"first": 2}


def test_numbers_and_offsets() -> None:
    first = Request("GET", HERE.url, {"page": "1"})
    assert then(ByNumber(kind="page"), [], asked=first) == (HERE.url, {"page": "2"})
    assert then(ByNumber(kind="page"), [], asked=first, records=0) is None
    assert then(ByNumber(kind="page", total_pages="pages"), {"pages": 1}, asked=first) is None
    assert then(ByNumber(kind="page", total_pages="pages"), {"pages": "2"}, asked=first) == (HERE.url, {"page": "2"})
    assert then(ByNumber(kind="page", total="count"), {"count": 4}, asked=first, before=2) is None
    assert (
        then(ByNumber(kind="page", first=0, total_pages="pages"), {"pages": 1}, asked=Request("GET", HERE.url)) is None
    )
    assert then(ByOffset(kind="offset", total="total"), {"total": 5}, before=2)[1]["offset"] == "4"
    assert then(ByOffset(kind="offset", total="total"), {"total": 4}, before=2) is None
    assert then(ByOffset(kind="offset"), [], records=1, before=2)[1]["offset"] == "3"
    assert then(One(kind="none"), {"next": "/v1/orders?c=2"}) is None


@pytest.mark.parametrize("link", ["https://other.example/v1", "http://shop.example/v1/orders", "//other.example/x"])
def test_credentials_go_to_no_other_server(link: str) -> None:
    with pytest.raises(SourceError, match=r"credentials are for shop\.example alone"):
        then(ByLink(kind="link", path="next"), {"next": link})


def test_a_page_that_leads_to_itself_is_said() -> None:
    with pytest.raises(SourceError, match="`paging` does not fit"):
        then(ByLink(kind="link", path="next"), {"next": HERE.url}, asked=Request("GET", HERE.url))
