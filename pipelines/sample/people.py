"""The people behind the records: households that share surname, address and landline, and each member's true
identity."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.sample import names
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import Streams, spread

HOUSEHOLD_SIZES = np.array([0.52, 0.27, 0.12, 0.09])  # share of households with 1, 2, 3 and 4 adult shoppers
OWN_SURNAME_SHARE = 0.15  # partners who keep their own surname
SHARED_EMAIL_SHARE = 0.06  # households that use one e-mail address
TWIN_SHARE = 0.08  # households of four whose two children are twins
NAMESAKE_SHARE = 0.04  # sons who carry the father's given name (and "Jr")
MOVED_SHARE = 0.14
JOINED_BEFORE_SHARE = 0.6  # people who were customers when the story starts
LONGEST_TENURE = 900  # days
LANDLINE_SHARE = 0.6


def _numbers(index: np.ndarray, area: np.ndarray, first_exchange: int, rng: np.random.Generator) -> np.ndarray:
    """Ten-digit telephone numbers, distinct inside an area code; exchanges avoid N11 and 555: Int64 like `index`."""
    valid = np.array([e for e in range(first_exchange, first_exchange + 400) if e % 100 != 11 and e != 555])
    space = len(valid) * 10_000
    # The multiplier is a prime that does not divide the space: distinct indexes get distinct, unlike numbers.
    slot = (index * 2_654_435_761 + rng.integers(space)) % space
    number: np.ndarray = area * 10_000_000 + valid[slot // 10_000] * 10_000 + slot % 10_000
    return number


def _addresses(place: np.ndarray, rng: np.random.Generator) -> tuple[pl.Series, pl.Series]:
    """A street line and a zip code near the given places (row numbers of `places`)."""
    count = len(place)
    street = rng.choice(len(names.STREETS), count, p=names.rank_weights(len(names.STREETS), 0.6))
    unit = np.where(rng.random(count) < 0.3, rng.integers(1, 60, count), 0)
    frame = pl.DataFrame(
        {
            "number": rng.integers(1, 9900, count),
            "street": pl.Series(names.STREETS).gather(street),
            "kind": pl.Series(names.STREET_KINDS).gather(rng.integers(0, len(names.STREET_KINDS), count)),
            "unit": unit,
            "zip": places()["zip"].gather(place) + rng.integers(0, 30, count),
        }
    )
    line = pl.format("{} {} {}", "number", "street", "kind")
    line = pl.when(pl.col("unit") > 0).then(pl.format("{} Apt {}", line, "unit")).otherwise(line)
    out = frame.select(line=line, zip=pl.col("zip").cast(pl.String).str.zfill(5))
    return out["line"], out["zip"]


def _emails(given: pl.Expr, surname: pl.Expr, shape: np.ndarray, domain: np.ndarray, salt: np.ndarray) -> pl.Expr:
    """Mail addresses in five usual shapes; `salt` is the number some of them end in."""
    first, last = given.str.to_lowercase(), surname.str.to_lowercase()
    end = pl.Series(salt % 1000).cast(pl.String)
    long_end = pl.Series(salt).cast(pl.String)
    user = (
        pl.when(pl.Series(shape == 0)).then(first + "." + last)
        .when(pl.Series(shape == 1)).then(first + last + end)
        .when(pl.Series(shape == 2)).then(first.str.slice(0, 1) + last + end)
        .when(pl.Series(shape == 3)).then(last + "." + first + end)
        .otherwise(first + "_" + long_end)
    )  # fmt: skip
    return user + "@" + pl.Series(names.MAIL_DOMAINS).gather(domain)


def _distinct(address: pl.Expr, first_number: int) -> pl.Expr:
    """Number the second and later holders of an address: two people rarely own the same mailbox."""
    copy = pl.int_range(pl.len()).over(address) + first_number
    user, domain = (
        address.str.split_exact("@", 1).struct.field("field_0").alias("user"),
        address.str.split("@").list.last(),
    )
    return pl.when(copy > 0).then(pl.format("{}{}@{}", user, copy + 1960, domain)).otherwise(address)


def _households(customers: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(household of each person, position in it, size of it), each Int64 [customers]."""
    sizes = rng.choice(np.arange(1, 5), size=customers, p=HOUSEHOLD_SIZES)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), customers)) + 1]
    household, position = spread(sizes)
    household, position = household[:customers], position[:customers]
    return household, position, np.bincount(household)[household]


def _births(household: np.ndarray, position: np.ndarray, end_on: date, rng: np.random.Generator) -> pl.Series:
    """Dates of birth: a head of 44 to 78 or (with few members) 20 to 80, a partner of like age, children at least
    sixteen."""
    homes = int(household.max()) + 1
    members = np.bincount(household, minlength=homes)
    head = np.where(members > 2, rng.integers(44 * 365, 70 * 365, homes), rng.integers(20 * 365, 80 * 365, homes))
    partner = head + rng.integers(-6 * 365, 6 * 365, homes)
    partner = np.where(partner < 19 * 365, head + rng.integers(0, 900, homes), partner)
    young = 16 * 365 + rng.integers(0, 4 * 365, (2, homes))
    child = np.minimum(head, partner) - rng.integers(22 * 365, 34 * 365, homes)
    child = np.where(child < 16 * 365, young[0], child)
    second = child - rng.integers(400, 1800, homes)
    second = np.where(second < 16 * 365, young[1], second)
    second = np.where(rng.random(homes) < TWIN_SHARE, child, second)
    age = np.stack([head, partner, child, second])[position, household] + 30
    return pl.select(pl.lit(end_on) - pl.duration(days=pl.lit(pl.Series(age)))).to_series()


