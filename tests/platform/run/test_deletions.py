"""Deletions among versions: who wins, and that every row still ends in one place."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform import tables
from customer360.platform.run.records import Snapshot, current_records
from customer360.platform.tables import Integer, String, Table


@pytest.fixture
def profiles(registries: None) -> type[Table]:
    class Profiles(Table, table="bronze.t_profiles", key=("ID",), version="VERSION"):
        """One row per profile."""

        ID = String(nullable=False)
        NAME = String(nullable=False)
        VERSION = Integer(nullable=True)

    return Profiles


ROW = {"_source": "s", "_source_system": "A", "_seq": 1, "_file": "f", "ID": "1", "NAME": "n"}


def bronze(table: type[Table], *rows: dict[str, Any]) -> pl.DataFrame:
    full = [{**ROW, "_position": i, **row} for i, row in enumerate(rows, 1)]
    return pl.DataFrame(full, schema=tables.schema(table))


GONE = {"_deleted": True, "NAME": None}


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([{}, {**GONE}], []),
        ([{**GONE}, {}], ["n"]),
        ([{"VERSION": 1}, {**GONE, "VERSION": 3}, {"VERSION": 2, "NAME": "late"}], []),
        ([{"VERSION": 1}, {**GONE, "VERSION": 3}, {"VERSION": 4, "NAME": "anew"}], ["anew"]),
        ([{"VERSION": 1}, {"VERSION": 3}, {**GONE}], []),
        ([{"VERSION": 3}, {**GONE}, {"VERSION": 2, "NAME": "late"}], []),
        ([{"VERSION": 3}, {**GONE}, {"VERSION": 4, "NAME": "anew"}], ["anew"]),
        ([{**GONE, "ID": None}], []),
        ([{"NAME": None}, {**GONE}], []),
        ([{"_source": "full"}, {**GONE, "_source": "changes"}], []),
        ([{"_source": "full", "VERSION": 2}, {**GONE, "_source": "changes", "VERSION": 1}], ["n"]),
        ([{"_source": "full", "VERSION": 2}, {**GONE, "_source": "changes"}], []),
        ([{"_source": "full"}, {**GONE, "_source": "changes"}, {**GONE, "_source": "third"}], []),
        ([{"_source_system": "B"}, {**GONE}], ["n"]),
        ([{"VERSION": 9, "NAME": "old"}, {"VERSION": 1, "NAME": "sum", "_restates": True, "_seq": 2}], ["sum"]),
        ([{"VERSION": 1, "NAME": "sum", "_restates": True}, {"VERSION": 2, "NAME": "mended", "_seq": 2}], ["mended"]),
    ],
)
def test_who_stands(profiles: type[Table], rows: list[dict[str, Any]], names: list[str]) -> None:
    for frame in (bronze(profiles, *rows), bronze(profiles, *rows).reverse()):
        found = current_records(profiles, frame, set())
        assert found.rows["NAME"].to_list() == names
        kept = found.rows.height + sum(found.facts[k] for k in ("quarantined", "duplicates", "superseded", "deleted"))
        assert kept == len(rows)


def test_a_deletion_needs_its_key_alone_and_answers_what_was_refused(profiles: type[Table]) -> None:
    found = current_records(profiles, bronze(profiles, {"NAME": None}, GONE, {**GONE, "ID": None}), set())
    assert found.quarantined["row_id"].unique().to_list() == ["s/1/f/3"], "without a key it deletes nothing"
    assert (found.facts["quarantined"], found.facts["superseded"], found.facts["deleted"]) == (1, 1, 1)


def test_a_snapshot_deletes_what_it_lacks_and_a_correction_counts_as_what_it_corrects(profiles: type[Table]) -> None:
    rows = [
        {"ID": "1"}, {"ID": "2"}, {"ID": "3"},
        {"ID": "1", "_seq": 2, "_file": "d9"}, {"ID": "2", "_seq": 2, "_file": "d9"},
        {"ID": "1", "_seq": 2, "_file": "d10"}, {"ID": "4", "_seq": 2, "_file": "d10", "NAME": None},
        {"ID": "2", "_seq": 3, "_file": "mended", "_replay_of": "s/2/d9/5"},
        {"ID": "4", "_seq": 3, "_file": "mended", "_replay_of": "s/2/d10/7"},
        {"ID": "3", "_source": "other"},
    ]  # fmt: skip
    snapshot = Snapshot("s", 2, "d10")
    found = current_records(profiles, bronze(profiles, *rows), {"s/2/d9/5", "s/2/d10/7"}, snapshots=[snapshot])
    assert sorted(found.rows["ID"]) == ["1", "3", "4"]
    assert found.facts["deleted"] == 1, "of 3, the other source still has it"
    parts = current_records(profiles, bronze(profiles, *rows), set(), snapshots=[Snapshot("s", 2)])
    assert sorted(parts.rows["ID"]) == ["1", "2", "3", "4"], "all files of the batch are one"


MARKED = st.fixed_dictionaries(
    {
        "_source": st.sampled_from("st"),
        "_seq": st.integers(1, 3),
        "_file": st.sampled_from(["d9", "d10"]),
        "ID": st.sampled_from(["1", "2", None]),
        "NAME": st.sampled_from(["n", "m", None]),
        "VERSION": st.sampled_from([1, 2, None]),
        "_deleted": st.sampled_from([True, False, None]),
        "_restates": st.sampled_from([True, None]),
    }
)
SNAPSHOTS = st.lists(
    st.builds(Snapshot, st.sampled_from("st"), st.integers(1, 3), st.sampled_from(["", "d9", "d10"])),
    max_size=2,
    unique_by=lambda s: s.source,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MARKED, max_size=10), SNAPSHOTS, st.randoms())
def test_law_of_conservation(
    profiles: type[Table], rows: list[dict[str, Any]], snapshots: list[Snapshot], random: Any
) -> None:
    frame = bronze(profiles, *rows)
    found = current_records(profiles, frame, set(), snapshots=snapshots)
    counted = [found.facts[k] for k in ("quarantined", "duplicates", "superseded", "deleted")]
    assert found.rows.height + sum(counted) == len(rows) and min(counted, default=0) >= 0
    assert not found.rows["_deleted"].any() and found.rows["ID"].is_unique().all()
    for snapshot in snapshots:
        of_it = found.rows.filter(pl.col("_source") == snapshot.source)
        assert (
            of_it.is_empty()
            or of_it.join(
                frame.filter(pl.col("_source") == snapshot.source, pl.col("_seq") >= snapshot.seq), on="ID"
            ).height
        )
    shuffled = current_records(
        profiles, frame.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)), set(), snapshots=snapshots
    )
    assert shuffled.facts == found.facts
    assert shuffled.rows.sort("ID").drop("_position").equals(found.rows.sort("ID").drop("_position"))
