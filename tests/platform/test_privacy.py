"""Privacy: what was erased stays away, and goes from everything that keeps raw rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform import erasure_list, privacy, quality, tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.platform.privacy import Identifiers
from customer360.platform.tables import Date, Integer, String, Table, personal


def test_nobody_is_erased_at_first(lake: Lake) -> None:
    frame = pl.DataFrame({"CUSTOMER_ID": ["1", None]})
    assert erasure_list.erased_rows(lake, frame, "POS").to_list() == [False, False]


def test_erased_accounts_and_visitors_are_found_again(lake: Lake) -> None:
    erasure_list.remember_erasure(lake, ["POS/1"])
    erasure_list.remember_erasure(lake, ["POS/2", "VISITOR/v9"])
    frame = pl.DataFrame({"CUSTOMER_ID": ["1", "2", "3", None, "3"], "VISITOR_ID": ["v1", None, "v9", None, "v2"]})
    assert erasure_list.erased_rows(lake, frame, "POS").to_list() == [True, True, True, False, False]
    assert erasure_list.erased_rows(lake, frame, "WEB").to_list() == [False, False, True, False, False]
    assert erasure_list.erased_rows(lake, frame.select("VISITOR_ID"), "POS").to_list() == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert erasure_list.erased_rows(lake, pl.DataFrame({"OTHER": ["1", "2"]}), "POS").to_list() == [False, False]
    assert erasure_list.erased_rows(lake, frame.clear(), "POS").to_list() == []


def test_the_list_holds_no_identifier_and_is_keyed(lake: Lake, tmp_path: Path) -> None:
    other = Lake(f"{tmp_path}/other")
    for each in (lake, other):
        erasure_list.remember_erasure(each, ["POS/secret-account"])
    stored = [each.get("_erasures/digests.json") or b"" for each in (lake, other)]
    assert b"secret-account" not in stored[0]
    assert stored[0] != stored[1]


@pytest.mark.parametrize("stored", [b"", b'["a', b"{}"])
def test_a_damaged_list_lets_nobody_back_in(lake: Lake, stored: bytes) -> None:
    erasure_list.remember_erasure(lake, ["POS/1"])
    lake.put("_erasures/digests.json", stored)
    with pytest.raises(LakeError, match=r"_erasures/digests\.json "):
        erasure_list.erased_rows(lake, pl.DataFrame({"CUSTOMER_ID": ["1"]}), "POS")


@pytest.fixture
def raw(lake: Lake, registries: None) -> list[type[Table]]:
    """Two bronze tables with rows of accounts 1 and 2: one loses rows on erasure, one only what is personal."""

    class Gone(Table, table="bronze.t_gone"):
        """One row per profile."""

        CUSTOMER_ID = String(nullable=True, metadata=personal("account"))
        NAME = String(nullable=True, metadata=personal("name"))

    class Kept(Table, table="bronze.t_kept", erasure="anonymize"):
        """One row per sale."""

        CUSTOMER_ID = String(nullable=True, metadata=personal("account"))
        UNITS = Integer(nullable=True)

    for table in (Gone, Kept):
        name = tables.spec(table).name
        lake.ensure(table)
        rows = [
            {
                "CUSTOMER_ID": c,
                "NAME": f"name {c}",
                "UNITS": 3,
                "_source": "pos",
                "_source_system": "POS",
                "_rescued": "{}",
            }
            for c in ("1", "2", None)
        ]
        frame = pl.DataFrame(rows, schema=tables.schema(table))
        lake.append_batch(name, [lake.write_file(name, frame, {"_source": "pos"})], source="pos", seq=1)
    return [Gone, Kept]


def test_erase_rows_deletes_or_blanks_by_contract(lake: Lake, raw: list[type[Table]]) -> None:
    touched = privacy.erase_rows(lake, Identifiers(accounts=frozenset({"POS/1", "WEB/2"})))
    assert touched == {"bronze.t_gone": 1, "bronze.t_kept": 1}
    assert lake.scan("bronze.t_gone").collect()["CUSTOMER_ID"].to_list() == ["2", None]
    kept = lake.scan("bronze.t_kept").select("CUSTOMER_ID", "UNITS", "_rescued").collect().rows()
    assert kept == [(None, 3, None), ("2", 3, "{}"), (None, 3, "{}")]
    assert erasure_list.erased_rows(lake, pl.DataFrame({"CUSTOMER_ID": ["1", "2"]}), "POS").to_list() == [True, False]


def test_editions_lose_an_account_that_was_nobodys_when_they_were_made(lake: Lake, registries: None) -> None:
    """Its number stands alone there, beside its system: of another system it is somebody else's."""

    class Told(Table, table="gold.told", partition_by=("as_of",)):
        """One row per account and date."""

        source_system = String(primary_key=True)
        customer_id = String(primary_key=True, metadata=personal("account"))
        as_of = Date(primary_key=True)
        person_id = String(nullable=True)

    rows = [("POS", "1", None), ("CRM", "1", "P2"), ("POS", "2", None), ("POS", "3", "P1")]
    frame = pl.DataFrame(rows, schema=["source_system", "customer_id", "person_id"], orient="row")
    made = tables.conform(Told, frame.with_columns(as_of=date(2026, 5, 1)).lazy()).collect()
    lake.ensure(Told)
    file = lake.write_file("gold.told", made.drop("as_of"), {"as_of": "2026-05-01"})
    lake.replace("gold.told", [file], scope={}, app="t", app_version=1)
    privacy.erase_rows(lake, Identifiers(accounts=frozenset({"POS/1"}), persons=frozenset({"P1"})))
    assert sorted(lake.scan("gold.told").select("source_system", "customer_id").collect().rows()) == [
        ("CRM", "1"), ("POS", "2"),
    ]  # fmt: skip


