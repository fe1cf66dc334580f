"""One person erased from a whole retailer: gone from everything current, the money stays, nobody else changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import privacy, quality, tables
from customer360.platform.errors import Customer360Error

pytestmark = pytest.mark.slow

SHARED = "VSHARED"
PEOPLE, DAYS, SEED = 34, 60, 5  # fewer than 50 accounts: identity scores with its defaults, whoever else is there


@dataclass
class Case:
    """A retailer before and after a person was erased."""

    site: Any
    person: str
    accounts: set[str]
    words: set[str]  # account ids, contacts, devices of its own, names that nobody else has
    before: dict[str, pl.DataFrame]
    touched: dict[str, int] = field(default_factory=dict)
    dates: tuple[date, ...] = ()
    standing: Any = None  # the same site, of which nobody was erased

    def now(self, name: str) -> pl.DataFrame:
        return self.site.lake.scan(name).collect()


def _chosen(site: Any) -> str:
    """The person with accounts in most systems, then receipts, who shares a device with somebody else."""
    lake = site.lake
    accounts = lake.scan("silver.identities").group_by("person_id").agg(systems=pl.col("source_system").n_unique())
    receipts = lake.scan("silver.transactions").group_by("person_id").len("receipts")
    anonymous = (
        lake.scan("silver.events").filter(pl.col("customer_id").is_null()).group_by("person_id").len("anonymous")
    )
    known = accounts.join(receipts, on="person_id").join(anonymous, on="person_id")
    return str(known.sort("systems", "receipts", "person_id", descending=True).collect()["person_id"][0])


def _words(site: Any, accounts: set[str]) -> set[str]:
    customers = site.lake.scan("bronze.customers").collect()
    mine = pl.concat_str("_source_system", "CUSTOMER_ID", separator="/").is_in(list(accounts)).fill_null(False)
    own, others = customers.filter(mine), customers.filter(~mine)
    words = {a.partition("/")[2] for a in accounts}
    for column in ("EMAIL_ADDRESS", "PHONE_NUMBER", "LAST_NAME"):
        words |= set(own[column].drop_nulls()) - set(others[column].drop_nulls())
    catalogue = " ".join(
        site.lake.scan("bronze.products").select(pl.struct(pl.all()).struct.json_encode()).collect().to_series()
    )
    words = {w for w in words if not re.search(rf"(?i)\b{re.escape(w)}\b", catalogue)}  # "White" is a colour too
    events = (
        site.lake.scan("bronze.events")
        .select(pl.concat_str("_source_system", "CUSTOMER_ID", separator="/").alias("who"), "VISITOR_ID")
        .collect()
    )
    used = events.filter(pl.col("who").is_in(list(accounts)))["VISITOR_ID"].unique().drop_nulls()
    elsewhere = events.filter(pl.col("who").is_not_null() & ~pl.col("who").is_in(list(accounts)))["VISITOR_ID"]
    return words | (set(used) - set(elsewhere))


def _spoil(site: Any, account: str, email: str, shopper: str) -> None:
    """Refused rows and unreadable records about the person, and beside each one about somebody else."""
    columns = list(tables.by_name("bronze.customers").columns())
    number = account.partition("/")[2]
    system, folder = account.partition("/")[0], account.partition("/")[0].lower()
    assert system in ("POS", "SHOP")
    rows = [
        {"CUSTOMER_ID": number, "EMAIL_ADDRESS": email, "DATE_OF_BIRTH": "never"},
        {"CUSTOMER_ID": None, "EMAIL_ADDRESS": email, "FIRST_NAME": "Nobody"},  # no key, but a name all the same
        {"CUSTOMER_ID": None, "EMAIL_ADDRESS": "other@example.org", "FIRST_NAME": "Somebody"},
    ]
    if system == "POS":
        text = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)).write_csv().rstrip("\n").split("\n")
        site.deliver(f"{folder}/customers/dirt.csv", [*text, f"{number},cut", "X998,cut", f",{email.upper()},cut"])
    else:
        cut = [
            f'{{"CUSTOMER_ID":"{number}","EMAIL',
            '{"CUSTOMER_ID":"X998","EMAIL',
            f'{{"EMAIL_ADDRESS":"{email.upper()}","CITY":"',
        ]
        site.deliver(f"{folder}/customers/dirt.jsonl.gz", [*map(json.dumps, rows), *cut])
    event = {
        "EVENT_ID": "dirty",
        "EVENT_TYPE": "TELEPATHY",
        "EVENT_DATE": "2026-06-20T00:00:00Z",
        "CUSTOMER_ID": shopper,
        "SEARCH_QUERY": email,
    }
    other = event | {"EVENT_ID": "other", "CUSTOMER_ID": "X9", "SEARCH_QUERY": "tea"}
    said = f"https://shop.example.com/shared?from={email.replace('@', '%40')}&by={email}"  # a friend follows a link
    friend = {"EVENT_ID": "friend", "EVENT_TYPE": "PRODUCT_VIEW", "EVENT_DATE": "2026-06-20T00:00:00Z"}
    friend |= {"VISITOR_ID": "VFRIEND", "PRODUCT_ID": "PR00001", "PAGE_URL": said}
    site.deliver("web/events/dirt.jsonl.gz", [json.dumps(row) for row in (event, other, friend)])


def _share_a_device(site: Any, shopper: str, other: str) -> None:
    """A device on which the person was logged in, then anonymous, then somebody else logged in."""
    users = [shopper, None, shopper, other, None]
    rows = [
        {"EVENT_ID": f"shared-{i}", "EVENT_TYPE": "PRODUCT_VIEW", "EVENT_DATE": f"2026-06-20T1{i}:00:00Z", "VISITOR_ID": SHARED,  # noqa: E501
         "PRODUCT_ID": "PR00001", "CUSTOMER_ID": user}
        for i, user in enumerate(users)
    ]  # fmt: skip
    site.deliver("web/events/shared.jsonl.gz", [json.dumps(row) for row in rows])


@pytest.fixture(scope="module")
def case(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    from customer360.platform.run import replay
    from customer360.serve import jobs

    raw = raw_retailer(PEOPLE, DAYS, SEED)
    made = site(raw)
    newest = date.fromisoformat(made.run().as_of)
    person = _chosen(made)
    accounts = set(made.lake.scan("silver.identities").filter(person_id=person).collect()["record_id"])
    contacts = made.lake.scan("silver.customer_records").filter(
        pl.col("record_id").is_in(list(accounts)) & pl.col("email_address").is_not_null()
    )
    account, email = (
        contacts.filter(pl.col("source_system").is_in(["POS", "SHOP"]))
        .select("record_id", "email_address")
        .collect()
        .rows()[0]
    )
    words = _words(made, accounts)
    everyone = made.lake.scan("silver.identities").filter(source_system="SHOP").sort("customer_id").collect()
    shopper = everyone.filter(pl.col("person_id") == person)["customer_id"][0]
    _spoil(made, account, email, shopper)
    _share_a_device(made, shopper, everyone.filter(pl.col("person_id") != person)["customer_id"][0])
    made.run(as_of=newest - timedelta(days=7))  # an older edition of the dated tables
    out = made.root / "out.jsonl"
    replay.export(made.lake, out, "bronze.customers")
    mine = [json.loads(t) for t in out.read_text().splitlines() if email in t and '"_raw"' not in t]
    out.write_text("".join(json.dumps(row | {"DATE_OF_BIRTH": "still not"}) + "\n" for row in mine[:1]))
    replay.replay(made.lake, made.settings, out)
    made.run(as_of=newest)
    jobs.publish(made.settings)
    assert len(words) >= 4 and email in words
    before = {name: made.lake.scan(name).collect() for name in tables.TABLES if made.lake.exists(name)}
    case = Case(made, person, accounts, words, before, dates=(newest - timedelta(days=7), newest))
    assert _mentions(case), "the scan finds nothing to erase"
    jobs.load_warehouse(made.settings)
    assert {case.person, email} <= _in_warehouse(case), "neither does it in the warehouse"
    case.standing = made.copy(tmp_path_factory.mktemp("standing") / "site")
    case.touched = jobs.erase(made.settings, person)
    yield case


def _mentions(case: Case) -> dict[str, list[str]]:
    """Words of the person in any text of a current data file, by table."""
    pattern = (
        "(?i)(?:^|[^A-Za-z0-9])(" + "|".join(map(re.escape, sorted({*case.words, case.person}))) + ")(?:[^A-Za-z0-9]|$)"
    )
    found = {}
    for name in case.before:
        for file in case.site.lake.files(name):
            frame = pl.read_parquet(Path(case.site.lake.uri(name)) / file.path)
            text = frame.with_columns(pl.col(pl.Binary).map_batches(_readable, return_dtype=pl.String))
            hits = (
                text.select(row=pl.struct(pl.all()).struct.json_encode()).to_series().str.extract(pattern).drop_nulls()
            )
            if len(hits):
                found[name] = sorted(set(found.get(name, [])) | set(hits))
    return found


def _readable(values: pl.Series) -> pl.Series:
    return pl.Series([None if v is None else v.decode("utf-8", "replace") for v in values], dtype=pl.String)


# ---- gone -----------------------------------------------------------------------------------------------------------


def test_no_current_file_names_the_person(case: Case) -> None:
    assert _mentions(case) == {}
    assert case.touched["bronze.customers"] >= len(case.accounts)


def test_no_object_beside_the_tables_names_the_person(case: Case) -> None:
    for path in case.site.lake.objects(""):
        if path.split("/")[0] in ("_batches", "_runs", "_replays", "_erasures", "_staging"):
            data = (case.site.lake.get(path) or b"").decode().lower()
            assert not [
                word for word in case.words if re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])", data)
            ], path


def test_refused_rows_of_others_stay(case: Case) -> None:
    refused = quality.refused(case.site.lake)["record"]
    assert "other@example.org" in refused.str.json_path_match("$.EMAIL_ADDRESS").to_list()
    assert "X9" in refused.str.json_path_match("$.CUSTOMER_ID").to_list()
    assert any(b"X998" in raw for raw in quality.dead_letters(case.site.lake)["raw"])


def test_what_others_did_stays_without_what_it_says_of_the_person(case: Case) -> None:
    (url,) = case.now("silver.events").filter(event_id="friend")["page_url"]
    assert url == f"https://shop.example.com/shared?from={privacy.MASK}&by={privacy.MASK}"


def test_the_online_store_forgot_the_person(case: Case) -> None:
    from customer360.platform import online

    state = Path(case.site.settings.state)
    store = online.OnlineStore(state)
    assert store.get("person", case.person) is None and store.get("scores", case.person) is None
    assert [store.get("account", account) for account in case.accounts] == [None] * len(case.accounts)
    assert len(online.generations(state)) == 1
    data = (state / "online" / "generations" / store.generation.id / "data.mdb").read_bytes()
    assert not [
        word for word in case.words if re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])".encode(), data)
    ]
    kept = case.before["silver.identities"].filter(pl.col("person_id") != case.person)["person_id"]
    assert all(store.get("person", other) for other in kept.unique())


def _in_warehouse(case: Case) -> set[str]:
    """Words of the person in any byte of the warehouse file, other than as a part of somebody else's longer number."""
    import duckdb

    from customer360.serve import jobs

    file = jobs.warehouse_file(case.site.settings)
    data = file.read_bytes()
    assert not file.with_name(f"{file.name}.wal").exists()
    with duckdb.connect(str(file), read_only=True) as star:
        names = [n for (n,) in star.execute("SELECT table_name FROM loads.tables").fetchall()]
        held = "\n".join(row for n in names for (row,) in star.execute(f"SELECT t::VARCHAR FROM {n} AS t").fetchall())
    words = {w for w in {*case.words, case.person} if len(w) > 4}
    whole = {w for w in words if re.search(rf"(?<![A-Za-z0-9]){re.escape(w)}(?![A-Za-z0-9])", held)}
    return whole | {w for w in words if w not in held and w.encode() in data}


