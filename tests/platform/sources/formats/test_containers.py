"""Workbooks, XML, Avro and compressed files: values keep their types, damage costs what it must and no more."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest

from customer360.platform.errors import TransientError
from customer360.platform.sources.formats import pieces, read
from customer360.platform.sources.formats.options import Format, Options
from customer360.platform.sources.formats.records import POSITION, Records, together

CSV = b"a,b\n1,x\n2,y\n"


def rows(records: Records) -> list[dict[str, Any]]:
    return records.frame.drop(POSITION).to_dicts()


def positions(records: Records) -> list[int]:
    return records.frame[POSITION].to_list()


def workbook(**sheets: list[list[Any]]) -> bytes:
    """A workbook with these rows: numbers, texts, and dates as days since 1899-12-30 with a date format."""
    types = "".join(f'<Override PartName="/xl/worksheets/s{i}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>' for i in range(len(sheets)))  # fmt: skip  # noqa: E501
    names = "".join(f'<sheet name="{name}" sheetId="{i + 1}" r:id="r{i}"/>' for i, name in enumerate(sheets))
    links = "".join(f'<Relationship Id="r{i}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/s{i}.xml"/>' for i in range(len(sheets)))  # fmt: skip  # noqa: E501
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    files = {
        "[Content_Types].xml": f'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{types}</Types>',  # noqa: E501
        "_rels/.rels": f'<Relationships {relations}><Relationship Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',  # noqa: E501
        "xl/workbook.xml": f'<workbook {main} xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships {relations}>{links}<Relationship Id="st" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',  # noqa: E501
        "xl/styles.xml": f'<styleSheet {main}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',  # noqa: E501
    }
    for i, content in enumerate(sheets.values()):
        body = "".join("<row>" + "".join(_cell(value) for value in row) + "</row>" for row in content)
        files[f"xl/worksheets/s{i}.xml"] = f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>"
    return archive(**{name: text.encode() for name, text in files.items()})


def _cell(value: Any) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, date):
        return f'<c s="1"><v>{(value - date(1899, 12, 30)).days}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


# ---- Excel ----------------------------------------------------------------------------------------------------


def test_a_sheet_keeps_numbers_texts_and_dates() -> None:
    data = workbook(orders=[["id", "on", "net", "code"], [17850, date(2024, 2, 29), 1.5, "007"], [17851, date(2024, 3, 1), 2, None]])  # fmt: skip  # noqa: E501
    found = read(data, "excel")
    assert found.frame["id"].to_list() == [17850, 17851]
    assert found.frame["net"].to_list() == [1.5, 2.0]
    assert found.frame["code"].to_list() == ["007", None]
    assert [str(value)[:10] for value in found.frame["on"]] == ["2024-02-29", "2024-03-01"]


def test_a_sheet_below_a_title_and_above_a_total() -> None:
    sheet = [["Sales of June"], [], ["id", "on", "net"], ["a", "x", 1.5], ["b", "y", 2.5], ["Total", None, 4.0]]
    found = read(workbook(S=sheet), "auto")
    assert [row["id"] for row in rows(found)] == ["a", "b"]
    (letter,) = found.dead.rows(named=True)
    assert (letter[POSITION], letter["raw"]) == (3, b"Total\t\t4") and "footer: 1" in letter["reason"]
    assert read(workbook(S=sheet), "auto", footer=1).dead.is_empty()


def test_a_hidden_sheet_is_read_where_it_is_named_alone() -> None:
    data = workbook(draft=[["a"], ["x"]], orders=[["b"], ["z"]])
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    main = "xl/workbook.xml"
    hidden = archive(**parts | {main: parts[main].replace(b'name="draft"', b'name="draft" state="hidden"')})
    assert rows(read(data, "excel")) == rows(read(hidden, "excel", sheet="draft")) == [{"a": "x"}]
    assert rows(read(hidden, "excel")) == [{"b": "z"}]


def test_sheets_are_named_or_numbered() -> None:
    data = workbook(empty=[], first=[["a"], ["x"], ["y"]], second=[["b"], ["z"]])
    assert rows(read(data, "excel")) == [{"a": "x"}, {"a": "y"}]
    assert read(data, "excel").notes == ("read sheet 'first' alone; there are also second (`sheet`)",)
    assert rows(read(data, "excel", sheet="second")) == rows(read(data, "excel", sheet=3)) == [{"b": "z"}]
    assert "there are empty, first, second" in read(data, "excel", sheet="third").dead["reason"][0]


@pytest.mark.parametrize("cut", [10, 200, -30])
def test_a_damaged_workbook_is_one_dead_letter(cut: int) -> None:
    found = read(workbook(S=[["a"], ["x"]])[:cut], "excel")
    assert (found.frame.height, found.dead.height) == (0, 1)


def test_a_workbook_with_a_password_says_so() -> None:
    protected = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le")
    assert "password" in read(protected, "auto").dead["reason"][0]


# ---- XML ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'<r><o id="1"><n>x</n></o><o id="2"><n/></o></r>', [{"id": "1", "n": "x"}, {"id": "2", "n": None}]),
        (b"<x:r xmlns:x='u'><x:os><x:o><x:n>1</x:n></x:o></x:os></x:r>", [{"n": "1"}]),
        (b"<orders><order><l><s>a</s></l><l><s>b</s></l></order></orders>", [{"l": [{"s": "a"}, {"s": "b"}]}]),
        (b"<?xml version='1.0' encoding='iso-8859-1'?><r><o><n>\xe9</n></o><o><n>&amp;</n></o></r>", [{"n": "\xe9"}, {"n": "&"}]),  # noqa: E501
        (b"<r><o><p cur='EUR'>1.5</p></o><o><p>2</p></o></r>", [{"p": {"cur": "EUR", "text": "1.5"}}, {"p": "2"}]),
        (b"<r><o>a<n>1</n> b <n>2</n>c</o></r>", [{"n": ["1", "2"], "text": "a b c"}]),
        (b"<r><o><n><![CDATA[<1> & ]]>&#228;</n></o><o><n>&lt;</n></o></r>", [{"n": "<1> & \xe4"}, {"n": "<"}]),
    ],
    ids=["attributes", "namespaces", "one", "encoding", "mixed", "between", "literal"],
)  # fmt: skip
def test_xml_elements_are_records(data: bytes, expected: list[dict[str, Any]]) -> None:
    found = [
        {k: json.loads(v) if v and v[0] in "[{" else v for k, v in row.items()} for row in rows(read(data, "auto"))
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'<!DOCTYPE r [<!ENTITY e SYSTEM "file:///x">]><r><o>&e;</o><o/></r>', "declares entities"),
        (b"<r><o>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</o><o/></r>", "nested too deep"),
    ],
)
def test_xml_that_harms_is_one_dead_letter(data: bytes, reason: str) -> None:
    found = read(data, "xml")
    assert (found.frame.height, found.dead.height) == (0, 1) and reason in found.dead["reason"][0]


@pytest.mark.parametrize(
    "head", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01\x00", b"a.csv".ljust(257, b"\0") + b"ustar"]
)
def test_an_archive_that_is_not_opened_says_what_to_deliver(head: bytes) -> None:
    for data in (head + bytes(600), gzip.compress(head + bytes(600))):
        found = read(data, "auto")
        assert (found.frame.height, found.dead.height) == (0, 1) and "as zip or gzip" in found.dead["reason"][0]


def test_xml_that_breaks_off_keeps_what_is_whole() -> None:
    found = read(b"<r><o><n>1</n></o><o><n>2</n></o><o><n>", "xml")
    assert (rows(found), found.dead.height) == ([{"n": "1"}, {"n": "2"}], 1)
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><r><o>&b;</o></r>'
    assert read(bomb, "xml").frame.height == 0
    assert "web page" in read(b"<html><table></table></html>", "auto").dead["reason"][0]
    assert rows(read(b"<r><h><v>1</v></h><o><n>1</n></o></r>", "xml", records="o")) == [{"n": "1"}]


# ---- Avro -----------------------------------------------------------------------------------------------------


def avro(records: list[dict[str, Any]]) -> bytes:
    fields = [
        {"name": "id", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "note", "type": ["null", "string"]},
    ]
    buffer = io.BytesIO()
    fastavro.writer(buffer, {"type": "record", "name": "t", "fields": fields}, records, sync_interval=50)
    return buffer.getvalue()


def test_avro_keeps_numbers_and_instants() -> None:
    at = datetime(2024, 2, 29, 12, tzinfo=UTC)
    data = avro([{"id": i, "at": at, "tags": ['a "b"'], "note": None} for i in range(30)])
    found = read(data, "auto")
    assert rows(found)[7] == {"id": 7, "at": datetime(2024, 2, 29, 12), "tags": '["a \\"b\\""]', "note": None}
    torn = read(data[: len(data) // 2], "avro")
    assert 0 < torn.frame.height < 30 and torn.dead.height == 1


# ---- compression ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [
    gzip.compress, bz2.compress, lzma.compress, lambda data: pa.Codec("zstd").compress(data, asbytes=True),
    lambda data: archive(**{"x/a.csv": data, "__MACOSX/a.csv": b"?"}),
    lambda data: archive(**{"a.csv.gz": gzip.compress(data)}),
])  # fmt: skip
@pytest.mark.parametrize("format", ["csv", "auto"])
def test_compression_is_recognised(pack: Any, format: Format) -> None:
    assert rows(read(pack(CSV), format)) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    broken = pack(CSV * 50)
    for cut in (12, len(broken) // 2):
        found = read(broken[:cut], format)
        assert found.dead.height == 1 and found.dead[POSITION].to_list() == [0]


def test_members_of_an_archive_are_read_one_after_the_other() -> None:
    data = archive(**{"a.csv": CSV, "b.csv": b"1001,C1,2024-01-05\n1002,C2,2024-01-06\n", "c.csv": CSV, "d.txt": b"-"})
    found = read(data, "auto", members="*.csv")
    assert positions(found) == [1, 2, 4, 5]
    assert found.dead[POSITION].to_list() == [3] and "no header" in found.dead["reason"][0]
    assert "there are a.csv" in read(data, "auto", members="*.json").dead["reason"][0]


def test_a_file_of_another_format_than_stated_says_so() -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    for data, kind in [(buffer.getvalue(), "parquet"), (workbook(S=[["a"], ["x"]]), "excel"), (avro([]), "avro")]:
        found = read(data, "csv")
        assert f"write `format: {kind}`" in found.dead["reason"][0]
        assert read(data, "auto").dead.is_empty()
    assert "PDF" in read(b"%PDF-1.7 x", "auto").dead["reason"][0]


def test_a_name_tells_text_apart_that_its_bytes_do_not() -> None:
    found = together(pieces(io.BytesIO(b"a,b\tc\n1,2\t3\n"), Options(), "x.tsv.gz"))
    assert rows(found) == [{"a,b": "1,2", "c": "3"}]


@pytest.mark.parametrize("data", [CSV * 1000, gzip.compress(CSV * 1000, 0), bz2.compress(CSV)])
def test_a_fault_of_the_place_where_a_file_lies_is_raised(data: bytes) -> None:
    class Share(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise ConnectionError("the share is gone")
            return super().read(40)

    with pytest.raises(ConnectionError):
        list(pieces(Share(data), Options()))


def test_no_room_for_a_temporary_file_is_no_fault_of_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("orders.csv", "id\n1\n")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **_: Full())
    with pytest.raises(TransientError, match="make room"):
        list(pieces(io.BytesIO(packed.getvalue()), Options()))
