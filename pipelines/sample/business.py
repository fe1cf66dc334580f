"""Customers that are firms, as the system for business accounts has them: firms, some with a branch, and people who
order for them. Which records are of one firm is a truth.

Nobody here has an account in another system, so that what is true of people stays true. Firms write their own name in
several ways; a contact's account names the firm as the person writes it.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample import names
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.world import World

SYSTEM = "B2B"
FIRMS, LEAST = 0.02, 4  # firms for each person; at least
BRANCHES, NO_NUMBER, NO_PHONE = 0.4, 0.15, 0.2  # firms with one; accounts without a number of the register, a telephone
TRADES = (
    "Plumbing", "Dental", "Roofing", "Logistics", "Catering", "Printing", "Landscaping", "Accounting", "Bakery",
    "Machining",
)  # fmt: skip
# Ways to write a firm's legal form, and none.
FORMS = (("Inc.", "Incorporated", "INC", ""), ("LLC", "L.L.C.", "Llc", ""), ("Ltd.", "Limited", "LTD", ""))
FIRM, BRANCH, CONTACT = ("FIRM", "BRANCH", "CONTACT")


def business_rows(world: World) -> pl.DataFrame:
    """CUSTOMERS of the system for business accounts, with the columns of firms: one row per account, by number."""
    return _accounts(world).drop("role", "firm")


def business_truth(world: World) -> pl.DataFrame:
    """One row per business account: source_system, customer_id, firm, role (FIRM, BRANCH, or CONTACT of the firm)."""
    return _accounts(world).select(pl.lit(SYSTEM).alias("source_system"), "firm", "role", customer_id="CUSTOMER_ID")


def _accounts(world: World) -> pl.DataFrame:
    rng = world.streams.stream("business")
    firms = _firms(world, rng)
    has_branch = rng.random(len(firms)) < BRANCHES
    contacts, _ = spread(rng.integers(1, 4, len(firms)))
    owner = np.concatenate([np.arange(len(firms)), np.flatnonzero(has_branch), contacts])
    role = np.repeat([FIRM, BRANCH, CONTACT], [len(firms), int(has_branch.sum()), len(contacts)])
    rows = _written(firms[owner].with_columns(role=pl.Series(role)), rng)
    order = rng.permutation(len(rows))
    since = world.start_on - timedelta(days=1)
    return rows[order].select(
        CUSTOMER_ID=pl.format("B{}", pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(6)),
        **{column: pl.col(column) for column in rows.columns if column.isupper()},
        REGISTRATION_DATE=pl.lit(since) - pl.duration(days=pl.lit(pl.Series(rng.integers(0, 900, len(rows))))),
        CUSTOMER_STATUS=pl.lit("ACTIVE"),
        LAST_UPDATED_DATE=pl.lit(since).cast(pl.Datetime("us", "UTC")),
        role="role",
        firm="firm",
    )


def _firms(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """One row per firm: firm (its key), stem, form (row of FORMS), domain, number, place, area."""
    count = max(round(FIRMS * len(world.people)), LEAST)
    surname = rng.choice(len(names.SURNAMES), count, replace=count > len(names.SURNAMES))
    trade = rng.integers(0, len(TRADES), count)
    place = rng.choice(len(places()), count, p=places()["weight"].to_numpy())
    stem = pl.format("{} {}", pl.Series(names.SURNAMES).gather(surname), pl.Series(TRADES).gather(trade))
    return pl.DataFrame({"place": place, "form": rng.integers(0, len(FORMS), count)}).select(
        firm=pl.format("F{}", pl.int_range(1, pl.len() + 1)),
        stem=stem,
        form="form",
        domain=stem.str.to_lowercase().str.replace_all(" ", "-") + ".biz",
        number=pl.format("US{}", pl.lit(pl.Series(100_000_000 + rng.permutation(count) * 7_919))),
        place="place",
        line=pl.lit(pl.Series(1_000_000 + rng.permutation(count))),
    )


def _written(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """What the accounts say, in the columns of CUSTOMERS."""
    count, where = len(rows), places()
    person = pl.col("role") == CONTACT
    endings = pl.Series([list(form) for form in FORMS]).gather(rows["form"])
    form = endings.list.get(pl.Series(rng.integers(0, len(FORMS[0]), count)))
    upper = pl.Series(rng.random(count) < 0.1)
    name = pl.format("{} {}", "stem", pl.lit(form)).str.strip_chars()
    given = pl.Series(names.MALE_GIVEN + names.FEMALE_GIVEN)
    given = given.gather(rng.integers(0, len(given), count))
    surname = pl.Series(names.SURNAMES).gather(rng.integers(0, len(names.SURNAMES), count))
    place = rows["place"].to_numpy()
    # Of a branch another street of the same city; contacts sit with the firm.
    street = pl.Series(names.STREETS).gather((rows["line"].to_numpy() + 7 * (rows["role"] == BRANCH).to_numpy())
                                             % len(names.STREETS))  # fmt: skip
    house = 100 + rows["line"].to_numpy() % 900 + np.where((rows["role"] == BRANCH).to_numpy(), 900, 0)
    exchange = 700 + rows["line"].to_numpy() // 10_000 % 90
    phone = pl.format("{}-{}-{}", pl.lit(where["area_code"].gather(place)), pl.lit(pl.Series(exchange)),
                      (pl.col("line") % 10_000).cast(pl.String).str.zfill(4))  # fmt: skip
    mail = pl.format("{}.{}@{}", pl.lit(given).str.to_lowercase(), pl.lit(surname).str.to_lowercase(), "domain")
    return rows.with_columns(
        FIRST_NAME=pl.when(person).then(pl.lit(given)),
        LAST_NAME=pl.when(person).then(pl.lit(surname)),
        ORGANISATION_NAME=pl.when(pl.lit(upper)).then(name.str.to_uppercase()).otherwise(name),
        ENTITY_TYPE=pl.when(person).then(pl.lit("Person")).otherwise(pl.lit("Company")),
        WEBSITE=pl.when(~person).then(pl.format("https://www.{}", "domain")),
        ORGANISATION_NUMBER=pl.when(~person & pl.lit(pl.Series(rng.random(count) >= NO_NUMBER))).then("number"),
        EMAIL_ADDRESS=pl.when(person).then(mail).otherwise(pl.format("office@{}", "domain")),
        PHONE_NUMBER=pl.when(~person & pl.lit(pl.Series(rng.random(count) >= NO_PHONE))).then(phone),
        ADDRESS_LINE_1=pl.format("{} {} St", pl.lit(pl.Series(house)), pl.lit(street)),
        CITY=pl.lit(where["city"].gather(place)),
        STATE_CODE=pl.lit(where["state_code"].gather(place)),
        ZIP_CODE=pl.lit(where["zip"].gather(place).cast(pl.String).str.zfill(5)),
        COUNTRY_CODE=pl.lit("USA"),
    )
