"""Audiences: how many people a rule means, whom of them a channel may reach, and a file for who sends.

Nobody is in an audience who refused to be treated individually. A channel reaches whoever has consented to it, has an
address and has not unsubscribed; answers of today count as well as those that the view knew. A yes is of the address
that gave it: who gave one for another address than the view's is counted as not asked, and so is everybody who gave one
while nothing tells for which address. Everybody who is meant ends in one place, and the places add up.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from customer360.pipelines.consents import UNSUBSCRIBABLE, email_point, phone_point
from customer360.pipelines.denied import denied
from customer360.pipelines.gold.customers import Customer360
from customer360.pipelines.gold.customers.consent import PURPOSES
from customer360.pipelines.rules import Audience, AudienceRules
from customer360.platform import erasure_list
from customer360.platform.conditions import condition
from customer360.platform.errors import ConfigError, TableMissing
from customer360.platform.formulas import defused
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_edition
from customer360.platform.privacy import leaving

VIEW, ACCOUNTS, PERMISSIONS = "gold.customer_360", "silver.identities", "gold.contact_permissions"


@dataclass(frozen=True)
class Channel:
    """The column that tells whether it is allowed, and the column of the address (none: the app knows the device)."""

    consent: str
    address: str | None


CHANNELS: dict[str, Channel] = {
    "email": Channel("may_email", "email_address"),
    "sms": Channel("may_sms", "phone_number"),
    "push": Channel("may_push", None),
    "phone": Channel("may_call", "phone_number"),
}
# Where a meant person ends, the first that fits.
MEANT, GONE, REFUSED = "meant", "gone", "refused personalization"
NO_CONSENT, NOT_ASKED, UNSUBSCRIBED, NO_ADDRESS, SAME_ADDRESS = (
    "no consent",
    "not asked",
    "unsubscribed",
    "no address",
    "same address as another",
)
REACHED = "reached"
PLACES = (GONE, REFUSED, UNSUBSCRIBED, NO_CONSENT, NOT_ASKED, NO_ADDRESS, SAME_ADDRESS, REACHED)


@dataclass(frozen=True)
class People:
    """The current edition of the customer view, and what was answered and erased since."""

    rows: pl.LazyFrame
    as_of: date
    refusals: Mapping[str, pl.Series]  # person ids by purpose that is denied as of now
    known: pl.Series  # persons who have an account, and whose erasure has not begun
    lake: Lake


def people(lake: Lake) -> People:
    """Raises TableMissing when the customer view was not built yet."""
    current = current_edition(lake, VIEW, lake.files(VIEW))
    if current is None:
        raise TableMissing(f"{VIEW} has no rows in {lake.root} yet; `customer360 run` builds it")
    known = _column(lake, ACCOUNTS, "person_id")
    if lake.exists(ACCOUNTS):
        gone = leaving(lake, lake.scan(ACCOUNTS).select("record_id", "person_id").collect())
        known = known.filter(~known.is_in(pl.Series(gone, dtype=pl.String).implode()))
    return People(lake.scan(VIEW, current.files), current.as_of, _refusals(lake), known, lake)


def _column(lake: Lake, table: str, column: str) -> pl.Series:
    if not lake.exists(table):
        return pl.Series(column, [], dtype=pl.String)
    return lake.scan(table).select(column).unique().collect()[column]


def _refusals(lake: Lake) -> dict[str, pl.Series]:
    return {str(purpose): part["person_id"] for (purpose,), part in denied(lake).group_by("purpose")}


def named(rules: AudienceRules, name: str) -> Audience:
    """Raises ConfigError that names the nearest audiences."""
    if name not in rules.audiences:
        near = difflib.get_close_matches(name, rules.audiences, n=3) or sorted(rules.audiences)
        raise ConfigError(f"no audience is called {name!r}; did you mean {', '.join(near) or 'one that you add'}?")
    return rules.audiences[name]


def sizes(of: People, rules: AudienceRules) -> dict[str, tuple[int, int]]:
    """By audience: how many people its condition means, and how many of them may be treated individually."""
    if not rules.audiences:
        return {}
    meant = {
        f"meant/{name}": condition(audience.condition, Customer360.columns(), of.as_of)
        for name, audience in rules.audiences.items()
    }
    # As columns beside the person: a condition without a column, like True, is said of everybody.
    judged = of.rows.select("person_id", allowed=_allowed(of), **meant)
    counts = {name: (pl.col(f"meant/{name}").sum(), (pl.col(f"meant/{name}") & pl.col("allowed")).sum())
              for name in rules.audiences}  # fmt: skip
    found = judged.select(pl.concat_list(pair).alias(name) for name, pair in counts.items()).collect()
    return {name: (pair[0], pair[1]) for name, pair in found.row(0, named=True).items()}


def unknown(of: People, rules: AudienceRules) -> dict[str, list[str]]:
    """By audience that means nobody: the columns of its condition that nobody has a value of. So it is unknown who is
    meant, not known that nobody is: a model that was never trained, say, gives no score.
    """
    asked = {
        name: condition(audience.condition, Customer360.columns(), of.as_of).meta.root_names()
        for name, audience in rules.audiences.items()
    }
    named_ = sorted({column for columns in asked.values() for column in columns})
    if not named_:
        return {}
    known = of.rows.select(pl.col(named_).is_not_null().any()).collect().row(0, named=True)
    empty = {name: [c for c in dict.fromkeys(columns) if not known[c]] for name, columns in asked.items()}
    return {name: columns for name, columns in empty.items() if columns and not sizes(of, rules)[name][0]}


def placed(of: People, audience: Audience, channel: str) -> pl.DataFrame:
    """One row per person that the condition means: the columns of the view and `place`, one of `PLACES`."""
    how = CHANNELS[channel]
    meant = of.rows.filter(condition(audience.condition, Customer360.columns(), of.as_of)).sort("person_id").collect()
    address = pl.col(how.address).str.strip_chars().str.to_lowercase() if how.address else pl.lit("the app")
    purpose = PURPOSES[how.consent]
    unasked = pl.col("unanswered_purposes").list.contains(purpose).fill_null(False)
    reasons = (
        (GONE, ~pl.col("person_id").is_in(of.known.implode()) | _erased(of, meant, how)),
        (REFUSED, ~_allowed(of)),
        (UNSUBSCRIBED, pl.col("has_unsubscribed") & pl.lit(purpose in UNSUBSCRIBABLE)),
        (NO_CONSENT, (~pl.col(how.consent) & ~unasked) | _refused(of, purpose)),
        (NOT_ASKED, ~pl.col(how.consent) | _asked_elsewhere(of, meant, how, purpose, unasked)),
        (NO_ADDRESS, address.is_null() | (address == "")),
    )
    place = pl.coalesce(*(pl.when(applies).then(pl.lit(name)) for name, applies in reasons), pl.lit(REACHED))
    found = meant.with_columns(place=place, address__=address)
    if how.address is None:
        return found.drop("address__")
    repeated = (pl.col("place") == REACHED) & ~pl.struct("place", "address__").is_first_distinct()
    place = pl.when(repeated).then(pl.lit(SAME_ADDRESS)).otherwise("place")
    return found.with_columns(place=place).drop("address__")


def _allowed(of: People) -> pl.Expr:
    return pl.col("may_personalize") & ~_refused(of, "PERSONALIZATION")


def _refused(of: People, purpose: str) -> pl.Expr:
    return pl.col("person_id").is_in(of.refusals[purpose].implode()) if purpose in of.refusals else pl.lit(False)


def knows_addresses(of: People) -> bool:
    """Whether ``gold.contact_permissions`` of the view's date tells which address each yes is of."""
    if not of.lake.exists(PERMISSIONS):
        return False
    return not of.lake.scan(PERMISSIONS).filter(pl.col("as_of") == of.as_of).head(1).collect().is_empty()


