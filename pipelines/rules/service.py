"""The rule file `service`: when the desk works, how fast it answers, what a contact costs, words of its matters."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from customer360.pipelines.business_hours import Calendar
from customer360.pipelines.texts.statements import sought
from customer360.platform.settings import Frozen

Minutes = Annotated[int, Field(gt=0)]


class Target(Frozen):
    """Open minutes within which a ticket is answered first, and solved."""

    first_response_minutes: Minutes
    resolution_minutes: Minutes


class Queue(Frozen):
    """Tickets that are worked off by one calendar: the first queue whose lists all hold the ticket's value takes it; an
    empty list takes any."""

    name: str = Field(min_length=1)
    calendar: str
    systems: list[str] = []
    categories: list[str] = []
    origins: list[str] = []
    priorities: list[str] = []


class ContactCost(Frozen):
    """What a contact of a type costs in the reporting currency: a sum each, and one for a minute of handling."""

    each: float = Field(default=0, ge=0)
    minute: float = Field(default=0, ge=0)


TARGETS = {
    "URGENT": Target(first_response_minutes=60, resolution_minutes=480),
    "HIGH": Target(first_response_minutes=240, resolution_minutes=960),
    "MEDIUM": Target(first_response_minutes=480, resolution_minutes=2400),
    "LOW": Target(first_response_minutes=960, resolution_minutes=4800),
}
TERMS = {
    "BILLING": ["payment*", "paid", "invoice*", "bill", "billing", "charge*", "card", "refused", "rechnung*",
                "zahlung*", "factura*", "pago*", "facture*", "paiement*"],
    "PRODUCT": ["broken", "defect*", "faulty", "size", "sent something back", "return*", "refund*", "kaputt",
                "umtausch*", "rücksend*", "devolu*", "talla", "taille", "retour*"],
    "TECHNICAL": ["login", "log in", "password*", "app", "website", "error*", "crash*", "passwort", "anmelden",
                  "contraseña", "mot de passe"],
    "GENERAL": ["where is my order", "delivery", "deliver*", "late", "parcel*", "shipping", "opening", "lieferung*",
                "paket*", "envío", "livraison"],
}  # fmt: skip


class ServiceRules(Frozen):
    """Clocks, costs and matters of the support desk."""

    version: int = 1
    calendars: dict[str, Calendar] = {"default": Calendar()}
    queues: list[Queue] = [Queue(name="ALL", calendar="default")]
    targets: dict[str, Target] = TARGETS  # by priority
    priority_if_unknown: str = "MEDIUM"
    waiting_outcomes: list[str] = ["WAITING FOR CUSTOMER"]  # of a contact: the clock stands still until the next one
    reopen_days: int = Field(default=7, gt=0)
    window_days: int = Field(default=365, gt=0)  # of tickets that analyses look back on
    least_tickets: int = Field(default=20, ge=2)  # of a group that is judged
    level: float = Field(default=0.05, gt=0, lt=1)  # chance that of a family where nothing differs one is called so
    terms: dict[str, list[str]] = TERMS  # by category; of these alone texts are known
    least_confidence: float = Field(default=0.6, ge=0, le=1)  # of a category read from a text; below: unknown
    costs: dict[str, ContactCost] = {
        "PHONE": ContactCost(each=1, minute=0.8), "CHAT": ContactCost(each=0.5, minute=0.4),
        "EMAIL": ContactCost(each=0.5, minute=0.5), "SOCIAL": ContactCost(each=0.5, minute=0.5),
        "IN_PERSON": ContactCost(each=0, minute=0.7),
    }  # fmt: skip
    minutes_if_unknown: float = Field(default=8, ge=0)  # of handling, of a contact that says none

    @field_validator("terms")
    @classmethod
    def _can_be_found(cls, terms: dict[str, list[str]]) -> dict[str, list[str]]:
        for term in chain(*terms.values()):
            sought(term)
        return terms

    @model_validator(mode="after")
    def _names_are_known(self) -> ServiceRules:
        if strange := sorted({q.calendar for q in self.queues} - set(self.calendars)):
            raise ValueError(f"queues name calendars {strange}; there are {sorted(self.calendars)}")
        if not self.queues or self.queues[-1] != Queue(name=self.queues[-1].name, calendar=self.queues[-1].calendar):
            raise ValueError("the last queue takes every ticket that no other takes: leave its lists out")
        if self.priority_if_unknown not in self.targets:
            raise ValueError(f"priority_if_unknown {self.priority_if_unknown!r} has no target")
        return self
