"""What devices are, who was logged in on them, and where they were seen."""

from __future__ import annotations

import polars as pl

from customer360.pipelines import agents
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.sessions import declares_machine
from customer360.pipelines.subjects import Owner
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, String, Table, Timestamp, personal

ACTIVITY: Activity = "identity"


class DeviceLinks(
    Table, table="silver.device_links", per="identifier", bucketed=True, sort_by=("person_id", "first_at", "identifier")
):
    """One row per person and device on which it was logged in."""

    person_id = String(primary_key=True)
    identifier = String(primary_key=True, metadata=personal("device"))
    first_at = Timestamp(description="Start of the person's first stretch on the device")
    person_count = Integer(description="People who were logged in on the device, ever")
    is_shared = Boolean()


@builds(DeviceLinks)
def device_links(silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Stretches of logins folded to person and device; a device with several people is shared."""
    folded = (
        silver_identity_links.filter(pl.col("kind") == "visitor")
        .group_by("identifier", "person_id")
        .agg(first_at=pl.col("valid_from").min())
        .with_columns(person_count=pl.len().over("identifier").cast(pl.Int64))
    )
    return folded.with_columns(is_shared=pl.col("person_count") > 1)


class DeviceObservations(
    Table, table="silver.device_observations", per="observation_id", sort_by=("observed_at", "observation_id")
):
    """One row per observation of a device, its user agent parsed, with the subject."""

    observation_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(metadata=personal("device"))
    observed_at = Timestamp()
    observed_on = Date()
    device_type = String(nullable=True, description="DESKTOP, MOBILE or TABLET, by user agent and the source's word")
    browser = String(nullable=True, description="Family by uap-core; of apps without one the product that they name")
    browser_version = String(nullable=True, description="As far as the minor one")
    operating_system = String(nullable=True)
    operating_system_version = String(nullable=True)
    brand = String(nullable=True)
    model = String(nullable=True)
    is_bot = Boolean(description="Its user agent says that it is a machine, as of silver.events")
    screen_width = Integer(nullable=True)
    screen_height = Integer(nullable=True)
    language = String(nullable=True)
    time_zone = String(nullable=True)
    connection_type = String(nullable=True)
    app_version = String(nullable=True)
    network_id = String(nullable=True, metadata=personal("device"))


OBSERVATION_OWNER = Owner(at="observed_at", visitor="visitor_id", otherwise=pl.lit("v:") + pl.col("visitor_id"))
SAID = ("screen_width", "screen_height", "language", "time_zone", "connection_type", "app_version", "network_id")


@builds(DeviceObservations, rules="standardization", follows=OBSERVATION_OWNER.of, reached=OBSERVATION_OWNER.reached)
def device_observations(
    bronze_devices: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: StandardizationRules
) -> pl.LazyFrame:
    """Observations as delivered, each with the person of its account, else the owner of the device at that time."""
    same = ("observation_id", "customer_id", "visitor_id", "observed_at", *SAID)
    agent = pl.col("agent__")
    facts = bronze_devices.with_columns(agent__=agents.parsed(pl.col("USER_AGENT"))).select(
        *(pl.col(c.upper()).alias(c) for c in same),
        *(agent.struct.field(c) for c in agents.FIELDS),
        source_system="_source_system",
        observed_on=pl.col("OBSERVED_AT").dt.date(),
        device_type=agents.device_type(pl.col("USER_AGENT"), pl.col("DEVICE_TYPE")),
        is_bot=declares_machine(agent, params.traffic),
    )
    return OBSERVATION_OWNER.of(facts, silver_identity_links)


class Devices(Table, table="silver.devices", per="visitor_id", sort_by=("visitor_id",)):
    """One row per device (cookie or app) that did something or was observed: what it is, by its latest word."""

    visitor_id = String(primary_key=True, metadata=personal("device"))
    first_at = Timestamp()
    last_at = Timestamp()
    event_count = Integer()
    observation_count = Integer()
    device_type = String(nullable=True)
    browser = String(nullable=True)
    browser_version = String(nullable=True)
    operating_system = String(nullable=True)
    operating_system_version = String(nullable=True)
    brand = String(nullable=True)
    model = String(nullable=True)
    screen_width = Integer(nullable=True)
    screen_height = Integer(nullable=True)
    language = String(nullable=True)
    time_zone = String(nullable=True)
    is_app = Boolean(description="Some observation named the version of an app")
    is_bot = Boolean(description="Some observation declared a machine")
    network_count = Integer(description="Different networks on which it was seen")


NATURE = ("device_type", "browser", "operating_system")  # what events say, too
DETAILS = ("browser_version", "operating_system_version", "brand", "model", "screen_width", "screen_height", "language",
           "time_zone")  # fmt: skip


@builds(
    Devices,
    reads={"silver.events": ("visitor_id", "occurred_at", "event_id", "source_system", "set_apart", *NATURE)},
)  # fmt: skip
def devices(silver_events: pl.LazyFrame, silver_device_observations: pl.LazyFrame) -> pl.LazyFrame:
    """Observations and events of a device folded; where both say what it is, the observation counts."""
    human = silver_events.filter(pl.col("visitor_id").is_not_null(), pl.col("set_apart").is_null())
    done = _latest(human.rename({"occurred_at": "at", "event_id": "id"}), NATURE).rename({"count": "event_count"})
    observed = silver_device_observations.rename({"observed_at": "at", "observation_id": "id"})
    more = {
        "is_app": pl.col("app_version").is_not_null().any(),
        "is_bot": pl.col("is_bot").any(),
        "network_count": pl.col("network_id").drop_nulls().n_unique().cast(pl.Int64),
    }
    seen = _latest(observed, (*NATURE, *DETAILS), **more).rename({"count": "observation_count"})
    return seen.join(done, on="visitor_id", how="full", coalesce=True, suffix="_done").select(
        "visitor_id",
        *(pl.coalesce(c, f"{c}_done").alias(c) for c in NATURE),
        *DETAILS,
        first_at=pl.min_horizontal("first_at", "first_at_done"),
        last_at=pl.max_horizontal("last_at", "last_at_done"),
        event_count=pl.col("event_count").fill_null(0),
        observation_count=pl.col("observation_count").fill_null(0),
        is_app=pl.col("is_app").fill_null(False),
        is_bot=pl.col("is_bot").fill_null(False),
        network_count=pl.col("network_count").fill_null(0),
    )


def _latest(rows: pl.LazyFrame, columns: tuple[str, ...], **more: pl.Expr) -> pl.LazyFrame:
    """By device: count, first_at, last_at, the latest word for each column.

    A column's latest word fell at the last moment at which it said something: of all rows only those of such moments
    are sorted, and their ids alone are read.
    """
    at, moments = pl.col("at"), [f"{c}_at__" for c in columns]
    said = (pl.when(pl.col(c).is_not_null()).then(at).max() for c in columns)
    folded = rows.group_by("visitor_id").agg(
        *(each.alias(name) for each, name in zip(said, moments, strict=True)),
        count=pl.len().cast(pl.Int64),
        first_at=at.min(),
        last_at=at.max(),
        **more,
    ).collect()  # fmt: skip
    last = pl.concat([folded[name] for name in moments]).drop_nulls().unique()
    words = (
        rows.filter(at.is_in(last.implode()))
        .sort("visitor_id", "at", "id", "source_system")
        .group_by("visitor_id")
        .agg(pl.col(c).drop_nulls().last() for c in columns)
    )
    return folded.lazy().drop(moments).join(words, on="visitor_id", how="left")
