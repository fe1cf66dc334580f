"""The whole retailer of one seed in compact form; tables and truths are read from it, month by month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.catalog import Shelf, products, shelf_of
from customer360.pipelines.sample.openings import moved, openings
from customer360.pipelines.sample.people import people
from customer360.pipelines.sample.records import NEVER, accounts
from customer360.pipelines.sample.sales import CHANNELS, COMPLETED, PURCHASE, Sales, sales
from customer360.pipelines.sample.stores import home_stores, stores
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.tastes import Tastes, tastes
from customer360.pipelines.sample.visits import Devices, devices, lives, purchases, sessions

INACTIVE_AFTER = 90  # days after leaving until the source systems notice


@dataclass(frozen=True)
class Town:
    """Who and what there is before anything happens. Rows of people, accounts, products and stores are what the other
    tables refer to; openings: stores of a later day, numbered after the others; home_store: the nearest store of each
    place, of the older ones."""

    people: pl.DataFrame
    lives: pl.DataFrame
    accounts: pl.DataFrame
    products: pl.DataFrame
    stores: pl.DataFrame
    openings: pl.DataFrame
    home_store: np.ndarray
    shelf: Shelf
    tastes: Tastes
    devices: Devices

    @property
    def store_ids(self) -> pl.Series:
        """By the number that receipts have of a store."""
        return pl.concat([self.stores["STORE_ID"], self.openings["STORE_ID"]])

    @property
    def member_from(self) -> np.ndarray:
        """The day number of each person's joining the loyalty programme, NEVER mostly: Int64 [people]."""
        joined = np.full(len(self.people), NEVER, dtype=np.int64)
        cards = self.accounts.filter(source_system="CRM")
        joined[cards["person"].to_numpy()] = cards["registered"].to_numpy()
        return joined


@dataclass(frozen=True)
class World(Town):
    """Everything that happened.

    first_receipt: the receipt of each purchase, Int64 [purchases]. Of a world that is a single day of a longer story:
    `label` stands in the ids of what happens, `day_label` in those of its campaigns; `reach` is the share of the
    members whom a campaign writes to, `questions` that of the online orders about which somebody asks without a cause,
    `since` the days before it.
    """

    streams: Streams
    start_on: date
    end_on: date
    visits: pl.DataFrame
    sales: Sales
    first_receipt: np.ndarray
    label: str = ""
    day_label: str = ""
    reach: float = 1.0
    questions: float = 0.02
    since: int = 0

    @property
    def days(self) -> int:
        """Length of the story in days."""
        return (self.end_on - self.start_on).days + 1

    def windows(self) -> list[tuple[date, date]]:
        """The first and second halves of the months (first day, last day), cut to the story."""
        cuts = [self.start_on]
        cuts += [d for d in (self.start_on + timedelta(days=i) for i in range(1, self.days)) if d.day in (1, 16)]
        return [
            (a, b - timedelta(days=1)) for a, b in zip(cuts, [*cuts[1:], self.end_on + timedelta(days=1)], strict=True)
        ]

    def months(self) -> list[str]:
        """The months of the story as YYYY-MM."""
        return sorted({f"{a:%Y-%m}" for a, _ in self.windows()})

    def activity(self, system: str) -> pl.DataFrame:
        """What a system knows of its accounts' doings, by customer_id: last_login, preferred_channel, preferred_store,
        spend, is_gone."""
        held = self.accounts.with_row_index("account").cast({"account": pl.Int64}).filter(source_system=system)
        login = self.visits.filter(pl.col("account") >= 0).group_by("account").agg(last_login=pl.col("day").max())
        by = "person" if system == "CRM" else "account"
        done = self.sales.receipts.filter((pl.col("status") == COMPLETED) & (pl.col("account") >= 0))
        spend = done.group_by(by).agg(spend=pl.col("total").sum().clip(0), channel=pl.col("channel").mode().min())
        place = self.people["place"].to_numpy()[held["person"].to_numpy()]
        gone = self.lives["gone"].to_numpy()[held["person"].to_numpy()]
        default = "POS" if system == "POS" else "ECOMMERCE"
        store = self.stores["STORE_ID"].gather(self.home_store[place])
        rows = held.join(login, on="account", how="left", maintain_order="left").join(
            spend, on=by, how="left", maintain_order="left"
        )
        return rows.select(
            "customer_id",
            "last_login",
            preferred_channel=pl.col("channel").replace_strict(
                dict(enumerate(CHANNELS)), default=default, return_dtype=pl.String
            ),
            preferred_store=pl.when(pl.lit(system != "SHOP") | (pl.col("account") % 2 == 0)).then(store),
            spend="spend",
            is_gone=pl.Series(gone + INACTIVE_AFTER < self.days),
        )


def settle(common: Streams, own: Streams, *, customers: int, days: int, end_on: date, first_person: int = 0) -> Town:
    """The people with their accounts, tastes and devices, by streams of their `own`, among the shops and goods that
    the `common` streams make. `first_person`: how many people other blocks hold."""
    start_on = end_on - timedelta(days=days - 1)
    folk = people(own, customers, days, end_on, first_person)
    joined = folk["joined"].to_numpy()
    life = lives(own, joined, days)
    goods, shops = products(common, start_on, end_on), stores(common, start_on)
    return Town(
        people=folk,
        lives=life,
        accounts=accounts(own, joined, np.minimum(life["gone"].to_numpy(), days), 4 * first_person),
        products=goods,
        stores=shops,
        openings=openings(shops, start_on, days),
        home_store=home_stores(shops),
        shelf=shelf_of(common, goods, start_on),
        tastes=tastes(own, customers),
        devices=devices(own, folk["household"].to_numpy(), days, 6 * first_person),
    )


def build_world(*, customers: int, days: int, seed: int, end_on: date) -> World:
    """Simulate `customers` people over `days` days that end with `end_on` (included)."""
    streams = Streams(seed)
    start_on = end_on - timedelta(days=days - 1)
    town = settle(streams, streams, customers=customers, days=days, end_on=end_on)
    place = town.people["place"].to_numpy()
    bought = purchases(streams, town.lives, town.accounts, place, start_on, days)
    visits = sessions(streams, town.lives, town.accounts, place, bought, town.devices, start_on, days)
    sold = sales(
        streams, town.tastes, town.shelf, bought, visits, town.people, town.lives["gone"].to_numpy(), town.member_from,
        town.home_store, days, len(town.stores),
    )  # fmt: skip
    opened = (town.openings["OPENED_DATE"][0] - start_on).days
    sold = moved(streams, sold, town.people, town.stores, town.openings, opened)
    return World(
        **vars(town), streams=streams, start_on=start_on, end_on=end_on, visits=visits, sales=sold,
        first_receipt=first_receipts(sold, len(bought)),
    )  # fmt: skip


def first_receipts(sold: Sales, purchases: int) -> np.ndarray:
    """The receipt of each purchase: Int64 [purchases]."""
    first = np.zeros(purchases, dtype=np.int64)
    heads = sold.receipts.with_row_index("receipt").filter(pl.col("kind") == PURCHASE)
    first[heads["purchase"].to_numpy()] = heads["receipt"].to_numpy()
    return first
