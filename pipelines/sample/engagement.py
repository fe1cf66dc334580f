"""Marketing: campaigns with a held-back control group and a planted effect, and the messages sent for them.

Receipts are fixed before campaigns are, yet the effect has to be in them. So groups are drawn after the fact, with the
chance that Bayes' rule gives: if a person buys in the window with probability p, the treated at p (1 + (1 - s) k) and
the control at p (1 - s k), where s is the treated share, then P(treated | bought) = s (1 + (1 - s) k). Drawing groups
from that has the same distribution as drawing groups first and letting the treated buy more: groups do not depend on
who the people are, and the treated buy `lift` times as often as the control.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.preferences import preferences
from customer360.pipelines.sample.sales import COMPLETED, PURCHASE, money, words
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.visits import DAY_US, arrival_weights, midnight_us
from customer360.pipelines.sample.world import World

CAMPAIGNS = 24  # as many as the web visits name
WINDOW_DAYS = 14
CHANNELS = ("EMAIL", "SMS", "PUSH")
CHANNEL_OF = np.array([0, 0, 1, 0, 0, 2, 0, 1])  # of campaign number modulo 8
THEMES = ("Spring", "Garden", "Summer", "Travel", "School", "Autumn", "Gifts", "Clearance")
TREATED_SHARES, LIFTS = np.array([0.8, 0.7, 0.5]), np.array([1.0, 1.15, 1.3, 1.6])
COMPLETED_SHARE = 0.955
ACTIONS = ("SENT", "DELIVERED", "OPENED", "CLICKED", "UNSUBSCRIBED")
UNLISTED_SHARE = 0.003  # messages of a campaign that the list lacks
UNLISTED = "CMP900"


def plan(world: World) -> pl.DataFrame:
    """One row per campaign: number, channel (0 e-mail, 1 SMS, 2 push), first and last day of its window (day numbers),
    treated share and lift."""
    rng = world.streams.stream("campaigns")
    number = np.arange(CAMPAIGNS)
    first = number * max(world.days - WINDOW_DAYS - 1, 1) // CAMPAIGNS
    return pl.DataFrame(
        {
            "number": number,
            "channel": CHANNEL_OF[number % len(CHANNEL_OF)],
            "first": first,
            "last": np.minimum(first + WINDOW_DAYS - 1, world.days - 1),
            "share": TREATED_SHARES[rng.integers(0, len(TREATED_SHARES), CAMPAIGNS)],
            "lift": LIFTS[rng.integers(0, len(LIFTS), CAMPAIGNS)],
            "budget": rng.integers(20, 200, CAMPAIGNS) * 10_000,
            "spent": rng.uniform(0.6, 1.1, CAMPAIGNS),
        }
    )


def _campaign_id(number: str, world: World) -> pl.Expr:
    return pl.format("CMP{}{}", pl.lit(world.day_label), pl.col(number).cast(pl.String).str.zfill(3))


def campaign_rows(world: World) -> pl.DataFrame:
    """MARKETING_CAMPAIGNS, one row per campaign."""
    day = pl.lit(world.start_on)
    rows = plan(world).with_columns(cost=(pl.col("budget") * pl.col("spent")).cast(pl.Int64))
    return rows.select(
        CAMPAIGN_ID=_campaign_id("number", world),
        CAMPAIGN_NAME=pl.format("{} {}", words(rows["number"] % len(THEMES), THEMES), pl.col("number") + 1),
        CAMPAIGN_TYPE=words(rows["channel"], CHANNELS),
        START_DATE=day + pl.duration(days="first"),
        END_DATE=day + pl.duration(days="last"),
        BUDGET=money("budget"),
        SPENT_AMOUNT=money("cost"),
        TARGET_AUDIENCE=pl.format("Members who agreed; {} percent held back", ((1 - pl.col("share")) * 100).round().cast(pl.Int64)),  # noqa: E501
        CAMPAIGN_STATUS=pl.when(pl.col("last") < world.days - 1).then(pl.lit("COMPLETED")).otherwise(pl.lit("ACTIVE")),
        CREATED_BY=pl.format("marketer{}", pl.col("number") % 3),
    )  # fmt: skip


def alias_rows(world: World) -> pl.DataFrame:
    """CAMPAIGN_ALIASES: what the mailer and links call each campaign."""
    rows = plan(world).select("number")
    name = pl.format("{}-{}", words(rows["number"] % len(THEMES), THEMES).str.to_lowercase(), pl.col("number") + 1)
    parts = [
        rows.select(PLATFORM=pl.lit(platform), ALIAS=pl.format(form, name), CAMPAIGN_ID=_campaign_id("number", world))
        for platform, form in (("MAILER", "newsletter {}"), ("UTM", "{}_members"))
    ]
    return pl.concat(parts)


def _agreed(world: World) -> pl.DataFrame:
    """Members by channel that they agreed to: person, customer_id, registered, channel. Push needs no answer."""
    members = world.accounts.filter(source_system="CRM")
    said = preferences(world.streams, members, world.tastes, world.start_on)["CUSTOMER_ID", "PREFERENCE_VALUE"]
    parts = [
        members.join(said.filter(PREFERENCE_VALUE=f"{word}:YES"), left_on="customer_id", right_on="CUSTOMER_ID", how="semi")  # noqa: E501
        .with_columns(channel=pl.lit(at, dtype=pl.Int64))
        for at, word in enumerate(("EMAIL", "SMS"))
    ]  # fmt: skip
    both = pl.concat([*parts, members.with_columns(channel=pl.lit(2, dtype=pl.Int64))])
    return both.select("person", "customer_id", "registered", "channel").sort("channel", "customer_id")


def audience(world: World) -> pl.DataFrame:
    """One row per campaign and member in it: number, person, customer_id, channel, first, last, treated, bought (a
    completed purchase in the window), chance (of buying, over both groups)."""
    campaigns, rng = plan(world), world.streams.stream("audiences")
    reached = _agreed(world)
    if world.reach < 1:
        reached = reached.filter(pl.Series(rng.random(len(reached)) < world.reach))
    rows = campaigns.join(reached, on="channel").filter(pl.col("registered") <= pl.col("first"))
    rows = rows.sort("number", "customer_id")
    receipts = world.sales.receipts.filter((pl.col("kind") == PURCHASE) & (pl.col("status") == COMPLETED))
    buys = np.unique(receipts["person"].to_numpy() * np.int64(1 << 20) + receipts["day"].to_numpy())
    start = rows["person"].to_numpy() * np.int64(1 << 20)
    first, last = rows["first"].to_numpy(), rows["last"].to_numpy()
    bought = np.searchsorted(buys, start + first) < np.searchsorted(buys, start + last, side="right")
    grid = np.concatenate([[0.0], np.cumsum(arrival_weights(world.start_on, world.days))])
    life = world.lives[rows["person"].to_numpy()]
    begin = np.clip(life["begin"].to_numpy(), first, last + 1)
    until = np.clip(life["gone"].to_numpy(), first, last + 1)
    mass = life["buy_rate"].to_numpy() * COMPLETED_SHARE * np.maximum(grid[until] - grid[begin], 0)
    chance = 1 - np.exp(-mass)
    share, lift = rows["share"].to_numpy(), rows["lift"].to_numpy()
    k = (lift - 1) / (1 - share + share * lift)
    treated_chance = np.minimum(chance * (1 + (1 - share) * k), 1.0)
    if_bought = share * (1 + (1 - share) * k)
    if_not = share * (1 - treated_chance) / np.maximum(1 - chance, 1e-9)
    treated = rng.random(len(rows)) < np.where(bought, if_bought, if_not)
    return rows.select("number", "person", "customer_id", "channel", "first", "last").with_columns(
        treated=treated, bought=bought, chance=chance
    )


def audience_rows(world: World, members: pl.DataFrame | None = None) -> pl.DataFrame:
    """Who was chosen for a campaign and who was held back: one row per campaign and member. `members`: the audience,
    where it was made before."""
    return (audience(world) if members is None else members).select(
        CAMPAIGN_ID=_campaign_id("number", world),
        CUSTOMER_ID="customer_id",
        AUDIENCE_GROUP=pl.when("treated").then(pl.lit("TREATMENT")).otherwise(pl.lit("CONTROL")),
        ASSIGNED_DATE=pl.lit(world.start_on) + pl.duration(days="first"),
    )


def engagement_rows(world: World, members: pl.DataFrame | None = None) -> pl.DataFrame:
    """CUSTOMER_ENGAGEMENT_EVENTS of all campaigns in order of time, up to the end of the story. `members`: as above."""
    rng = world.streams.stream("engagement")
    sent = (audience(world) if members is None else members).filter("treated")
    count = len(sent)
    zone = places()["utc_behind"].to_numpy()[world.people["place"].to_numpy()[sent["person"].to_numpy()]]
    start = midnight_us(world.start_on) + sent["first"].to_numpy() * DAY_US
    at = start + (9 + zone) * 3_600_000_000 + rng.integers(0, 3 * 3600, count) * 1_000_000
    keen = rng.beta(2, 4, len(world.people))[sent["person"].to_numpy()]
    arrives = rng.random(count) > 0.03
    opens = arrives & (rng.random(count) < np.clip(keen * 1.3, 0.05, 0.9))
    clicks = opens & (rng.random(count) < 0.22)
    leaves = opens & (rng.random(count) < 0.008)
    to_open = np.minimum(rng.lognormal(np.log(90), 1.3, count), 6000).astype(np.int64) + 1
    to_click = to_open + rng.integers(1, 40, count)
    minutes = (np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64), to_open, to_click, to_click + 1)
    base = sent.with_columns(
        opened=to_open, clicked=to_click, arrives=arrives, unlisted=rng.random(count) < UNLISTED_SHARE,
        device=rng.choice(3, count, p=[0.62, 0.32, 0.06]),
    )  # fmt: skip
    happened = (np.ones(count, dtype=bool), arrives, opens, clicks, leaves)
    parts = [
        base.with_columns(at=at + minutes[step] * 60_000_000, step=pl.lit(step, dtype=pl.Int64)).filter(pl.Series(happened[step]))  # noqa: E501
        for step in range(len(ACTIONS))
    ]  # fmt: skip
    rows = pl.concat(parts).filter(pl.col("at") < midnight_us(world.end_on) + DAY_US)
    return _engagement(rows.sort("at", "number", "customer_id", "step"), world)


def _engagement(rows: pl.DataFrame, world: World) -> pl.DataFrame:
    seen = pl.col("step") >= 2
    name = pl.format("{} {}", words(rows["number"] % len(THEMES), THEMES), pl.col("number") + 1)
    return rows.select(
        ENGAGEMENT_ID=pl.format(
            "EG{}{}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(9)
        ),
        CUSTOMER_ID="customer_id",
        ENGAGEMENT_TYPE=words(rows["channel"], CHANNELS),
        ENGAGEMENT_DATE=pl.col("at").cast(pl.Datetime("us", "UTC")),
        CAMPAIGN_ID=pl.when("unlisted").then(pl.lit(UNLISTED)).otherwise(_campaign_id("number", world)),
        CAMPAIGN_NAME=name,
        MESSAGE_SUBJECT=pl.format("{}: news for you", name),
        MESSAGE_CONTENT=pl.format("Dear member, our {} offers are here.", name),
        ENGAGEMENT_ACTION=words(rows["step"], ACTIONS),
        ENGAGEMENT_STATUS=pl.when("arrives").then(pl.lit("SUCCESS")).otherwise(pl.lit("BOUNCED")),
        DEVICE_TYPE=pl.when(seen).then(words(rows["device"], ("MOBILE", "DESKTOP", "TABLET"))),
        LOCATION_COUNTRY=pl.lit("USA"),
        TIME_TO_OPEN=pl.when(pl.col("step") == 2).then("opened"),
        TIME_TO_CLICK=pl.when(pl.col("step") == 3).then("clicked"),
        CONVERSION_RESULT=pl.when((pl.col("step") == 3) & pl.col("bought")).then(pl.lit("PURCHASE")),
    )


def campaign_truth(world: World) -> pl.DataFrame:
    """One row per campaign: campaign_id, first_on, last_on, treated_share, lift (planted ratio of the chances to buy
    in the window, treated over control), treated and control people, and the shares of them that bought."""
    people, chosen = audience(world), pl.col("treated")
    counted = people.group_by("number").agg(
        treated_count=chosen.sum().cast(pl.Int64),
        control_count=(~chosen).sum().cast(pl.Int64),
        treated_rate=pl.col("bought").filter(chosen).mean(),
        control_rate=pl.col("bought").filter(~chosen).mean(),
    )
    day = pl.lit(world.start_on)
    return plan(world).join(counted, on="number", how="left").sort("number").select(
        campaign_id=_campaign_id("number", world),
        first_on=day + pl.duration(days="first"),
        last_on=(day + pl.duration(days=pl.col("last"))).cast(pl.Date),
        treated_share="share",
        lift="lift",
        treated_count=pl.col("treated_count").fill_null(0),
        control_count=pl.col("control_count").fill_null(0),
        treated_rate="treated_rate",
        control_rate="control_rate",
    )  # fmt: skip


def messages_by_month(world: World) -> list[tuple[str, pl.DataFrame]]:
    """The files of the messages, one a month; a month without messages has an empty one."""
    rows = engagement_rows(world)
    month = rows["ENGAGEMENT_DATE"].dt.strftime("%Y-%m")
    return [(name, rows.filter(month == name)) for name in world.months()]
