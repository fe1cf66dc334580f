"""Columns of Parquet: whatever the type, the writer and the place of a value in a row, it is found; others are not."""

from __future__ import annotations

import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from customer360.platform.traces import Traces, Value, columns, search
from customer360.platform.traces.search import in_bytes

WHO = Traces.of(
    [
        Value("e-mail", ("ann@x.test",)),
        Value("phone", ("2025550147",)),
        Value("account", ("70012345",)),
        Value("account", ("3025550147",)),
        Value("name", ("ann", "quorvexly")),
    ]
)
MANY = 3_000
FILLING = [f"row {i}" for i in range(MANY)]
HOLDS: dict[str, tuple[Any, set[str]]] = {
    "a text among many": (pa.array([*FILLING, "to ANN@X.TEST"]), {"e-mail"}),
    "a text that repeats": (pa.array(["ann@x.test", "USD"] * MANY), {"e-mail"}),
    "a large text": (pa.array(["ann%40x.test"], pa.large_string()), {"e-mail"}),
    "a category": (pa.array(["b", "ann@x.test"]).dictionary_encode(), {"e-mail"}),
    "bytes": (pa.array([b"\xff ann@x.test", b"", None]), {"e-mail"}),
    "packed bytes": (pa.array([gzip.compress(b"ann@x.test"), b"x"]), {"e-mail"}),
    "a number": (pa.array([1, None, 12025550147]), {"phone"}),
    "a negative number": (pa.array([1, -70012345]), {"account"}),
    "an unsigned number": (pa.array([2**64 - 1, 2025550147], pa.uint64()), {"phone"}),
    "a large number without a sign": (pa.array([5, 3_025_550_147], pa.uint32()), {"account"}),
    "a number that was null once": (pa.array([0.5, None, 2025550147.0, float("nan")]), {"phone"}),
    "a decimal": (pa.array([Decimal("70012345"), None], pa.decimal128(38, 0)), {"account"}),
    "a list": (pa.array([["b"], [], ["ann@x.test"]]), {"e-mail"}),
    "numbers in a list": (pa.array([[1], None, [70012345]]), {"account"}),
    "a name in two fields": (pa.array([{"first": "Ann", "last": "Quorvexly"}]), {"name"}),
    "a name in two fields that repeat": (pa.array([{"first": "Ann", "last": "Quorvexly"}] * MANY), {"name"}),
    "a name in a list": (pa.array([["Quorvexly", "Ann"]]), {"name"}),
    "a map": (pa.array([[("mail", "ann@x.test")]], pa.map_(pa.string(), pa.string())), {"e-mail"}),
    "a view of a text": (pa.array(["b", "to ANN@X.TEST", "c"]).cast(pa.string_view()), {"e-mail"}),
    "a view of a text in a struct": (
        pa.StructArray.from_arrays([pa.array(["b", "ann@x.test", "c"]).cast(pa.string_view())], ["f"]),
        {"e-mail"},
    ),
    "a view of a text in a list": (
        pa.ListArray.from_arrays(
            pa.array([0, 3], pa.int32()), pa.array(["b", "ann@x.test", "c"]).cast(pa.string_view())
        ),
        {"e-mail"},
    ),
    "a view of bytes": (pa.array([b"b", b"\xff ann@x.test", b"c"]).cast(pa.binary_view()), {"e-mail"}),
    "a long decimal": (
        pa.array([Decimal(1), Decimal("70012345"), Decimal(99999999)], pa.decimal256(50, 0)),
        {"account"},
    ),
    "bytes in a struct": (pa.array([{"raw": b"ann@x.test"}]), {"e-mail"}),
}
LACKS: dict[str, Any] = {
    "part of another's": pa.array(["mary.ann@x.test", "ann@x.test.org"]),
    "part of a longer number": pa.array([2025550147 * 10 + 3, 170012345, 70012345 * 10]),
    "a fraction": pa.array([2025550147.5]),
    "half a name": pa.array([{"first": "Ann", "last": "Lee"}, {"first": "Bob", "last": "Quorvexly"}]),
    "nothing": pa.array([], pa.string()),
}


