"""Workbooks, XML, Avro and compressed files: values keep their types, damage costs what it must and no more."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest

from customer360.platform.errors import TransientError
from customer360.platform.sources.formats import excel, pieces, read
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


def with_cell(data: bytes, cell: str, row: str = "<row>") -> bytes:
    """A workbook with one more cell, somewhere."""
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    more = f'{row}<c r="{cell}" t="inlineStr"><is><t>9</t></is></c></row></sheetData>'
    files["xl/worksheets/s0.xml"] = files["xl/worksheets/s0.xml"].replace(b"</sheetData>", more.encode())
    return archive(**files)


@pytest.mark.parametrize("row", ["<row>", '<row r="1048576">', '<row spans="1:3" r="1048576">'])
def test_a_cell_in_the_far_corner_does_not_take_all_memory(row: str) -> None:
    """The parser would make room for 17 thousand million cells, and end the process."""
    data = workbook(S=[["a", "b"], ["x", "y"]])
    found = read(with_cell(data, "XFD1048576", row), "excel")
    (reason,) = found.dead["reason"]
    assert (found.frame.height, "column 16,384" in reason, "export the list as CSV" in reason) == (0, True, True)
    assert read(with_cell(data, "C9", '<row r="9">'), "excel").frame.height == 2


@pytest.mark.parametrize(
    "row",
    [
        "<row r='1048576'><c r='XFD1048576'><v>9</v></c></row>",
        '<row><c r = "xfd1048576"><f>A1</f><v>9</v></c></row>',
        '<x:row xmlns:x="u" r="9"><x:c r="XFD1048576"><!-- --><v>9</v></x:c></x:row>',
        '<row r="1"><c r="XFD1"><v>9</v></c></row><row><c r="A1048576"><v>9</v></c></row>',
        '<row r="900000000"><c><v>9</v></c></row>',
        '<row><c r="AB0009000000"><v>9</v></c></row>',
    ],
)
@pytest.mark.parametrize("place", ["xl/worksheets/s0.xml", "xl/odd.bin"])
def test_a_far_cell_is_seen_however_it_is_written(row: str, place: str) -> None:
    data = edited(workbook(S=[["a", "b"], ["x", "y"]]), f"{row}</sheetData>", place)
    assert "export the list as CSV" in read(data, "excel").dead["reason"][0]


@pytest.mark.parametrize("cell", ['<c r="XFD1048576" s="1"/>', "<c r='XFD1048576' s='1'></c>"])
def test_an_empty_cell_far_out_makes_no_sheet_larger(cell: str) -> None:
    """As where a whole column was formatted."""
    row = f'<row r="1048576">{cell}</row><row r="1048577"/></sheetData>'
    assert read(edited(workbook(S=[["a", "b"], ["x", "y"]]), row), "excel").frame.height == 1


def edited(data: bytes, end: str, place: str = "xl/worksheets/s0.xml") -> bytes:
    """A workbook whose sheet ends so, and lies elsewhere."""
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    files[place] = files.pop("xl/worksheets/s0.xml").replace(b"</sheetData>", end.encode())
    links = "xl/_rels/workbook.xml.rels"
    files[links] = files[links].replace(b"worksheets/s0.xml", place.removeprefix("xl/").encode())
    return archive(**files)


ODS = (
    '<?xml version="1.0"?><office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    '<table:table table:name="S">%s</table:table></office:spreadsheet></office:body></office:document-content>'
)


def ods(*lines: tuple[list[tuple[str, int]], int]) -> bytes:
    """A sheet of OpenDocument: rows of (text, how often it stands side by side), and how often each row stands."""
    cells = '<table:table-cell office:value-type="string" table:number-columns-repeated="%d"><text:p>%s</text:p></table:table-cell>'  # noqa: E501
    body = "".join(
        f'<table:table-row table:number-rows-repeated="{often}">'
        + "".join(cells % (n, text) for text, n in row).replace('office:value-type="string"><text:p></text:p>', ">")
        + "</table:table-row>"
        for row, often in lines
    )
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    return archive(
        **{
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": manifest.encode(),
            "content.xml": (ODS % body).encode(),
        }
    )


HEAD = [("a", 1), ("b", 1)], 1


def test_cells_that_are_repeated_are_rows() -> None:
    found = read(ods(HEAD, ([("x", 2)], 3)), "auto")
    assert rows(found) == [{"a": "x", "b": "x"}] * 3


@pytest.mark.slow
def test_cells_that_are_repeated_do_not_take_all_memory() -> None:
    """Less than a kilobyte, of which the parser would make some thousand million cells, and end the process."""
    data = ods(HEAD, ([("z", 90)], 1_000_000))
    assert len(data) < 1024
    found = read(data, "excel")
    assert (found.frame.height, "of memory; export" in found.dead["reason"][0]) == (0, True)


def numbered_texts(text: str, cells: int) -> bytes:
    """A workbook of as many cells that refer to one text."""
    data = workbook(S=[["a"]])
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    links, sheet = "xl/_rels/workbook.xml.rels", "xl/worksheets/s0.xml"
    files[sheet] = files[sheet].replace(b"</sheetData>", b'<row><c t="s"><v>0</v></c></row>' * cells + b"</sheetData>")
    link = b'<Relationship Id="t" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings" Target="sharedStrings.xml"/>'  # noqa: E501
    files[links] = files[links].replace(b"</Relationships>", link + b"</Relationships>")
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    files["xl/sharedStrings.xml"] = f'<sst xmlns="{main}"><si><t>{text}</t></si ></sst>'.encode()
    return archive(**files)


@pytest.mark.parametrize(
    ("letters", "is_asked", "fits"), [(5, False, True), (32_767, True, True), (32_767, True, False)]
)
def test_a_long_text_of_many_cells_is_tried_apart(
    letters: int, is_asked: bool, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of cells that refer to the longest text are gigabytes of a file of a few kilobytes."""
    asked: list[int] = []
    monkeypatch.setattr(excel, "MOST_BYTES", 1 << 21)
    monkeypatch.setattr(excel.trial, "fits", lambda data, most: asked.append(most) or fits)
    found = read(numbered_texts("x" * letters, 100), "excel")
    assert found.frame.height == (100 if fits else 0)
    assert bool(asked) is is_asked
    assert fits or "of memory; export" in found.dead["reason"][0]


