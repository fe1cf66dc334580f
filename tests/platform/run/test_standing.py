"""With a row that goes by its age goes what would stand only because it went."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform import retention, tables
from customer360.platform.lake import Lake
from customer360.platform.quality import DeadLetters, row_id
from customer360.platform.run.records import current_records
from customer360.platform.tables import Date, Integer, Series, String, Table, Timestamp, personal

NAME = "bronze.t_calls"
OLD, NEW = datetime(2022, 5, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
CAME = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path, registries: None) -> Lake:
    class Calls(Table, table="bronze.t_calls", key=("ID",), past=("AT",)):
        """One row per call as received."""

        ID = String(nullable=False)
        WHO = String(nullable=True, metadata=personal("account"))
        AT = Timestamp(nullable=False)
        MINUTES = Integer(nullable=False, min=0)

    return Lake(str(tmp_path), buckets=2)


def land(lake: Lake, name: str, seq: int, *rows: dict[str, Any], source: str = "calls") -> None:
    table = tables.by_name(name)
    schema = tables.schema(table)
    fixed = {"_source": source, "_source_system": "CRM", "_seq": seq, "_file": f"{seq}.csv", "_ingested_at": CAME,
             "WHO": "x", "MINUTES": 1}  # fmt: skip
    full = [{"_position": n, **fixed, **row} for n, row in enumerate(rows, 1)]
    frame = pl.DataFrame([{c: row.get(c) for c in schema} for row in full], schema=schema)
    lake.ensure(table)
    lake.append_batch(name, [lake.write_file(name, frame, {"_source": source})], source=source, seq=seq)


def left(lake: Lake, name: str = NAME) -> tuple[list[tuple[int, Any]], int, int]:
    """What stays of a retirement, by batch and id, how many rows of it are current and how many in quarantine. As many
    go as a rehearsal says, and nothing more when it is done again."""
    told = retention.retire(lake, {name: 1095}, date(2026, 1, 1), dry_run=True)
    assert retention.retire(lake, {name: 1095}, date(2026, 1, 1)) == told
    assert retention.retire(lake, {name: 1095}, date(2026, 1, 1)) == {}
    rows = lake.scan(name).collect()
    made = current_records(tables.by_name(name), rows, set(rows["_replay_of"].drop_nulls()))
    return rows.sort("_seq", "ID").select("_seq", "ID").rows(), made.rows.height, made.quarantined["row_id"].n_unique()


def test_a_date_that_was_put_right_comes_back_with_no_age(lake: Lake) -> None:
    land(lake, NAME, 1, {"ID": "a", "AT": NEW}, {"ID": "b", "AT": OLD}, {"ID": "c", "AT": NEW})
    land(lake, NAME, 2, {"ID": "a", "AT": OLD}, {"ID": "b", "AT": NEW})
    assert left(lake) == ([(1, "c"), (2, "b")], 2, 0), "of b the earlier row may go before the newest one"


def test_a_refused_row_that_came_again_goes_with_what_stands_for_it(lake: Lake) -> None:
    land(lake, NAME, 1, {"ID": "a"}, {"ID": "b"})
    land(lake, NAME, 2, {"ID": "a", "AT": OLD}, {"ID": "b", "AT": NEW})
    assert left(lake) == ([(1, "b"), (2, "b")], 1, 0)


def test_a_refused_row_goes_with_the_last_that_repaired_it_though_another_version_stays(
    tmp_path: Path, registries: None
) -> None:
    class Calls(Table, table=NAME, key=("ID",), past=("AT",), version="CHANGED"):
        """One row per version of a call."""

        ID = String(nullable=False)
        WHO = String(nullable=True, metadata=personal("account"))
        AT = Timestamp(nullable=True)
        MINUTES = Integer(nullable=False, min=0)
        CHANGED = Timestamp(nullable=True)

    lake = Lake(str(tmp_path), buckets=2)
    land(lake, NAME, 1, {"ID": "a", "AT": OLD, "CHANGED": NEW}, {"ID": "a", "AT": NEW, "MINUTES": -1})
    land(lake, NAME, 2, {"ID": "a", "AT": OLD})
    assert left(lake) == ([(1, "a")], 1, 0)


def test_a_refused_row_takes_nothing_along(lake: Lake) -> None:
    land(lake, NAME, 1, {"ID": "a", "AT": NEW})
    land(lake, NAME, 2, {"ID": "a", "AT": OLD, "MINUTES": -1})
    assert left(lake) == ([(1, "a")], 1, 0)


def test_what_was_corrected_goes_with_its_correction_line_or_row(lake: Lake) -> None:
    schema = tables.schema(DeadLetters)
    letters = pl.DataFrame([dict.fromkeys(schema) | {"letter_id": f"calls/1/1.csv/{n}"} for n in (8, 9)], schema)
    lake.ensure(DeadLetters)
    lake.append_batch("quality.dead_letters", [lake.write_file("quality.dead_letters", letters, {"source": "calls"})],
                      source="calls", seq=1)  # fmt: skip
    land(lake, NAME, 1, {"ID": "wrong"}, {"ID": "b"}, {"ID": "c"})
    land(lake, NAME, 2, {"ID": "other", "_replay_of": "calls/1/1.csv/1"})  # refused, too
    land(lake, NAME, 3, {"ID": "a", "AT": OLD, "_replay_of": "calls/2/2.csv/1"},
         {"ID": "b", "AT": NEW, "_replay_of": "calls/1/1.csv/2"}, {"ID": "d", "AT": OLD,
                                                                  "_replay_of": "calls/1/1.csv/8"})  # fmt: skip
    assert left(lake) == ([(1, "b"), (1, "c"), (3, "b")], 1, 1)
    assert lake.scan("quality.dead_letters").collect()["letter_id"].to_list() == ["calls/1/1.csv/9"]


def test_what_a_deletion_of_another_source_overruled_does_not_outlive_it(lake: Lake) -> None:
    land(lake, NAME, 1, {"ID": "a", "AT": NEW}, {"ID": "b", "AT": NEW}, source="shop")
    land(lake, NAME, 1, {"ID": "a", "AT": OLD, "_deleted": True})
    assert left(lake) == ([(1, "b")], 1, 0)


@pytest.mark.parametrize("erasure", ["delete", "anonymize"])
def test_what_lasts_or_was_emptied_is_left_as_it_is(lake: Lake, erasure: Any) -> None:
    class Answers(Table, table="bronze.t_answers", key=("ID",), past=("AT",), erasure=erasure,
                  lasting=lambda rows: pl.col("SAID") == "NO"):  # fmt: skip
        """One row per answer."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SAID = String()
        AT = Timestamp(nullable=True)

    name = "bronze.t_answers"
    land(lake, name, 1, {"ID": "a", "SAID": "NO", "AT": NEW}, {"ID": "b", "SAID": "YES", "AT": NEW})
    land(lake, name, 2, {"ID": "a", "SAID": "YES", "AT": OLD}, {"ID": "b", "SAID": "YES", "AT": OLD})
    rows, _, _ = left(lake, name)
    named = sorted(lake.scan(name).filter(pl.col("WHO").is_not_null()).select("_seq", "ID").collect().rows())
    assert named == [(1, "a")] and len(rows) == (1 if erasure == "delete" else 4)


