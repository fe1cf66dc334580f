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
    was = before.verdicts.rename({name: f"{name}__" for name in _SAID})
    both = after.verdicts.with_row_index("row").join(was, on=PLACE)
    same = both.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}__")) for name in _SAID))
    goes, comes = np.ones(stood, dtype=bool), np.ones(after.verdicts.height, dtype=bool)
    goes[same[PLACE].to_numpy()] = False
    comes[same["row"].to_numpy()] = False
    if kept is not None:
        goes[kept.to_numpy()] = False
    rows = edge_rows(_weighed(lake, after, after.verdicts.filter(pl.Series(comes)), stood))
    if kept is None and firms.height:
        rows = pl.concat([rows, firms.select(rows.columns)], how="vertical_relaxed")
    # Whom a batch joins or parts has edges of its own: of those that stand it takes next to none.
    return Changes(rows, lake.files(_EDGES), pl.Series("place", np.flatnonzero(goes)), parted=True)


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


def key_changes(lake: Lake, before: State, after: State) -> Changes:
    """Of `silver.identity_keys`."""
    files, both = lake.files(_KEYS), ["key", "value"]
    came = _not_among(after.crowded, before.crowded)
    if sum(file.rows for file in files) + came.height == after.crowded.height:  # mostly none is usable again
        return Changes(key_rows(State(after.frame, after.verdicts, after.evidence, came)), files)
    stored, now = lake.scan(_KEYS, files).with_row_index("place").collect(), key_rows(after)
    gone = stored.join(now, on=both, how="anti")["place"].cast(pl.Int64)
    return Changes(now.join(stored, on=both, how="anti"), files, gone)


def _not_among(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Rows (key, value) that are not among the others. Key by key: a join on both takes three times as long."""
    found = []
    for (key,), part in rows.partition_by("key", as_dict=True).items():
        known = others.filter(pl.col("key") == key)["value"]
        found.append(part.filter(~part["value"].is_in(known.implode())))
    return pl.concat([rows.clear(), *found])


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
