"""The deterministic tier: records that carry one verified number of a person, linked before anything is scored.

Which columns hold such numbers, the most telling first, and how far each is believed stands in `stitching.identifiers`
of the rules. A value that too many records or too many given names carry is no person's own and links nothing; a value
that would join more numbers of a column listed before it than one person may have links nothing either. What is
linked is still parted by a steward's decision, and by proof that two people use one number (another birth date or
suffix): each link that falls keeps its reason.

Everything here is a function of the records there are, whatever the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity.components import components
from customer360.models.identity.rules import Identifier, Stitching

NUMBER_PREFIX = "number_"  # the value as it links
OWN_PREFIX = "own_"  # the value where it is one person's own: two different ones are two people
LINK = "same "  # and the column: reason of a link
LINK_WEIGHT = 1e5  # for clustering: above every score, below a steward
_BUT = ", but "
_PAIR: dict[str, type[pl.DataType]] = {"record_l": pl.Int64, "record_r": pl.Int64}
_LINKED = _PAIR | {"reason": pl.String}


@dataclass(frozen=True)
class Tier:
    """`linked`: (record_l, record_r, reason), pairs that carry one number. `dropped`: the same, of numbers that passed
    a limit: neighbours in order of record_id. The left record is the one whose id comes first."""

    linked: pl.DataFrame
    dropped: pl.DataFrame

    def changed(self, edges: pl.DataFrame, left: pl.Series, rules: Stitching) -> pl.Series:
        """Records at the ends of links that `edges` (among the records of this tier) have and this has not, or the
        other way round; pairs with a record of `left` apart, whose edges are made anew in any case."""
        before = _links_among(edges, rules)
        ends = pl.any_horizontal(pl.col("record_l", "record_r").is_in(left.implode()))
        now, keys = self.linked.filter(~ends), list(_LINKED)
        differing = pl.concat(
            [
                before.filter(~ends).join(now, on=keys, how="anti"),
                now.join(before, on=keys, how="anti"),
            ]
        )
        return pl.concat([differing["record_l"], differing["record_r"].alias("record_l")]).unique().alias("record")

    def lacking(self, edges: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
        """Links that `edges` do not have, held or fallen."""
        return self.linked.join(_links_among(edges, rules), on=list(_LINKED), how="anti")


NO_TIER = Tier(pl.DataFrame(schema=_LINKED), pl.DataFrame(schema=_LINKED))


def _same(identifier: Identifier) -> str:
    return f"{LINK}{identifier.column}"


def _links_among(edges: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """(record_l, record_r, reason) of the links among edges, without what fell them."""
    base = pl.col("reason").str.split(_BUT).list.first()
    links = edges.lazy().select("record_l", "record_r", reason=base)
    names = [_same(identifier) for identifier in rules.identifiers]
    return links.filter(pl.col("reason").is_in(names)).collect()


def number_texts(columns: Iterable[str], rules: Stitching) -> dict[str, pl.Expr]:
    """The identifiers among `columns` as `number_*`: letters and digits, null where blocked or absent."""
    present = set(columns)
    made: dict[str, pl.Expr] = {}
    for identifier in rules.identifiers:
        if identifier.column in present:
            text = pl.col(identifier.column).cast(pl.String).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
            usable = (text != "") & ~text.is_in(sorted(identifier.blocked))
            made[NUMBER_PREFIX + identifier.column] = pl.when(usable).then(text)
    return made


def number_columns(columns: Iterable[str], rules: Stitching) -> dict[str, pl.Expr]:
    """`number_texts` hashed, as they link."""
    texts = number_texts(columns, rules)
    return {name: pl.when(t.is_not_null()).then(t.hash(seed=0).reinterpret(signed=True)) for name, t in texts.items()}


def hubs(frame: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """(column, value) of numbers that pass a limit among these records (`number_*`, nickname)."""
    parts = [pl.DataFrame(schema={"column": pl.String, "value": pl.Int64})]
    for _, identifier in _present(frame, rules):
        name = NUMBER_PREFIX + identifier.column
        counts = _counts(frame, name, identifier).filter(pl.col("limit").is_not_null())
        parts.append(counts.select(column=pl.lit(name), value="value").sort("value"))
    return pl.concat(parts)


def with_own(frame: pl.DataFrame, hubs: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """The frame with `own_*`: numbers of which a person has one, without hubs."""
    made = []
    for _, identifier in _present(frame, rules):
        if identifier.max_per_person == 1:
            name = NUMBER_PREFIX + identifier.column
            shared = hubs.filter(pl.col("column") == name)["value"]
            own = pl.when(~pl.col(name).is_in(shared.implode())).then(name)
            made.append(own.alias(OWN_PREFIX + identifier.column))
    return frame.with_columns(made)


def _present(frame: pl.DataFrame, rules: Stitching) -> list[tuple[int, Identifier]]:
    return [(n, i) for n, i in enumerate(rules.identifiers) if NUMBER_PREFIX + i.column in frame.columns]


def _counts(frame: pl.DataFrame, name: str, identifier: Identifier) -> pl.DataFrame:
    """(value, limit) of the values that several records carry; `limit` says which one the value passes, null: none."""
    rows = frame.lazy().select("nickname", value=name).filter(pl.col("value").is_not_null())
    counts = rows.group_by("value").len("size").filter(pl.col("size") > 1).collect()
    large = counts.lazy().filter(pl.col("size").is_between(identifier.max_names + 1, identifier.max_records))
    names = rows.join(large, on="value", how="semi").drop_nulls("nickname").group_by("value")
    named = names.agg(names=pl.col("nickname").n_unique()).collect()
    many_records = f"{identifier.column} of more than {identifier.max_records} records"
    many_names = f"{identifier.column} of more than {identifier.max_names} given names"
    limit = (
        pl.when(pl.col("size") > identifier.max_records)
        .then(pl.lit(many_records))
        .when(pl.col("names") > identifier.max_names)
        .then(pl.lit(many_names))
    )
    return counts.join(named, on="value", how="left").select("value", limit=limit)


def around(stay: pl.DataFrame, changing: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """The rows of `stay` whose links may change with those of `changing` (rows before and after): who shares a number
    with them, and so on. Columns as `stitch` takes them."""
    names = [NUMBER_PREFIX + identifier.column for _, identifier in _present(stay, rules)]
    columns = ["record", "record_id", "nickname", *names]
    rest, reached, found = stay.select(columns), changing.select(names), [stay.select(columns).clear()]
    while rest.height and any(reached[name].null_count() < reached.height for name in names):
        shared = [pl.col(name).is_in(reached[name].drop_nulls().unique().implode()).fill_null(False) for name in names]
        is_near = rest.select(pl.any_horizontal(shared)).to_series()
        hits, rest = rest.filter(is_near), rest.filter(~is_near)
        found.append(hits)
        reached = hits.select(names)
    return pl.concat(found)


# ---- links ----------------------------------------------------------------------------------------------------


def stitch(frame: pl.DataFrame, rules: Stitching) -> Tier:
    """The tier of these records: `record` (numbers), `record_id`, `nickname`, `number_*`."""
    carried = _carried(frame, rules)
    if carried.is_empty():
        return NO_TIER
    usable, crowded = carried.filter(pl.col("limit").is_null()), carried.filter(pl.col("limit").is_not_null())
    refused = _refused(usable, frame, rules)
    held = usable.join(refused, on=["rank", "value"], how="anti")
    crowded = pl.concat([crowded, usable.drop("limit").join(refused, on=["rank", "value"]).select(crowded.columns)])
    # A pair that carries two numbers has the link of the more telling one.
    linked = _pairs(held, rules).unique(list(_PAIR), keep="first", maintain_order=True).drop("rank", "value")
    dropped = _neighbours(crowded).unique(list(_PAIR), keep="first", maintain_order=True)
    dropped = dropped.join(linked, on=list(_PAIR), how="anti")
    return Tier(linked, dropped)


def _carried(frame: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """(rank, value, record, record_id, limit), one row per record and number that another record carries too."""
    parts = [
        pl.DataFrame(
            schema={"rank": pl.Int32, "value": pl.Int64, "record": pl.Int64, "record_id": pl.String, "limit": pl.String}
        )
    ]
    for rank, identifier in _present(frame, rules):
        name = NUMBER_PREFIX + identifier.column
        rows = frame.select("record", "record_id", value=name).join(_counts(frame, name, identifier), on="value")
        parts.append(rows.with_columns(rank=pl.lit(rank, pl.Int32)).select(parts[0].columns))
    return pl.concat(parts).sort("rank", "value", "record_id")


def _pairs(carried: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """All pairs of one number, the most telling first."""
    rows = carried.with_row_index("place").select("rank", "value", "record", "place")
    pairs = rows.join(rows, on=["rank", "value"], suffix="_r").filter(pl.col("place") < pl.col("place_r"))
    names = {rank: _same(identifier) for rank, identifier in enumerate(rules.identifiers)}
    reason = pl.col("rank").replace_strict(names, return_dtype=pl.String)
    return (
        pairs.sort("place", "place_r")
        .select("rank", "value", record_l="record", record_r="record_r", reason=reason)
        .sort("rank", maintain_order=True)
    )


def _neighbours(carried: pl.DataFrame) -> pl.DataFrame:
    """Pairs of records that follow one another under one number: all pairs of a hub would be too many to keep."""
    following = pl.col("record").shift(-1).over("rank", "value")
    chain = carried.sort("rank", "value", "record_id").with_columns(record_r=following).drop_nulls("record_r")
    return chain.select(record_l="record", record_r="record_r", reason="limit")


def _components(carried: pl.DataFrame) -> tuple[pl.Series, np.ndarray]:
    """Records that carry a shared number, sorted, and the component of each."""
    records = carried["record"].unique().sort()
    places = records.search_sorted(carried["record"]).cast(pl.Int64).to_numpy()
    chain = carried.select("rank", "value", place=pl.Series(places)).with_columns(
        following=pl.col("place").shift(-1).over("rank", "value")
    )
    chain = chain.drop_nulls("following")
    return records, components(records.len(), chain["place"].to_numpy(), chain["following"].to_numpy())


# ---- how many numbers a person may have -------------------------------------------------------------------------


def _refused(carried: pl.DataFrame, frame: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """(rank, value, limit) of numbers that would join more values of a column before theirs than a person may have."""
    schema: dict[str, type[pl.DataType]] = {"rank": pl.Int32, "value": pl.Int64, "limit": pl.String}
    limited = [(n, i) for n, i in _present(frame, rules) if i.max_per_person is not None]
    if len(_present(frame, rules)) < 2 or not limited or carried.is_empty():
        return pl.DataFrame(schema=schema)
    records, labels = _components(carried)
    members = pl.DataFrame({"record": records, "component": labels})
    names = [NUMBER_PREFIX + identifier.column for _, identifier in limited]
    held = members.join(frame.select("record", *names), on="record")
    counts = held.group_by("component").agg(pl.col(names).drop_nulls().n_unique())
    too_many = [pl.col(NUMBER_PREFIX + i.column) > i.max_per_person for _, i in limited]
    strained = held.join(counts.filter(pl.any_horizontal(too_many)), on="component", how="semi")
    links = carried.join(strained.select("record", "component"), on="record")
    by_component = links.partition_by("component", as_dict=True)
    rows = []
    for component, part in strained.partition_by("component", as_dict=True).items():
        rows += _refused_within(part, by_component[component], limited, rules)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _refused_within(
    members: pl.DataFrame, links: pl.DataFrame, limited: list[tuple[int, Identifier]], rules: Stitching
) -> list[tuple[int, int, str]]:
    """Number by number, the most telling column first: groups join unless that passes a limit of a column before."""
    group = {record: record for record in members["record"]}
    held = {
        row["record"]: [{v} - {None} for v in (row[NUMBER_PREFIX + i.column] for _, i in limited)]
        for row in members.iter_rows(named=True)
    }
    found = []
    numbers = links.group_by("rank", "value").agg("record", first=pl.col("record_id").min()).sort("rank", "first")
    for rank, value, records, _ in numbers.iter_rows():
        groups = sorted({group[record] for record in records})
        joined = [set().union(*(held[g][n] for g in groups)) for n in range(len(limited))]
        broken = [
            i
            for n, (above, i) in enumerate(limited)
            if above < rank and len(joined[n]) > max(i.max_per_person or 0, *(len(held[g][n]) for g in groups))
        ]
        if broken:
            column = rules.identifiers[rank].column
            found.append((rank, value, f"{column} of more than {broken[0].max_per_person} {broken[0].column}"))
            continue
        held[groups[0]] = joined
        group = {record: groups[0] if named in groups else named for record, named in group.items()}
    return found


# ---- what becomes of pairs --------------------------------------------------------------------------------------


def different(pairs: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """(rid_l, rid_r, reason) of the pairs (rid_l, rid_r; as in `frame`) that hold two numbers of one column of which
    a person has one."""
    parts = []
    for name in (c for c in frame.columns if c.startswith(OWN_PREFIX)):
        held = frame.select("rid", name).drop_nulls()
        both = pairs.select("rid_l", "rid_r").join(
            held.select(rid_l="rid", one=name), on="rid_l", maintain_order="left"
        )
        both = both.join(held.select(rid_r="rid", other=name), on="rid_r", maintain_order="left")
        reason = pl.lit(f"different {name.removeprefix(OWN_PREFIX)}").alias("reason")
        parts.append(both.filter(pl.col("one") != pl.col("other")).select("rid_l", "rid_r", reason))
    if not parts:
        return pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64, "reason": pl.String})
    return pl.concat(parts).unique(["rid_l", "rid_r"], keep="first", maintain_order=True)


def is_link(reason: pl.Expr, rules: Stitching) -> pl.Expr:
    """Whether an edge's reason is a link of this tier that holds."""
    return reason.is_in([_same(identifier) for identifier in rules.identifiers]).fill_null(False)


