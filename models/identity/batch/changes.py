"""What a batch changes in the tables of who was compared with whom, of crowded keys, golden records and links: the rows
that come and the places of those that go."""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.models.identity.batch.standing import edge_rows, key_rows
from customer360.models.identity.batch.state import EDGES, PLACE, VERDICTS, State, at_places
from customer360.platform.lake import Lake
from customer360.platform.run.incremental.changes import Changes, rows_at

_EDGES, _KEYS, _LINKS = "silver.identity_edges", "silver.identity_keys", "silver.identity_links"
_SAID = [name for name in VERDICTS if name != PLACE]


def edge_changes(lake: Lake, before: State, after: State, firms: pl.DataFrame, kept: pl.Series | None) -> Changes:
    """Of `silver.identity_edges`. `before`: as taken up without what edges rest on. `firms`: edges of organisations, as
    rows of the table; `kept`: places of those that stay, None where all were made anew."""
    stood = before.evidence.len()
    goes, comes = np.ones(stood, dtype=bool), np.ones(after.verdicts.height, dtype=bool)
    now, was = _that_stood(before.verdicts, after.verdicts, stood)
    same = np.ones(len(now), dtype=bool)
    for name in _SAID:
        said = after.verdicts[name].gather(now)
        same &= said.eq_missing(before.verdicts[name].gather(was)).to_numpy()
    goes[before.verdicts[PLACE].to_numpy()[was[same]]] = False
    comes[now[same]] = False
    if kept is not None:
        goes[kept.to_numpy()] = False
    rows = edge_rows(_weighed(lake, after, after.verdicts.filter(pl.Series(comes)), stood))
    if kept is None and firms.height:
        rows = pl.concat([rows, firms.select(rows.columns)], how="vertical_relaxed")
    # Whom a batch joins or parts has edges of its own: of those that stand it takes next to none.
    return Changes(rows, lake.files(_EDGES), pl.Series("place", np.flatnonzero(goes)), parted=True)


def _that_stood(before: pl.DataFrame, after: pl.DataFrame, stood: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of `after` that are edges of `before`, by their place among those that `stood`; and of which row."""
    row_of = np.full(stood + 1, -1, dtype=np.int64)
    row_of[before[PLACE].to_numpy()] = np.arange(before.height)
    was = row_of[after[PLACE].fill_null(stood).clip(upper_bound=stood).to_numpy()]
    now = np.flatnonzero(was >= 0)
    return now, was[now]


def _weighed(lake: Lake, state: State, verdicts: pl.DataFrame, stood: int) -> State:
    """The state with those verdicts alone, and what each rests on: fetched from the lake for edges that stood."""
    old = (pl.col(PLACE) < stood).fill_null(False)
    fresh = state.evidence.slice(stood)
    parts = [(verdicts.filter(~old).with_columns(pl.col(PLACE) - stood), fresh)]
    if parts[0][0].height < verdicts.height:
        mine = verdicts.filter(old).sort(PLACE)
        held = rows_at(lake, _EDGES, lake.files(_EDGES), mine[PLACE], ["evidence"]).to_series()
        parts.append((mine.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(PLACE)), held))
    rows = pl.concat([part.with_columns(evidence=at_places(resting, part[PLACE])) for part, resting in parts])
    return State.of(state.frame, rows.select(list(EDGES)), state.crowded)


def key_changes(lake: Lake, after: State, filled: pl.DataFrame) -> Changes:
    """Of `silver.identity_keys`. `filled`: of the crowded keys those that were not crowded before."""
    files, both = lake.files(_KEYS), ["key", "value"]
    if sum(file.rows for file in files) + filled.height == after.crowded.height:  # mostly none is usable again
        return Changes(key_rows(State(after.frame, after.verdicts, after.evidence, filled)), files)
    stored, now = lake.scan(_KEYS, files).with_row_index("place").collect(), key_rows(after)
    gone = stored.join(now, on=both, how="anti")["place"].cast(pl.Int64)
    return Changes(now.join(stored, on=both, how="anti"), files, gone)


def golden_changes(lake: Lake, name: str, made: pl.DataFrame, left: pl.Series) -> Changes:
    """Of a table per person: rows `made`, in place of those of the persons who `left`."""
    files = lake.files(name)
    stored = lake.scan(name, files).select("person_id").collect().to_series()
    return Changes(made, files, stored.is_in(left.implode()).arg_true())


def link_changes(lake: Lake, accounts: pl.DataFrame, devices: pl.DataFrame, touched: pl.Series) -> Changes:
    """Of `silver.identity_links`: the rows that `accounts`, the `touched` ones of them all, and all `devices` have."""
    files, now = lake.files(_LINKS), pl.concat([accounts, devices])
    is_account = pl.col("kind") == "account"
    concerned = ~is_account | pl.col("identifier").is_in(touched.implode())
    stored = lake.scan(_LINKS, files).with_row_index("place").filter(concerned).collect()
    gone = stored.join(now, on=now.columns, how="anti", nulls_equal=True)["place"].cast(pl.Int64)
    return Changes(now.join(stored, on=now.columns, how="anti", nulls_equal=True), files, gone)
