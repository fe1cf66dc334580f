"""Events in the shape of the specification's tables (REAL_TIME_EVENTS, CUSTOMER_BEHAVIORAL_EVENTS) as calls."""

from __future__ import annotations

import json
from typing import Any

PAGE = {"PAGE_URL": "url", "PAGE_TITLE": "title", "REFERRER_URL": "referrer"}
PROPERTIES = {"PRODUCT_ID": "product_id", "CATEGORY_VIEWED": "category", "SEARCH_QUERY": "query",
              "TIME_ON_PAGE": "time_on_page", "SCROLL_DEPTH": "scroll_depth"}  # fmt: skip


def is_one(given: dict[str, Any]) -> bool:
    """Whether an object is such an event: it has no ``type``, and names its type as the tables do."""
    return "type" not in given and any(name in given for name in ("EVENT_TYPE", "event_type"))


def as_call(given: dict[str, Any]) -> dict[str, Any]:
    """The call that says the same. Columns may be in small letters; those that no call has a place for are among its
    properties.
    """
    told = {str(name).upper(): value for name, value in given.items() if value is not None}
    kind = told.pop("EVENT_TYPE", None)
    moments = [told.pop(name, None) for name in ("EVENT_TIMESTAMP", "EVENT_DATE")]
    context: dict[str, Any] = {"page": {key: told.pop(name) for name, key in PAGE.items() if name in told}}
    for name, key in (("SESSION_ID", "sessionId"), ("USER_AGENT", "userAgent")):
        if name in told:
            context[key] = told.pop(name)
    if "DEVICE_TYPE" in told:
        context["device"] = {"type": told.pop("DEVICE_TYPE")}
    place = {key: told.pop(name) for name, key in (("LOCATION_COUNTRY", "country"), ("LOCATION_CITY", "city"))
             if name in told}  # fmt: skip
    call = {
        "type": "track",
        "event": kind,
        "messageId": told.pop("EVENT_ID", None),
        "userId": told.pop("CUSTOMER_ID", None),
        "anonymousId": told.pop("VISITOR_ID", None),
        "timestamp": next((m for m in moments if m is not None), None),
        "context": context | ({"location": place} if place else {}),
    }
    properties = _data(told.pop("EVENT_DATA", None))
    properties |= {key: told.pop(name) for name, key in PROPERTIES.items() if name in told}
    return call | {"properties": properties | told}


def _data(said: Any) -> dict[str, Any]:
    """EVENT_DATA, an object or its text; what is neither stands under its name."""
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            return {"EVENT_DATA": said}
    if said is None:
        return {}
    return dict(said) if isinstance(said, dict) else {"EVENT_DATA": said}