def is_dropped(reason: pl.Expr, rules: Stitching) -> pl.Expr:
    """Whether an edge's reason is a limit that a number passed."""
    starts = [reason.str.starts_with(f"{identifier.column} of more than ") for identifier in rules.identifiers]
    return pl.any_horizontal(pl.lit(False), *starts).fill_null(False)


def without_score(edges: pl.DataFrame, rules: Stitching) -> pl.DataFrame:
    """What this tier says of pairs whose score was retracted: its links and the reasons why links were dropped."""
    links = edges.join(_links_among(edges, rules), on=list(_PAIR), how="semi")
    dropped = edges.filter(is_dropped(pl.col("reason"), rules))
    verdict = {*_PAIR, "decision", "reason"}
    scores = [pl.lit(None, kind).alias(name) for name, kind in edges.schema.items() if name not in verdict]
    return pl.concat([links, dropped]).with_columns(scores)


def but(reason: pl.Expr, against: pl.Expr) -> pl.Expr:
    """Reason of a link that proof stands against."""
    return pl.concat_str(reason, against, separator=_BUT)


def weight_of(reason: pl.Expr, weight: pl.Expr, rules: Stitching) -> pl.Expr:
    """Weight of an accepted edge for clustering: a verified number stands above every score, the most telling first."""
    for rank, identifier in enumerate(rules.identifiers):
        above = LINK_WEIGHT / 10 ** min(rank, 2)
        weight = pl.when(reason.fill_null("") == _same(identifier)).then(pl.lit(above)).otherwise(weight)
    return weight


# ---- one record ---------------------------------------------------------------------------------------------------


def shared_number(
    row: Mapping[str, Any], other: Mapping[str, Any], others: Sequence[Mapping[str, Any]], rules: Stitching
) -> str | None:
    """The link between two rows, or None; `others` are all rows that may carry the same numbers."""
    for identifier in rules.identifiers:
        name = NUMBER_PREFIX + identifier.column
        value = row.get(name)
        if value is not None and other.get(name) == value:
            names = {each["nickname"] for each in (row, *others) if each.get(name) == value} - {None}
            carriers = sum(each.get(name) == value for each in others) + 1
            if carriers <= identifier.max_records and len(names) <= identifier.max_names:
                return _same(identifier)
    return None


def different_numbers(row: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The reason of `different` for two rows, or None."""
    for name in (n for n in row if n.startswith(OWN_PREFIX)):
        if None not in (row[name], other.get(name)) and row[name] != other[name]:
            return f"different {name.removeprefix(OWN_PREFIX)}"
    return None