def test_erase_rows_cleans_what_was_refused(lake: Lake, registries: None) -> None:
    for table, column, values in (
        (quality.Quarantine, "record", ['{"ID":"17"}', '{"ID":"170"}']),
        (quality.DeadLetters, "raw", [b"17,x,\xff", b"x17"]),
    ):
        name = tables.spec(table).name
        (part,) = tables.spec(table).partition_by
        rows = [{column: v, part: "p", "source_system": "POS"} for v in values]
        lake.ensure(table)
        frame = pl.DataFrame(rows, schema=tables.schema(table))
        lake.append_batch(name, [lake.write_file(name, frame, {part: "p"})], source="pos", seq=1)
    lake.put("_replays/r.jsonl", b'{"ID":"17"}\n{"ID":"18"}\n')
    touched = privacy.erase_rows(lake, Identifiers(accounts=frozenset({"POS/17"})))
    assert {k: v for k, v in touched.items() if v} == {
        "quality.quarantine": 1,
        "quality.dead_letters": 1,
        "_replays/r.jsonl": 1,
    }
    assert lake.scan("quality.quarantine").collect()["record"].to_list() == ['{"ID":"170"}']
    assert lake.scan("quality.dead_letters").collect()["raw"].to_list() == [b"x17"]
    assert lake.get("_replays/r.jsonl") == b'{"ID":"18"}\n'


