"""Where events are sent, for the reference page and for servers that have no collector; where one is configured,
`serve.door` answers before the application does.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field

from customer360.serve.api.policy import BY_BEARER, BY_HEADER

router = APIRouter(tags=["events"])
_key = HTTPBasic(auto_error=False, description="A write key as the user, with no password")
WriteKey = Annotated[HTTPBasicCredentials | None, Depends(_key)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BY_BEARER)]
Header = Annotated[str | None, Depends(BY_HEADER)]
ONE = {
    "type": "track", "event": "Product Added", "anonymousId": "v-1", "messageId": "5f1c…",
    "timestamp": "2026-05-01T10:00:00Z", "properties": {"product_id": "P1"},
}  # fmt: skip
CALLS = {
    "identify": "What is known of who logs in: `userId`, `traits`.",
    "track": "What somebody did: `event`, `properties`. Names of Segment's e-commerce specification are events here.",
    "page": "A page that somebody looks at.",
    "screen": "A screen of an app that somebody looks at.",
    "group": "The group that somebody belongs to: `groupId`. It is kept in the log and read by no recipe.",
    "alias": "That a visitor, `previousId`, is the account `userId`.",
}


class RefusedCall(BaseModel):
    """A call of a batch that is none; a dead letter keeps it."""

    index: int = Field(description="Its place in the batch, from 0")
    reason: str


class Acknowledged(BaseModel):
    """The calls are durable. Sent again under the same `messageId`, a call is kept once."""

    success: Literal[True]
    refused: list[RefusedCall] | None = Field(None, description="Of a batch: the first hundred calls that are none")
    refused_in_all: int | None = Field(None, description="How many are none, where it is more than a hundred")


def _no_collector(
    key: WriteKey, bearer: Bearer, header: Header, body: Annotated[Any, Body(examples=[ONE])]
) -> Acknowledged:
    raise HTTPException(404, "this server collects no events: its settings name no connection of kind collector")


for _kind, _text in CALLS.items():
    router.add_api_route(
        f"/{_kind}", _no_collector, methods=["POST"], name=_kind, summary=_kind.capitalize(), operation_id=_kind,
        description=f"{_text} A call has `userId` or `anonymousId`, and at most 32 KB.",
    )  # fmt: skip
for _name, _text in {
    "batch": "Calls together, each with its `type`: `{\"batch\": […]}`, at most 500 KB. Those that are none are dead "
    "letters, and keep no other out.",
    "import": "As batch, for history.",
    "events": "Events in the shape of the specification's tables (`EVENT_ID`, `EVENT_TYPE`, …): one, or a list.",
}.items():  # fmt: skip
    router.add_api_route(
        f"/{_name}", _no_collector, methods=["POST"], name=_name, summary=_name.capitalize(), description=_text,
        operation_id=_name,
    )  # fmt: skip
