"""Who shares block keys once a batch is in: which keys make pairs, who has them, and which are too crowded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from customer360.models.identity.batch.state import CROWDED
from customer360.models.identity.evidence.features import only, shared_by
from customer360.models.identity.spill import current
from customer360.models.identity.threads import at_once
from customer360.models.identity.weighing.pairs import Portions, first_keys, meeting, under

BOTH = ["key", "value"]
_HOLDER = CROWDED | {"record": pl.Int64, "row": pl.Int64}
_LAST_BITS = 2**20 - 1


@dataclass(frozen=True)
class Met:
    """Who has which block keys once a batch is in. `records`: numbers of those whose pairs are all scored anew, `batch`
    of them those that are there, `stay` the others. `usable`: (key, value) of the batch that make pairs, `hits`: (key,
    value, record, row) of `stay` that have keys of the batch, `closed`: those of keys that the batch made crowded,
    `crowded`: all crowded keys, `filled`: those of them that were not before."""

    stay: pl.DataFrame
    batch: pl.DataFrame
    records: pl.Series
    usable: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CROWDED))
    hits: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_HOLDER))
    closed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_HOLDER))
    crowded: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CROWDED))
    filled: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CROWDED))


def meet_first(
    met: Met, keys: tuple[str, ...], caps: dict[str, int], threads: int
) -> tuple[Met, Sequence[pl.DataFrame] | Portions]:
    """`met` of a batch that meets nobody but itself, and its pairs (`MEETING`, on disk in portions): key by key, since
    all keys of all records at once would be by far the most that a first run holds."""
    spill = current()

    def one_key(key: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        values, sizes = shared_by(met.batch[key])
        usable = only(met.batch[key], values[(sizes > 1) & (sizes <= caps[key])]).alias("value")
        held = pl.LazyFrame([usable]).with_row_index("rid").drop_nulls("value")
        pairs = under(held.select("value", pl.col("rid").cast(pl.Int64), is_new=True)).collect()
        if spill is not None:
            pairs = spill.keep(pairs.sort("pair"))
        crowded = pl.DataFrame({"value": values[sizes > caps[key]]}, schema={"value": pl.Int64})
        return pairs, crowded.select(key=pl.lit(keys.index(key), pl.Int32), value="value")

    made = at_once(one_key, keys, threads)
    crowded = pl.concat([pl.DataFrame(schema=CROWDED), *(full for _, full in made)])
    found = [pairs for pairs, _ in made]
    met = replace(met, crowded=crowded, filled=crowded)
    return met, [first_keys(found)] if spill is None else Portions(found, met.batch.height, spill.pairs)


def pairs_of(met: Met, keys: tuple[str, ...]) -> Sequence[pl.DataFrame] | Portions:
    """Pairs with at least one record of the batch, as `MEETING`, by places among those that stay and then the batch: on
    disk in portions where frames go there, as those of a large batch would be more than all else that it holds."""
    if (spill := current()) is not None:
        found = [spill.keep(under(_held(met, keys, n)).sort("pair").collect()) for n in range(len(keys))]
        return Portions(found, met.stay.height + met.batch.height, spill.pairs)
    own = key_values(met.batch, keys, met.stay.height).join(met.usable, on=BOTH, how="semi")
    near = met.hits.join(own, on=BOTH, how="semi")
    held = pl.concat([own.with_columns(is_new=True), near.with_columns(is_new=False)]).rename({"row": "rid"}).lazy()
    return [meeting(held.filter(key=n).select("value", "rid", "is_new") for n in range(len(keys)))]


def _held(met: Met, keys: tuple[str, ...], n: int) -> pl.LazyFrame:
    """(value, rid, is_new) of one key: those of the batch, and who stays and shares a value with them."""
    own = key_values(met.batch.select("record", keys[n]), keys[n : n + 1], met.stay.height)
    own = own.join(met.usable.filter(key=n), on="value", how="semi").select("value", rid="row", is_new=pl.lit(True))
    near = met.hits.filter(key=n).select("value", rid="row", is_new=pl.lit(False))
    return pl.concat([own, near.join(own, on="value", how="semi")]).lazy()


def meet(
    met: Met,
    left: pl.DataFrame,
    crowded: pl.DataFrame,
    keys: tuple[str, ...],
    caps: dict[str, int],
    recheck: bool,
    threads: int,
) -> Met:
    """`met` with its keys counted. `left`: (key, value, record) of the versions that go; `crowded`: until now."""
    touched = pl.concat([key_values(met.batch, keys), left]).select(BOTH).unique()
    if recheck:
        left = _fallen(crowded, met, keys, caps)
        touched = pl.concat([touched, left]).unique()
    concerned, aside = divided(crowded, touched)
    # What nobody leaves stays crowded, whoever comes.
    touched = touched.join(concerned.join(left, on=BOTH, how="anti"), on=BOTH, how="anti")
    counts, hits = _counts(met.stay, met.batch, touched, keys, caps, threads)
    reopened = counts.filter("is_usable").join(concerned, on=BOTH, how="semi")
    again = hits.join(reopened, on=BOTH, how="semi")["record"].unique()
    stay, batch = met.stay, met.batch
    if again.len():
        # Their pairs under the key were never scored; with all their keys known, they are scored like new records.
        returning, stay = taken_out(stay, again)
        batch = pl.concat([batch, returning.select(batch.columns)])
        touched = pl.concat([touched, key_values(returning, keys).select(BOTH)]).unique()
        concerned, aside = divided(crowded, touched)
        counts, hits = _counts(stay, batch, touched, keys, caps, threads)
    full = counts.filter("is_crowded").select(BOTH)
    filled = full.join(concerned, on=BOTH, how="anti")
    closed = hits.join(filled, on=BOTH, how="semi")
    remaining = concerned.join(touched, on=BOTH, how="anti")
    records = pl.concat([met.records, again]).unique()
    usable = counts.filter("is_usable").select(BOTH)
    return Met(stay, batch, records, usable, hits, closed, pl.concat([aside, remaining, full]), filled)


def _fallen(crowded: pl.DataFrame, met: Met, keys: tuple[str, ...], caps: dict[str, int]) -> pl.DataFrame:
    """Crowded keys that no more records than their cap share."""
    parts = [crowded.clear()]
    for (n,), part in crowded.partition_by("key", as_dict=True).items():
        name = keys[int(n)]
        counts = pl.concat([met.stay[name], met.batch[name]]).value_counts()
        still = counts.filter(pl.col("count") > caps[name])[name]
        parts.append(part.filter(~pl.col("value").is_in(still.implode())))
    return pl.concat(parts)


def divided(rows: pl.DataFrame, values: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows (key, value) that may be among `values` and those that are not, by the value alone."""
    maybe = rows["value"].is_in(values["value"].unique().implode())
    return rows.filter(maybe), rows.filter(~maybe)