def _given(
    gender: np.ndarray, household: np.ndarray, position: np.ndarray, rng: np.random.Generator
) -> tuple[pl.Series, np.ndarray]:
    """Given names by gender, and who is a junior (a son with the given name of the head)."""
    male = rng.choice(len(names.MALE_GIVEN), len(gender), p=names.rank_weights(len(names.MALE_GIVEN), 0.7))
    female = rng.choice(len(names.FEMALE_GIVEN), len(gender), p=names.rank_weights(len(names.FEMALE_GIVEN), 0.7))
    head = np.flatnonzero(position == 0)[household]
    junior = (position == 2) & (gender == 0) & (gender[head] == 0) & (rng.random(len(gender)) < NAMESAKE_SHARE)
    male = np.where(junior, male[head], male)
    pool = pl.Series(names.MALE_GIVEN + names.FEMALE_GIVEN)
    return pool.gather(np.where(gender == 0, male, female + len(names.MALE_GIVEN))), junior


def people(streams: Streams, customers: int, days: int, end_on: date, first_number: int = 0) -> pl.DataFrame:
    """One row per person (entity), in the row order that the other modules use as the person's number; numbers in ids,
    telephone numbers and mail addresses begin after `first_number`, the people of other blocks.

    Columns: entity_id, household_id, household, position (0 is the head), given, surname, maiden (another surname they
    may appear under), junior, gender ("M", "F"), dob, place (row of `places`), street, zip, old_place, old_street,
    old_zip, moved (day number, null if never), mobile, landline (null if none), email, second_email, joined (day
    number of becoming a customer; negative before the start).
    """
    rng = streams.stream("people")
    household, position, size = _households(customers, rng)
    homes = int(household[-1]) + 1
    gender = rng.integers(0, 2, customers)
    gender = np.where(position == 1, 1 - gender[np.flatnonzero(position == 0)[household]], gender)
    given, junior = _given(gender, household, position, rng)
    weights = names.rank_weights(len(names.SURNAMES), 0.75)
    family = rng.choice(len(names.SURNAMES), homes, p=weights)[household]
    maiden = rng.choice(len(names.SURNAMES), customers, p=weights)
    keeps = (position == 1) & (rng.random(customers) < OWN_SURNAME_SHARE)
    where = places()
    home_place = rng.choice(len(where), homes, p=where["weight"].to_numpy())
    street, zip_code = _addresses(home_place, rng)
    old_place = np.where(
        rng.random(customers) < 0.5,
        home_place[household],
        rng.choice(len(where), customers, p=where["weight"].to_numpy()),
    )
    old_street, old_zip = _addresses(old_place, rng)
    area = where["area_code"].to_numpy()
    landline = _numbers(np.arange(homes) + first_number, area[home_place], 200, rng)[household]
    has_landline = (rng.random(homes) < LANDLINE_SHARE)[household]
    moved = rng.integers(-700, days, customers)
    joined = np.where(
        rng.random(customers) < JOINED_BEFORE_SHARE,
        -rng.integers(1, LONGEST_TENURE, customers),
        rng.integers(0, days, customers),
    )
    surnames = pl.Series(names.SURNAMES)
    frame = pl.DataFrame(
        {
            "household": household,
            "position": position,
            "given": given,
            "surname": surnames.gather(np.where(keeps, maiden, family)),
            "maiden": surnames.gather(maiden),
            "junior": junior,
            "gender": pl.Series(["M", "F"]).gather(gender),
            "dob": _births(household, position, end_on, rng),
            "place": home_place[household],
            "street": street.gather(household),
            "zip": zip_code.gather(household),
            "old_place": old_place,
            "old_street": old_street,
            "old_zip": old_zip,
            "moved": pl.Series(moved).set(pl.Series(rng.random(customers) >= MOVED_SHARE), None),
            "mobile": _numbers(np.arange(customers) + first_number, area[home_place][household], 600, rng),
            "landline": pl.Series(landline).set(pl.Series(~has_landline), None),
            "joined": joined,
        }
    )
    return _with_mail(frame, size, first_number, streams.stream("people.mail"))


def _with_mail(frame: pl.DataFrame, size: np.ndarray, first_number: int, rng: np.random.Generator) -> pl.DataFrame:
    """Add ids and mail addresses; members of some households use the address of the head."""
    count = len(frame)
    given, surname = pl.col("given"), pl.col("surname")
    draws = [
        (
            rng.integers(0, 5, count),
            rng.choice(len(names.MAIL_DOMAINS), count, p=names.MAIL_SHARES),
            rng.integers(10, 99_999, count),
        )
        for _ in range(2)
    ]
    shares = ((rng.random(count) < SHARED_EMAIL_SHARE) & (frame["position"].to_numpy() == 0) & (size > 1))[
        np.flatnonzero(frame["position"].to_numpy() == 0)[frame["household"].to_numpy()]
    ]
    both = frame.with_columns(email=_emails(given, surname, *draws[0]), second_email=_emails(given, surname, *draws[1]))
    return both.with_columns(
        email=_distinct(pl.col("email"), first_number), second_email=_distinct(pl.col("second_email"), first_number)
    ).with_columns(
        pl.when(pl.Series(shares)).then(pl.col("email").first().over("household")).otherwise("email").alias("email"),
        entity_id=pl.format("E{}", (pl.int_range(pl.len()) + 1 + first_number).cast(pl.String).str.zfill(7)),
        household_id=pl.format("H{}", (pl.col("household") + 1 + first_number).cast(pl.String).str.zfill(7)),
    )
