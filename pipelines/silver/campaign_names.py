"""What every name under which a campaign is met means: ids, aliases, UTM names, names with a platform's prefix."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.campaigns import NO_CAMPAIGN, UNNAMED, spelling, without_prefixes
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, OneOf, String, Table

ACTIVITY: Activity = "validation"


class CampaignNames(Table, table="silver.campaign_names", sort_by=("said",)):
    """One row per name of a campaign that messages, visits or audiences use: the campaign that it means, if one."""

    said = String(primary_key=True, description="As it stands there")
    campaign_id = String(nullable=True, description="Null where the name means no campaign, or several")
    method = OneOf(
        "ID", "ALIAS", "SPELLING", "NAME", "PREFIX", "AMBIGUOUS", "UNRESOLVED", "NO_CAMPAIGN",
        description="How it was found, the first that fits: a listed id; an alias; an id or a listed name but for case"
        " and signs; one of these after a platform's prefix. NO_CAMPAIGN: what tools write for none, as (not set)",
    )  # fmt: skip
    candidate_count = Integer(description="Campaigns that it may mean")
    touch_count = Integer(description="Events of messages that use it")
    session_count = Integer(description="Visits that use it")
    audience_count = Integer(description="Accounts chosen or held back under it")
    first_on = Date(description="First day on which it was met")
    last_on = Date()


@builds(
    CampaignNames,
    rules="enrichment",
    reads={
        "silver.touches": ("campaign_id", "occurred_on"),
        "silver.sessions": ("campaign_id", "started_on"),
        "silver.campaign_audiences": ("campaign_id", "assigned_on"),
    },
)
def campaign_names(
    silver_touches: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_campaign_audiences: pl.LazyFrame,
    silver_campaigns: pl.LazyFrame,
    silver_campaign_aliases: pl.LazyFrame,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Names in use, each compared with what is listed; a name of two campaigns means neither."""
    prefixes = params.engagement.campaign_prefixes
    used = _used(silver_touches, silver_sessions, silver_campaign_audiences).with_columns(
        spelt=spelling(pl.col("said"))
    )
    bare = used.with_columns(bare=without_prefixes(pl.col("spelt"), prefixes))
    listed = silver_campaigns.select(said="campaign_id", by_id="campaign_id").unique()
    known = _known(silver_campaigns, silver_campaign_aliases)
    stripped = known.with_columns(without_prefixes(pl.col("spelt"), prefixes)).pipe(_first)
    found = (
        bare.join(listed, on="said", how="left")
        .join(_first(known), on="spelt", how="left")
        .join(stripped, left_on="bare", right_on="spelt", how="left", suffix="_bare")
    )
    count = pl.coalesce(pl.col("count"), pl.col("count_bare"), pl.lit(0))
    by_id, known_id, bare_id = (pl.col(c) for c in ("by_id", "meant", "meant_bare"))
    meant = pl.coalesce(by_id, known_id, pl.when(pl.col("count").is_null()).then(bare_id))
    # A message of a campaign that is listed as the word for none could not be told from one without a campaign.
    none = (by_id.is_null() & pl.col("spelt").is_in(NO_CAMPAIGN)) | (meant == UNNAMED).fill_null(False)
    method = (
        pl.when(none).then(pl.lit("NO_CAMPAIGN"))
        .when(by_id.is_not_null()).then(pl.lit("ID"))
        .when(known_id.is_not_null()).then(pl.col("how"))
        .when(pl.col("count") > 1).then(pl.lit("AMBIGUOUS"))
        .when(bare_id.is_not_null()).then(pl.lit("PREFIX"))
        .when(pl.col("count_bare") > 1).then(pl.lit("AMBIGUOUS"))
        .otherwise(pl.lit("UNRESOLVED"))
    )  # fmt: skip
    told = found.with_columns(method=method)
    return told.with_columns(
        campaign_id=pl.when(pl.col("method") != "NO_CAMPAIGN").then(meant),
        candidate_count=pl.when(none).then(0).when(by_id.is_not_null()).then(1).otherwise(count).cast(pl.Int64),
    ).select(list(CampaignNames.columns()))


class CampaignSynonyms(Table, table="silver.campaign_synonyms", sort_by=("said",)):
    """One row per name in use that means a campaign by another one, or none; every other name means itself.

    A campaign that is listed, or met, for the first time under its own id is no row here: whatever reads names of
    messages need not be made anew for it.
    """

    said = String(primary_key=True, description="As in silver.campaign_names")
    campaign_id = String(nullable=True, description="Null: no campaign")
    method = String(description="As in silver.campaign_names")


@builds(CampaignSynonyms, reads={"silver.campaign_names": ("said", "campaign_id", "method")})
def campaign_synonyms(silver_campaign_names: pl.LazyFrame) -> pl.LazyFrame:
    """Names that `pipelines.campaigns.one_campaign` changes."""
    is_other = (pl.col("campaign_id") != pl.col("said")).fill_null(False)
    return silver_campaign_names.filter(is_other | (pl.col("method") == "NO_CAMPAIGN")).select(
        "said", "campaign_id", "method"
    )


def _used(touches: pl.LazyFrame, sessions: pl.LazyFrame, audiences: pl.LazyFrame) -> pl.LazyFrame:
    met = {
        "touch": (touches, "occurred_on"),
        "session": (sessions, "started_on"),
        "audience": (audiences, "assigned_on"),
    }
    parts = [
        rows.filter(pl.col("campaign_id").is_not_null()).select(
            said="campaign_id", on=day, **{f"{name}_count": pl.lit(name == kind) for name in met}
        )
        for kind, (rows, day) in met.items()
    ]
    return pl.concat(parts).group_by("said").agg(
        *(pl.col(f"{name}_count").sum().cast(pl.Int64) for name in met),
        first_on=pl.col("on").min(), last_on=pl.col("on").max(),
    )  # fmt: skip


def _known(campaigns: pl.LazyFrame, aliases: pl.LazyFrame) -> pl.LazyFrame:
    """``spelt``, ``campaign_id``, ``how`` and ``rank`` of everything that a campaign is called."""
    return pl.concat([
        aliases.select(spelt="spelling", campaign_id="campaign_id", how=pl.lit("ALIAS"), rank=pl.lit(0)),
        campaigns.select(spelt=spelling(pl.col("campaign_id")), campaign_id="campaign_id", how=pl.lit("SPELLING"), rank=pl.lit(1)),  # noqa: E501
        campaigns.select(spelt=spelling(pl.col("campaign_name")), campaign_id="campaign_id", how=pl.lit("NAME"), rank=pl.lit(2)),  # noqa: E501
    ]).filter(pl.col("spelt").str.len_chars() > 0)  # fmt: skip


def _first(known: pl.LazyFrame) -> pl.LazyFrame:
    """By ``spelt``: the campaign ``meant`` by the best kind of name, null where that kind has several (``count``)."""
    best = known.filter(pl.col("rank") == pl.col("rank").min().over("spelt"))
    return best.group_by("spelt").agg(
        meant=pl.when(pl.col("campaign_id").n_unique() == 1).then(pl.col("campaign_id").first()),
        how=pl.col("how").first(),
        count=pl.col("campaign_id").n_unique().cast(pl.Int64),
    )