def key_values(frame: pl.DataFrame, keys: tuple[str, ...], offset: int = 0) -> pl.DataFrame:
    """(key, value, record, row), one per record and key that it has; rows are counted from `offset`."""
    rows = frame.lazy().with_columns(row=pl.int_range(offset, offset + pl.len()))
    parts = [
        rows.select(key=pl.lit(n, pl.Int32), value=key, record="record", row="row").drop_nulls("value")
        for n, key in enumerate(keys)
    ]
    return pl.concat(pl.collect_all(parts)) if parts else pl.DataFrame(schema=_HOLDER)


def _counts(
    stay: pl.DataFrame,
    batch: pl.DataFrame,
    touched: pl.DataFrame,
    keys: tuple[str, ...],
    caps: dict[str, int],
    threads: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of the touched key values: (key, value, is_usable, is_crowded) over all records, and who of `stay` has them."""
    by_key = {int(n): part["value"] for (n,), part in touched.partition_by("key", as_dict=True).items()}
    parts = at_once(lambda n: _holding(stay[keys[n]], by_key[n]).with_columns(key=n), sorted(by_key), threads)
    hits = pl.concat([pl.DataFrame(schema=CROWDED | {"row": pl.Int64}), *parts], how="diagonal_relaxed")
    hits = hits.select(pl.col("key").cast(pl.Int32), "value", stay["record"].gather(hits["row"]), "row")
    own = key_values(batch, keys).join(touched, on=BOTH, how="semi")
    limits = pl.DataFrame(
        {"key": range(len(keys)), "cap": [caps[key] for key in keys]}, schema_overrides={"key": pl.Int32}
    )
    sizes = pl.concat([hits, own]).group_by(BOTH).len("size").join(limits, on="key")
    counts = sizes.select(
        "key", "value", is_usable=pl.col("size").is_between(2, pl.col("cap")), is_crowded=pl.col("size") > pl.col("cap")
    )
    return counts, hits


def _holding(column: pl.Series, values: pl.Series) -> pl.DataFrame:
    """(value, row) where a value of the column is among `values`. A table of the values' last bits, which fits a
    processor's cache, rules out nearly all rows before they are looked up."""
    wanted = np.zeros(_LAST_BITS + 1, dtype=bool)
    wanted[values.to_numpy() & _LAST_BITS] = True
    maybe, start = [np.empty(0, dtype=np.int64)], 0
    for chunk in column.get_chunks():
        # Under a null may lie any number; the look-up does not find it.
        numbers = chunk.to_arrow()
        codes = np.frombuffer(numbers.buffers()[1], dtype=np.int64, count=numbers.offset + len(numbers))[
            numbers.offset :
        ]
        maybe.append(np.flatnonzero(wanted[codes & _LAST_BITS]) + start)
        start += chunk.len()
    rows = np.concatenate(maybe)
    found = pl.DataFrame({"value": column.gather(rows), "row": rows})
    return found.filter(pl.col("value").is_in(values.implode()))


def taken_out(frame: pl.DataFrame, records: pl.Series, *columns: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `frame` that name one of `records` in `columns`, and the others: uncopied where all are others, as they
    mostly are."""
    named = pl.repeat(False, frame.height, eager=True)
    for column in columns or ("record",):
        named |= frame[column].is_in(records.implode())
    if not named.any():
        return frame.clear(), frame
    return frame.filter(named), frame.filter(~named)
