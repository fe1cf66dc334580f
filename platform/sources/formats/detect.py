"""Which format a file has: by its first bytes; text that these do not tell apart, by its name."""

from __future__ import annotations

import codecs

from customer360.platform.sources.formats.compressed import EMPTY_ZIP, ZIP
from customer360.platform.sources.formats.options import Format
from customer360.platform.sources.formats.records import Unreadable

BINARY: dict[bytes, Format] = {
    b"PAR1": "parquet",
    b"Obj\x01": "avro",
    ZIP: "excel",  # an archive of another kind was opened before
    EMPTY_ZIP: "excel",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "excel",
}
KNOWN_OTHERS = {b"%PDF": "a PDF document", b"\x89PNG": "a picture", b"SQLite format 3": "a SQLite database", b"ORC": "an ORC file"}  # fmt: skip  # noqa: E501
ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress (.Z)",
    b"\x04\x22\x4d\x18": "LZ4",
}
TAR, TAR_AT = b"ustar", 257


def format_of(head: bytes, name: str, stated: Format) -> Format:
    """The format of a file that begins with ``head``.

    Raises:
        Unreadable: its first bytes say another one than its source does, or one that cannot be read.
    """
    for magic, what in KNOWN_OTHERS.items():
        if head.startswith(magic):
            raise Unreadable(f"the file is {what}; export its rows as CSV, JSON or Parquet")
    archive = next((kind for magic, kind in ARCHIVES.items() if head.startswith(magic)), "")
    if archive or head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        raise Unreadable(
            f"the file is a {archive or 'tar'} archive; deliver its files by themselves, or as zip or gzip"
        )
    found = next((format for magic, format in BINARY.items() if head.startswith(magic)), None)
    if found is not None:
        if stated in ("auto", found):
            return found
        raise Unreadable(f"the file is {found}, not {stated}; write `format: {found}` or `format: auto`")
    if stated != "auto":
        return stated
    text = _beginning(head)
    if text.startswith("<"):
        return "xml"
    if text.startswith(("{", "[")):
        return "json"
    return "tsv" if name.lower().removesuffix(".gz").endswith((".tsv", ".tab")) else "csv"


def _beginning(head: bytes) -> str:
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return head[len(mark) :].decode(name, "replace").lstrip()
    return head.decode("latin-1").replace("\0", "").lstrip()
