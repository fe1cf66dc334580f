"""Thresholds and lists of identity resolution: the typed form of `configs/rules/identity.yaml`.

The file is read at the edge (settings) and passed down as one `IdentityRules` value; nothing here reads a file.
"""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, le=1)]


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Standardization(_Rules):
    """What counts as no evidence, and how raw values are read."""

    default_country: str = "US"
    countries: dict[str, str] = {}
    """Spellings of `country_code` that are no ISO 3166 alpha-2 code, upper case -> code."""
    junk_names: frozenset[str] = frozenset()
    junk_email_users: frozenset[str] = frozenset()
    junk_email_domains: frozenset[str] = frozenset()
    junk_phone_digits: frozenset[str] = frozenset()
    junk_streets: frozenset[str] = frozenset()
    junk_birth_dates: frozenset[str] = frozenset()
    earliest_birth_year: int = 1000
    max_names_per_email: int = Field(default=8, ge=1)
    max_names_per_phone: int = Field(default=8, ge=1)
    """An email or phone seen with more distinct given names than this is a hub and no evidence."""
    max_nickname_group: int = Field(default=32, ge=2)
    max_birth_date_excess: int = Field(default=10, ge=2)
    """A day on which so many times more people are born than on the average one is a default of a form."""
    name_titles: frozenset[str] = frozenset()
    """Words before a name that are none, as they are compared: lower case without accents and points."""
    name_postnominals: frozenset[str] = frozenset()
    """Words behind a name that are none."""
    attached_titles: frozenset[str] = frozenset()
    """Endings of a name that are none, written without a space: 様, さん, 씨."""
    nicknames: dict[str, tuple[str, ...]] = {}
    """Formal name -> short forms, beside those of the `nicknames` package; in ASCII letters."""
    masculine_names: frozenset[str] = frozenset()
    """Men's names from which women's names are made by an ending alone, in ASCII letters."""
    masculine_names_unlisted: frozenset[str] = frozenset()
    """More of them, of which the nicknames lack short forms and spellings: they part couples and nothing else."""
    masculine_names_arabic: frozenset[str] = frozenset()
    """Men's names as their Arabic letters have them, in ASCII letters; a woman's has an h behind it."""
    names_apart: frozenset[str] = frozenset()
    """Given names that are never typing errors of one another, though a letter apart; without accents and points."""
    role_mailboxes: frozenset[str] = frozenset()
    """User parts of mail addresses that stand for a desk and not for a person."""
    name_suffixes: dict[str, str] = {}
    """Generational suffix as written -> canonical form."""
    dotless_email_domains: dict[str, str] = {}
    """Mail domain whose user part ignores dots -> canonical domain."""
    mail_providers: tuple[str, ...] = ()
    """Mail domains of many people; an unlisted domain one typing error away from one is read as it."""
    name_particles: frozenset[str] = frozenset()
    """Words that open a family name of several: "van der Berg"."""
    genders: dict[str, str] = {}
    """Gender as written, lower case -> one letter; others say nothing."""
    street_words: dict[str, str] = {}
    """Long word of a street -> its short form."""
    unit_words: frozenset[str] = frozenset()


class Blocking(_Rules):
    """Which pairs are compared."""

    identifiers: tuple[str, ...] = ()
    """Further columns that hold a person's own number (loyalty card, tax number); used where present."""
    max_records_per_key: int = Field(default=200, ge=2)
    max_pairs_per_weak_key: int = Field(default=250_000, ge=1)
    """Keys of what many people share (birth date, full name, …) use their rarest values, up to so many pairs."""
    max_pairs: int = Field(default=50_000_000, ge=1)


class Training(_Rules):
    """How the model is estimated."""

    seed: int = 7
    min_records: int = Field(default=50, ge=2)
    min_pairs_per_session: int = Field(default=200, ge=1)
    u_pairs: int = Field(default=400_000, ge=1000)
    em_pairs: int = Field(default=200_000, ge=1000)
    prior_recall: Share = 0.5
    """Share of true pairs that the deterministic rules of the prior are assumed to find."""
    max_replaced_share: Share = 0.5
    """Where more comparisons than this fail their gate, stated parameters are used."""


