"""The rule file `voice`: whose brand is spoken of, by which words aspects are known, what is no feedback."""

from __future__ import annotations

from itertools import chain

from pydantic import Field, field_validator

from customer360.pipelines.rules.repairs import VoiceRepairs
from customer360.pipelines.texts.statements import sought
from customer360.platform.settings import Frozen

ASPECTS = {
    "PRICE": ["price*", "expensive", "cheap*", "cost*", "value for money", "preis*", "teuer*", "günstig*", "precio*",
              "caro", "cara", "barat*", "prix", "cher", "chère"],
    "QUALITY": ["quality", "broke*", "defect*", "material", "fell apart", "qualität", "kaputt", "defekt*", "calidad",
                "roto", "rota", "rotos", "qualité", "cassé*"],
    "DELIVERY": ["deliver*", "shipping", "parcel", "arrived", "courier", "lieferung", "geliefert", "paket", "versand",
                 "envío", "entrega", "llegó", "livraison", "livré*", "colis"],
    "STAFF": ["staff", "service", "employee*", "assistant*", "support", "personal", "mitarbeiter*", "bedienung",
              "kundenservice", "atención", "empleado*", "personnel", "vendeur*", "accueil"],
    "FIT": ["fit", "fits", "size*", "sizing", "tight", "passt", "größe*", "talla*", "queda", "taille*"],
}  # fmt: skip


class ReputationRules(Frozen):
    """When a fall of sentiment is told: the last days against those before them."""

    recent_days: int = Field(default=7, gt=0)
    baseline_days: int = Field(default=56, gt=0)
    least_statements: int = Field(default=20, ge=5)  # in the recent days, and in the baseline
    least_drop: float = Field(default=0.1, gt=0)  # of mean sentiment
    level: float = Field(default=0.05, gt=0, lt=1)  # chance of a false alert of a series within a year
    cleared_share: float = Field(default=0.5, gt=0, lt=1)  # of the fall that must be made up for the alert to clear


class VoiceRules(Frozen):
    """Brands, aspects, and what is set apart."""

    version: int = 1
    own_brand: str = "OWN"  # of what names no brand, as reviews of the own shop do
    own_terms: list[str] = []  # words that name the own brand in a post
    competitors: dict[str, list[str]] = {}  # brand to the words that name it in a post
    aspects: dict[str, list[str]] = ASPECTS
    suggestions: list[str] = [
        "please add", "would be nice", "would be great", "wish you", "should have", "could you add", "wäre schön",
        "bitte mehr", "könntet ihr", "estaría bien", "ojalá", "ce serait bien", "pourriez-vous ajouter",
    ]  # fmt: skip
    clear: float = Field(default=0.2, gt=0, lt=1)  # from which sentiment is praise, or complaint below zero
    spam_terms: list[str] = ["promo code", "dm me", "follow me", "click here", "earn money", "crypto", "telegram"]
    most_links: int = Field(default=1, ge=0)  # of a statement that is feedback
    copied_by: int = Field(default=3, ge=2)  # so many authors of one text of some length are no customers
    least_letters_of_a_copy: int = Field(default=40, gt=0)
    least_answers: int = Field(default=30, ge=5)  # of a score that is told with a verdict
    least_mentions: int = Field(default=30, ge=5)
    level: float = Field(default=0.05, gt=0, lt=1)
    trend_months: int = Field(default=3, gt=0)  # before the month, that a month's aspects are compared with
    reputation: ReputationRules = ReputationRules()
    repairs: VoiceRepairs = VoiceRepairs()

    @property
    def brands(self) -> dict[str, list[str]]:
        """The words that name each brand, the own one too."""
        return {self.own_brand: self.own_terms, **self.competitors}

    @field_validator("aspects", "competitors", "own_terms", "suggestions", "spam_terms")
    @classmethod
    def _can_be_found(cls, terms: dict[str, list[str]] | list[str]) -> dict[str, list[str]] | list[str]:
        for term in terms if isinstance(terms, list) else chain(*terms.values()):
            sought(term)
        return terms
