"""The rule files `rights` and `policy`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from customer360.platform.settings import Frozen

Right = Literal["access", "rectify", "erase", "restrict", "opt_out"]


class RightsRules(Frozen):
    """How long an answer to what people ask for may take, and what needs a proof of who asks."""

    version: int = 1
    law: str = "GDPR"  # of a request that names none
    days: dict[str, Annotated[int, Field(gt=0)]] = {"GDPR": 30, "CCPA": 45}
    without_identity: list[Right] = ["opt_out"]  # fulfilled without a proof: nobody can be harmed by them

    @model_validator(mode="after")
    def _law_is_known(self) -> RightsRules:
        if self.law not in self.days:
            raise ValueError(f"law {self.law!r} has no days; there are {', '.join(sorted(self.days))}")
        return self


Basis = Literal["contract", "legal obligation", "consent", "legitimate interest"]  # Article 6 (1) GDPR: b, c, a, f


class DomainPolicy(Frozen):
    """Who answers for the personal data of a domain, what they are there for, on what legal basis, for how long."""

    owner: str = Field(min_length=1)  # a role, not a name
    purpose: str = Field(min_length=1)
    basis: Basis
    keep_days: int | None = Field(default=None, gt=0)  # None: until the person is erased


def _domain(owner: str, purpose: str, basis: Basis) -> DomainPolicy:
    return DomainPolicy(owner=owner, purpose=purpose, basis=basis)


class PolicyRules(Frozen):
    """The policy of personal data by domain (the module that declares a source table), and where a table keeps its rows
    for another time than its domain. What persons may refuse is the contracts' matter (`platform.purposes`)."""

    version: int = 1
    domains: dict[str, DomainPolicy] = {
        "customers": _domain("customer data", "customer account", "contract"),
        "sales": _domain("finance", "sale, delivery and accounts", "contract"),
        "payments": _domain("finance", "payment, refunds and the detection of fraud", "contract"),
        "behavior": _domain("e-commerce", "running and measuring the shop", "legitimate interest"),
        "experiments": _domain("product", "which of two ways serves people better", "legitimate interest"),
        "engagement": _domain("marketing", "messages and what came of them", "consent"),
        "consent": _domain("data protection", "proof of what was allowed", "legal obligation"),
        "service": _domain("customer service", "answering questions and complaints", "contract"),
        "voice": _domain("customer experience", "hearing what customers say of us", "legitimate interest"),
        "external": _domain("marketing", "what third parties say of customers", "legitimate interest"),
        "location": _domain("store operations", "which stores people come to", "consent"),
        "loyalty": _domain("loyalty", "the loyalty programme", "contract"),
        "journey": _domain("marketing", "how customers reach the retailer", "legitimate interest"),
        "identity": _domain("customer data", "telling who is one person", "legitimate interest"),
        "quality": _domain("data engineering", "repair of records that were refused", "legitimate interest"),
    }
    # By table of bronze or dated gold, or log of quality: bronze.events: 730
    keep_days: dict[str, Annotated[int, Field(gt=0)] | None] = {}
    # Of what is kept in the state folder: the audit (whole months), what was exported for people who asked, reports of
    # erasures, and what became of changes that were sent with an Idempotency-Key. None: for good
    state_days: dict[Literal["audit", "changes", "erasures", "exports"], Annotated[int, Field(gt=0)] | None] = {}
    # Who answers for a table: by table, by domain or by layer, where `domains` does not say.
    owners: dict[str, str] = {
        "catalog": "merchandising",
        "location": "stores",
        "market": "merchandising",
        "supply": "supply chain",
        "money": "finance",
        "silver": "data engineering",
        "gold": "analytics",
    }