@pytest.mark.parametrize("codec", ["NONE", "ZSTD"])
@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("at_once", [0, 1 << 30])
@pytest.mark.parametrize("name", [*HOLDS, *LACKS])
def test_values_are_found_whatever_the_type_and_the_writer(
    name: str, at_once: int, dictionary: bool, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_WORTH_JOINING", at_once)
    column, kinds = HOLDS.get(name) or (LACKS[name], set())
    data = io.BytesIO()
    table = pa.table({"dotted.name": column})
    parquet.write_table(table, data, use_dictionary=dictionary, compression=codec, write_statistics=False)
    found = in_bytes(WHO, data.getvalue(), "")
    assert (set(found.kinds) if found else set()) == kinds and (found is None or not found.unread)


SPELT = ["ann@x.test", "ANN@X.TEST", "ann%40x.test", "202 555-0147", "(202)\u2009555\u00a00147", "202\x85555\x0b0147",
         "o\\'neil straße 5", "O&#39;NEIL STRASSE 5", "O'neil Stra\u1e9ee 5", "jörg@x.test", "JO\u0308RG@X.TEST",
         "j\\u00f6rg@x.test", "\u212aim\u017fen7", "kimsen7", "нина@x.test", "НИНА@x.test", "a\\b\\smith"]  # fmt: skip
WANTED = ["ann@x.test", "jörg@x.test", "нина@x.test"]


@given(
    values=st.lists(st.sampled_from([*SPELT, "nobody", "Ünder", "x" * 50]), max_size=8),
    joint=st.sampled_from(["", " ", "é", "\x0b"]),
    dictionary=st.booleans(),
)
def test_texts_at_once_and_one_by_one_tell_the_same(values: list[str], joint: str, dictionary: bool) -> None:
    told = [Value("e-mail", (w,)) for w in WANTED] + [Value("phone", ("2025550147",)), Value("device", ("kimsen7",)),
            Value("address", ("O'Neil Straße 5",)), Value("person", ("a\\b\\smith",))]  # fmt: skip
    who = Traces.of(told)
    column = pa.array([f"{joint}{value}{joint}" for value in values], pa.string())
    batch = pa.record_batch({"c": column.dictionary_encode() if dictionary else column})
    found = []
    for at_once in (0, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "_WORTH_JOINING", at_once)
            found.append(search._in_batches(who, [batch]))
    assert found[0] == found[1]


def test_what_is_compressed_is_not_looked_at_twice() -> None:
    data = io.BytesIO()
    parquet.write_table(pa.table({"c": pa.array(FILLING), "d": pa.array(range(MANY))}), data, compression="ZSTD")
    left = columns.outside(data.getvalue())
    assert len(left) < len(data.getvalue()) / 3 and left.startswith(b"PAR1") and left.endswith(b"PAR1")
    assert columns.outside(b"PAR1 and no more") == b"PAR1 and no more"


@pytest.mark.parametrize("codec", ["NONE", "ZSTD"])
@pytest.mark.parametrize(("held", "rows"), [(["b", "ann@x.test", "d"], 3_000), ([*FILLING, "ann@x.test"], MANY)])
def test_a_value_that_stands_in_a_dictionary_and_in_no_row(held: list[str], rows: int, codec: str) -> None:
    used = [at for at in range(len(held)) if held[at] != "ann@x.test"]
    column = pa.DictionaryArray.from_arrays(pa.array([used[at % len(used)] for at in range(rows)]), held)
    data = io.BytesIO()
    parquet.write_table(pa.table({"c": column, "n": range(rows)}), data, compression=codec, row_group_size=rows // 2)
    found = in_bytes(WHO, data.getvalue(), "")
    assert found is not None and found.kinds == ("e-mail",) and not found.unread


def test_first_and_last_name_in_two_views() -> None:
    names = {"first": ["b", "Ann", "c"], "last": ["b", "Quorvexly", "c"]}
    data = io.BytesIO()
    parquet.write_table(pa.table({key: pa.array(each).cast(pa.string_view()) for key, each in names.items()}), data)
    found = in_bytes(WHO, data.getvalue(), "")
    assert found is not None and found.kinds == ("name",)


def test_a_column_of_no_known_kind_is_not_passed_over() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["ann@x.test", "b"]), pa.array([1, 2])])
    with pytest.raises(TypeError, match="union"):
        list(columns.leaves(union))


@pytest.mark.parametrize("apart", [True, False])
def test_first_and_last_name_in_two_columns_of_one_row(apart: bool) -> None:
    first, last = ["Ann", *["Bob"] * MANY], [" QUORVEXLY", *["Lee"] * MANY]
    frame = pl.DataFrame({"first": first, "last": last[1:] + last[:1] if apart else last})
    data = io.BytesIO()
    frame.write_parquet(data, statistics=False)
    assert (in_bytes(WHO, data.getvalue(), "") is None) is apart


def test_dates_truth_and_small_numbers_are_not_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1, 2], "big": [1, 10**7], "is": [True, False], "t": ["a", "b"], "x": [0.5, 1.0]})
    frame = frame.with_columns(on=pl.date(2026, 1, 1), at=pl.datetime(2026, 1, 1))
    frame.write_parquet(tmp_path / "f.parquet")
    batch, *_ = columns.batches((tmp_path / "f.parquet").read_bytes())
    assert batch.schema.names == ["big", "t"]


def test_two_columns_of_one_name_and_columns_of_no_known_type() -> None:
    data = io.BytesIO()
    twice = pa.Table.from_arrays([pa.array(["b"]), pa.array(["ann@x.test"])], names=["a", "a"])
    parquet.write_table(twice, data)
    found = in_bytes(WHO, data.getvalue(), "")
    assert found is not None and found.kinds == ("e-mail",)
    data = io.BytesIO()
    parquet.write_table(pa.table({"d": pa.array([Decimal(1)], pa.decimal256(76, 0)), "t": ["x"]}), data)
    found = in_bytes(WHO, data.getvalue(), "")
    assert found is None or "cannot be read" in found.unread