def test_a_tier_whose_date_was_put_right_follows_nothing(lake: Lake) -> None:
    class Tiers(Table, table="bronze.t_tiers", key=("ID",), past=("SINCE",), holds=Series(("WHO",))):
        """One row per tier."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SINCE = Date(nullable=True)

    name = "bronze.t_tiers"
    land(lake, name, 1, {"ID": "a", "SINCE": date(2021, 1, 1)}, {"ID": "b", "SINCE": date(2019, 1, 1), "WHO": "y"})
    land(lake, name, 2, {"ID": "a", "SINCE": date(2020, 1, 1)}, {"ID": "c", "SINCE": date(2020, 1, 1), "WHO": "y"})
    assert left(lake, name) == ([(1, "a"), (2, "a"), (2, "c")], 2, 0)


ROW = st.fixed_dictionaries(
    {
        "ID": st.sampled_from([*"aab", None]),
        "AT": st.sampled_from([OLD, NEW, None]),
        "MINUTES": st.sampled_from([1, 1, 2, -1]),
        "CHANGED": st.sampled_from([None, OLD, NEW]),
        "_deleted": st.sampled_from([None, None, None, True]),
        "_restates": st.sampled_from([None, None, None, True]),
        "_replay_of": st.sampled_from([None, None, "calls/1/1.csv/1", "calls/1/1.csv/2", "calls/2/2.csv/1"]),
    }
)


@pytest.mark.parametrize("version", [None, "CHANGED"])
def test_nothing_comes_back_whatever_came(tmp_path: Path, registries: None, version: str | None) -> None:
    class Calls(Table, table=NAME, key=("ID",), past=("AT",), version=version):
        """One row per call as received."""

        ID = String(nullable=False)
        WHO = String(nullable=True, metadata=personal("account"))
        AT = Timestamp(nullable=True)
        MINUTES = Integer(nullable=False, min=0)
        CHANGED = Timestamp(nullable=True)

    def standing(rows: pl.DataFrame) -> tuple[set[str], set[str]]:
        made = current_records(Calls, rows, set(rows["_replay_of"].drop_nulls()))
        return set(made.rows.select(row_id()).to_series()), set(made.quarantined["row_id"])

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.lists(ROW, min_size=1, max_size=3), min_size=1, max_size=4))
    def law(batches: list[list[dict[str, Any]]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as root:
            each = Lake(root, buckets=2)
            for seq, rows in enumerate(batches, 1):
                land(each, NAME, seq, *({**row, "_replay_of": row["_replay_of"] if seq > 2 else None} for row in rows))
            current, refused = standing(each.scan(NAME).collect())
            left(each)
            after, refused_after = standing(each.scan(NAME).collect())
            assert after <= current and refused_after <= refused

    law()