def test_a_chart_on_a_tab_of_its_own_is_no_list() -> None:
    with zipfile.ZipFile(io.BytesIO(workbook(Chart=[], Orders=[["a"], [1]]))) as made:
        files = {name.replace("worksheets/s0", "chartsheets/s0"): made.read(name) for name in made.namelist()}
    links, chart = "xl/_rels/workbook.xml.rels", "xl/chartsheets/s0.xml"
    files[links] = files[links].replace(b'worksheet" Target="worksheets/s0', b'chartsheet" Target="chartsheets/s0')
    files[chart] = files[chart].replace(b"worksheet", b"chartsheet").replace(b"<sheetData></sheetData>", b"<drawing/>")
    data = archive(**files)
    assert rows(read(data, "excel")) == [{"a": 1}]
    assert excel._lists(excel.CalamineWorkbook.from_filelike(io.BytesIO(data))) == excel.sheets(data) == ["Orders"]


@pytest.mark.parametrize("said", [OSError("failed to fill whole buffer"), ValueError("no date"), EOFError()])
def test_what_the_parser_does_not_read_is_not_taken_for_too_large(said: Exception, tmp_path: Path) -> None:
    """The process that tries a workbook ends well with whatever the parser says, as the reader says it, too."""
    package = tmp_path / "python_calamine"
    package.mkdir()
    body = f"class CalamineWorkbook:\n    def from_filelike(data):\n        raise {said!r}\n"
    (package / "__init__.py").write_text(body)
    code = excel.trial._OPEN.replace("import io", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import io", 1)
    command = [sys.executable, "-I", "-c", code, str(4 << 30), "60"]
    assert subprocess.run(command, input=b"", check=False, capture_output=True).returncode == 0


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
