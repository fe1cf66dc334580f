"""The comparisons of the model as data: levels in SQL, from most to least alike, with stated default parameters.

A level's SQL sees the columns of `features.Features.frame` with the suffixes _l and _r. Default m (share among
matches) and u (share among non-matches) stand in where the data cannot train them; for exact levels u is the
chance that two random records hold the same value, which is computed from the data (`exact_on`).
"""

from dataclasses import dataclass
from functools import reduce
from operator import mul

import polars as pl


def just_below(similarity: float) -> float:
    """A bound that holds for the similarity itself, however it was rounded: DuckDB's last digit depends on whether the
    machine multiplies and adds in one step, and .92 is what many pairs of streets have."""
    return round(similarity - 1e-9, 9)


def alike(left: str, right: str, least: float) -> str:
    """SQL: the Jaro-Winkler similarity of two texts is at least `least`."""
    return f"jaro_winkler_similarity({left}, {right}) >= {just_below(least)}"


def within(left: str, right: str, most: int) -> str:
    """SQL: no more than so many typing errors, of which a swap of neighbours is one. The plain distance, which takes a
    tenth of the time, counts a swap as two."""
    return f"(levenshtein({left}, {right}) <= {2 * most} and damerau_levenshtein({left}, {right}) <= {most})"


# Full names in the other order; one of the two may have a typing error.
_SWAPPED = f"""(given_l = family_r and {alike("family_l", "given_r", 0.9)}
    or family_l = given_r and {alike("given_l", "family_r", 0.9)})"""

# The share of one person's pairs in which the names are exchanged.
_SWAPS = 0.01
# Names made of several columns: which, and in what part of all records they stand as they are compared. Exchanged names
# are as rare as both names are together (either record may hold them so), and no common pair of names becomes evidence
# by being exchanged.
JOINT: dict[str, tuple[tuple[str, ...], float]] = {"names": (("given", "family"), 2 * _SWAPS)}

# Columns whose shares say what is a misspelling.
NAMES = ("given", "family")


def borne(name: str) -> str:
    """The column that holds how large a part of the records bears a name: `tf_*`, and for a name that none of them had
    when shares were measured what one more record makes of it. `tf_*` is null there: agreement on such a name counts as
    on any, since of names that come later it is not known how common they are."""
    return f"tf_borne_{name}"


# A given name that stands in another place (exchanged with the surname, or the only name that is known), or as one of
# several: Carlos is Juan Carlos. Names of one word need no splitting, which is dear.
_ELSEWHERE = """(list_contains(parts_r, given_l) or list_contains(parts_l, given_r)
    or case when contains(given_l, ' ') or contains(given_r, ' ')
        then list_has_all(string_split(given_l, ' '), string_split(given_r, ' '))
            or list_has_all(string_split(given_r, ' '), string_split(given_l, ' '))
        else false end)"""


@dataclass(frozen=True)
class Level:
    """One outcome of a comparison. `exact_on`: column whose equality it is. `by_frequency`: agreement on a rare value
    counts for more. Not for values of one person or household: there the frequency is that of the duplicates."""

    label: str
    sql: str
    m: float
    u: float
    exact_on: str | None = None
    by_frequency: bool = False
    share_of: str | None = None
    """One of `JOINT`: agreement on several values at once, which counts as rarely as they meet by chance."""


@dataclass(frozen=True)
class Comparison:
    """One aspect of two records. `null_sql`: when it says nothing."""

    name: str
    null_sql: str
    levels: tuple[Level, ...]
    columns: tuple[str, ...]
    """Columns without which the comparison is left out: it needs at least one of them filled."""
    most_apart: float = 0.8
    """The largest share of one person's pairs that may differ outright. Beyond it, what looks like persons is another
    structure in the records (homes, strangers of one town), whose pairs differ nearly always."""


def _typos(column: str, most: int, least: float = 0.75) -> str:
    """At most so many typing errors. The distance is what costs, so lengths, the far cheaper similarity, of which
    `least` is a bound that so few errors keep, and the distance without swaps, of which one counts two, are asked
    first."""
    left, right = f"{column}_l", f"{column}_r"
    return f"""(abs(length({left}) - length({right})) <= {most} and {alike(left, right, least)}
        and {within(left, right, most)})"""


def _close(column: str, similarity: float) -> str:
    left, right = f"{column}_l", f"{column}_r"
    return f"({alike(left, right, similarity)} or {_typos(column, 1)})"


# So many times as often as what a typing error makes of it stands the name itself, and more.
_OFTEN = 8


