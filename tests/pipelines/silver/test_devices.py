"""What devices are is told of them last, however much was told before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.silver.behavior import Events
from customer360.pipelines.silver.devices import DETAILS, NATURE, SAID, DeviceObservations, devices
from customer360.platform import tables

START = datetime(2026, 6, 1, tzinfo=UTC)
WORD = st.sampled_from(["A", "B", None])
ROWS = st.lists(st.tuples(st.sampled_from("vw"), st.integers(0, 4), WORD, WORD, WORD), max_size=12)


def events(rows: list[tuple[Any, ...]]) -> pl.LazyFrame:
    told = [
        {"event_id": f"e{n}", "visitor_id": visitor, "occurred_at": START + timedelta(hours=hour),
         **dict(zip(NATURE, words, strict=True))}
        for n, (visitor, hour, *words) in enumerate(rows)
    ]  # fmt: skip
    return pl.LazyFrame(told, schema=tables.schema(Events))


def observations(rows: list[tuple[Any, ...]]) -> pl.LazyFrame:
    told = [
        {"observation_id": f"o{n}", "visitor_id": visitor, "observed_at": START + timedelta(hours=hour),
         "is_bot": False, "browser": browser, "model": model, "network_id": network}
        for n, (visitor, hour, browser, model, network) in enumerate(rows)
    ]  # fmt: skip
    return pl.LazyFrame(told, schema=tables.schema(DeviceObservations))


def latest(rows: list[dict[str, Any]], column: str, at: str, key: str) -> Any:
    said = [row for row in sorted(rows, key=lambda row: (row[at], row[key])) if row[column] is not None]
    return said[-1][column] if said else None


@given(ROWS, ROWS)
def test_each_columns_latest_word_counts_and_that_of_an_observation_first(
    did: list[tuple[Any, ...]], seen: list[tuple[Any, ...]]
) -> None:
    rows, observed = events(did), observations(seen)
    found = {row["visitor_id"]: row for row in devices(rows, observed).collect().to_dicts()}
    acts, looks = (frame.collect().to_dicts() for frame in (rows, observed))
    assert set(found) == {row["visitor_id"] for row in (*acts, *looks)}
    for visitor, row in found.items():
        done, told = ([r for r in some if r["visitor_id"] == visitor] for some in (acts, looks))
        times = [r["occurred_at"] for r in done] + [r["observed_at"] for r in told]
        assert (row["event_count"], row["observation_count"]) == (len(done), len(told))
        assert (row["first_at"], row["last_at"]) == (min(times), max(times))
        assert row["network_count"] == len({r["network_id"] for r in told} - {None})
        for column in (*NATURE, *DETAILS):
            word = latest(told, column, "observed_at", "observation_id")
            if word is None and column in NATURE:
                word = latest(done, column, "occurred_at", "event_id")
            assert row[column] == word
    assert set(SAID) & set(DETAILS)


def test_words_of_two_sources_with_one_number_and_moment_are_in_one_order() -> None:
    """Events are numbered by each source for itself."""
    word = {"event_id": "1", "visitor_id": "v", "occurred_at": START}
    rows = [word | {"source_system": source, "browser": source} for source in ("S", "A")]
    for told in (rows, rows[::-1]):
        found = devices(pl.LazyFrame(told, schema=tables.schema(Events)), observations([])).collect()
        assert found["browser"].to_list() == ["S"]
