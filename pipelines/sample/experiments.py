"""An experiment of the shop with a planted effect: who saw which start page, written down by the shop.

As with campaigns (`engagement`) receipts are fixed before, so arms are drawn after the fact with the chance that Bayes'
rule gives. Who browsed is exposed at the first visit in the window that buys nothing, which says nothing of who buys
later; buying within `EFFECT_DAYS` is `LIFT` times as likely with the new page.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.engagement import COMPLETED_SHARE
from customer360.pipelines.sample.sales import COMPLETED, PURCHASE
from customer360.pipelines.sample.visits import DAY_US, arrival_weights
from customer360.pipelines.sample.world import World

NAME, ARMS = "start_page", ("old_page", "new_page")
LIFT, EFFECT_DAYS, WINDOW_DAYS = 1.5, 14, 28


def exposure_rows(world: World) -> pl.DataFrame:
    """EXPOSURES, one row per visitor who came in the window: EXPOSURE_ID, EXPERIMENT, ARM, CUSTOMER_ID (null: did not
    log in), VISITOR_ID, EXPOSED_AT."""
    first = max(world.days - EFFECT_DAYS - WINDOW_DAYS - 7, 0)
    seen = world.visits.filter((pl.col("purchase") < 0) & pl.col("day").is_between(first, first + WINDOW_DAYS - 1))
    met = seen.sort("at", "person").unique("person", keep="first", maintain_order=True)
    person, at = met["person"].to_numpy(), met["at"].to_numpy()
    bought = _bought(world, person, at)
    chance = _chance(world, person, met["day"].to_numpy())
    k = 2 * (LIFT - 1) / (1 + LIFT)  # halves: treated p (1 + k / 2), control p (1 - k / 2)
    treated_chance = np.minimum(chance * (1 + k / 2), 1.0)
    if_not = 0.5 * (1 - treated_chance) / np.maximum(1 - chance, 1e-9)
    draw = world.streams.stream("experiment").random(len(met))
    treated = draw < np.where(bought, 0.5 * (1 + k / 2), if_not)
    account = met["account"].to_numpy()
    return pl.DataFrame(
        {
            "EXPOSURE_ID": [f"EX{world.label}{number:08d}" for number in range(len(met))],
            "EXPERIMENT": [NAME] * len(met),
            "ARM": np.array(ARMS)[treated.astype(int)].tolist(),
            "CUSTOMER_ID": world.accounts["customer_id"].gather(np.maximum(account, 0)),
            "VISITOR_ID": world.devices.visitor_ids.gather(met["visitor"]),
            "EXPOSED_AT": met["at"].cast(pl.Datetime("us", "UTC")),
        },
        schema_overrides={"ARM": pl.String, "EXPERIMENT": pl.String, "EXPOSURE_ID": pl.String},
    ).with_columns(CUSTOMER_ID=pl.when(pl.Series(account >= 0)).then("CUSTOMER_ID"))


def _bought(world: World, person: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether each person completed a purchase within `EFFECT_DAYS` of a moment: bool [people]."""
    receipts = world.sales.receipts.filter((pl.col("kind") == PURCHASE) & (pl.col("status") == COMPLETED))
    exposed = pl.DataFrame({"person": person, "exposed": at}).with_row_index("row")
    after = pl.col("at").is_between(pl.col("exposed"), pl.col("exposed") + EFFECT_DAYS * DAY_US, closed="right")
    rows = exposed.join(receipts.select("person", "at"), on="person").filter(after)["row"].unique().to_numpy()
    found = np.zeros(len(person), dtype=bool)
    found[rows] = True
    return found


def _chance(world: World, person: np.ndarray, day: np.ndarray) -> np.ndarray:
    """The chance to buy within `EFFECT_DAYS` after a day, over both arms: float64 [people]."""
    grid = np.concatenate([[0.0], np.cumsum(arrival_weights(world.start_on, world.days))])
    life = world.lives[person]
    last = np.minimum(day + EFFECT_DAYS, world.days)
    begin, until = (np.clip(life[c].to_numpy(), day, last) for c in ("begin", "gone"))
    return 1 - np.exp(-life["buy_rate"].to_numpy() * COMPLETED_SHARE * np.maximum(grid[until] - grid[begin], 0))