def misspelled(name: str, side: str = "{}_{}") -> str:
    """SQL: one typing error apart, and one of the two is a name that next to nobody bears beside the other. What an
    error makes of a name is mostly no name, while two names of one home a letter apart are both borne by others. Names
    of one sign have nothing in common but their place.
    `side`: how a column of the left and the right record is called."""
    left, right = (side.format(name, of) for of in "lr")
    one, other = (side.format(borne(name), of) for of in "lr")
    signs = side.format(f"{name}_signs", "l"), side.format(f"{name}_signs", "r")
    return f"""(coalesce({_OFTEN} * least({one}, {other}) < greatest({one}, {other}), false)
        and case when least(length({signs[0]}), length({signs[1]})) < 2 and {signs[0]} is not null
                and {signs[1]} is not null then false
            else least(length({left}), length({right})) > 1 and abs(length({left}) - length({right})) <= 1
                    and {within(left, right, 1)}
                or coalesce({within(signs[0], signs[1], 1)}, false) end)"""


def one_of_two_signs(side: str = "{}_{}") -> str:
    """SQL: given names of two signs each, of which one differs."""
    left, right = (side.format("given_signs", of) for of in "lr")
    return f"""coalesce(length({left}) = 2 and length({right}) = 2 and levenshtein({left}, {right}) = 1, false)"""


GIVEN = Comparison(
    "given_name",
    "given_l is null or given_r is null",
    (
        Level("exact", "given_l = given_r", 0.80, 0.004, "given", True),
        Level("swapped with surname", _SWAPPED, _SWAPS, 1e-6, share_of="names"),
        Level("nickname", "list_has_any(roots_l, roots_r)", 0.08, 0.004),
        Level("misspelled", misspelled("given"), 0.03, 0.002),
        Level("close", _close("given", 0.9), 0.03, 0.01),
        Level(
            "initial",
            "(length(given_l) = 1 or length(given_r) = 1) and given_l[1] = given_r[1]",
            0.02,
            0.002,
        ),
        Level("among the other's names", _ELSEWHERE, 0.01, 1e-3),
        Level("alike", alike("given_l", "given_r", 0.8), 0.01, 0.02),
        Level("different", "ELSE", 0.02, 0.96),
    ),
    ("given",),
    0.4,
)
MIDDLE = Comparison(
    "other_names",
    "middle_l is null or middle_r is null",
    (Level("shared", "list_has_any(middle_l, middle_r)", 0.6, 0.02), Level("different", "ELSE", 0.4, 0.98)),
    ("middle",),
)
FAMILY = Comparison(
    "family_name",
    # A swap counts once, under the given name.
    f"family_l is null or family_r is null or (given_l <> given_r and {_SWAPPED})",
    (
        Level("exact", "family_l = family_r", 0.86, 0.001, "family", True),
        Level("misspelled", misspelled("family"), 0.035, 0.001),
        Level("close", _close("family", 0.9), 0.035, 0.003),
        Level("shared part", "list_has_any(string_split(family_l, ' '), string_split(family_r, ' '))", 0.01, 0.0005),
        Level("alike", alike("family_l", "family_r", 0.85), 0.005, 0.01),
        Level("different", "ELSE", 0.055, 0.975),
    ),
    ("family",),
    0.4,
)
EMAIL = Comparison(
    "email",
    "email_l is null or email_r is null",
    (
        Level("exact", "email_l = email_r", 0.70, 1e-5, "email"),
        Level("same user", "email_user_l = email_user_r and length(email_user_l) >= 5", 0.04, 5e-5),
        # Addresses made of the same name at the same provider are alike by nature: their digits must agree, and there
        # must be digits, or a domain of few people.
        Level(
            "close",
            f"email_digits_l = email_digits_r and (length(email_digits_l) >= 2 or email_own_l is not null)"
            f" and {_typos('email', 2)}",
            0.04,
            1e-6,
        ),
        Level(
            "alike",
            f"email_digits_l = email_digits_r and {alike('email_own_l', 'email_own_r', 0.92)}",
            0.01,
            1e-4,
        ),
        Level("different", "ELSE", 0.21, 0.9998),
    ),
    ("email",),
)
PHONE = Comparison(
    "phone",
    "phone_l is null or phone_r is null",
    (
        Level("exact", "phone_l = phone_r", 0.68, 1e-5, "phone"),
        Level("close", _typos("phone", 1), 0.05, 2e-6),
        Level("different", "ELSE", 0.27, 0.9999),
    ),
    ("phone",),
)
BIRTH = Comparison(
    "date_of_birth",
    "dob_l is null or dob_r is null",
    (
        # The first of January is what sources write for a known year: equality on it says little more than the year.
        Level("exact", "day_l = day_r", 0.85, 6e-5, "day"),
        Level("year with default day", "year_l = year_r and (day_l is null or day_r is null)", 0.03, 1e-3),
        Level(
            "close",
            f"{_typos('dob', 1, 0.9)} or (year_l = year_r and dob_l[6:7] = dob_r[9:10] and dob_l[9:10] = dob_r[6:7])",
            0.06,
            1e-3,
        ),
        Level("two errors", f"length(dob_l) = 10 and {_typos('dob', 2, 0.85)}", 0.02, 0.01),
        Level("same year", "year_l = year_r", 0.01, 0.018),
        Level("different", "ELSE", 0.03, 0.97),
    ),
    ("dob",),
    0.4,
)
_SAME_PLACE = f"(zip_l = zip_r or city_l = city_r or {_typos('zip', 1)} or {_typos('city', 1)})"
# A street without its number, or a number without its flat.
_PART_OF_STREET = """(length(street_l) <> length(street_r) and least(length(street_l), length(street_r)) > 4
    and (contains(' ' || street_l || ' ', ' ' || street_r || ' ')
        or contains(' ' || street_r || ' ', ' ' || street_l || ' ')))"""
