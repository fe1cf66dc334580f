"""Tables that are brought forward batch by batch are those of one full rebuild, and a batch touches what it brings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform import lake as lakes
from customer360.platform.errors import SourceError
from customer360.platform.lake import File
from customer360.platform.ledger import NodeRun
from customer360.platform.run import bucketed, keyed, units
from customer360.platform.run.incremental import appended
from customer360.platform.run.rereading import drop

ALL = (
    *("silver.t_links", "silver.t_goods", "silver.t_sales", "silver.t_lines", "silver.t_spent", "silver.t_spenders"),
    *("silver.t_takings", "silver.t_people", "silver.t_greetings", "gold.t_cards"),
    *("silver.t_baskets", "silver.t_noted", "gold.t_board"),
)
ACCOUNT = st.sampled_from(["", "gone", *(f"a{n}" for n in range(4))])
SALE = st.builds("s{},{},{},{}".format, st.integers(0, 7), ACCOUNT, st.integers(-1, 2), st.sampled_from(["", 1, 2, 3]))
NOTE = st.sampled_from(["", "a", "b", "bad", "del", "too long"])
LINE = st.builds("{},s{},{}".format, st.sampled_from(["", "l0", "l1", "l2", "l3"]), st.integers(0, 9), NOTE)
LINK = st.builds("a{},{},{}".format, st.integers(0, 3), st.sampled_from(["", "p1", "p2", "gone"]), st.integers(0, 3))
GOODS = st.builds("{},{}".format, st.sampled_from(["a", "b", "bad", "too long", ""]), st.sampled_from([1, 2, -9, ""]))
BATCH = st.fixed_dictionaries(
    {
        "links": st.lists(LINK, max_size=2),
        "sales": st.lists(SALE, max_size=4),
        "lines": st.lists(LINE, max_size=4),
        "goods": st.lists(GOODS, max_size=2),
    }
)
CORRECTION = st.builds(dict, AMOUNT=st.integers(0, 2), LINE_ID=st.sampled_from(["l0", "l5"]), SALE_ID=st.just("s1"))
STEP = st.one_of(
    st.tuples(st.just("deliver"), BATCH),
    st.tuples(st.just("deliver"), BATCH),
    st.tuples(st.just("correct"), CORRECTION),
    st.tuples(st.just("erase"), st.sampled_from(["a0", "a1"])),
    st.tuples(st.just("widen"), st.sampled_from([2, 9])),
    st.tuples(st.just("day"), st.sampled_from([1, 2])),
)
UNTIL = st.sampled_from([None, None, "silver.t_sales", "silver.t_lines", "silver.t_people"])  # where a run ends
HISTORY = st.lists(st.tuples(STEP, UNTIL), min_size=1, max_size=4)
FIRST = {
    "links": ["a0,p0,1", "a1,p1,1"],
    "sales": ["s0,a0,2,1", "s1,a1,1,1", "s2,,1,1", "s3,a0,-1,1"],
    "lines": ["l0,s0,", "l1,s0,x", "l0,s1,", "l0,s9,", "l0,s3,too long", "l1,s1,a", "l2,s1,bad", ",s1,a"],
    "goods": ["a,1", "bad,2"],
}


def deliver(shop: Any, batch: dict[str, list[str]]) -> None:
    for folder, rows in batch.items():
        if rows:
            shop.deliver(folder, *rows)


def take(shop: Any, what: str, told: Any) -> None:
    """A step of a history: a batch, corrections of two rows, an erasure, another contract, or another day."""
    if what == "deliver":
        deliver(shop, told)
    elif what == "correct":
        try:
            shop.correct(2, **told)
        except SourceError as fault:  # what a run of other tables alone has not taken up yet
            assert "replayed before" in str(fault)
    else:
        getattr(shop, what)(told)


def assert_as_rebuilt(shop: Any) -> None:
    rows, counts = shop.rows(), shop.counts()
    shop.run(refresh=ALL)
    assert rows == shop.rows()
    assert counts == shop.counts()


def is_added(node: NodeRun) -> bool:
    return node.state == "built" and "rows_new" in node.facts


@pytest.mark.parametrize("examples", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_any_batches_give_the_tables_of_a_rebuild(shop: Any, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(history=HISTORY, small=st.sampled_from([0, 5000]), beside=st.booleans())
    def law(history: list[tuple[tuple[str, Any], str | None]], small: int, beside: bool) -> None:
        monkeypatch.setattr(units, "SMALL", small)
        for module in (bucketed, keyed):
            monkeypatch.setattr(module, "MOSTLY", float("inf") if beside else 1 / 3)
        with TemporaryDirectory() as root:
            each = type(shop)(Path(root))
            each.widen(3)
            for (what, told), end in [(("deliver", FIRST), None), *history]:
                take(each, what, told)
                each.run(end=end)
            each.run()
            assert_as_rebuilt(each)

    law()


@pytest.mark.parametrize(
    "batch",
    [
        {"sales": ["s8,a0,4,1"]},
        {"sales": ["s0,a0,2,1"]},  # a duplicate
        {"sales": ["s0,a1,9,2"]},  # a newer version, of another person
        {"sales": ["s0,a1,9,0"]},  # an older one
        {"sales": ["s3,a0,5,2"]},  # what was refused is repaired
        {"sales": ["s9,a0,5,1"]},  # the header of an orphan
        {"sales": ["s1,a1,0,2"]},  # lines of it are set apart
        {"lines": ["l7,s0,", "l0,s0,new"]},
        {"links": ["a0,p7,2"], "sales": ["s0,a0,3,2"], "lines": ["l2,s0,"]},
        {"sales": ["s0,gone,,"]},  # deleted
        {"lines": ["l1,s0,del", "l1,s1,del"]},
        {"goods": ["a,5"]},  # lines of it cost something else
        {"goods": ["bad,-9", "x,3"]},
    ],
)
def test_a_batch_is_brought_in_by_its_keys(shop: Any, batch: dict[str, list[str]]) -> None:
    deliver(shop, FIRST)
    shop.run()
    deliver(shop, batch)
    nodes = shop.run()
    touched = {f"silver.t_{name}" for name in batch} | ({"silver.t_lines"} & nodes.keys())
    assert all(is_added(nodes[name]) or nodes[name].state == "current" for name in touched), nodes
    assert_as_rebuilt(shop)
    assert {node.state for node in shop.run().values()} == {"current"}


@pytest.mark.parametrize(
    "batches",
    [
        [{"sales": [",a0,1,1", ",,1,2"], "lines": ["l0,,a", ",s0,"]}, {"sales": [",a0,1,1"]}],  # keys that are none
        [{"sales": ["sé,a0,1,1", "s 0,a0,1,1", '"s,0",a1,1,1', "S0,a0,1,1"]}, {"sales": ["sé,a1,2,2", '"s,0",a0,3,2']}],
        [{"sales": ["s0,a0,much,5"]}, {"sales": ["s0,a0,7,4"]}],  # the newest version cannot be read, then an older one
        [{"sales": ["s0,a0,-1,9", "s0,a0,-1,9"]}, {"sales": ["s0,a0,-1,9"]}],  # refused thrice
        [{"links": ["a0,,2"]}, {"links": ["a0,p0,3"], "sales": ["s0,a1,2,1"]}],  # nobody's for a while
    ],
)
def test_odd_batches_give_the_tables_of_a_rebuild(shop: Any, batches: list[dict[str, list[str]]]) -> None:
    deliver(shop, FIRST)
    shop.run()
    for batch in batches:
        deliver(shop, batch)
        shop.run()
    assert_as_rebuilt(shop)


@pytest.mark.parametrize(
    "columns", [{"AMOUNT": 4}, {"LINE_ID": "l8"}, {"AMOUNT": -2, "LINE_ID": "l1"}, {"SALE_ID": "s1"}]
)
def test_corrections_are_brought_in_by_the_keys_of_both(shop: Any, columns: dict[str, Any]) -> None:
    deliver(shop, FIRST)
    deliver(shop, {"sales": [",a0,4,1"], "lines": ["l6,,a"]})
    shop.run()
    assert shop.correct(4, **columns)
    nodes = shop.run()
    assert all(is_added(nodes[n]) or nodes[n].state == "current" for n in ("silver.t_sales", "silver.t_lines")), nodes
    shop.deliver("sales", "s3,a0,7,3")
    shop.run()
    assert_as_rebuilt(shop)


def test_what_is_built_whole_says_why_and_what_it_cost(shop: Any) -> None:
    deliver(shop, FIRST)
    assert not any("whole" in node.facts for node in shop.run().values()), "nothing stood before"
    shop.widen(9)
    shop.deliver("lines", "l9,s0,too long")
    facts = shop.run()["silver.t_lines"].facts
    assert facts["whole"] == "other inputs, code or rules" and facts["cpu_seconds"] >= 0
    notes = shop.lake.scan("silver.t_lines").filter(pl.col("note") == "too long").collect()
    assert notes.height == 2, "the line of before is judged anew"
    shop.deliver("lines", "l10,s0,a")
    assert "whole" not in shop.run()["silver.t_lines"].facts
    shop.erase("a1")
    assert shop.run()["silver.t_sales"].facts["whole"] == "rows of bronze.t_sales went"
    assert_as_rebuilt(shop)


def test_many_rows_that_another_table_concerns_are_built_whole(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appended, "MOST", 0)
    deliver(shop, FIRST)
    shop.run()
    shop.deliver("goods", "a,5")
    why = shop.run()["silver.t_lines"].facts["whole"]
    assert why.endswith("other rows of silver.t_goods concern 1 of its rows")
    assert_as_rebuilt(shop)


def test_a_file_that_changed_and_a_batch_that_was_dropped(shop: Any) -> None:
    deliver(shop, FIRST)
    shop.run()
    shop.deliver("sales", "s0,a0,5,2", "s6,a1,1,1")
    shop.run()
    shop.number -= 1
    shop.deliver("sales", "s0,a0,6,2", "s7,a1,1,1", "s8,a1,1,1")  # another content under the same name
    assert is_added(shop.run()["silver.t_sales"])
    drop(shop.lake, shop.settings, "sales", 2, ignore=True, rules={})
    assert not is_added(shop.run()["silver.t_sales"])
    shop.deliver("sales", "s6,a0,1,1")
    assert is_added(shop.run()["silver.t_sales"])
    assert_as_rebuilt(shop)


def test_a_small_bucket_is_one_file_whatever_comes_and_goes(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "SMALL", 5000)
    deliver(shop, FIRST)
    shop.run()
    shop.deliver("sales", "s0,a0,7,2", "s6,a1,1,1", "s7,,1,1")
    assert is_added(shop.run()["silver.t_sales"])
    buckets = [f.partition["bucket"] for f in shop.lake.files("silver.t_sales")]
    assert len(buckets) == len(set(buckets))
    assert_as_rebuilt(shop)


def test_files_of_untouched_rows_stay(shop: Any) -> None:
    shop.deliver("sales", *(f"s{n},,{n},1" for n in range(40)))
    shop.run()
    before = {f.path for f in shop.lake.files("silver.t_sales")}
    shop.deliver("sales", "s50,,1,1", "s3,,3,1")
    nodes = shop.run()
    assert nodes["silver.t_sales"].facts["rows_new"] == 1
    assert before < {f.path for f in shop.lake.files("silver.t_sales")}
    shop.deliver("sales", "s3,,9,2")
    shop.run()
    assert len(before - {f.path for f in shop.lake.files("silver.t_sales")}) == 1
    assert_as_rebuilt(shop)


def test_who_reads_a_changed_bucket_makes_the_subjects_anew_that_it_is_told(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SMALL", 5000)
    compared = list[int]()
    other_rows = units.other_rows
    monkeypatch.setattr(units, "other_rows", lambda *of: compared.append(of[0].height) or other_rows(*of))
    deliver(shop, {"sales": [f"s{n},,{n},1" for n in range(80)], "lines": [f"l0,s{n},a" for n in range(80)]})
    shop.run()
    kept = {name: {f.path for f in shop.lake.files(name)} for name in ("silver.t_spent", "silver.t_spenders")}
    compared.clear()
    shop.deliver("sales", "s3,,9,2")
    nodes = shop.run()
    assert nodes["silver.t_spent"].facts["buckets_rewritten"] == 1
    assert nodes["silver.t_spenders"].facts["buckets_rewritten"] == 0  # it is a spender as before
    assert not {"silver.t_spent", "silver.t_spenders"} & {n for n, node in nodes.items() if "whole" in node.facts}
    assert max(compared) == 1
    assert len(kept["silver.t_spent"] - {f.path for f in shop.lake.files("silver.t_spent")}) == 1
    assert kept["silver.t_spenders"] == {f.path for f in shop.lake.files("silver.t_spenders")}
    assert_as_rebuilt(shop)


def test_who_reads_rows_that_changed_hands_is_told_whose_they_were_and_are(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SMALL", 5000)
    deliver(shop, {"links": ["a0,p0,1"], "sales": [f"s{n},a{n % 40},{n},1" for n in range(200)]})
    shop.run()
    read = list[int]()
    touched = units.BuildUnit._touched

    def noted(unit: units.BuildUnit) -> pl.Series:
        if unit.node.name == "silver.t_spent":
            read.append(len(unit.told))
        return touched(unit)

    monkeypatch.setattr(units.BuildUnit, "_touched", noted)
    for batch in ({"links": ["a1,p1,1"]}, {"links": ["a1,p2,2"], "sales": ["s300,a1,1,1"]}):
        deliver(shop, batch)
        nodes = shop.run()
        assert "whole" not in nodes["silver.t_spent"].facts
    assert read and all(read)
    assert_as_rebuilt(shop)


def test_of_a_table_of_persons_the_rows_of_those_who_changed_concern_their_subjects_alone(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucketed, "MOSTLY", 9)  # most bytes of files so small say how they are written
    people = [f"a{n},p{n},1" for n in range(40)]
    deliver(shop, {"links": people, "sales": [f"s{n}-{m},a{n},{n},1" for n in range(50) for m in range(20)]})
    shop.run()
    before = {f.path for f in shop.lake.files("silver.t_greetings")}
    shop.deliver("links", "b3,p3,1")  # a second account of a person who is known
    nodes = shop.run()
    assert "whole" in nodes["silver.t_people"].facts  # nobody tells which of its rows are others
    assert "whole" not in nodes["silver.t_greetings"].facts
    assert len(before - {f.path for f in shop.lake.files("silver.t_greetings")}) == 1
    shop.deliver("links", "a3,p4,2", "a5,,2")
    assert "whole" not in shop.run()["silver.t_greetings"].facts
    assert_as_rebuilt(shop)


def test_an_edition_of_a_date_is_renewed_by_who_changed_too(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucketed, "MOSTLY", 9)
    deliver(shop, {"links": [f"a{n},p{n},1" for n in range(40)], "sales": [f"s{n},a{n},{n},1" for n in range(40)]})
    shop.run()
    before = {f.path for f in shop.lake.files("gold.t_cards")}
    for batch in ({"sales": ["s50,a7,3,1"]}, {"links": ["b7,p7,1"]}):  # the links are not stored by person
        deliver(shop, batch)
        facts = shop.run()["gold.t_cards"].facts
        assert "whole" not in facts and facts["buckets_rewritten"] == 1
    assert len(before - {f.path for f in shop.lake.files("gold.t_cards")}) == 1
    shop.day(2)
    assert "whole" in shop.run()["gold.t_cards"].facts
    deliver(shop, {"sales": ["s51,a8,3,1"]})
    shop.day(1)
    assert "whole" in shop.run()["gold.t_cards"].facts, "the edition of another day stood last"
    assert_as_rebuilt(shop)


def test_rows_that_are_equal_in_what_is_read_of_them_are_counted(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucketed, "MOSTLY", float("inf"))
    deliver(shop, {"links": ["a0,p0,1", "a1,p2,1"], "sales": ["s0,a0,5,1", "s7,a1,9,1"]})
    shop.run()
    for sales, count in ((["s7,a1,11,2", "s3,a0,5,1"], 2), (["s3,gone,,"], 1)):
        deliver(shop, {"sales": sales})
        shop.run(end="silver.t_sales")  # whose units tell no later run which subjects changed
        shop.run()
        taken = shop.lake.scan("silver.t_takings").filter(pl.col("subject_id") == "p0").collect()
        assert taken.rows() == [("p0", count, 5 * count)]
        assert_as_rebuilt(shop)


def test_of_equal_rows_another_number_is_a_change(shop: Any) -> None:
    before, after = (pl.DataFrame({"subject_id": list(of), "amount": None}) for of in ("aab", "ab"))
    gone, new = units.other_rows(before, after, "silver.t_sales")
    assert gone.rows() == new.rows() == [("a", None)]
    assert all(rows.is_empty() for rows in units.other_rows(before, after)), "each of a key of its own"


def test_what_is_not_read_of_a_file_costs_nothing_to_compare(shop: Any) -> None:
    sales = units.InputPart(table="silver.t_sales", files=(File("s", 1, 600, {}),))
    now, before = (units.InputPart(table="silver.t_people", files=(File(p, 1, 600, {}),)) for p in "ab")
    assert not bucketed._is_mostly_known([sales, now], [sales, before], {})
    some = ("person_id",)  # of three columns
    now, before = replace(now, columns=some), replace(before, columns=some)
    assert not bucketed._is_mostly_known([sales, now], [sales, before], {})
    more = replace(sales, files=(File("s", 1, 1200, {}),))
    assert bucketed._is_mostly_known([more, now], [more, before], {})


def test_buckets_that_share_a_unit_give_the_files_of_one_each(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart, units = type(shop)(tmp_path / "apart"), list[int]()
    joined = bucketed._joined
    monkeypatch.setattr(
        bucketed, "_joined", lambda made, workers: units.append(len(joined(made, workers))) or joined(made, workers)
    )
    for together, each in ((bucketed.TOGETHER, shop), (0, apart)):
        monkeypatch.setattr(bucketed, "TOGETHER", together)
        monkeypatch.setattr(bucketed, "FEW_TOGETHER", together)
        for batch in ({"links": [f"a{n},p{n},1" for n in range(9)]}, {"sales": [f"s{n},a{n},{n},1" for n in range(9)]}):
            deliver(each, batch)
            each.run()
        deliver(each, {"sales": ["s1,a1,7,2", "s2,a2,7,2", "s9,,1,1"]})
        each.run()
    half = len(units) // 2  # of each shop: those made whole, and those of which some subjects are
    assert max(units[:half]) <= 2 < max(units[half:])
    assert shop.rows() == apart.rows()
    assert [f.path for f in shop.lake.files("silver.t_spent")] == [f.path for f in apart.lake.files("silver.t_spent")]
    assert_as_rebuilt(shop)


def test_few_subjects_of_many_bytes_are_divided_among_workers(shop: Any) -> None:
    def buckets(size: int) -> list[Any]:
        parts = (units.InputPart(table="silver.t_people", files=(File("p", 1, size, {}),)),)
        return [bucketed._Bucket(units.Place(bucket=n), parts, parts) for n in range(16)]

    assert len(bucketed._joined(buckets(4 * 2**20), 1)) == 1
    assert [len(group) for group in bucketed._joined(buckets(4 * 2**20), 4)] == [4, 4, 4, 4]
    assert len(bucketed._joined(buckets(2**16), 4)) == 1, "little is not worth a second unit"
    assert sum(len(group) for group in bucketed._joined(buckets(2**24), 64)) == 16


def test_small_files_are_folded(shop: Any) -> None:
    for batch in range(30):
        shop.deliver("sales", *(f"s{batch}-{n},,1,1" for n in range(4)))
        shop.run()
    assert len(shop.lake.files("silver.t_sales")) <= 4 * 10
    assert_as_rebuilt(shop)


def test_without_its_directory_of_keys_or_origin_a_table_is_the_same(shop: Any) -> None:
    deliver(shop, FIRST)
    shop.run()
    shop.deliver("sales", "s0,a1,9,2")
    shutil.rmtree(shop.root / "lake" / "_keys", ignore_errors=True)
    assert is_added(shop.run()["silver.t_sales"])
    shop.deliver("sales", "s0,a1,3,3", "s1,,1,1")
    shutil.rmtree(shop.root / "lake" / "_origins")
    assert not is_added(shop.run()["silver.t_sales"])
    shop.deliver("sales", "s0,a1,4,4")
    assert is_added(shop.run()["silver.t_sales"])
    assert_as_rebuilt(shop)


class Crash(BaseException):
    """The process dies."""


def test_a_crash_at_any_point_of_a_batch_then_another_batch_is_a_rebuild(shop: Any, tmp_path: Path) -> None:
    deliver(shop, FIRST)
    shop.run()
    number, crashed = 0, True
    while crashed:
        each = type(shop)(tmp_path / f"crash-{number}", shop.number)
        shutil.copytree(shop.root / "lake", each.root / "lake")
        shutil.copytree(shop.root / "landing", each.root / "landing")
        deliver(each, {"links": ["a0,p7,2"], "sales": ["s0,a0,3,2", "s5,,-1,1"], "lines": ["l2,s0,", "l0,s5,long no"]})
        crashed, left = False, [number]

        def observer(point: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash(point)

        lakes.observers.append(observer)
        try:
            each.run()
        except Crash:
            crashed = True
        finally:
            lakes.observers.clear()
        deliver(each, {"sales": ["s5,,1,2", "s1,a0,1,2"], "links": ["a1,p7,2"]})
        each.run()
        assert_as_rebuilt(each)
        shutil.rmtree(each.root)
        number += 3
    assert number > 30
