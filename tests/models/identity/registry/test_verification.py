"""Tampering with any column or row of any table of the registry is found and named; registries of before go on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from customer360.models.identity import producer, registry
from customer360.models.identity.registry import RegistryError, chain, decisions, seals, stewardship, store, succession
from customer360.models.identity.registry.contracts import IdentityCommits, IdentitySeals, StewardDecisions
from customer360.platform import tables
from customer360.platform.lake import Lake

SEED = "pinned"
SAID = {"actor": "ann", "reason": "called them"}
TABLES = (*store.LOGS, IdentityCommits, StewardDecisions, IdentitySeals)
NAMES = [tables.spec(table).name for table in TABLES]
COLUMNS = [(tables.spec(table).name, column) for table in TABLES for column in table.columns()]


@pytest.fixture
def shop(lake: Lake) -> Lake:
    """Persons ab, cd and e, of which some were merged, split and confirmed, in several commits."""
    stored = registry.number_records(registry.load(lake, SEED), pl.Series("record_id", list("abcdefg")))
    clusters = stored.names.with_columns(cluster=pl.Series([0, 0, 1, 2, 2, 3, 4])).select("record", "cluster")
    events = succession.advance(stored.registry, clusters, cause="run")
    registry.commit(stored, events, datetime(2026, 1, 1, tzinfo=UTC))
    lake.ensure(producer.IdentityEdges)
    who = dict(registry.load(lake, SEED).assignments.iter_rows())
    stewardship.merge(lake, SEED, who["a"], who["c"], **SAID)
    stewardship.merge(lake, SEED, who["f"], who["g"], **SAID)
    stewardship.split(lake, SEED, who["a"], ["c"], **SAID)
    stewardship.confirm(lake, SEED, "a", "b", **SAID)
    stewardship.override(lake, SEED, who["d"], "city", "Rome", **SAID)
    return lake


def other(column: str, kind: pl.DataType) -> pl.Expr:
    """A value that the column did not hold."""
    value = pl.col(column)
    if kind == pl.String:
        return value.fill_null("") + "x"
    if kind == pl.Datetime:
        return value + pl.duration(days=1)
    if isinstance(kind, pl.List):
        return pl.concat_list(value.fill_null([]), pl.lit("9").cast(kind.inner))
    return value.fill_null(0) + 1


def change(lake: Lake, name: str, edit) -> None:
    kinds = tables.schema(tables.by_name(name))
    lake.rewrite(name, lambda frame: edit(frame).cast(dict(frame.schema)).select(list(kinds)), reason="x")


def test_what_was_sealed_verifies(shop: Lake) -> None:
    checked = registry.verify(shop, SEED)
    assert (checked.decisions, checked.sealed_from, checked.unsealed) == (5, 1, 0)


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_any_changed_value_is_found_and_its_table_named(shop: Lake, name: str, column: str) -> None:
    rows = shop.scan(name).collect()
    order = list(tables.spec(tables.by_name(name)).sort_by)
    chosen = rows.sort(order).row(rows.height // 2, named=True)
    is_it = pl.all_horizontal(pl.col(key).eq_missing(pl.lit(chosen[key])) for key in tables.by_name(name).primary_key())
    kind = rows.schema[column]
    change(
        shop, name, lambda f: f.with_columns(pl.when(is_it).then(other(column, kind)).otherwise(column).alias(column))
    )
    with pytest.raises(RegistryError, match=name):
        registry.verify(shop, SEED)


@pytest.mark.parametrize("name", NAMES)
def test_any_lost_swapped_or_repeated_row_is_found(shop: Lake, name: str) -> None:
    table = tables.by_name(name)
    keys, order = table.primary_key(), list(tables.spec(table).sort_by)
    rows = shop.scan(name).collect().sort(order)
    files = [rows.remove(pl.int_range(pl.len()) == place) for place in (0, rows.height // 2, rows.height - 1)]
    rest = [c for c in rows.columns if c not in keys]
    swapped = pl.concat([rows.reverse().select(rest), rows.select(keys)], how="horizontal").select(rows.columns)
    for made in (*files, swapped, pl.concat([rows, rows.head(1)])):
        if made.sort(order).equals(rows):
            continue
        _replace(shop, name, made)
        with pytest.raises(RegistryError, match="silver"):
            registry.verify(shop, SEED)
    _replace(shop, name, rows)
    registry.verify(shop, SEED)


def _replace(lake: Lake, name: str, rows: pl.DataFrame) -> None:
    version = lake.version(name) + 100
    adds = [lake.write_file(name, rows, {})] if rows.height else []
    lake.commit(name, adds, lake.files(name), app="x", app_version=version)


def test_what_was_cut_off_everywhere_is_found_by_an_anchor(shop: Lake, tmp_path: Path) -> None:
    anchor = tmp_path / "out" / "anchor.jsonl"
    registry.write_anchor(shop, SEED, anchor)
    stewardship.reject(shop, SEED, "a", "d", 12, **SAID)
    line = registry.write_anchor(shop, SEED, anchor)
    assert registry.verify(shop, SEED, anchor).anchors == 2
    for name in NAMES:
        column = "decision" if name == "silver.steward_decisions" else "commit"
        last = 4 if column == "decision" else line["commit"] - 1
        _replace(shop, name, shop.scan(name).filter(pl.col(column) <= last).collect())
    with pytest.raises(RegistryError, match=f"commit {line['commit']}, which .*anchor.jsonl has seen, is missing"):
        registry.verify(shop, SEED, anchor)
    anchor.write_text("{}")
    with pytest.raises(RegistryError, match="is no anchor"):
        registry.verify(shop, SEED, anchor)


def test_an_erasure_is_sealed_and_what_is_left_of_it_too(shop: Lake) -> None:
    registry.forget(registry.load(shop, SEED), frozenset("ab"), cause="erasure")
    registry.verify(shop, SEED)
    left = decisions.decisions(shop)
    assert left["reason"].to_list() == [None, "called them", None, None, "called them"]
    change(shop, "silver.steward_decisions", lambda f: f.with_columns(reason=pl.coalesce("reason", pl.lit("forged"))))
    with pytest.raises(RegistryError, match=r"changed: silver.steward_decisions decision 0; .* decision 2"):
        registry.verify(shop, SEED)


def test_a_registry_of_before_verifies_and_goes_on(shop: Lake, tmp_path: Path) -> None:
    """Sealed as the earlier version did: a root over the events of each commit."""
    commits, previous = [], chain.GENESIS
    events = shop.scan("silver.identity_events").collect().sort("event")
    for row in shop.scan("silver.identity_commits").collect().sort("commit").to_dicts():
        part = events.filter(pl.col("commit") == row["commit"])
        root = chain.root_of(part, previous, row["commit"], row["committed_at"])
        commits.append(row | {"previous_root": previous, "root": root})
        previous = root
    _replace(shop, "silver.identity_commits", pl.DataFrame(commits, schema=tables.schema(IdentityCommits)))
    shop.delete([f"silver/identity_seals/{path}" for path in shop.sizes("silver.identity_seals")])
    _drop(shop, "silver.identity_seals")
    checked = registry.verify(shop, SEED)
    assert checked.sealed_from is None and checked.unsealed == 5
    stored = registry.load(shop, SEED)
    registry.commit(stored, pl.DataFrame(schema=store.EVENTS), datetime.now(UTC) + timedelta(days=1), seal=True)
    checked = registry.verify(shop, SEED)
    assert checked.sealed_from == checked.commits and checked.unsealed == 0
    change(shop, "silver.identity_members", lambda f: f.with_columns(record_id=pl.col("record_id").replace("a", "z")))
    with pytest.raises(RegistryError, match=r"changed: silver.identity_members record 0 of commit 1"):
        registry.verify(shop, SEED)


def _drop(lake: Lake, name: str) -> None:
    import shutil

    shutil.rmtree(lake.uri(name))


def test_digests_tell_values_apart_that_look_alike() -> None:
    rows = {"decision": [0], "actor": ["a"], "kind": ["k"], "left": [[1, 23]], "right": [None]}
    one = pl.DataFrame(rows, schema_overrides={"right": pl.List(pl.Int64)})
    for column, value in (("left", [[12, 3]]), ("left", [[123]]), ("right", [[]]), ("actor", [""]), ("actor", [None])):
        two = one.with_columns(pl.Series(column, value, dtype=one.schema[column]))
        made = [seals.digests(StewardDecisions, frame, SEED, b"k")["digest"][0] for frame in (one, two)]
        assert made[0] != made[1], (column, value)


def test_a_registry_without_the_key_of_its_seals_says_so_and_takes_no_other(shop: Lake) -> None:
    key = shop.get("_identity/seal")
    shop.delete(["_identity/seal"])
    with pytest.raises(RegistryError, match="_identity/seal of the lake, the key of all seals, is missing"):
        registry.verify(shop, SEED)
    stored = registry.load(shop, SEED)
    with pytest.raises(RegistryError, match="is missing"):
        registry.commit(stored, pl.DataFrame(schema=store.EVENTS), seal=True)
    assert key is not None
    shop.put("_identity/seal", key)
    registry.verify(shop, SEED)