class Decision(_Rules):
    """What happens to a scored pair. Weights are bits of match weight (log2 odds)."""

    accept_weight: float | None = None
    """Pairs from here on are accepted. None: from the weight at which `false_pairs` holds on the records at hand."""
    least_accept_weight: float = 1.0
    """Never less than this, where `accept_weight` says nothing."""
    most_accept_weight: float = 2.0
    """Nor more, where that would give up half of the right pairs: what is false beyond says all that is true, such as a
    child of one name at one address, so that a higher weight finds fewer pairs and hardly fewer false ones. Where four
    times `false_pairs` and more of them are false they are held back all the same, for a steward."""
    false_pairs: Share = 0.03
    """The most of the accepted pairs that may be expected to be two people."""
    review_weight: float = -2.0
    """Pairs from here on that are not accepted wait for a steward."""
    audit_weight: float = -5.0
    """Pairs below it are not kept at all."""
    name_similarity: Share = 0.88
    """Jaro-Winkler similarity from which two given names are one name with a typing error."""
    twin_similarity: Share = 0.7
    """Same surname and birth date: given names less similar than this are two people (twins)."""
    birth_years_apart: int = Field(default=8, ge=1)
    """Birth years further apart than this need one and the same email to be one person."""
    max_cluster_size: int = Field(default=60, ge=2)
    """A backstop: what holds a person together is the linkage (`cluster`)."""

    @property
    def accepts_from(self) -> float:
        """The fixed weight, or the least that a model may choose."""
        return self.least_accept_weight if self.accept_weight is None else self.accept_weight


Policy = Literal["most recent", "most trusted source", "most complete", "most frequent", "verified"]
RECENT, TRUSTED, COMPLETE, FREQUENT, VERIFIED = get_args(Policy)


class Survivorship(_Rules):
    """Order of trust among source systems, the most trusted first; others follow by name."""

    trusted_sources: tuple[str, ...] = ()
    trust_first: frozenset[str] = frozenset()
    """Attributes taken from the most trusted source rather than from the most recent record."""
    default: Policy = "most recent"
    policies: dict[str, Policy] = {}
    """Policy by attribute; the address goes by that of `address_line_1`."""
    verified_sources: dict[str, tuple[str, ...]] = {}
    """By attribute the source systems that verify it (double opt-in, a checked document), for the policy `verified`."""


class Engine(_Rules):
    """Limits of the embedded database, and how many pairs it is given at once."""

    threads: int = Field(default=2, ge=1)
    memory_limit: str = "4GB"
    max_temp_directory_size: str = "20GB"
    max_local_pairs: int = Field(default=50_000_000, ge=1)
    """More pairs than this are scored in tasks on Ray, where a run has one."""
    pairs_per_task: int = Field(default=5_000_000, ge=1)
    spill_from_records: int | None = Field(default=None, ge=0)
    """So many records, or more, are resolved from files instead of memory, with the same result; without a number,
    where they would take more than half of the memory that is available."""
    spill_pairs: int = Field(default=5_000_000, ge=1)
    """Resolved from files, about so many pairs are scored at once."""

    @property
    def single(self) -> "Engine":
        """The same for one of several connections at once, which takes one thread."""
        return self.model_copy(update={"threads": 1})


class Ids(_Rules):
    """Person ids, and how long what they rest on is held fixed."""

    seed: str = "customer360"
    """Scrambles the running number of a person into its id; another seed gives other ids. Never change it in a lake."""
    retrain_growth: float = Field(default=1.2, gt=1)
    """Model, value frequencies and hub lists are made anew when there are so many times the records of then."""


class Identifier(_Rules):
    """A column of the records that holds a person's own number, verified by its source: a loyalty card, a login."""

    column: str
    max_records: int = Field(default=20, ge=2)
    """A value of more records is a hub (a shop's own card) and no evidence."""
    max_names: int = Field(default=3, ge=1)
    """A value with more distinct given names (nicknames count once) is shared, as a family's card, and no evidence."""
    max_per_person: int | None = Field(default=1, ge=1)
    """Numbers of one person. An identifier listed after this one links nothing where that would join more; with 1, two
    different numbers are two persons, unless an identifier listed before says that they are one. None: any."""
    blocked: frozenset[str] = frozenset()
    """Placeholders, as they are compared: lower case, letters and digits alone."""


class Stitching(_Rules):
    """What links without a score, the most telling identifier first, and when a device says nothing."""

    identifiers: tuple[Identifier, ...] = ()
    max_people_per_visitor: int = Field(default=5, ge=1)
    """A device on which more people log in is public: who is anonymous on it stays so."""
    blocked_visitors: frozenset[str] = frozenset()
    """Placeholders for a cookie or device id, lower case."""


class IdentityRules(_Rules):
    """All rules of identity resolution."""

    standardization: Standardization = Standardization()
    blocking: Blocking = Blocking()
    training: Training = Training()
    decision: Decision = Decision()
    survivorship: Survivorship = Survivorship()
    engine: Engine = Engine()
    ids: Ids = Ids()
    stitching: Stitching = Stitching()
