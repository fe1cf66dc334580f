"""What a contact is about, read from its words: from terms of a list alone, weighed by the contacts that are labelled.

Naive Bayes over the terms of the rule file `service` that occur in a text (Bernoulli events; McCallum and Nigam 1998).
A labelled contact is read without its own label (leave-one-out, which is exact for counts), so that the share of those
read right says how good the reading is.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, OneOf, String, Table

ACTIVITY: Activity = "enrichment"
SEPARATOR = "|"
ANY = ""  # term of the rows that count a category's contacts
LEAST_LABELLED = 50  # contacts from which labels weigh the terms
METHODS = ("CLASSIFIER", "RULES", "NONE")
COLUMNS = ("interaction_id", "source_system", "category", "text_terms")


class CategoryTerms(Table, table="silver.category_terms", sort_by=("category", "term")):
    """One row per category and term of the rule file: labelled contacts, and those whose text holds the term."""

    category = String(primary_key=True)
    term = String(primary_key=True, description="Empty: all contacts of the category with a text that holds any term")
    contact_count = Integer()


@builds(CategoryTerms, reads={"silver.service_contacts": COLUMNS})
def category_terms(silver_service_contacts: pl.LazyFrame) -> pl.LazyFrame:
    """Counts over all contacts that have a category and a known term."""
    known = silver_service_contacts.filter(pl.col("category").is_not_null(), pl.col("text_terms") != "")
    terms = pl.concat_str(pl.lit(ANY), "text_terms", separator=SEPARATOR).str.split(SEPARATOR)
    rows = known.select("category", term=terms).explode("term")
    return rows.group_by("category", "term").agg(contact_count=pl.len().cast(pl.Int64))


class ContactCategories(
    Table, table="silver.contact_categories", per="interaction_id", sort_by=("interaction_id",)
):  # fmt: skip
    """One row per contact: its category as delivered, and as its words tell it."""

    interaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    category = String(nullable=True, description="As delivered")
    category_read = String(nullable=True, description="Null: unknown, by the rule file's least_confidence")
    confidence = Float(min=0, max=1, description="Of the likeliest category; 0: no known term")
    method = OneOf(
        *METHODS,
        description=f"CLASSIFIER: terms weighed by labelled contacts; RULES: with fewer than {LEAST_LABELLED} of these,"
        " the category that lists most of the terms; NONE: no known term",
    )


@builds(ContactCategories, rules="service", reads={"silver.service_contacts": COLUMNS})
def contact_categories(
    silver_service_contacts: pl.LazyFrame, silver_category_terms: pl.LazyFrame, params: ServiceRules
) -> pl.LazyFrame:
    """Categories by the terms of each contact."""
    contacts = silver_service_contacts.select(COLUMNS).collect()
    counts = silver_category_terms.collect()
    vocabulary = sorted({term for terms in params.terms.values() for term in terms})
    held = _held(contacts["text_terms"], vocabulary)
    labelled = counts.filter(pl.col("term") == ANY)["contact_count"].sum()
    if labelled >= LEAST_LABELLED:
        names, chances = _weighed(held, contacts["category"], counts, vocabulary)
    else:
        names, chances = _listed(held, params, vocabulary)
    silent = held.sum(axis=1) == 0
    chances[silent] = 0.0
    best, most = chances.argmax(axis=1), chances.max(axis=1, initial=0.0)
    told = pl.Series((most >= params.least_confidence) & ~silent)
    word = pl.Series(names, dtype=pl.String).gather(best)
    method = np.where(silent, "NONE", "CLASSIFIER" if labelled >= LEAST_LABELLED else "RULES")
    return contacts.lazy().select(
        "interaction_id",
        "source_system",
        "category",
        category_read=pl.when(told).then(word),
        confidence=pl.Series(most.round(6)),
        method=pl.Series(method, dtype=pl.String),
    )


def _held(terms: pl.Series, vocabulary: list[str]) -> np.ndarray:
    """Which terms each contact holds: Float64 [contacts, terms]."""
    places = {term: place for place, term in enumerate(vocabulary)}
    held = np.zeros((len(terms), len(vocabulary)))
    for row, listed in enumerate(terms.str.split(SEPARATOR).to_list()):
        held[row, [places[t] for t in listed or () if t in places]] = 1.0
    return held


def _listed(held: np.ndarray, rules: ServiceRules, vocabulary: list[str]) -> tuple[list[str], np.ndarray]:
    """(categories, share of a contact's terms that each lists): Float64 [contacts, categories]."""
    names = sorted(rules.terms)
    lists = np.array([[term in rules.terms[name] for name in names] for term in vocabulary], dtype=float)
    found = held @ lists.reshape(len(vocabulary), len(names))
    return names, found / np.maximum(found.sum(axis=1, keepdims=True), 1)


def _weighed(
    held: np.ndarray, labels: pl.Series, counts: pl.DataFrame, vocabulary: list[str]
) -> tuple[list[str], np.ndarray]:
    """(categories, chance of each by its terms): Float64 [contacts, categories]; a label says nothing of itself."""
    names = counts["category"].unique().sort().to_list()
    place = {name: n for n, name in enumerate(names)}
    known = {term: n for n, term in enumerate(vocabulary)}
    total, with_term = np.zeros(len(names)), np.zeros((len(names), len(vocabulary)))
    for category, term, count in counts.select("category", "term", "contact_count").iter_rows():
        if term == ANY:
            total[place[category]] = count
        elif term in known:
            with_term[place[category], known[term]] = count
    own = np.array([place.get(label, -1) for label in labels.to_list()], dtype=np.int64)
    own = np.where(held.sum(axis=1) > 0, own, -1)  # contacts without a term are not among the counted
    scores = np.empty((len(held), len(names)))
    for n in range(len(names)):
        mine = (own == n).astype(float)[:, None]
        contacts_of, terms_of = total[n] - mine, with_term[n] - mine * held
        chance = (terms_of + 1) / (contacts_of + 2)  # Laplace
        words = held * np.log(chance) + (1 - held) * np.log1p(-chance)
        scores[:, n] = words.sum(axis=1) + np.log(contacts_of[:, 0] + 1)
    scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
    chances = np.exp(scores)
    return names, chances / chances.sum(axis=1, keepdims=True)