def test_a_begun_erasure_keeps_what_names_its_person_until_it_ends(lake: Lake) -> None:
    who = Identifiers(
        frozenset({"POS/1"}), frozenset({"d"}), frozenset({"a@x.org"}), {"bronze.t": frozenset({"POS/9"})},
        frozenset({"p0"}), frozenset({("ann", "lee")}),
    )  # fmt: skip
    assert privacy.unfinished_erasures(lake) == {}
    privacy.begin_erasure(lake, "p1", who)
    assert privacy.unfinished_erasures(lake) == {"p1": who}
    owners = pl.DataFrame({"record_id": ["POS/1", "POS/2"], "person_id": ["p2", "p3"]})  # a run made p1 and p2 one
    assert privacy.leaving(lake, owners) == ["p0", "p2"]
    privacy.end_erasure(lake, "p1")
    assert privacy.leaving(lake, owners) == []
    assert privacy.unfinished_erasures(lake) == {} and lake.objects("_erasures/unfinished") == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("my neighbour Ann Lee-Brandt, ann@lee.org, took it", "my neighbour •••, •••, took it"),
        ("https://x.org/?u=ANN%40lee.org&b=1", "https://x.org/?u=•••&b=1"),
        ("call +1 (202) 555-0147 or 202.555.0147", "call +1 (••• or •••"),
        ("for Lee-Brandt, Ann", "for •••"),
        ("Ann said: joann@lee.org, 12025550147123, Lee-Brandt", "Ann said: joann@lee.org, 12025550147123, Lee-Brandt"),
        ("Ann (a+b) [c] \\", "Ann (a+b) [c] \\"),
    ],
)
def test_what_others_say_of_a_person_is_covered(text: str, left: str) -> None:
    who = Identifiers(texts=frozenset({"ann@lee.org", "2025550147"}), names=frozenset({("ann", "lee-brandt")}))
    assert pl.Series([text]).str.replace_all(who.mentions(), privacy.MASK).to_list() == [left]
    assert pl.Series([text]).str.replace_all(Identifiers().mentions(), privacy.MASK).to_list() == [text]


@given(st.text(min_size=1), st.text(min_size=1))
def test_law_any_name_makes_a_pattern(first: str, last: str) -> None:
    who = Identifiers(texts=frozenset({first, last}), names=frozenset({(first, last)}))
    pl.Series(["x"]).str.contains(who.mentions())
    assert who.betrays(None, f"{first}|{last}".encode("utf-8", "replace")) in (True, False)


_WORDS = st.sampled_from(["POS/17", "a@x.org", "Irene", "Lee", "ıpek", "(202) 555-0147", "d-7", "a+b (c)"])
_SAID = st.lists(
    st.one_of(_WORDS, st.sampled_from(["17", "İRENE", "irene lee", "A@X.ORG", "2025550147", "IPEK", "\ufffd", "x"])),
    max_size=6,
)


@given(_WORDS, _WORDS, _SAID, st.sampled_from([" ", ",", "", "|"]))
def test_law_what_is_not_hinted_at_betrays_nobody(one: str, two: str, said: list[str], joint: str) -> None:
    """Only what may name the subject is looked at closely: the answer is that of looking at each."""
    who = Identifiers(frozenset({one}), frozenset({two}), frozenset({one, two}), names=frozenset({(one, two)}))
    texts = [joint.join(said), "nobody", *said]
    frame = pl.DataFrame({"source_system": ["POS"] * len(texts), "raw": [t.encode() for t in texts]})
    kept = privacy._without_text("raw", who, frame)["raw"].to_list()
    assert kept == [t.encode() for t in texts if not who.betrays("POS", t.encode())]
    as_text = frame.with_columns(raw=pl.Series(texts))
    assert privacy._without_text("raw", who, as_text)["raw"].to_list() == [raw.decode() for raw in kept]


_LETTERS = st.characters(categories=("L", "Nd"))
_CASES = st.sampled_from([str, str.upper, str.lower, str.title, str.swapcase, str.casefold])


@given(st.text(_LETTERS | st.sampled_from("iIıİsſßẞkKKσςΣµ"), min_size=1, max_size=6), _CASES, st.data())
def test_law_a_name_of_any_alphabet_and_case_is_looked_at_where_it_betrays(
    last: str, cased: Callable[[str], str], data: st.DataObject
) -> None:
    own = {"i": "iIıİ", "I": "iIıİ", "ı": "iIıİ", "İ": "iIıİ"}
    said = "".join(data.draw(st.sampled_from(own.get(letter, letter))) for letter in cased(last))
    who = Identifiers(names=frozenset({("Ann", last)}), addresses=frozenset({f"{last} 12345678"}))
    texts = [f"{said};city;ann", f"{said} 12345678", said]
    frame = pl.DataFrame({"source_system": ["POS"] * len(texts), "raw": texts})
    kept = privacy._without_text("raw", who, frame)["raw"].to_list()
    assert kept == [text for text in texts if not who.betrays("POS", text.encode())]


