"""Directories of people with errors, with truth: name, house number, street, suburb, postal code and state, no number
and no birth date; a share of the people has further records, in which values are mistyped, misread, misheard, missing
or in the wrong field. Invented names; errors by profile, none of which was fitted to anything.
"""

import numpy as np
import polars as pl
from people import _GIVEN, _Draw

NAMES = ("given_name", "surname", "street_number", "address_1", "suburb", "postcode", "state")
PROFILES = {
    "typing": {"typing": 0.30, "missing": 0.05},
    "reading": {"reading": 0.30, "missing": 0.05},
    "hearing": {"hearing": 0.35, "missing": 0.03},
    "missing": {"typing": 0.08, "missing": 0.30},
    "exchanged": {"typing": 0.12, "missing": 0.06, "swapped": 0.15, "other": 0.04},
}
_MISREAD = (
    ("m", "rn"),
    ("l", "1"),
    ("o", "0"),
    ("s", "5"),
    ("b", "8"),
    ("d", "cl"),
    ("e", "c"),
    ("g", "q"),
    ("u", "v"),
)
_MISHEARD = (
    ("k", "c"),
    ("f", "ph"),
    ("z", "s"),
    ("i", "y"),
    ("v", "w"),
    ("ne", "n"),
    ("ll", "l"),
    ("sh", "ch"),
    ("o", "oh"),
)


def directory(records: int, share: float, profile: str, seed: int, homes: float = 0.2) -> pl.DataFrame:
    """`records` records, of which `share` are further ones of somebody; unique_id, entity_id and `NAMES`, all text.
    `homes`: the share of the people who live with another one of their surname."""
    draw, rates = _Draw(seed), PROFILES[profile]
    people = max(records - round(records * share), 1)
    rows = _people(draw, people, homes)
    again = draw.random.integers(0, people, records - people)
    person = np.concatenate([np.arange(people), again])
    values = {name: column[person] for name, column in rows.items()}
    is_copy = np.arange(records) >= people
    for name in NAMES:
        values[name] = _wrong(draw, values[name], is_copy, rates, rows[name])
    for one, other, part in (("given_name", "surname", 1.0), ("address_1", "suburb", 0.5)):
        turned = is_copy & draw.chance(rates.get("swapped", 0.0) * part, records)
        values[one][turned], values[other][turned] = values[other][turned], values[one][turned]
    columns = {name: pl.Series(list(values[name]), dtype=pl.String) for name in NAMES}
    frame = pl.DataFrame({"entity_id": pl.Series(person).cast(pl.String)} | columns)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed).with_row_index("n")
    return shuffled.select(pl.format("r-{}", "n").alias("unique_id"), "entity_id", *NAMES)


def _people(draw: _Draw, number: int, homes: float) -> dict[str, np.ndarray]:
    given = np.concatenate([np.array(_GIVEN, dtype=object), draw.invented(300, 2)])
    surnames = draw.invented(max(900, number // 8), 3)
    home = np.arange(number)
    shared = draw.chance(homes, number)
    home[shared] = np.maximum(home[shared] - 1, 0)
    area = draw.random.integers(0, 250, number)[home]
    suburbs = draw.invented(250, 3)
    codes = draw.digits(2000, 7999, 250)
    return {
        "given_name": draw.skewed(given, number, 0.6), "surname": draw.skewed(surnames, number, 0.6)[home],
        "street_number": draw.digits(1, 250, number)[home],
        "address_1": (draw.invented(max(400, number // 6), 3)[draw.random.integers(0, max(400, number // 6), number)]
                      + draw.skewed(np.array([" street", " road", " place", " crescent"], dtype=object), number))[home],
        "suburb": suburbs[area], "postcode": codes[area],
        "state": np.array(["nsw", "vic", "qld", "wa", "sa", "tas", "act"], dtype=object)[area % 7],
    }  # fmt: skip


def _wrong(
    draw: _Draw, values: np.ndarray, is_copy: np.ndarray, rates: dict[str, float], every: np.ndarray
) -> np.ndarray:
    """The values with errors in the copies."""
    made = values.copy()
    wrong = draw.mistyped(values, rates.get("typing", 0.0))
    made[is_copy] = wrong[is_copy]
    for kind, pairs in (("reading", _MISREAD), ("hearing", _MISHEARD)):
        for at in np.flatnonzero(is_copy & draw.chance(rates.get(kind, 0.0), len(values))):
            fitting = [pair for pair in pairs if pair[0] in made[at]]
            if fitting:
                old, new = fitting[int(draw.random.integers(0, len(fitting)))]
                made[at] = made[at].replace(old, new, 1)
    other = is_copy & draw.chance(rates.get("other", 0.0), len(values))
    made[other] = draw.random.choice(every, int(other.sum()))
    made[is_copy & draw.chance(rates.get("missing", 0.0), len(values))] = None
    return made
