"""Journeys over all channels: how people go from stage to stage, where funnels lose them, what leads to purchases."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from customer360.pipelines.gold.funnels import ALL, FunnelBottlenecks, FunnelSteps
from customer360.pipelines.gold.journeys import END, START, StageTransitions
from customer360.pipelines.gold.paths import PurchasePaths
from customer360.pipelines.vocabulary import JOURNEY_STAGES
from customer360.platform import tables
from customer360.platform.access import Principal
from customer360.platform.lake import Lake
from customer360.platform.tables import Table
from customer360.serve.console import pages

router = APIRouter()
Marketer = Annotated[Principal, Depends(pages.signed_in("service"))]
Asked = Annotated[str | None, Query(max_length=200)]
MOST_PATHS, MOST_BOTTLENECKS = 15, 20


@router.get("/journeys", summary="Journeys")
def journeys(
    request: Request, marketer: Marketer, lake: pages.CurrentLake, funnel: Asked = None, by: Asked = None
) -> HTMLResponse:
    """The newest edition of each table: sums of many, of nobody alone. ``funnel`` and ``by`` choose what is shown of
    the funnels: one of the rule file, and the column of its first step by which people are told apart."""
    as_of, moves = newest(lake, StageTransitions)
    _, steps = newest(lake, FunnelSteps)
    _, bottlenecks = newest(lake, FunnelBottlenecks, pl.col("status") == "BOTTLENECK")
    _, paths = newest(lake, PurchasePaths, (pl.col("rank") <= MOST_PATHS) | pl.col("is_other"))
    funnels = steps["funnel"].unique().sort().to_list()
    chosen = funnel if funnel in funnels else next(iter(funnels), "")
    steps = steps.filter(pl.col("funnel") == chosen)
    ways = steps["segment_by"].unique().sort().to_list()
    told_by = by if by in ways else ALL
    return pages.render(
        "journeys.html",
        marketer,
        as_of=as_of,
        stages=_places(moves),
        moves={(row["from_stage"], row["to_stage"]): row for row in moves.to_dicts()},
        start=START,
        end=END,
        funnels=funnels,
        funnel=chosen,
        ways=ways,
        by=told_by,
        segments=_segments(steps.filter(pl.col("segment_by") == told_by)),
        bottlenecks=bottlenecks.sort("rank").head(MOST_BOTTLENECKS).to_dicts(),
        bottleneck_count=bottlenecks.height,
        paths=paths.sort("rank").to_dicts(),
    )


def newest(lake: Lake, table: type[Table], *kept: pl.Expr) -> tuple[date | None, pl.DataFrame]:
    """The latest as_of date of a table, and its rows; none where it was not built yet."""
    name = tables.spec(table).name
    if not lake.exists(name):
        return None, table.create_empty()
    rows = lake.scan(name)
    as_of = rows.select(pl.col("as_of").max()).collect().item()
    if as_of is None:
        return None, table.create_empty()
    return as_of, rows.filter(pl.col("as_of") == as_of, *kept).collect()


def _places(moves: pl.DataFrame) -> Sequence[str]:
    """Stages that somebody reached, in their order."""
    reached = {*moves["from_stage"], *moves["to_stage"]}
    return [stage for stage in JOURNEY_STAGES if stage in reached]


def _segments(steps: pl.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """The whole of all complete months of each segment, the largest first; of a funnel without a complete month
    nothing."""
    whole = steps.filter(pl.col("period") == "WHOLE").sort("step_number")
    parts = whole.partition_by("segment", as_dict=True, maintain_order=True)
    told = [(str(segment), part.to_dicts()) for (segment,), part in parts.items()]
    return sorted(told, key=lambda of: (-of[1][0]["entered_count"], of[0]))