@pytest.mark.parametrize(
    ("first", "last", "raw"),
    [
        ("Nuray", "Kılınç", '{"SOYAD":"KILINÇ","IL":"ANKARA 1234567","AD":"NURAY"}'),
        ("Nuray", "İnal", '{"SOYAD":"INAL","IL":"ANKARA 1234567","AD":"NURAY"}'),
        ("Nuray", "inal", '{"SOYAD":"İNAL","IL":"ANKARA 1234567","AD":"NURAY"}'),
        ("Άρης", "Νέος", '{"LAST":"ΝΈΟΣ","CITY":"ANKARA 1234567","FIRST":"ΆΡΗΣ"}'),
    ],
)
def test_a_record_goes_by_names_in_capitals_of_their_own_alphabet(first: str, last: str, raw: str) -> None:
    who = Identifiers(names=frozenset({(first, last)}))
    frame = pl.DataFrame({"source_system": ["POS", "POS"], "raw": [raw, "{}"]})
    assert privacy._without_text("raw", who, frame)["raw"].to_list() == ["{}"]


def test_a_person_of_any_number_of_devices_is_hinted_at() -> None:
    devices = [f"{at:08x}-quorvex-{at * 7919:024x}" for at in range(20_000)]
    hints = Identifiers(devices=frozenset(devices)).hints()
    said = pl.Series([devices[0], devices[-1].upper(), "nobody"])
    found = [said.str.contains(hint) for hint in hints]
    assert [any(one[at] for one in found) for at in range(3)] == [True, True, False]
    assert Identifiers().hints() == []


def test_a_refused_record_goes_by_both_names_and_not_by_one(lake: Lake) -> None:
    who = Identifiers(names=frozenset({("ann", "lee")}))
    assert who.betrays("POS", b'{"FIRST_NAME":"ANN","CITY":"X","LAST_NAME":"Lee"}') and who.betrays(None, b"9,Lee,Ann")
    assert not who.betrays("POS", b'{"FIRST_NAME":"Joann","LAST_NAME":"Lee"}') and not who.betrays(None, b"Ann,\xff")


def test_what_was_refused_is_known_again_by_a_digest_that_tells_nothing(lake: Lake) -> None:
    rows = pl.DataFrame({"CUSTOMER_ID": ["17", "17", "18"], "N": [1, 1, None]})
    one, again, other = erasure_list.record_digests(lake, rows)
    assert one == again != other and len(one) == 32
    assert list(erasure_list.record_digests(lake, rows.select("N", "CUSTOMER_ID"))) == [one, again, other]
    assert erasure_list.record_digests(lake, rows.clear()).to_list() == []


def test_who_signed_is_covered_where_the_row_is_of_nobody(registries: None) -> None:
    class Signed(Table, table="bronze.t_signed", key=("NUMBER",)):
        NUMBER = String(nullable=False)
        CUSTOMER_ID = String(nullable=True, metadata=tables.personal("account"))
        AUTHOR_NAME = String(nullable=True, metadata=tables.personal("name"))
        AUTHOR_HANDLE = String(nullable=True, metadata=tables.personal("handle"))

    schema = tables.schema(Signed)
    signed = [{"NUMBER": "1", "AUTHOR_NAME": "Anna Schmidtke", "AUTHOR_HANDLE": "anna.schmidtke@example.com"},
              {"NUMBER": "2", "AUTHOR_NAME": "Anna Other", "AUTHOR_HANDLE": "@other"}]  # fmt: skip
    frame = pl.DataFrame([{**dict.fromkeys(schema), "_source_system": "S", **row} for row in signed], schema=schema)
    who = Identifiers(texts=frozenset({"anna.schmidtke@example.com"}), names=frozenset({("Anna", "Schmidtke")}))
    left = privacy._without(Signed, who, frame).select("AUTHOR_NAME", "AUTHOR_HANDLE").rows()
    assert left == [(privacy.MASK, privacy.MASK), ("Anna Other", "@other")]


class Signed(Table, table="bronze.signed", key=("POST_ID",)):
    """One row per post."""

    POST_ID = String()
    CUSTOMER_ID = String(nullable=True, metadata=personal("account"))
    AUTHOR = String(nullable=True, metadata=personal("handle", within="SITE"))
    SITE = String(nullable=True)


