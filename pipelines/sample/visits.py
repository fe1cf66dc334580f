"""When people come: latent rates and drop-out times, purchases, browsing visits, devices and the visitor ids they
carry.

Times are microseconds since 1970 in UTC (Int64); days count from the first day of the story. People are row numbers of
`people.people`. The purchase process is Pareto/NBD-like: a gamma rate per person, an exponential life with a gamma
hazard; part of those who leave slow down before they go. The year has a season, the week a weekend, the day a local
rhythm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.records import NEVER
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import Streams, scrambled

DAY_US = 86_400_000_000
BUY_SHAPE, BUY_MEAN = 1.1, 0.0175  # purchases a day
BROWSE_SHAPE, BROWSE_MEAN = 1.3, 0.026  # visits a day without a purchase, besides those that go with the purchase rate
BROWSE_PER_BUY = 1.0
LEAVE_SHAPE, LEAVE_SCALE = 0.8, 720.0  # hazard of leaving a day: gamma(shape) / scale
SLOWING_SHARE, SLOWING_DAYS, SLOWEST = 0.4, 150, 0.15
GUEST_SHARE = 0.25  # receipts without a customer
OVERLAP_US = int(2.5 * 3600 * 1e6)  # visits of one visitor closer than this would mix; the browsing one is dropped
CHURN_HOUR = 6  # a leaver's last visit is over by this hour of the day of leaving
_MONTH = np.array([0.85, 0.8, 0.9, 0.95, 1.0, 0.98, 0.95, 1.0, 0.95, 1.05, 1.35, 1.5])
_WEEKDAY = np.array([0.88, 0.86, 0.9, 0.95, 1.1, 1.25, 1.12])
_SHOP_HOURS = np.array([2, 1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 8, 9, 8, 7, 7, 8, 9, 10, 12, 14, 13, 9, 5], dtype=float)
_STORE_HOURS = np.array([0] * 9 + [3, 6, 8, 10, 9, 7, 7, 9, 12, 11, 8, 4, 0, 0, 0], dtype=float)
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
_LINUX = "Mozilla/5.0 (Linux; Android"
_WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/137.0.0.0 Safari/537.36"
_MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_APPLE} Safari/605.1.15"
_IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_APPLE} Mobile/15E148 Safari/604.1"
_IPAD = f"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) {_APPLE} Mobile/15E148 Safari/604.1"
_PIXEL = f"{_LINUX} 15; Pixel 9) {_WEBKIT} Chrome/137.0.0.0 Mobile Safari/537.36"
_GALAXY = f"{_LINUX} 14; SM-S928U) {_WEBKIT} SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36"
_GALAXY_TAB = f"{_LINUX} 14; SM-X710) {_WEBKIT} Chrome/137.0.0.0 Safari/537.36"
# device type, browser, operating system, user agent, share
AGENTS = (
    ("MOBILE", "Safari", "iOS", _IPHONE, 0.27),
    ("MOBILE", "Chrome", "Android", _PIXEL, 0.25),
    ("MOBILE", "Samsung Internet", "Android", _GALAXY, 0.06),
    ("DESKTOP", "Chrome", "Windows", _WINDOWS, 0.19),
    ("DESKTOP", "Safari", "macOS", _MAC, 0.08),
    ("DESKTOP", "Edge", "Windows", f"{_WINDOWS} Edg/137.0.0.0", 0.05),
    ("DESKTOP", "Firefox", "Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0", 0.03),
    ("TABLET", "Safari", "iPadOS", _IPAD, 0.05),
    ("TABLET", "Chrome", "Android", _GALAXY_TAB, 0.02),
)


def midnight_us(day: date) -> int:
    """Microseconds from 1970 to the start of a day in UTC."""
    return (day - date(1970, 1, 1)).days * DAY_US


def lives(streams: Streams, joined: np.ndarray, days: int) -> pl.DataFrame:
    """One row per person: buy_rate, browse_rate (a day, at the start), begin (first day), gone (day of leaving, NEVER
    if later), slows."""
    rng = streams.stream("lives")
    count = len(joined)
    buy = rng.gamma(BUY_SHAPE, BUY_MEAN / BUY_SHAPE, count)
    browse = rng.gamma(BROWSE_SHAPE, BROWSE_MEAN / BROWSE_SHAPE, count) + BROWSE_PER_BUY * buy
    begin = np.maximum(joined, 0)
    hazard = np.maximum(rng.gamma(LEAVE_SHAPE, 1 / LEAVE_SCALE, count), 1e-9)
    gone = begin + 1 + np.minimum(rng.exponential(1, count) / hazard, NEVER / 2).astype(np.int64)
    return pl.DataFrame(
        {
            "buy_rate": buy,
            "browse_rate": browse,
            "begin": begin,
            "gone": np.where(gone < days, gone, NEVER),
            "slows": rng.random(count) < SLOWING_SHARE,
        }
    )


def arrival_weights(start_on: date, days: int) -> np.ndarray:
    """How much is bought on each day of the story, by season and weekday; 1 is usual: Float64 [days]."""
    dates = [start_on + timedelta(days=d) for d in range(days)]
    return np.array([_MONTH[d.month - 1] * _WEEKDAY[d.weekday()] for d in dates])


def _arrivals(
    rate: np.ndarray, life: pl.DataFrame, start_on: date, days: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Poisson arrivals of everybody under season and weekday: (person, day), both Int64."""
    grid = np.concatenate([[0.0], np.cumsum(arrival_weights(start_on, days))])
    begin, gone = life["begin"].to_numpy(), life["gone"].to_numpy()
    low, high = grid[begin], grid[np.minimum(gone, days)]
    person = np.repeat(np.arange(len(rate)), rng.poisson(rate * (high - low)))
    mass = low[person] + rng.random(len(person)) * (high - low)[person]
    day = np.minimum(np.searchsorted(grid, mass, side="right") - 1, days - 1)
    left = gone[person] - day
    slow = life["slows"].to_numpy()[person] & (left < SLOWING_DAYS)
    keep = rng.random(len(person)) < np.where(slow, SLOWEST + (1 - SLOWEST) * left / SLOWING_DAYS, 1.0)
    return person[keep], day[keep]


