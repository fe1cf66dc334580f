"""Stretches of logins: one a device, unless its accounts change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.bronze.behavior import Events
from customer360.pipelines.rules import ValidationRules
from customer360.pipelines.silver.behavior import VisitorLogins, visitor_logins
from customer360.platform import tables
from customer360.platform.tables import LANDED

START = datetime(2026, 6, 1, tzinfo=UTC)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["v", "w", "x", None]), st.integers(0, 6), st.sampled_from(["SHOP", "APP"]),
        st.sampled_from(["1", "2", None]),
    ),
    max_size=25,
)  # fmt: skip
READ = ("VISITOR_ID", "CUSTOMER_ID", "EVENT_DATE", "_source_system", LANDED)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


@given(ROWS)
def test_stretches_are_those_of_all_events_in_order_of_time(
    rows: list[tuple[str | None, int, str, str | None]],
) -> None:
    told = [
        {"VISITOR_ID": visitor, "CUSTOMER_ID": account, "EVENT_DATE": at(hour), "_source_system": system,
         LANDED: at(24)}
        for visitor, hour, system, account in rows
    ]  # fmt: skip
    expected = []
    known = sorted((v, h, s, a) for v, h, s, a in rows if v is not None and a is not None)
    for _, of_device in groupby(known, lambda row: row[0]):
        runs, seen = [list(run) for _, run in groupby(of_device, lambda row: row[2:])], set()
        for place, run in enumerate(runs):
            following = at(runs[place + 1][0][1]) if place + 1 < len(runs) else None
            before = at(runs[place - 1][-1][1]) if place else None
            visitor, hour, system, account = run[0]
            if hour not in seen:
                expected.append((visitor, system, account, at(hour), at(run[-1][1]), following, before))
            seen.add(hour)
    frame = pl.LazyFrame(told, schema={c: t for c, t in tables.schema(Events).items() if c in READ})
    found = visitor_logins(frame, ValidationRules()).select(VisitorLogins.column_names()).collect()
    assert sorted(found.rows(), key=str) == sorted(expected, key=str)
