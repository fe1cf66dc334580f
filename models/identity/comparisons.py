"""The comparisons of the model as data: levels in SQL, from most to least alike, with stated default parameters.

A level's SQL sees the columns of `features.Features.frame` with the suffixes _l and _r. Default m (share among
matches) and u (share among non-matches) stand in where the data cannot train them; for exact levels u is the
chance that two random records hold the same value, which is computed from the data (`exact_on`).
"""

from dataclasses import dataclass

# Full names in the other order; one of the two may have a typing error.
_SWAPPED = """(given_l = family_r and jaro_winkler_similarity(family_l, given_r) >= 0.9
    or family_l = given_r and jaro_winkler_similarity(given_l, family_r) >= 0.9)"""


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


@dataclass(frozen=True)
class Comparison:
    """One aspect of two records. `null_sql`: when it says nothing."""

    name: str
    null_sql: str
    levels: tuple[Level, ...]
    columns: tuple[str, ...]
    """Columns without which the comparison is left out: it needs at least one of them filled."""


def _close(column: str, similarity: float) -> str:
    left, right = f"{column}_l", f"{column}_r"
    return f"(jaro_winkler_similarity({left}, {right}) >= {similarity} or damerau_levenshtein({left}, {right}) <= 1)"


GIVEN = Comparison(
    "given_name",
    "given_l is null or given_r is null",
    (
        Level("exact", "given_l = given_r", 0.80, 0.004, "given", True),
        Level("swapped with surname", _SWAPPED, 0.01, 1e-6),
        Level("nickname", "list_has_any(roots_l, roots_r)", 0.08, 0.004),
        Level("close", _close("given", 0.9), 0.06, 0.01),
        Level(
            "initial",
            "(length(given_l) = 1 or length(given_r) = 1) and given_l[1] = given_r[1]",
            0.02,
            0.002,
        ),
        Level("different", "ELSE", 0.03, 0.98),
    ),
    ("given",),
)
FAMILY = Comparison(
    "family_name",
    # A swap is told once, by the given name.
    f"family_l is null or family_r is null or (given_l <> given_r and {_SWAPPED})",
    (
        Level("exact", "family_l = family_r", 0.86, 0.001, "family", True),
        Level("close", _close("family", 0.9), 0.07, 0.003),
        Level("shared part", "list_has_any(string_split(family_l, ' '), string_split(family_r, ' '))", 0.01, 0.0005),
        Level("different", "ELSE", 0.06, 0.995),
    ),
    ("family",),
)
EMAIL = Comparison(
    "email",
    "email_l is null or email_r is null",
    (
        Level("exact", "email_l = email_r", 0.70, 1e-5, "email"),
        Level("same user", "email_user_l = email_user_r and length(email_user_l) >= 5", 0.04, 5e-5),
        Level("close", "damerau_levenshtein(email_l, email_r) <= 1", 0.04, 1e-6),
        Level("different", "ELSE", 0.22, 0.9999),
    ),
    ("email",),
)
PHONE = Comparison(
    "phone",
    "phone_l is null or phone_r is null",
    (
        Level("exact", "phone_l = phone_r", 0.68, 1e-5, "phone"),
        Level("close", "damerau_levenshtein(phone_l, phone_r) <= 1", 0.05, 2e-6),
        Level("different", "ELSE", 0.27, 0.9999),
    ),
    ("phone",),
)
BIRTH = Comparison(
    "date_of_birth",
    "dob_l is null or dob_r is null",
    (
        # The first of January is what sources write for a known year: equality on it says little more than the year.
        Level("exact", "dob_l = dob_r and dob_l[6:10] <> '01-01'", 0.88, 6e-5, "dob"),
        Level(
            "year with default day",
            "dob_l[1:4] = dob_r[1:4] and (dob_l[6:10] = '01-01' or dob_r[6:10] = '01-01')",
            0.03,
            1e-4,
        ),
        Level(
            "close",
            "damerau_levenshtein(dob_l, dob_r) <= 1"
            " or (dob_l[1:4] = dob_r[1:4] and dob_l[6:7] = dob_r[9:10] and dob_l[9:10] = dob_r[6:7])",
            0.06,
            1e-3,
        ),
        Level("same year", "dob_l[1:4] = dob_r[1:4]", 0.01, 0.018),
        Level("different", "ELSE", 0.02, 0.98),
    ),
    ("dob",),
)
_SAME_PLACE = "(zip_l = zip_r or city_l = city_r or damerau_levenshtein(zip_l, zip_r) <= 1)"
ADDRESS = Comparison(
    "address",
    "(street_l is null or street_r is null) and (zip_l is null or zip_r is null) and (city_l is null or city_r is null)",
    (
        Level("same street", "street_l = street_r", 0.62, 1e-5, "street"),
        Level("close street, same place", f"{_close('street', 0.92)} and {_SAME_PLACE}", 0.08, 1e-6),
        Level("same zip", "zip_l = zip_r", 0.15, 1e-4, "zip", True),
        Level("same city", "city_l = city_r", 0.02, 5e-4, "city", True),
        Level("different", "ELSE", 0.13, 0.999),
    ),
    ("street", "zip", "city"),
)
STANDARD = (GIVEN, FAMILY, EMAIL, PHONE, BIRTH, ADDRESS)


def identifier(column: str) -> Comparison:
    """Comparison of a column that holds a person's own number."""
    return Comparison(
        column,
        f"{column}_l is null or {column}_r is null",
        (
            Level("exact", f"{column}_l = {column}_r", 0.90, 1e-5, column),
            Level("close", f"damerau_levenshtein({column}_l, {column}_r) <= 1", 0.06, 5e-5),
            Level("different", "ELSE", 0.04, 0.9999),
        ),
        (column,),
    )
