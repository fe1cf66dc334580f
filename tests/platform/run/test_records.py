"""Current records: every bronze row ends in exactly one place, whatever the order of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform import tables
from customer360.platform.run.records import current_records
from customer360.platform.tables import Integer, String, Table

T0 = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def profiles(registries: None) -> type[Table]:
    class Profiles(Table, table="bronze.t_profiles", key=("ID",), version="VERSION"):
        """One row per profile."""

        ID = String(nullable=False)
        NAME = String(nullable=False)
        VERSION = Integer(nullable=True)

    return Profiles


def bronze(table: type[Table], *rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows (system, id, name, version, batch) in order of arrival."""
    full = [
        {"_source": "s", "_source_system": system, "_seq": seq, "_file": "f", "_position": i, "_ingested_at": T0 - timedelta(days=seq), "ID": key, "NAME": name, "VERSION": version}  # noqa: E501
        for i, (system, key, name, version, seq) in enumerate(rows, 1)
    ]  # fmt: skip
    return pl.DataFrame(full, schema=tables.schema(table))


def names(table: type[Table], *rows: tuple[Any, ...]) -> list[str]:
    return sorted(current_records(table, bronze(table, *rows), set()).rows["NAME"])


def test_the_highest_version_wins_over_later_arrival(profiles: type[Table]) -> None:
    assert names(profiles, ("A", "1", "new", 2, 1), ("A", "1", "old", 1, 2)) == ["new"]


def test_without_a_version_the_latest_arrival_wins(profiles: type[Table]) -> None:
    assert names(profiles, ("A", "1", "first", None, 1), ("A", "1", "second", None, 2)) == ["second"]
    assert names(profiles, ("A", "1", "with", 1, 1), ("A", "1", "without", None, 2)) == ["with"]


def test_the_same_id_of_two_systems_is_two_records(profiles: type[Table]) -> None:
    assert names(profiles, ("A", "1", "a", 1, 1), ("B", "1", "b", 1, 1)) == ["a", "b"]


def test_a_refused_newer_version_leaves_the_older_one_current(profiles: type[Table]) -> None:
    found = current_records(profiles, bronze(profiles, ("A", "1", "old", 1, 1), ("A", "1", None, 2, 2)), set())
    assert found.rows["NAME"].to_list() == ["old"]
    assert found.quarantined["row_id"].to_list() == ["s/2/f/2"]


def delivered(table: type[Table], *rows: tuple[str, int, str, int, str, int | None]) -> pl.DataFrame:
    """Rows (source, batch, input, position, name, version) of one key, whose clock ran backwards."""
    full = [
        {"_source": source, "_source_system": "A", "_seq": seq, "_file": file, "_position": position, "_ingested_at": T0 - timedelta(days=i), "ID": "1", "NAME": name, "VERSION": version}  # noqa: E501
        for i, (source, seq, file, position, name, version) in enumerate(rows, 1)
    ]  # fmt: skip
    return pl.DataFrame(full, schema=tables.schema(table))


@pytest.mark.parametrize(
    ("rows", "current"),
    [
        ([("s", 1, "d9.csv", 1, "nine", None), ("s", 1, "d10.csv", 1, "ten", None)], "ten"),
        ([("s", 2, "a.csv", 1, "later batch", None), ("s", 1, "b.csv", 9, "earlier", None)], "later batch"),
        ([("s", 1, "a.csv", 10, "below", None), ("s", 1, "a.csv", 9, "above", None)], "below"),
        ([("s", 1, "a", 1, "open", 1), ("s", 2, "a", 1, "shut", 1), ("s", 3, "a", 1, "open", 1)], "open"),
        ([("s", 1, "a", 1, "new", 2), ("s", 2, "a", 1, "old", 1)], "new"),
        ([("t", 1, "a", 1, "other source", None), ("s", 9, "a", 1, "one", None)], "other source"),
    ],
)
def test_what_was_delivered_decides_and_no_clock(profiles: type[Table], rows: list[Any], current: str) -> None:
    for frame in (delivered(profiles, *rows), delivered(profiles, *rows).reverse()):
        found = current_records(profiles, frame, set())
        assert found.rows["NAME"].to_list() == [current]
        assert found.facts["duplicates"] + found.facts["superseded"] == len(rows) - 1


def test_a_redelivery_that_is_valid_closes_what_was_refused(profiles: type[Table]) -> None:
    bad = ("s", 1, "a", 1, None, None)
    found = current_records(profiles, delivered(profiles, bad, ("s", 2, "b", 1, "mended", None)), set())
    assert (found.rows.height, found.quarantined.height, found.facts["superseded"]) == (1, 0, 1)
    for other in (("t", 2, "b", 1, "of another source", None), ("s", 0, "b", 1, "came before", None)):
        found = current_records(profiles, delivered(profiles, bad, other), set())
        assert (found.quarantined["row_id"].to_list(), found.facts["quarantined"]) == (["s/1/a/1"], 1)


def test_without_a_key_all_rows_stay(registries: None) -> None:
    class Loose(Table, table="bronze.t_loose"):
        """One row per line."""

        ID = String(nullable=True)

    rows = pl.DataFrame([{"ID": "x"}, {"ID": "x"}], schema=tables.schema(Loose))
    assert current_records(Loose, rows, set()).rows.height == 2


ROW = st.tuples(
    st.sampled_from("AB"),
    st.sampled_from(["1", "2", None]),
    st.sampled_from(["n", "m", None]),
    st.sampled_from([1, 2, None]),
    st.integers(1, 3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=12), st.randoms(), st.sets(st.integers(1, 12), max_size=3))
def test_law_of_conservation(
    profiles: type[Table], rows: list[tuple[Any, ...]], random: Any, replaced: set[int]
) -> None:
    frame = bronze(profiles, *rows)
    addresses = {f"s/{row[4]}/f/{i}" for i, row in enumerate(rows, 1) if i in replaced}
    found = current_records(profiles, frame, addresses)
    facts = found.facts
    assert (
        facts["bronze"]
        == len(rows)
        == found.rows.height + facts["quarantined"] + facts["duplicates"] + facts["superseded"]
    )
    standing = [(i, r) for i, r in enumerate(rows, 1) if i not in replaced]
    valid = [r for _, r in standing if r[1] is not None and r[2] is not None]
    # a refused row is repaired where its key came again later, valid and in no older version
    repaired = [
        i
        for i, bad in standing
        if bad not in valid
        and any(
            (bad[:2], (bad[4], i)) == (good[:2], min((bad[4], i), (good[4], j))) and not (good[3] or 9) < (bad[3] or 0)
            for j, good in standing
            if good in valid
        )
    ]
    assert facts["quarantined"] == len(standing) - len(valid) - len(repaired)
    assert facts["duplicates"] == len(valid) - len({r[:4] for r in valid})
    best: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for i, row in standing:
        if row in valid:
            best[row[:2]] = max(best.get(row[:2], ((-1,),)), ((row[3] or 0, row[4], i), row[2]))
    assert {(r["_source_system"], r["ID"]): r["NAME"] for r in found.rows.to_dicts()} == {
        k: v[1] for k, v in best.items()
    }
    shuffled = current_records(profiles, frame.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)), addresses)
    assert shuffled.facts == facts
    assert shuffled.rows.sort("_position").equals(found.rows.sort("_position"))
