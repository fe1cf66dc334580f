"""A log of events that trackers and client libraries send to this server: who may send from a browser, what names of
events and of consent mean, how much may wait.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from customer360.platform.connections import Connection


class Collector(Connection):
    """The log behind ``POST /v1/track`` and its kin. It has no secret of its own: who may write has a write key.

    With ``broker``, the name of a connection of kind kafka, the log is the topic there; sources of kind streams read
    it. Without, it is a journal in the state folder, and sources of kind collector do.
    """

    secrets: ClassVar[tuple[str, ...]] = ()

    kind: Literal["collector"] = "collector"
    system: str = Field(pattern=r"^[A-Z0-9_]+$")  # namespace of the user ids that events name
    origins: list[str] = []  # of pages that may send, as browsers name them: https://shop.example; "*": any
    events: dict[str, str] = {}  # further names of track events, and which of the vocabulary each is
    # category of context.consent, and the purposes that it is about; "unmapped": what a no to any other refuses, ALL
    # where it is not said
    consent: dict[str, list[str]] = {}
    trusted: list[str] = []  # names of write keys that servers hold: they tell master data, aliases and a yes
    # Whether the other keys, which everybody can read in a page, are believed whose visit it is. No: their calls are of
    # the visitor alone, until a trusted key says who logged in.
    page_logins: bool = True
    keep_ip: bool = False  # note the caller's address where an event of a browser does not say it
    events_per_minute: int = Field(default=60_000, ge=0)  # by key and process, where the key has no own; 0: no limit
    backlog_megabytes: int = Field(default=2048, ge=1)  # of events that no run took yet, beyond which none are taken
    keep_minutes: float = Field(default=30, ge=0)  # that events stay in the journal after runs took them: a visit
    broker: str = ""
    topic: str = ""

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, given: list[str]) -> list[str]:
        for origin in given:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not host or "/" in host):
                raise ValueError(f"{origin!r} is no origin, which reads https://shop.example, without a path")
        return [origin.lower() for origin in given]

    @model_validator(mode="after")
    def _has_topic_and_broker(self) -> Self:
        if bool(self.broker) != bool(self.topic):
            raise ValueError("broker and topic belong together")
        return self