del tables.TABLES["bronze.signed"]  # of the tests below alone, which declare it


def test_rows_of_nobody_go_with_the_handle_they_are_signed_with(lake: Lake, registries: None) -> None:
    tables.TABLES["bronze.signed"] = Signed
    rows = pl.DataFrame(
        [("1", "7", "@ann", "x"), ("2", None, " @ANN", "X"), ("3", None, "@ann", "y"), ("4", "8", "@ann", "x"),
         ("5", None, "@bob", "x"), ("6", None, None, "x")],
        schema=["POST_ID", "CUSTOMER_ID", "AUTHOR", "SITE"], orient="row",
    ).with_columns(_source_system=pl.lit("SHOP"))  # fmt: skip
    who = Identifiers(accounts=frozenset({"SHOP/7"}), handles=frozenset({"SHOP/x/@ann"}))
    mine = rows.filter(privacy.is_of(Signed, who))["POST_ID"].to_list()
    assert mine == ["1", "2"], "the same name elsewhere, or on somebody's account, is not theirs"
    erasure_list.remember_erasure(lake, ["SHOP/7", "HANDLE/SHOP/x/@ann"])
    late = erasure_list.erased_rows(lake, rows, "SHOP", Signed)
    assert rows.filter(late)["POST_ID"].to_list() == mine, "and what comes later is refused alike"
    assert not erasure_list.erased_rows(lake, rows[1:2], "CRM", Signed).any()
    erasure_list.remember_erasure(lake, ["HANDLE/SHOP/x/[deleted]"])
    nobodys = rows.with_columns(AUTHOR=pl.lit("[deleted]"), CUSTOMER_ID=pl.lit(None, pl.String))
    assert not erasure_list.erased_rows(lake, nobodys, "SHOP", Signed).any(), "as lists of before may hold it"


def test_a_handle_that_a_platform_gives_to_many_tells_nobody() -> None:
    nobodys = [
        "[deleted]",
        "Deleted User",
        "A Google user",
        " Instagram_User ",
        "anonymous",
        "@",
        "--",
        "Gelöschter Nutzer",
        "Verified Purchaser",
        "Kindle Customer",
        "A TripAdvisor Member",
        "Cliente",
        "N/A",
        "eBay user",
        "匿名用户",
        "Покупатель",
    ]
    somebodys = [
        "@user8372",
        "guestlist",
        "n/ann",
        "tester_anna",
        "匿名的安娜",
        "an",
        "Anon Ymous",
        "anna",
        "安娜",
        "deleted_anna",
        "u/a",
    ]
    rows = pl.DataFrame({"AUTHOR": nobodys + somebodys, "SITE": "x"})
    told = rows.select(tables.signed(Signed)["AUTHOR"]).to_series().is_null().to_list()
    assert told == [True] * len(nobodys) + [False] * len(somebodys)


def test_an_export_sets_what_is_theirs_by_a_handle_alone_apart(lake: Lake, registries: None) -> None:
    from customer360.platform.settings import LakeSettings, Settings
    from customer360.serve.rights.export import held

    tables.TABLES["bronze.signed"] = Signed
    lake.ensure(Signed)
    rows = [{"POST_ID": n, "CUSTOMER_ID": account, "AUTHOR": "@ann", "SITE": "x", "_source": "s",
             "_source_system": "SHOP"} for n, account in (("1", "7"), ("2", None), ("3", "8"))]  # fmt: skip
    file = lake.write_file("bronze.signed", pl.DataFrame(rows, schema=tables.schema(Signed)), {"_source": "s"})
    lake.append_batch("bronze.signed", [file], source="s", seq=1)
    who = Identifiers(accounts=frozenset({"SHOP/7"}), handles=frozenset({"SHOP/x/@ann"}))
    settings = Settings(lake=LakeSettings(root=str(lake.root)), state=str(lake.root) + "-state")
    found = {
        name: [row["POST_ID"] for row in part["rows"]] for name, part in held(settings, "p", who)["tables"].items()
    }
    assert found == {"bronze.signed": ["1"], "bronze.signed, by handle alone": ["2"]}
