"""The comparisons of organisations, as data: what two records of firms may share, with stated parameters.

Columns are those of `evidence.organisation_features`. A firm is told by the rare words of its name: `covered` is the
share of a name's telling, by the rarity of its words, that the other name has, too.
"""

from __future__ import annotations

from dataclasses import replace

from customer360.models.identity.evidence.kinds import Kind
from customer360.models.identity.weighing.comparisons import ADDRESS, PHONE, Comparison, Level, alike, within


def _covered(one: str, other: str) -> str:
    """SQL: the share of the weight of one name's words that the other has, one typing error in a long word allowed."""
    found = f"""list_sum([case when list_contains(words_{other}, word) or length(word) > 4
        and list_max([jaro_winkler_similarity(word, w) for w in words_{other}]) >= 0.92
        then rarity_{one}[number] else 0 end for word, number in words_{one}])"""
    # Distances of all words are dear, and most pairs share no beginning of any: CASE asks no further.
    return f"""case when list_has_any(starts_l, starts_r)
        then coalesce({found} / greatest(list_sum(rarity_{one}), 1e-9), 0) else 0 end"""


_LEAST = f"least({_covered('l', 'r')}, {_covered('r', 'l')})"
_MOST = f"greatest({_covered('l', 'r')}, {_covered('r', 'l')})"
# Each has a number of its own: School 12 and School 14, but not 7-Eleven and 7-Eleven 1234.
OTHER_NUMBER = """numbers_l is not null and numbers_r is not null and not list_has_all(numbers_l, numbers_r)
    and not list_has_all(numbers_r, numbers_l)"""

NAME = Comparison(
    "organisation_name",
    "core_l is null or core_r is null",
    (
        Level("exact", "core_l = core_r", 0.50, 5e-4, "core", True),
        Level("same words", "sorted_l = sorted_r or compact_l = compact_r", 0.08, 1e-5),
        Level("another number", OTHER_NUMBER, 0.002, 8e-3),
        Level("all that tells", f"{_LEAST} >= 0.8", 0.14, 2e-5),
        Level("written together", f"length(compact_l) > 6 and {alike('compact_l', 'compact_r', 0.94)}", 0.06, 2e-5),
        Level("part of the other", f"{_MOST} >= 0.9", 0.10, 5e-4),
        Level("initials of the other", "acronym_l = compact_r or acronym_r = compact_l", 0.01, 1e-4),
        Level("half", f"{_LEAST} >= 0.5", 0.04, 1e-3),
        Level("a part", f"{_MOST} >= 0.4", 0.03, 0.02),
        Level("different", "ELSE", 0.03, 0.97),
    ),
    ("core",),
    0.3,
)
FORM = Comparison(
    "legal_form",
    "form_l is null or form_r is null",
    (Level("same", "form_l = form_r", 0.9, 0.4, "form"), Level("different", "ELSE", 0.1, 0.6)),
    ("form",),
    0.3,
)
MAIL = Comparison(
    "organisation_mail",
    "mail_l is null or mail_r is null",
    (Level("exact", "mail_l = mail_r", 0.6, 1e-5, "mail"), Level("different", "ELSE", 0.4, 0.9999)),
    ("mail",),
)
DOMAIN = Comparison(
    "domain",
    "domain_l is null or domain_r is null",
    (
        Level("exact", "domain_l = domain_r", 0.75, 1e-4, "domain"),
        Level("close", f"length(domain_l) > 7 and {within('domain_l', 'domain_r', 1)}", 0.03, 1e-5),
        Level("different", "ELSE", 0.22, 0.9999),
    ),
    ("domain",),
)
# A number that many sites give is a switchboard, and tells less.
SWITCHBOARD = replace(PHONE, levels=(replace(PHONE.levels[0], by_frequency=True), *PHONE.levels[1:]))
_STREET = next(at for at, level in enumerate(ADDRESS.levels) if level.label == "same street")
SITE = Comparison(
    ADDRESS.name,
    ADDRESS.null_sql,
    (
        *ADDRESS.levels[: _STREET + 1],
        Level("same house number and street word", "number_l = number_r and word_l = word_r", 0.12, 1e-5),
        *ADDRESS.levels[_STREET + 1 :],
    ),
    ADDRESS.columns,
)
SESSIONS = (
    ("mail",), ("phone",), ("domain",), ("core", "zip"), ("core", "city"), ("core", "number"), ("sorted",), ("site",),
)  # fmt: skip
PRIOR_RULES = (("core", "phone"), ("core", "site"), ("core", "zip"), ("core", "domain"), ("core", "mail"))
# Of names alone: those that begin with the same two words.
NAME_RULES = (("opening",),)
ORGANISATION = Kind((NAME, FORM, MAIL, DOMAIN, SWITCHBOARD, SITE), SESSIONS, PRIOR_RULES)