def test_the_warehouse_forgot_the_person_and_keeps_the_money(case: Case) -> None:
    import duckdb

    from customer360.serve import jobs

    assert _in_warehouse(case) == set()
    with duckdb.connect(str(jobs.warehouse_file(case.site.settings)), read_only=True) as star:
        kept = star.execute("SELECT sum(net_amount), count(*) FROM customer.fact_transactions").fetchall()
    assert kept == [case.before["silver.transactions"].select(pl.col("net_amount").sum(), pl.len()).row(0)]
    assert jobs.load_warehouse(case.site.settings).is_current


# ---- died, and taken up again ---------------------------------------------------------------------------------------

DEATHS = (
    "before hiding",  # answers name the person still
    "after commit bronze.customers",  # contacts can be read off no table any more
    "after commit silver.identity_members",  # the registry knows nobody by this id
    "before publication",
    "after commit silver.identities",  # nor does the lake
    "before commit warehouse",
)


class Died(BaseException):
    """Stands for the death of the process."""


def test_an_erasure_that_died_is_taken_up_wherever_it_stopped(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.platform import lake, online
    from customer360.serve import jobs

    survivor = Case(case.standing, case.person, case.accounts, case.words, case.before)
    for point in DEATHS:

        def die(reached: str, point: str = point) -> None:
            if reached == point:
                raise Died

        monkeypatch.setattr(lake, "observers", [die])
        with pytest.raises(Died):
            jobs.erase(survivor.site.settings, case.person)
        monkeypatch.setattr(lake, "observers", [])
        if point == "after commit silver.identity_members":
            jobs.publish(survivor.site.settings)  # between, others are published, and the person is not
            assert online.OnlineStore(Path(survivor.site.settings.state)).get("person", case.person) is None
    jobs.erase(survivor.site.settings, case.person)
    assert _mentions(survivor) == {} and _in_warehouse(survivor) == set()
    assert survivor.site.lake.objects("_erasures/unfinished") == []
    assert survivor.now("silver.identities").sort("record_id").equals(case.now("silver.identities").sort("record_id"))


# ---- kept -----------------------------------------------------------------------------------------------------------


def test_receipts_are_anonymous_and_the_money_stays(case: Case) -> None:
    key = ["source_system", "transaction_id"]
    before, now = case.before["silver.transactions"].sort(key), case.now("silver.transactions").sort(key)
    personal = ("subject_id", "person_id", "customer_id", "visitor_id")
    assert now.drop(personal).equals(before.drop(personal))
    mine = now.join(before.filter(pl.col("person_id") == case.person).select(key), on=key, how="semi")
    assert (
        mine.height
        and mine["customer_id"].null_count()
        == mine["person_id"].null_count()
        == mine["visitor_id"].null_count()
        == mine.height
    )
    days = [
        f["silver.subject_days"].select(pl.col("gross_amount", "net_amount", "order_count", "unit_count").sum())
        for f in (case.before, {"silver.subject_days": case.now("silver.subject_days")})
    ]
    assert days[0].equals(days[1])


@pytest.mark.parametrize(
    "name",
    ["silver.people", "silver.identities", "silver.events", "silver.transactions", "silver.sessions", "silver.subject_days",  # noqa: E501
     "silver.preferences", "gold.interactions", "gold.customer_features"],
)  # fmt: skip
def test_other_people_are_untouched(case: Case, name: str) -> None:
    def others(frame: pl.DataFrame) -> pl.DataFrame:
        rows = frame.filter(pl.col("person_id").is_not_null() & (pl.col("person_id") != case.person))
        return rows.sort([c for c in rows.columns if not rows.schema[c].is_nested()])

    before, now = others(case.before[name]), others(case.now(name))
    assert before.height and now.equals(before)


def test_what_the_person_did_on_a_shared_device_is_nobody_elses(case: Case) -> None:
    mine = case.before["silver.events"].filter(visitor_id=SHARED).sort("event_id")
    assert (mine["person_id"] == case.person).to_list() == [True, True, True, False, False]
    assert sorted(case.now("silver.events").filter(visitor_id=SHARED)["event_id"]) == ["shared-3", "shared-4"]


def test_every_edition_of_the_others_is_kept(case: Case) -> None:
    for name in ("gold.customer_360", "gold.customer_features"):
        before = case.before[name].filter(pl.col("person_id") != case.person)
        assert set(before["as_of"]) == set(case.dates)
        assert sorted(case.now(name).select("person_id", "as_of").rows()) == sorted(
            before.select("person_id", "as_of").rows()
        )


def test_conservation_still_holds(case: Case) -> None:
    from customer360.serve.cli import report

    lines = [balance for _, balance in report.balances(case.site.lake, case.site.settings)]
    assert lines and [b.text for b in lines if not b.holds] == []


def test_rows_that_name_nobody_are_left_in_every_table(case: Case) -> None:
    who = privacy.Identifiers(
        frozenset(case.accounts), frozenset({"device"}), frozenset(case.words), {}, frozenset({case.person})
    )
    for name, table in tables.TABLES.items():
        if tables.spec(table).layer == "bronze" or (tables.spec(table).is_dated and "person_id" in table.columns()):
            nobody = pl.DataFrame([dict.fromkeys(tables.schema(table))], schema=tables.schema(table))
            erase = privacy._without if tables.spec(table).layer == "bronze" else privacy._without_person
            assert erase(table, who, nobody).equals(nobody), name


# ---- and stays gone
# ---------------------------------------------------------------------------------------------------


def test_the_next_delivery_does_not_bring_the_person_back(case: Case) -> None:
    account = next(a for a in sorted(case.accounts) if not a.startswith("CRM"))
    system = account.partition("/")[0].lower()
    (file,) = (case.site.landing / f"{system}/customers").glob("customers.*")
    again = case.site.copy(case.site.root.parent / f"{case.site.root.name}-again")
    (again.landing / f"{system}/customers" / f"next-{file.name}").write_bytes(file.read_bytes())
    landed = {n.node: n for n in again.run(end="silver").nodes}[f"source {system}_customers"]
    assert landed.facts["erased"] >= 1
    assert landed.facts["read"] == sum(landed.facts[k] for k in ("landed", "dead", "collapsed", "left_out", "erased"))
    late = again.lake.scan("quality.erased_records").filter(pl.col("source") == f"{system}_customers").collect()
    assert late.height == landed.facts["erased"] and late["digest"].null_count() == 0
    found = Case(again, case.person, case.accounts, case.words, case.before)
    assert _mentions(found) == {}
    assert (
        again.lake.scan("silver.people")
        .collect()["person_id"]
        .sort()
        .equals(case.now("silver.people")["person_id"].sort())
    )


def test_nobody_is_erased_twice(case: Case) -> None:
    from customer360.serve import jobs

    with pytest.raises(Customer360Error, match="erased already"):
        jobs.erase(case.site.settings, case.person)