def _clock(hours: np.ndarray, behind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Microseconds into the UTC day of local hours drawn by weight; `behind` is the place's distance from UTC in
    hours."""
    local = rng.choice(24, len(behind), p=hours / hours.sum())
    within = rng.integers(0, 3_600_000, len(behind)) * 1000
    moment: np.ndarray = ((local + behind) % 24) * 3_600_000_000 + within
    return moment


def _account_at(held: pl.DataFrame, system: str, count: int, person: np.ndarray, day: np.ndarray) -> np.ndarray:
    """The account (row of `held`) that a person uses in a system on a day, -1 without one; a second account replaces
    the first."""
    numbered = held.with_row_index("row").filter(source_system=system)
    account = np.full(len(person), -1, dtype=np.int64)
    for second in (False, True):
        part = numbered.filter(second=second)
        row, since = np.full(count, -1, dtype=np.int64), np.full(count, NEVER, dtype=np.int64)
        row[part["person"].to_numpy()] = part["row"].to_numpy()
        since[part["person"].to_numpy()] = part["registered"].to_numpy()
        account = np.where(since[person] <= day, row[person], account)
    return account


def purchases(
    streams: Streams, life: pl.DataFrame, held: pl.DataFrame, place: np.ndarray, start_on: date, days: int
) -> pl.DataFrame:
    """One row per purchase, in order of time: person, day, at, online, account (row of accounts; -1 for a guest).

    Guests are those without an account in that system at the time, plus as many others as make GUEST_SHARE of the
    receipts.
    """
    rng = streams.stream("purchases")
    person, day = _arrivals(life["buy_rate"].to_numpy(), life, start_on, days, rng)
    return bought(rng, person, day, held, place, start_on)


def bought(
    rng: np.random.Generator, person: np.ndarray, day: np.ndarray, held: pl.DataFrame, place: np.ndarray,
    start_on: date, online_factor: float = 1.0,
) -> pl.DataFrame:  # fmt: skip
    """The purchases (see `purchases`) of these people on these days. place: row of places per person;
    `online_factor` scales everybody's share of purchases online."""
    count = len(place)
    has = {s: np.isin(np.arange(count), held.filter(source_system=s)["person"].to_numpy()) for s in ("POS", "SHOP")}
    leaning = np.where(has["SHOP"], np.where(has["POS"], 0.5, 0.85), 0.12)
    share = rng.beta(4 * leaning, 4 * (1 - leaning))
    online = rng.random(len(person)) < share[person] * online_factor
    behind = places()["utc_behind"].to_numpy()[place[person]]
    second = np.where(online, _clock(_SHOP_HOURS, behind, rng), _clock(_STORE_HOURS, behind, rng))
    account = np.where(
        online, _account_at(held, "SHOP", count, person, day), _account_at(held, "POS", count, person, day)
    )
    forced = float((account < 0).mean()) if len(account) else 0.0
    chosen = max(0.0, (GUEST_SHARE - forced) / max(1.0 - forced, 1e-9))
    account = np.where(rng.random(len(person)) < chosen, -1, account)
    at = midnight_us(start_on) + day * DAY_US + second
    frame = pl.DataFrame({"person": person, "day": day, "at": at, "online": online, "account": account})
    return frame.sort("at", "person", maintain_order=True)


@dataclass(frozen=True)
class Devices:
    """What people browse with: three device numbers a person (first, second, shared; the first where there is no
    other), and per device its agent (row of AGENTS) and the day on which its cookie is lost (NEVER mostly). A visitor
    is device * 2 + (cookie lost or not)."""

    of_person: np.ndarray
    agent: np.ndarray
    reset: np.ndarray
    visitor_ids: pl.Series


def devices(streams: Streams, household: np.ndarray, days: int, first_number: int = 0) -> Devices:
    """Give everybody one or two devices, and a quarter of the larger households a shared one. Numbers in visitor ids
    begin after `first_number`."""
    rng = streams.stream("devices")
    count, homes = len(household), int(household[-1]) + 1
    shares = np.array([row[4] for row in AGENTS])
    desktop = np.array([row[0] != "MOBILE" for row in AGENTS])
    first = rng.choice(len(AGENTS), count, p=shares)
    other = rng.choice(len(AGENTS), count, p=shares * desktop / (shares * desktop).sum())
    common = rng.choice(len(AGENTS), homes, p=shares * desktop / (shares * desktop).sum())
    own = np.arange(count)
    has_other = rng.random(count) < 0.38
    has_common = ((np.bincount(household, minlength=homes) > 1) & (rng.random(homes) < 0.25))[household]
    total = 2 * count + homes
    number = scrambled(2 * total, rng) + first_number
    return Devices(
        of_person=np.stack(
            [own, np.where(has_other, own + count, own), np.where(has_common, household + 2 * count, own)], axis=1
        ),
        agent=np.concatenate([first, other, common]),
        reset=np.where(rng.random(total) < 0.15, rng.integers(1, max(days, 2), total), NEVER),
        visitor_ids=pl.select(pl.format("V{}", pl.Series(number).cast(pl.String).str.zfill(10))).to_series(),
    )


def sessions(
    streams: Streams, life: pl.DataFrame, held: pl.DataFrame, place: np.ndarray, bought: pl.DataFrame, owned: Devices,
    start_on: date, days: int,
) -> pl.DataFrame:  # fmt: skip
    """One row per visit of the shop, in order of time.

    person, day, at (start, or the moment of purchase), purchase (row of `bought`, -1 without), agent, visitor (row of
    visitor_ids), account (row of accounts if the visitor logs in during the visit, else -1), late_login (logs in after
    some anonymous events).
    """
    rng = streams.stream("sessions")
    person, day = _arrivals(life["browse_rate"].to_numpy() * eagerness(held, len(life)), life, start_on, days, rng)
    at = day * DAY_US + _clock(_SHOP_HOURS, places()["utc_behind"].to_numpy()[place[person]], rng)
    # The last evening ends before the story does.
    at = midnight_us(start_on) + np.minimum(at, days * DAY_US - OVERLAP_US)
    frame = browsed(rng, person, day, at, held, len(life), bought, owned)
    same_before = pl.col("visitor") == pl.col("visitor").shift(1)
    same_after = pl.col("visitor") == pl.col("visitor").shift(-1)
    close_before = same_before & (pl.col("at") - pl.col("at").shift(1) < OVERLAP_US)
    close_after = (
        same_after & (pl.col("at").shift(-1) - pl.col("at") < OVERLAP_US) & (pl.col("purchase").shift(-1) >= 0)
    )
    mixed = (pl.col("purchase") < 0) & (close_before | close_after).fill_null(False)
    return frame.filter(~mixed).sort("at", "person", maintain_order=True)


def eagerness(held: pl.DataFrame, people: int) -> np.ndarray:
    """Who has no account in the shop looks around there half as often: Float64 [people]."""
    shopper = np.isin(np.arange(people), held.filter(source_system="SHOP")["person"].to_numpy())
    return np.where(shopper, 1.0, 0.5)


def clock(person: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Microseconds into the UTC day at which these people look around in the shop."""
    return _clock(_SHOP_HOURS, places()["utc_behind"].to_numpy()[place[person]], rng)


def browsed(
    rng: np.random.Generator, person: np.ndarray, day: np.ndarray, at: np.ndarray, held: pl.DataFrame, count: int,
    bought: pl.DataFrame, owned: Devices,
) -> pl.DataFrame:  # fmt: skip
    """The visits (see `sessions`) of these people, of `count`, at these moments, and those that go with purchases; in
    order of visitors."""
    habit = rng.beta(2.2, 1.8, count)
    account = np.where(rng.random(len(person)) < habit[person], _account_at(held, "SHOP", count, person, day), -1)
    buying = bought.with_row_index("purchase").filter("online").cast({"purchase": pl.Int64})
    browsing = pl.DataFrame(
        {"person": person, "day": day, "at": at, "account": account, "purchase": np.full(len(person), -1)}
    )
    frame = pl.concat([browsing, buying.select(browsing.columns)])
    total = len(frame)
    which = rng.choice(3, total, p=[0.6, 0.27, 0.13])
    device = owned.of_person[frame["person"].to_numpy(), which]
    late = rng.random(total) < 0.4
    return frame.with_columns(
        agent=owned.agent[device],
        visitor=device * 2 + (frame["day"].to_numpy() >= owned.reset[device]),
        late_login=pl.Series(late) & (pl.col("account") >= 0),
    ).sort("visitor", "at", "purchase", maintain_order=True)
