"""A typed client of the HTTP API for shops and services written in Python.

    from customer360.serve.client import Client

    with Client("https://360.example.org", key) as client:
        choice = client.recommend("home", visitor_id="d-71", k=8)
        client.track("Product Viewed", anonymous_id="d-71", properties={"product_id": "85123A"})

It needs httpx2 and loads nothing else of this package. One `Client` keeps its connections; it may be shared by threads.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, cast
from urllib.parse import quote
from uuid import uuid4

import httpx2

from customer360.serve.client.answers import (
    Acknowledged,
    Choice,
    Decided,
    Decision,
    Features,
    Mode,
    Page,
    Person,
    Placement,
    RecommendedList,
    Refused,
    Scores,
)
from customer360.serve.client.faults import (
    ClientError,
    Conflict,
    NotAllowed,
    NotFound,
    ProblemError,
    TooMany,
    Unavailable,
    Unreachable,
    WrongRequest,
    fault_of,
)

AGAIN = frozenset({408, 429, 500, 502, 503, 504})  # and 409 where the server says when
FIRST_WAIT_SECONDS = 0.1
LARGEST_BATCH_BYTES = 400_000  # below what the collector takes
CALLS_A_BATCH = 500
Who = str | tuple[str, str]  # a person's id, or an account: source system and number
CONSENT_EVENT = "Segment Consent Preference Updated"


class Client:
    """Calls of one server.

    ``key``: for answers; ``write_key``: for events, of role `writer`. What failed on the way, and what the server asks
    to be sent again, is sent again for ``patience`` seconds in all, after waits that double or that the server names.
    Nothing is done twice by that: events keep their `messageId`, and a steward's decision its `Idempotency-Key`.
    ``http``: a client of your own, for proxies or tests.

    Every method raises:
        ProblemError: the server said no; its class says how.
        Unreachable: no answer came.
        ClientError: both of these, and events without a ``write_key``.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        write_key: str = "",
        timeout: float = 5.0,
        patience: float = 10.0,
        http: httpx2.Client | None = None,
    ) -> None:
        self._base, self._key, self._write_key, self._patience = url.rstrip("/"), key, write_key, patience
        self._http = http if http is not None else httpx2.Client(timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let connections go."""
        self._http.close()

    # ---- people ------------------------------------------------------------------------------------------------------

    def person(self, who: Who) -> Person:
        """The profile of a person."""
        return cast(Person, self._get(_place(who)))

    def scores(self, who: Who) -> Scores:
        """What models expect of a person."""
        return cast(Scores, self._get(f"{_place(who)}/scores"))

    def features(
        self, names: Sequence[str], key: Literal["person_id", "account", "product_id"], entities: Sequence[str]
    ) -> Features:
        """Features (`customer_360:net_amount`) of up to 1,000 entities, a column a feature."""
        return cast(Features, self._post("/v1/features", {"features": [*names], "entities": {key: [*entities]}}))

    # ---- products ----------------------------------------------------------------------------------------------------

    def recommended(self, who: Who, k: int = 5, mode: Mode = "new", model: str | None = None) -> RecommendedList:
        """The stored list of a person; ``model``: only of this one."""
        query = {"k": k, "mode": mode} | ({} if model is None else {"model": model})
        return cast(RecommendedList, self._get(f"{_place(who)}/recommendations", query))

    def recommend(self, placement: Placement, **wanted: Any) -> Choice:
        """Products for a placement. ``wanted``: the fields of the request as the API describes them, such as
        `person_id`, `account`, `visitor_id`, `k`, `product_id`, `cart`, `items`, `filter`, `context`; those that are
        None are left out."""
        body = {"placement": placement} | {name: value for name, value in wanted.items() if value is not None}
        return cast(Choice, self._post("/v1/recommendations", body))

    def page(self, decision_id: str, offset: int, k: int = 10) -> Page:
        """Products of a choice from a place on."""
        return cast(Page, self._get(f"/v1/decisions/{_part(decision_id)}/items", {"offset": offset, "k": k}))

    def pages(self, choice: Choice, k: int = 10) -> Iterator[Page]:
        """The pages after those products that a choice shows."""
        offset: int | None = len(choice["items"])
        while offset is not None and offset < choice["total"]:
            found = self.page(choice["decision_id"], offset, k)
            yield found
            offset = found["next_offset"]

    def decision(self, decision_id: str) -> Decision:
        """Why products were chosen."""
        return cast(Decision, self._get(f"/v1/decisions/{_part(decision_id)}"))

    # ---- events ------------------------------------------------------------------------------------------------------

    def track(
        self,
        event: str,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Acknowledged:
        """What somebody did just now; durable, and known to the next answer, when this returns."""
        return self._one("track", user_id, anonymous_id, context, event=event, properties=dict(properties or {}))

    def identify(
        self,
        user_id: str,
        traits: Mapping[str, Any] | None = None,
        *,
        anonymous_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Acknowledged:
        """Who logged in; with ``anonymous_id`` the device is the account's."""
        return self._one("identify", user_id, anonymous_id, context, traits=dict(traits or {}))

    def consent(
        self, answers: Mapping[str, bool], *, user_id: str | None = None, anonymous_id: str | None = None
    ) -> Acknowledged:
        """What somebody allows and refuses, by category or purpose."""
        context = {"consent": {"categoryPreferences": dict(answers)}}
        return self.track(CONSENT_EVENT, user_id=user_id, anonymous_id=anonymous_id, context=context)

    def batch(self, calls: Iterable[Mapping[str, Any]]) -> Acknowledged:
        """Calls as client libraries make them, each with its `type`; sent in as many requests as they need. `refused`
        counts places from the first call on. Calls without a `messageId` or `timestamp` get one, in the order given."""
        refused, beyond, at = list[Refused](), 0, 0
        for some in _batches(_stamped(call) for call in calls):
            found = cast(Acknowledged, self._post("/v1/batch", {"batch": some, "sentAt": _now()}, writes=True))
            told = found.get("refused") or []
            refused += [{"index": at + each["index"], "reason": each["reason"]} for each in told]
            beyond += (found.get("refused_in_all") or len(told)) - len(told)
            at += len(some)
        answer: Acknowledged = {"success": True}
        if refused:
            answer["refused"] = refused
        if beyond:
            answer["refused_in_all"] = len(refused) + beyond
        return answer

    def _one(
        self, kind: str, user_id: str | None, anonymous_id: str | None, context: Mapping[str, Any] | None, **said: Any
    ) -> Acknowledged:
        given = {"userId": user_id, "anonymousId": anonymous_id, "context": context and dict(context), **said}
        call = _stamped({name: value for name, value in given.items() if value is not None})
        return cast(Acknowledged, self._post(f"/v1/{kind}", call | {"sentAt": _now()}, writes=True))

    # ---- decisions of stewards ---------------------------------------------------------------------------------------

    def confirm(self, one: str, other: str, reason: str = "", *, idempotency_key: str | None = None) -> Decided:
        """Two records (`SYSTEM/id`) are one person."""
        return self._decide("/v1/identity/confirm", {"one": one, "other": other, "reason": reason}, idempotency_key)

    def reject(self, one: str, other: str, reason: str = "", *, idempotency_key: str | None = None) -> Decided:
        """Two records are two people."""
        return self._decide("/v1/identity/reject", {"one": one, "other": other, "reason": reason}, idempotency_key)

    def split(
        self, person_id: str, records: Sequence[str], reason: str = "", *, idempotency_key: str | None = None
    ) -> Decided:
        """Part records of a person from its others."""
        body = {"records": [*records], "reason": reason}
        return self._decide(f"/v1/identity/{_part(person_id)}/split", body, idempotency_key)

    def undo(self, event: int, reason: str = "", *, idempotency_key: str | None = None) -> Decided:
        """Take an event of identity back."""
        return self._decide(f"/v1/identity/events/{event}/undo", None, idempotency_key, {"reason": reason})

    def _decide(
        self, path: str, body: Any, idempotency_key: str | None, query: Mapping[str, Any] | None = None
    ) -> Decided:
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return cast(Decided, self._sent("POST", path, body, query, headers))

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._sent("GET", path, None, query)

    def _post(self, path: str, body: Any, *, writes: bool = False) -> Any:
        if writes and not self._write_key:
            raise ClientError("events need a key of role writer: Client(url, write_key=...)")
        return self._sent("POST", path, body, None, key=self._write_key if writes else self._key)

    def _sent(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Any:
        """The JSON of an answer; sent again while that may help and ``patience`` lasts."""
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        presented = self._key if key is None else key
        sent = {"Authorization": f"Bearer {presented}", "Content-Type": "application/json", **(headers or {})}
        until, wait = time.monotonic() + self._patience, FIRST_WAIT_SECONDS
        while True:
            fault: ClientError
            after: float | None = None
            try:
                answer = self._http.request(method, self._base + path, content=content, params=query, headers=sent)
            except httpx2.TransportError as lost:
                fault = Unreachable(f"{method} {self._base}{path.partition('?')[0]}: {type(lost).__name__}: {lost}")
            else:
                if answer.is_success:
                    return _json(answer)
                problem = _problem(answer)
                after, fault = problem.retry_after, problem
                if not (problem.status in AGAIN or (problem.status == 409 and after is not None)):
                    raise fault
            pause = wait * random.uniform(0.5, 1.0) if after is None else after
            if time.monotonic() + pause > until:
                raise fault
            time.sleep(pause)
            wait *= 2


def _part(value: str) -> str:
    """One piece of a path, whatever it holds."""
    return quote(value, safe="")


def _place(who: Who) -> str:
    if isinstance(who, str):
        return f"/v1/people/{_part(who)}"
    source, customer_id = who
    return f"/v1/customers/{_part(source)}/{_part(customer_id)}"


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _stamped(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call that may be sent again: by its id it is kept once."""
    return {"messageId": uuid4().hex, "timestamp": _now(), **call}


def _batches(calls: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some, size = list[dict[str, Any]](), 0
    for call in calls:
        length = len(json.dumps(call).encode())
        if some and (len(some) >= CALLS_A_BATCH or size + length > LARGEST_BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(call)
        size += length
    if some:
        yield some


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise Unreachable(f"{answer.request.url.host} answered {answer.status_code} with no JSON") from None


def _problem(answer: httpx2.Response) -> ProblemError:
    """The error of an answer; of a proxy before the server, which knows no problems, its status alone."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    after = answer.headers.get("retry-after", "")
    title = str(said.get("title") or answer.reason_phrase)
    return fault_of(
        answer.status_code, title, str(said.get("detail") or "no detail"), float(after) if after.isdigit() else None
    )


__all__ = [
    "Client",
    "ClientError",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "ProblemError",
    "TooMany",
    "Unavailable",
    "Unreachable",
    "WrongRequest",
]