_STREET_UNKNOWN = "(street_l is null or street_r is null)"
_NUMBER_UNKNOWN = "(number_l is null or number_r is null)"
ADDRESS = Comparison(
    "address",
    "(street_l is null or street_r is null) and (zip_l is null or zip_r is null) and "
    "(city_l is null or city_r is null)",
    (
        Level("same street and place", "place_l = place_r", 0.50, 2e-6, "place"),
        Level("close street, same place", f"{_SAME_PLACE} and {_close('street', 0.88)}", 0.08, 1e-6),
        Level("part of the street, same place", f"{_PART_OF_STREET} and {_SAME_PLACE}", 0.02, 2e-6),
        Level(
            "same house number and place", f"number_l = number_r and {_SAME_PLACE} and {_STREET_UNKNOWN}", 0.01, 1e-5
        ),
        Level("same street", "street_l = street_r", 0.12, 1e-5, "street"),
        Level("close street", f"length(street_l) > 8 and {_close('street', 0.92)}", 0.03, 1e-4),
        # With another street or house number known, one town is that of a namesake more often than of a person who
        # moved within it.
        Level(
            "same zip and city",
            f"zip_l = zip_r and city_l = city_r and {_STREET_UNKNOWN} and {_NUMBER_UNKNOWN}",
            0.09,
            4e-3,
        ),
        Level("same zip and city, another street", "zip_l = zip_r and city_l = city_r", 0.01, 4e-3),
        Level("same zip", "zip_l = zip_r", 0.06, 1e-3, "zip", True),
        Level("same city", "city_l = city_r", 0.02, 5e-4, "city", True),
        Level("close zip or city", f"{_SAME_PLACE}", 0.01, 1e-3),
        Level("same area", "area_l = area_r", 0.01, 5e-3, "area", True),
        Level("different", "ELSE", 0.07, 0.99),
    ),
    ("street", "zip", "city"),
)
GENDER = Comparison(
    "gender",
    "gender_l is null or gender_r is null",
    (Level("same", "gender_l = gender_r", 0.97, 0.5, "gender"), Level("different", "ELSE", 0.03, 0.5)),
    ("gender",),
    0.2,
)
STANDARD = (GIVEN, FAMILY, MIDDLE, EMAIL, PHONE, BIRTH, ADDRESS, GENDER)


def identifier(column: str) -> Comparison:
    """Comparison of a column that holds a person's own number."""
    return Comparison(
        column,
        f"{column}_l is null or {column}_r is null",
        (
            Level("exact", f"{column}_l = {column}_r", 0.90, 1e-5, column),
            Level("close", _typos(column, 1), 0.06, 5e-5),
            Level("different", "ELSE", 0.04, 0.9999),
        ),
        (column,),
    )


def joint_share(name: str) -> pl.Expr:
    """The share of one of `JOINT` as `tf_*`, null where that of a part is unknown."""
    columns, part = JOINT[name]
    shares = [pl.col(f"tf_{column}") for column in columns]
    return (reduce(mul, shares) * part).alias(f"tf_{name}")
