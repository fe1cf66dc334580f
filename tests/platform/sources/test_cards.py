"""Card numbers in texts, numbers and bytes; what only looks like one stays."""

from __future__ import annotations

import json
import time
from functools import partial

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.lake import Lake
from customer360.platform.settings import SourceSettings
from customer360.platform.sources import cards
from customer360.platform.sources.formats.records import DEAD, POSITION, Records
from customer360.platform.sources.spool import Page, Spool
from customer360.platform.tables import String, Table

SIX_FOUR = {
    "4000001234567899": "400000******7899",
    "4000 0012 3456 7899": "4000 00** **** 7899",
    "4000-0012-3456-7899, 12/28": "4000-00**-****-7899, 12/28",
    "ref 4000.0012.3456.7899.": "ref 4000.00**.****.7899.",
    "x=340000123456781;": "x=340000*****6781;",
    ";4000001234567899=28121010000?": ";400000******7899=28121010000?",
    "0004000001234567899": "000400000******7899",
    "40000012345678991228": "400000******78991228",  # with its expiry
    "+491701234567 4000 0012 3456 7899": "+491701234567 4000 00** **** 7899",
    "tel. +1 650 555 0100 4000001234567899": "tel. +1 650 555 0100 400000******7899",
    "+4000001234567899": "+400000******7899",
    "+340000123456781": "+340000*****6781",
    "４０００００１２３４５６７８９９": "４０００００******７８９９",
}
OTHERS = (
    "4000001234567898",  # fails Luhn
    "20261129101112", "2026-11-29 10:11:12.123456", "1764411072000", "+4915112345678", "5.00", "",
    "+4915112345678", "+49 151 1234 5678",  # pass Luhn
    "8515131751004933",  # a provider's reference
    "d41d8cd98f00b204e9800998ecf8427e", "order 100000000000008",
)  # fmt: skip