def _asked_elsewhere(of: People, meant: pl.DataFrame, how: Channel, purpose: str, unasked: pl.Expr) -> pl.Expr:
    """Whether the person's yes is none of the address in the view, or of none that is known: without permissions of
    that date, only who needs no yes (`unasked`) may be reached."""
    if how.address is None:
        return pl.lit(False)
    if not knows_addresses(of):
        return ~unasked
    point = email_point if how.address == "email_address" else phone_point
    said = of.lake.scan(PERMISSIONS).filter(pl.col("as_of") == of.as_of, pl.col("channel") == purpose)
    judged = said.collect().join(meant.select("person_id", given=point(pl.col(how.address))), on="person_id")
    silent = (pl.col("reason") == "NOT_ASKED") & pl.col("is_answered")
    other = pl.col("is_permitted") & pl.col("contact_point").ne_missing(pl.col("given")) & pl.col("given").is_not_null()
    return pl.col("person_id").is_in(judged.filter(silent | other)["person_id"].implode())


def _erased(of: People, meant: pl.DataFrame, how: Channel) -> pl.Series:
    """Whether the address is that of somebody who was erased since the view was built."""
    if how.address is None:
        return pl.select(pl.repeat(False, meant.height, dtype=pl.Boolean)).to_series()
    column = erasure_list.CONTACT_COLUMNS["email" if how.address == "email_address" else "phone"]
    return erasure_list.erased_rows(of.lake, meant.select(pl.col(how.address).alias(column)), "")


def counted(rows: pl.DataFrame) -> dict[str, int]:
    """People by place, in the order of `PLACES`, zeros included."""
    found = dict(rows.group_by("place").len().rows())
    return {place: int(found.get(place, 0)) for place in PLACES}


def export(rows: pl.DataFrame, audience: Audience, channel: str, out: Path, *, contacts: bool) -> int:
    """Write whom the channel reaches: person_id, the audience's columns, and with `contacts` the address. Returns how
    many people.

    Parquet, or CSV where the name ends so, in which no text begins like a formula. Only its owner can read the file.
    """
    address = CHANNELS[channel].address
    shown = ["person_id", *audience.columns, *([address] if contacts and address else [])]
    reached = rows.filter(pl.col("place") == REACHED).select(*dict.fromkeys(shown))
    text = io.BytesIO()
    if out.suffix.lower() == ".csv":
        lists = [name for name, kind in reached.schema.items() if kind == pl.List(pl.String)]
        defused(reached.with_columns(pl.col(lists).list.join("; "))).write_csv(text)
    else:
        reached.write_parquet(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        out.chmod(0o600)  # an older file may be open to others
        handle.write(text.getvalue())
    return reached.height
