"""Damaged files of every format: `python tests/bench/fuzz_files.py [--records 1000000 --seed 1 --formats csv,json]`.

Makes small files, damages their bytes (flipped, cut out, doubled, quotes and line ends put in, cut short) and reads
them. It must not crash; positions are unique and ascending; of texts, every physical line is accounted for; and no
value is invented: the landed values stand in the file, in order and apart from each other. Prints what a failing file
held.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import json
import random
import re
import resource
import zipfile
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import fastavro

from customer360.platform.sources.formats import read
from customer360.platform.sources.formats.options import Format
from customer360.platform.sources.formats.records import POSITION, Records

NAMES = ("id", "at", "amount", "note", "city")
WORDS = ("lamp", 'oak 5" board', "say ""hi""", "a, b", "two\nlines", "naïve", "C:\\dir", "", "x;y", "[1]", "{", "Größe", "'", "<b>", "&")  # fmt: skip  # noqa: E501
PUT_IN = (b'"', b"\n", b",", b"\r", b"\\", b'""', b"\x00", b"\xff", b"\xe9", b"{", b"}", b"[", b"]", b"<", b">", b'",', b',"', b"\r\n", b"\\\n", b";", b"\t", b":")  # fmt: skip  # noqa: E501
SHEET = "xl/worksheets/s.xml"


def table(rng: random.Random, rows: int) -> list[dict[str, str]]:
    """Rows with unique identifiers, and notes that quoting is needed for."""
    start = rng.randrange(10_000)
    return [
        {
            "id": f"R{start + i}q",
            "at": f"2024-0{rng.randrange(1, 9)}-11T10:00:00Z",
            "amount": f"{rng.randrange(900)}.25",
            "note": f"{rng.choice(WORDS)} {rng.choice(WORDS)} {i}",
            "city": rng.choice(WORDS),
        }
        for i in range(rows)
    ]


def as_csv(rows: list[dict[str, str]], rng: random.Random) -> bytes:
    out = io.StringIO()
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    end = rng.choice(["\n", "\r\n"])
    writer = csv.DictWriter(out, NAMES, quoting=quoting, lineterminator=end, delimiter=rng.choice(",,;\t"))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(rng.choice(["utf-8", "utf-8", "cp1252"]))


def as_json(rows: list[dict[str, str]], rng: random.Random) -> bytes:
    plain = rng.random() < 0.5
    values = [{**row, "more": [row["note"], {"n": i}]} if rng.random() < 0.3 else row for i, row in enumerate(rows)]
    shape = rng.randrange(4)
    if shape < 2:
        return "\n".join(json.dumps(value, ensure_ascii=plain) for value in values).encode()
    return json.dumps(values if shape == 2 else {"next": None, "rows": values}, ensure_ascii=plain, indent=rng.choice([None, 1])).encode()  # fmt: skip  # noqa: E501


def as_xml(rows: list[dict[str, str]], rng: random.Random) -> bytes:
    def element(row: dict[str, str]) -> str:
        return "<row>" + "".join(f"<{name}>{_escaped(value)}</{name}>" for name, value in row.items()) + "</row>"

    return ("<rows>" + "\n".join(element(row) for row in rows) + "</rows>").encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_avro(rows: list[dict[str, str]], rng: random.Random) -> bytes:
    out = io.BytesIO()
    fields = [{"name": name, "type": "string"} for name in NAMES]
    fastavro.writer(
        out, {"type": "record", "name": "r", "fields": fields}, rows, sync_interval=rng.choice([200, 16000])
    )
    return out.getvalue()


def as_sheet(rows: list[dict[str, str]], rng: random.Random) -> bytes:
    """The XML of a sheet, for a `workbook`."""
    table = [dict(zip(NAMES, NAMES, strict=True)), *rows]
    cells = ("".join(f'<c t="inlineStr"><is><t>{_escaped(v)}</t></is></c>' for v in row.values()) for row in table)
    body = "".join(f"<row>{row}</row>" for row in cells)
    return f'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{body}</sheetData></worksheet>'.encode()


def workbook(sheet: bytes) -> bytes:
    main, relation = "application/vnd.openxmlformats-officedocument.spreadsheetml", "http://schemas.openxmlformats.org/officeDocument/2006/relationships"  # fmt: skip  # noqa: E501
    package = "http://schemas.openxmlformats.org/package/2006"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Override PartName="/xl/workbook.xml" ContentType="{main}.sheet.main+xml"/><Override PartName="/{SHEET}" ContentType="{main}.worksheet+xml"/></Types>',  # noqa: E501
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',  # noqa: E501
        "xl/workbook.xml": f'<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{relation}"><sheets><sheet name="S" sheetId="1" r:id="s"/></sheets></workbook>',  # noqa: E501
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="s" Type="{relation}/worksheet" Target="worksheets/s.xml"/></Relationships>',  # noqa: E501
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.writestr(SHEET, sheet)
    return buffer.getvalue()