def passes_luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, Annex B."""
    twice = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (twice + sum(map(int, digits[-1::-2]))) % 10 == 0


@pytest.mark.parametrize("text", SIX_FOUR)
def test_the_first_six_and_last_four_stay(text: str) -> None:
    assert cards.masked(text) == SIX_FOUR[text]
    assert cards.masked(cards.masked(text)) == cards.masked(text)


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_card_stays(text: str) -> None:
    assert cards.masked(text) == text


def test_numbers_beside_other_digits_that_pass_luhn() -> None:
    for between in ("", " "):
        said = cards.masked(between.join(["4000001234567899"] * 3))
        assert "123456" not in said and said[:6] == "400000" and said[-4:] == "7899"
    for telephone in range(491701234500, 491701234600):  # a tenth of them passes with digits of the number
        assert cards.masked(f"+{telephone} 4000 0012 3456 7899").endswith(" 4000 00** **** 7899")


@given(st.integers(0, 10**9 - 1), st.text(alphabet="ab :=/,", max_size=6), st.sampled_from(["", " ", "-", ".", "  "]))
def test_no_number_is_missed(body: int, around: str, by: str) -> None:
    stem = f"400000{body:09d}"
    number = next(stem + str(n) for n in range(10) if passes_luhn(stem + str(n)))
    text = around + by.join(number[at : at + 4] for at in range(0, 16, 4)) + around
    shown = "".join(c for c in cards.masked(text) if c.isdigit())
    assert number not in shown and number[6:12] not in shown.removeprefix(number[:6]).removesuffix(number[-4:])


def test_json_stays_json_and_loses_codes() -> None:
    body = {"card": {"number": 4000001234567899, "cvc": "123", "cvc_check": "pass"}, "list": [4000001234567899]}
    said = json.loads(cards.masked(json.dumps(body)))
    assert said["card"] == {"number": "400000******7899", "cvc": None, "cvc_check": "pass"}
    assert said["list"] == ["400000******7899"]
    assert json.loads(cards.masked('{"id": 4000001234567899}', {"id"})) == {"id": 4000001234567899}


def test_what_stands_in_strings_of_json_is_no_bare_number() -> None:
    body = {"note": 'by card, 4000001234567899, "thanks"', "n": -40000012345678991228, "f": 4.000001234567899e15}
    said = json.loads(cards.masked(json.dumps(body)))
    assert said["note"] == 'by card, 400000******7899, "thanks"'
    assert "123456" not in said["n"] and "123456" not in said["f"].replace(".", "")


def test_keys_whose_values_stay() -> None:
    number = "4000001234567899"
    body = {"id": f"ord-{number}", "ids": {"id": number}, "no": f'"id": {number}', "cvc": "123"}
    said = json.loads(cards.masked(json.dumps(body, indent=2), {"id", "cvc"}))
    assert said == body | {"no": '"id": 400000******7899'}


HARD = {
    "digits and blanks": "1 " * 50_000,
    "groups that begin like cards": "4 0 " * 25_000,
    "digits": "4000001234567891" * 6_000,
    "a free key far away": '{"id": "x"' + ', "n": "1764411072000"' * 5_000 + "}",
    "bare numbers": "[" + "4000001234567899," * 6_000 + "1]",
    "blanks between": '{"id"' + " " * 50_000 + ': "' + "1764411072000 x " * 3_000 + '"}',
    "quotes": '"\\' * 50_000,
    "lists in codes": '{"cvv": [' * 11_000,
    "lists in what may be one": '{"cid": [' * 11_000,
    "elements": "<cvv>" * 20_000,
    "elements that may be one": "<cid>" * 20_000,
    "backslashes": '"cvv' + "\\" * 100_000,
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_time_grows_with_the_text(text: str) -> None:
    begun = time.process_time()
    cards.masked(text, {"id"})
    cards.masked(text)
    assert time.process_time() - begun < 2, "two texts of 100 kB"


def test_codes_wherever_json_and_xml_hold_them() -> None:
    body = {"security_code": {"value": "123", "at": ["}"]}, "cvv": ["123"], "cid": "881", "d": {"cid": 12345, "cvc": 7}}
    said = json.loads(cards.masked(json.dumps(body)))
    assert said == {"security_code": None, "cvv": None, "cid": None, "d": {"cid": 12345, "cvc": None}}
    within = {"payload": json.dumps({"cvv": "737", "city": "B"})}
    assert json.loads(json.loads(cards.masked(json.dumps(within)))["payload"]) == {"cvv": None, "city": "B"}
    assert cards.masked('{"a": 1, "cvv": "73') == '{"a": 1, "cvv": null'
    page = (
        '<P><c:CVV a="1">737</c:CVV><cvc><v>737</v></cvc><cid>C-8</cid><CID>8812</CID><x cvv="737" cvv2 = \'1\'/></P>'
    )
    assert cards.masked(page) == '<P><c:CVV a="1"></c:CVV><cvc></cvc><cid>C-8</cid><CID></CID><x cvv="" cvv2 = ""/></P>'


def test_columns_that_are_named_like_codes() -> None:
    frame = pl.DataFrame({POSITION: [1, 2], "cid": ["881", "12345"], "pin_code": ["560001", "110001"],
                          "CID": ["881", ""], "card_cid": ["C1", None],
                          "pin code": ["7391", None], "cvc.value": ["1", "2"]})  # fmt: skip
    found = cards.without_cards(Records(frame, pl.DataFrame([[3], ["odd"], [b"x,y"]], schema=DEAD, orient="col")))
    assert [c for c in frame.columns if found.frame[c].null_count() < 2] == [POSITION, "cid", "pin_code"]
    kept = cards.without_cards(Records(frame.select(POSITION, "cid", "pin_code"), found.dead.with_columns(raw=b"x,y")))
    assert kept.dead["raw"].to_list() == [b"x,y"] and kept.notes == (), "nothing here is a code"


def test_notes_name_columns_of_which_values_were_masked() -> None:
    frame = pl.DataFrame(
        {POSITION: [1], "order": ["4000001234567899"], "n": [4000001234567899], "free": ["4000001234567899"], "m": [1]}
    )
    notes = cards.without_cards(Records(frame, pl.DataFrame(schema=DEAD)), {"free"}).notes
    assert [note.partition(":")[0] for note in notes] == ["order", "n"] and "`card_free`" in notes[0]


def test_numbers_of_any_type_and_bytes_of_any_encoding() -> None:
    frame = pl.DataFrame(
        {POSITION: [1], "i": [4000001234567899], "f": [4.000001234567899e15], "b": [b"4000001234567899"]}
    )
    assert set(cards.masked_rows(frame).drop(POSITION).row(0)) == {"400000******7899"}
    for encoding in ("utf-8", "utf-16", "latin-1"):
        raw = "\xe9 4000001234567899".encode(encoding)
        assert "123456" not in cards.masked_bytes(raw).replace(b"\x00", b"").decode("latin-1")
    small = pl.DataFrame({POSITION: [4000001234567899], "n": [5]})
    assert cards.masked_rows(small).equals(small)


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32])
def test_columns_of_numbers_too_small_for_a_cards_are_left_alone(kind: type[pl.DataType]) -> None:
    small = pl.DataFrame({"n": pl.Series([100, 0, None], dtype=kind), "card": "4000001234567899"})
    made = cards.masked_rows(small)
    assert made["n"].equals(small["n"]) and made["card"].unique().to_list() == ["400000******7899"]


def test_codes_and_names_of_columns() -> None:
    frame = pl.DataFrame({POSITION: [1], "cvv": ["123"], "card.Security Code": ["1"], "cvc_check": ["pass"],
                          "4000001234567899": ["x"], "shipping": ["y"]})  # fmt: skip
    dead = pl.DataFrame([[2], ["odd"], [b"123,x"]], schema=DEAD, orient="col")
    found = cards.without_cards(Records(frame, dead))
    assert found.frame.columns[1:] == ["cvv", "card.Security Code", "cvc_check", "400000******7899", "shipping"]
    assert found.frame.row(0)[1:] == (None, None, "pass", "x", "y")
    assert found.dead["raw"].to_list() == [b""] and "delivered again" in found.dead["reason"][0]
    assert "cvv" in found.notes[0]


def test_pages_that_are_kept_until_they_land(lake: Lake, registries: None) -> None:
    class Paid(Table, table="bronze.t_paid", key=("ID",), card_data=True):
        """One row per payment."""

        ID = String(nullable=False)

    source = SourceSettings(table="bronze.t_paid", system="PSP", kind="apis", card_free=["id"])
    spool = Spool(lake, "paid", "page", partial(cards.cleared_bytes, source))
    spool.keep(1, Page(b'{"id": 4000001234567899, "number": 4000001234567899, "cvc": "123"}', {"count": 1}))
    (page,) = spool
    assert json.loads(page.content) == {"id": 4000001234567899, "number": "400000******7899", "cvc": None}


def test_other_tables_are_left_alone() -> None:
    source = SourceSettings(table="bronze.transactions", system="POS", kind="files")
    frame = pl.DataFrame({POSITION: [1], "RECEIPT_NUMBER": ["4000001234567899"]})
    records = Records(frame, pl.DataFrame(schema=DEAD))
    assert next(cards.cleared(source, [records])) is records and cards.cleared_rows(source, frame) is frame
