"""One call of a client library, checked, and as the log keeps it: its fields as they came, with the four moments, the
type of event that it is here, and who wrote it.

Calls are of Segment's HTTP API (identify, track, page, screen, group, alias), or events in the shape of the
specification's own tables, which become calls.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from customer360.serve.realtime import own_shape
from customer360.serve.realtime.activity import LARGEST_CART, LIVES, Step, account, visitor
from customer360.serve.realtime.names import CONSENT_EVENTS, TELLS_CART, Purposes
from customer360.serve.realtime.paths import KINDS

LARGEST = 32 * 1024  # bytes of an event
LONGEST_ID = 255
DEEPEST = 254  # levels of objects and lists: what the fast writer writes; who reads the log may be deep in calls itself
LONGEST_TEXT = 200  # characters of a product's id or a search that a window keeps
_TEXTS = ("userId", "anonymousId", "previousId", "groupId")
_OBJECTS = ("properties", "traits", "context", "integrations")
_OURS = frozenset({"writeKey", "eventType", "consents", "trusted"})  # of what is sent, nobody's
_WRITTEN = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class Refused(Exception):
    """Why a call is none; tells no value of it."""


class TooDeep(Refused):
    """A value that holds more levels of others than anybody needs, and than every reader of the log could follow."""


class Entry(NamedTuple):
    """What goes to the log: ``record`` is one line of JSON, or with a ``reason`` the bytes as they came. Entries of one
    ``owner`` keep their order."""

    key: str
    record: bytes
    owner: str = ""
    reason: str = ""


class Call(NamedTuple):
    """A good call: what the log keeps, and what the windows do, None where it happened too long ago."""

    entry: Entry
    step: Step | None
    visitor_id: str | None
    account_id: str | None


@dataclass(frozen=True)
class Sent:
    """What holds for all calls of a request."""

    received: datetime
    writer: str  # name of the key
    is_trusted: bool = False  # it is a server's, and may speak for accounts
    sent: Any = None  # sentAt of a batch
    context: Mapping[str, Any] | None = None  # of a batch, under that of each call
    ip: str | None = None


@dataclass(frozen=True)
class Reader:
    """Calls by what the settings say of names of events and of consent."""

    system: str
    types: Mapping[str, str]
    purposes: Purposes
    page_logins: bool = True  # whether keys that are not trusted are believed who is logged in

    def call(self, given: Any, sent: Sent, kind: str | None = None) -> Call:
        """A call of a kind, which a batch's own ``type`` says where it is None.

        Raises:
            Refused: it is none.
        """
        if not isinstance(given, dict):
            raise Refused("a call is a JSON object")
        if "type" not in given and own_shape.is_one(given):
            given = own_shape.as_call(given)
        event = given if kind is None else {**given, "type": kind}
        if not (self.page_logins or sent.is_trusted):
            _without_account(event)
        _check(event)
        if sent.context:
            event["context"] = {**sent.context, **event.get("context", {})}
        at = _moments(event, sent)
        event["writer"] = sent.writer
        if not _OURS.isdisjoint(event):
            for name in _OURS:
                event.pop(name, None)
        if sent.is_trusted:
            event["trusted"] = True
        if sent.ip and not event.setdefault("context", {}).get("ip"):
            event["context"]["ip"] = sent.ip
        name = str(event.get("event", "")).strip().lower()
        found = self.types.get(name, "") if event["type"] == "track" else _type(event, sent)
        if found:
            event["eventType"] = found
        allowed, refused = self._consent(event["context"]) if event.get("context") else (_NONE, _NONE)
        if (allowed or refused) and (event["type"] in ("identify", "alias") or name in CONSENT_EVENTS):
            answers = [(p, "NO") for p in sorted(refused)]
            if sent.is_trusted:  # everybody may refuse, as that harms least; not everybody may allow
                answers += [(p, "YES") for p in sorted(allowed)]
            if answers:
                event["consents"] = [{"purpose": purpose, "answer": answer} for purpose, answer in answers]
        record = _written(event)
        if len(record) > LARGEST:
            raise Refused(f"an event has at most {LARGEST // 1024} kilobytes")
        step = None
        if sent.received - at < LIVES:
            step = _step(event, found, name, at, allowed, refused, sent.is_trusted)
        elif refused:
            step = Step("", at, refused=refused)
        user = event.get("userId")
        # browsers may name the account twice
        is_of_another = event["type"] == "alias" and sent.is_trusted and event["previousId"] != user
        who = event["previousId"] if is_of_another else event.get("anonymousId")
        entry = Entry(event["messageId"], record, who or user or event["messageId"])
        return Call(entry, step, visitor(who) if who else None, account(self.system, user) if user else None)

    def _consent(self, context: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
        """Purposes that the context of an event says yes to, and no; no wins."""
        said = context.get("consent")
        said = said.get("categoryPreferences") if isinstance(said, dict) else None
        if not isinstance(said, dict) or not said:
            return _NONE, _NONE
        allowed, refused = set[str](), set[str]()
        for category, answer in said.items():
            is_allowed = answer is True  # in doubt it is a no
            (allowed if is_allowed else refused).update(self.purposes.about(category, is_allowed=is_allowed))
        return frozenset(allowed - refused), frozenset(refused)


_NONE: frozenset[str] = frozenset()


def _type(event: dict[str, Any], sent: Sent) -> str:
    """The type of a call that is no track."""
    kind = event["type"]
    if kind in ("page", "screen"):
        return "PAGE_VIEW"
    if kind == "identify":
        return "LOGIN" if event.get("userId") and event.get("anonymousId") else ""
    return "LOGIN" if kind == "alias" and sent.is_trusted else ""


def refusal(raw: bytes, reason: str, owner: str = "") -> Entry:
    """A dead letter, for the log; the same one twice is one."""
    return Entry(f"refused-{sha256(raw).hexdigest()}", raw, owner, reason)


def written(given: Any) -> bytes:
    """A JSON value as bytes, for a dead letter. Raises TooDeep."""
    return _written(given)


def _written(event: Any) -> bytes:
    try:
        return orjson.dumps(event, option=_WRITTEN)
    except (TypeError, ValueError):  # half a surrogate pair, a whole number of more than 64 bits, or too deep
        if _is_too_deep(event):
            raise TooDeep(f"an event has at most {DEEPEST} levels of objects and lists") from None
        return json.dumps(event, default=_moment_as_text).encode()


def _without_account(event: dict[str, Any]) -> None:
    """Nobody is logged in on the word of a page; whom it named stays in the log."""
    if (named := event.pop("userId", None)) is None:
        return
    if not event.get("anonymousId"):
        raise Refused("userId is told by keys that `trusted` of the collector names: anonymousId is needed")
    event["claimedUserId"] = named


def _is_too_deep(given: Any) -> bool:
    level = [given]
    for _ in range(DEEPEST):
        level = [v for each in level for v in (each.values() if isinstance(each, dict) else each)
                 if isinstance(v, dict | list)]  # fmt: skip
        if not level:
            return False
    return True


def _moment_as_text(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat().replace("+00:00", "Z")


def _check(event: dict[str, Any]) -> None:
    """Raises Refused where a call lacks what makes it one. Ids become text."""
    kind = event.get("type")
    if kind not in KINDS:
        raise Refused(f"type is none of {', '.join(KINDS)}")
    for name in _TEXTS:
        if name in event and not _is_id(event[name]):
            _id(event, name)
    for name in _OBJECTS:
        if name in event and not isinstance(event[name], dict):
            if event[name] is not None:
                raise Refused(f"{name} is no JSON object")
            del event[name]
    if not (event.get("anonymousId") or event.get("userId") or event.get("previousId")):
        raise Refused("userId or anonymousId is needed")
    if kind == "track" and not (isinstance(event.get("event"), str) and event["event"].strip()):
        raise Refused("a track call needs the name of its event")
    if kind == "alias" and not (event.get("userId") and event.get("previousId")):
        raise Refused("an alias call needs userId and previousId")
    if kind == "group" and not event.get("groupId"):
        raise Refused("a group call needs groupId")
    number = event.get("messageId")
    if number is None or number == "":
        event["messageId"] = str(uuid.uuid4())
    elif not isinstance(number, str) or len(number) > LONGEST_ID or not number.isprintable():
        raise Refused(f"messageId is a text of at most {LONGEST_ID} printable characters")


def _is_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= LONGEST_ID and value.isprintable() and not value.isspace()


def _id(event: dict[str, Any], name: str) -> None:
    value = event[name]
    if isinstance(value, int) and not isinstance(value, bool):
        event[name] = value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        del event[name]  # nobody
    elif not isinstance(value, str) or len(value) > LONGEST_ID or not value.isprintable():
        raise Refused(f"{name} is a text of at most {LONGEST_ID} printable characters")


def _moments(event: dict[str, Any], sent: Sent) -> datetime:
    """Set the four moments of an event, and give the one when it happened by the server's clock: what a client's clock
    is wrong by shows in when it says that it sent.
    """
    original = event.get("originalTimestamp", event.get("timestamp"))
    said = event.get("sentAt", sent.sent)
    happened, left = moment(original), None if said is None else moment(said)
    at = sent.received if happened is None else happened
    if happened is not None and left is not None:
        try:
            at = sent.received - (left - happened)
        except OverflowError:
            at = sent.received
    if at > sent.received:
        at = sent.received  # what is yet to come would be newer than every answer after it
    event["receivedAt"], event["timestamp"] = sent.received, at
    for name, value in (("originalTimestamp", original), ("sentAt", said)):
        if value is None:
            event.pop(name, None)
        else:
            event[name] = value
    return at


def moment(value: Any) -> datetime | None:
    """A moment as clients write it: ISO 8601, in UTC where it names no zone, or milliseconds since 1970; None where it
    is neither.
    """
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            if found.tzinfo is UTC:
                return found
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        return None
    return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _step(
    event: dict[str, Any],
    kind: str,
    name: str,
    at: datetime,
    allowed: frozenset[str],
    refused: frozenset[str],
    is_vouched: bool,
) -> Step:
    about = event.get("properties")
    if not about:
        return Step(kind, at, (), "", None, refused, allowed, is_vouched)
    listed = about.get("products")
    several = [p for each in listed[:LARGEST_CART] if (p := _product(each))] if isinstance(listed, list) else []
    products = tuple(several) if several else (one,) if (one := _product(about)) else ()
    query = about.get("query") if kind == "SEARCH" else None
    return Step(
        kind,
        at,
        products,
        query.strip()[:LONGEST_TEXT] if isinstance(query, str) else "",
        tuple(several) if name in TELLS_CART and isinstance(listed, list) else None,
        refused,
        allowed,
        is_vouched,
    )


def _product(about: Any) -> str:
    if not isinstance(about, dict):
        return ""
    found = about.get("product_id") or about.get("sku") or about.get("productId")
    if type(found) is str and len(found) <= LONGEST_TEXT:
        return found.strip()
    text = str(found).strip() if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return text if len(text) <= LONGEST_TEXT else ""  # no product of a shop; the log keeps it