WRITERS: dict[Format, Callable[[list[dict[str, str]], random.Random], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "xml": as_xml,
    "excel": as_sheet,
    "avro": as_avro,
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes after a few accidents."""
    content = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8])):
        place = rng.randrange(len(content) + 1)
        accident = rng.randrange(5)
        if accident == 0 and content:
            content[place % len(content)] = rng.randrange(256)
        elif accident == 1:
            content[place:place] = rng.choice(PUT_IN)
        elif accident == 2:
            del content[place : place + rng.randrange(40)]
        elif accident == 3:
            content[place:place] = content[place : place + rng.randrange(200)]
        elif rng.random() < 0.2:
            del content[place:]
    return bytes(content)


def faults(data: bytes, found: Records, format: Format) -> list[str]:
    """What is wrong with the records of a file."""
    wrong = []
    places = sorted([*found.frame[POSITION], *found.dead[POSITION]])
    if len(set(places)) < len(places) or found.frame[POSITION].to_list() != sorted(found.frame[POSITION]):
        wrong.append("positions are not unique and ascending")
    if found.lines is not None and (lost := found.lines.missing(found.count)):
        wrong.append(f"{lost} physical lines are not accounted for")
    whole = found.dead.height == 1 and found.dead[POSITION][0] == 0
    if found.lines is not None and not whole and found.lines.total != physical_lines(data):
        wrong.append(f"{found.lines.total} lines counted, {physical_lines(data)} in the file")
    return wrong + invented(data, found, format)


def physical_lines(data: bytes) -> int:
    """Lines of a text in any encoding that is tried here; lines that end in carriage returns alone have no line
    feed.
    """
    text = _decoded(data)[0] if _is_wide(data) else data.decode("latin-1")
    feeds, alone = text.count("\n"), text.count("\r") - text.count("\r\n")
    if alone > 10 * feeds and alone + text.count("\r\n") > feeds:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.removeprefix("\ufeff")
    return text.count("\n") + (len(text) > 0 and not text.endswith("\n"))


def invented(data: bytes, found: Records, format: Format) -> list[str]:
    """Landed values that do not stand in the file after those before them; signs that quoting adds do not count."""
    texts = [_bare(text, format) for text in _decoded(data)]
    columns = [name for name in found.frame.columns if name != POSITION]
    wrong: list[list[str]] = []
    for text in texts:
        at, missed = 0, []
        for row in found.frame.select(columns).rows():
            values = [_bare_value(str(v), format) for v in row if v is not None]
            if format in ("csv", "avro"):
                for value in values:
                    at = text.find(value, at) if at >= 0 else at
                    at = at + len(value) if at >= 0 else at
                missed += [f"row {row} does not stand in the file in order"] if at < 0 else []
            else:
                missed += [
                    f"value {v!r} does not stand in the file"
                    for v in values
                    if v not in text and not _is_nested(v, text)
                ]
            if missed:
                break
        if not missed:
            return []
        wrong.append(missed)
    return min(wrong, key=len)


def _is_nested(value: str, text: str) -> bool:
    """Whether a value is JSON text that was made of several of the file's."""
    return value[:1] in "[{" and all(
        word in text for word in re.findall(r"\w{3,}", value) if word not in ("null", "text")
    )


def _is_wide(data: bytes) -> bool:
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:400].count(0) > 0.4 * len(data[:400])


def _decoded(data: bytes) -> list[str]:
    if _is_wide(data):
        big = data[:2] == b"\xfe\xff" or (data[:2] != b"\xff\xfe" and data[:400:2].count(0) > data[1:400:2].count(0))
        return [data.decode("utf-16-be" if big else "utf-16-le", "replace")]
    return [data.decode(encoding, "replace") for encoding in ("utf-8", "cp1252")]


def _bare(text: str, format: Format) -> str:
    """Text without the signs that formats add to values or take from them."""
    if format == "json":
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\[nrtbf/]", "", text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if format in ("xml", "excel"):  # once: `&amp;lt;` is the text `&lt;`
        text = html.unescape(re.sub(r"_x[0-9a-fA-F]{4}_", "", text))
    return re.sub(r'["\\\s\x00-\x1f\ufeff\ufffd]', "", text)


def _bare_value(value: str, format: Format) -> str:
    """As `_bare`, of what was read: its references are resolved."""
    plain = re.sub(r"_x[0-9a-fA-F]{4}_", "", value) if format in ("xml", "excel") else value
    return _bare(plain, "json" if plain[:1] in ("[", "{") else "csv")


def fuzz(records: int, seed: int, formats: tuple[Format, ...]) -> tuple[Counter[str], list[str]]:
    """Read damaged files until they held so many records; returns counts, and what went wrong, the file included."""
    rng, counts, wrong = random.Random(seed), Counter[str](), []
    while counts["records"] < records and len(wrong) < 10:
        format = rng.choice(formats)
        rows = table(rng, rng.choice([1, 5, 40, 60]))
        sound = WRITERS[format](rows, rng)
        content = sound if format == "excel" else damaged(sound, rng)  # what is landed is compared with the sheet
        data = damaged(workbook(sound), rng) if format == "excel" else content
        if format == "csv" and rng.random() < 0.2:  # damaged before: half of a unit makes every later one another
            content = data = content.decode("utf-8", "replace").encode("utf-16")
        counts["records"] += len(rows)
        counts["files"] += 1
        try:
            found = read(data, "auto" if format != "excel" and rng.random() < 0.2 else format)
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt):
                raise
            wrong.append(f"{format}: {type(fault).__name__}: {fault}: {content!r}")
            continue
        counts["landed"] += found.frame.height
        counts["dead"] += found.dead.height
        wrong += [f"{format}: {what}: {content!r}" for what in faults(content, found, format)]
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", default=",".join(WRITERS))
    options = parser.parse_args()
    start = perf_counter()
    formats: Any = tuple(options.formats.split(","))
    counts, wrong = fuzz(options.records, options.seed, formats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{dict(counts)} in {perf_counter() - start:.0f} s, peak {peak:.0f} MiB, {len(wrong)} faults")
    for what in wrong:
        print(what[:3000])
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
