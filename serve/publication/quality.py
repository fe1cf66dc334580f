"""The state of data quality as values, and the page with pictures that `customer360 quality --html` writes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from customer360.platform import privacy, quality, tables
from customer360.platform.errors import TableMissing
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import scan_current
from customer360.platform.quality.checks import DIMENSIONS
from customer360.platform.quality.metrics import ALL

BANDS = 20  # of the distribution of scores, 0 to 100
WORST_RULES = 15
BROKEN = ("table_name", "dimension", "rule", "failed_count", "checked_count")


@dataclass(frozen=True)
class Overview:
    """What is known of quality now; personal values are masked. Frames that were never built are empty."""

    tables: pl.DataFrame  # newest row of quality.data_quality_metrics a table, source systems together
    history: pl.DataFrame  # all of them: table_name, measured_at, quality_score
    rules: pl.DataFrame  # checks that failed most: BROKEN
    alerts: pl.DataFrame  # quality.alerts, those that stand first
    scores: pl.DataFrame  # gold.customer_quality, its current edition
    missing: pl.DataFrame  # attribute, people, share
    people: pl.DataFrame  # who needs more data, the best customers first: masked names and what is missing
    totals: pl.DataFrame  # gold.total_readings: what totals of receipts are made of, by source system


def overview(lake: Lake, people: int = 20) -> Overview:
    """Gather the state of quality.

    Raises:
        TableMissing: no run has measured yet; the message says which command does.
    """
    if not lake.exists("quality.data_quality_metrics"):
        raise TableMissing("quality was never measured here; `customer360 run` does it")
    together = lake.scan("quality.data_quality_metrics").filter(pl.col("source_system") == ALL).collect()
    newest = together.sort("table_version").unique("table_name", keep="last").sort("table_name")
    alerts = lake.scan("quality.alerts").sort("cleared_at", "opened_at", descending=[True, True]).collect()
    scores = scan_current(lake, "gold.customer_quality").collect()
    return Overview(
        tables=newest,
        history=together.sort("table_name", "table_version").select("table_name", "measured_at", "quality_score"),
        rules=_broken(lake),
        alerts=alerts,
        scores=scores,
        missing=_missing(scores),
        totals=_totals(lake),
        people=_needing(lake, scores, people),
    )


def _broken(lake: Lake) -> pl.DataFrame:
    """Checks by how many rows fail them. The contract's share is split by its rules, from quarantine."""
    counted = lake.scan("quality.rule_counts").filter(pl.col("source_system") == ALL).collect()
    checks = counted.filter(pl.col("rule") != "contract").select(
        "table_name",
        "dimension",
        "rule",
        "checked_count",
        failed_count=pl.col("checked_count") - pl.col("passed_count"),
    )
    totals = counted.filter(pl.col("rule") == "contract").select("table_name", "checked_count")
    named = pl.concat_str(pl.col("column_name").fill_null("(row)"), pl.lit(": "), pl.col("rule"))
    contract = (
        quality.refused(lake)
        .group_by("table_name", rule=named)
        .agg(failed_count=pl.col("row_id").n_unique().cast(pl.Int64))
        .join(totals, on="table_name")
        .with_columns(dimension=pl.lit("validity"))
    )
    both = pl.concat([checks.select(BROKEN), contract.select(BROKEN)])
    return both.filter(pl.col("failed_count") > 0).sort(
        "failed_count", "table_name", "rule", descending=[True, False, False]
    )


def _totals(lake: Lake) -> pl.DataFrame:
    if not lake.exists("gold.total_readings"):
        return tables.by_name("gold.total_readings").create_empty()
    return lake.scan("gold.total_readings").sort("source_system").collect()


def _missing(scores: pl.DataFrame) -> pl.DataFrame:
    lists = scores.select(attribute=pl.col("missing_attributes")).explode("attribute").drop_nulls()
    counted = lists.group_by("attribute").agg(people=pl.len()).sort("people", "attribute", descending=[True, False])
    return counted.with_columns(share=pl.col("people") / max(scores.height, 1))


def _needing(lake: Lake, scores: pl.DataFrame, limit: int) -> pl.DataFrame:
    """People who need more data; those who spent most come first, then those who lack most."""
    needing = scores.filter("needs_data")
    worth = scan_current(lake, "gold.customer_360").select(
        "person_id", net_amount=pl.col("net_amount").cast(pl.Float64)
    )
    ordered = needing.join(worth.collect(), on="person_id", how="left").sort(
        "net_amount", "missing_worth", "person_id", descending=[True, True, False], nulls_last=True
    )
    contract = tables.by_name("silver.people")
    contacts = lake.scan("silver.people").select(
        "person_id", "first_name", "last_name", "email_address", "phone_number"
    )
    shown = ordered.head(limit)
    held = privacy.masked(contract, contacts.filter(pl.col("person_id").is_in(shown["person_id"].to_list())).collect())
    return shown.join(held, on="person_id", how="left", maintain_order="left").select(
        "person_id", *held.columns[1:], "net_amount", "quality_score", "missing_attributes"
    )


# ---- the page -----------------------------------------------------------------------------------------------------


def page(found: Overview, name: str, now: datetime | None = None) -> str:
    """A self-contained HTML page: no script, no picture or font from elsewhere."""
    environment = Environment(
        loader=PackageLoader("customer360.serve.publication"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    scores = found.scores["quality_score"]
    return environment.get_template("quality.html").render(
        name=name,
        written_at=now or datetime.now(UTC),
        dimensions=DIMENSIONS,
        tables=found.tables.to_dicts(),
        trends=[_trend(rows) for rows in found.history.partition_by("table_name", maintain_order=True)],
        rules=found.rules.head(WORST_RULES).to_dicts(),
        rule_count=found.rules.height,
        most_failed=max(found.rules["failed_count"].to_list(), default=1),
        alerts=found.alerts.to_dicts(),
        standing=found.alerts["cleared_at"].null_count(),
        bands=_bands(scores),
        score_median=scores.median(),
        person_count=found.scores.height,
        needing_count=int(found.scores["needs_data"].sum()),
        missing=found.missing.to_dicts(),
        totals=found.totals.to_dicts(),
        people=found.people.to_dicts(),
        total=int(found.tables["total_records"].sum()),
        valid=int(found.tables["valid_records"].sum()),
    )


def _bands(scores: pl.Series) -> list[dict[str, Any]]:
    """The distribution of scores: lower bound, people, and height of the bar from 0 to 1."""
    width = 100 / BANDS
    numbers = (scores / width).floor().clip(0, BANDS - 1).cast(pl.Int64)
    counts = dict(numbers.value_counts().rows())
    highest = max(counts.values(), default=1)
    people = [counts.get(i, 0) for i in range(BANDS)]
    return [
        {"low": i * width, "high": (i + 1) * width, "people": n, "height": n / highest} for i, n in enumerate(people)
    ]


def _trend(rows: pl.DataFrame) -> dict[str, Any]:
    """One table's scores over its measurements as points of a line from (0, 0) to (1, 1), the lowest at the bottom."""
    scores = [float(v) for v in rows["quality_score"].drop_nulls()]
    low, high = _range(scores)
    points = [(i / max(len(scores) - 1, 1), (s - low) / (high - low)) for i, s in enumerate(scores)]
    return {"table_name": rows["table_name"][0], "points": points, "low": low, "high": high, "scores": scores}


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Bounds that leave a steady line in the middle rather than blow up its noise: at least two points of score."""
    if not values:
        return 0.0, 100.0
    middle, half = (min(values) + max(values)) / 2, max((max(values) - min(values)) / 2, 1.0)
    return middle - half, middle + half
