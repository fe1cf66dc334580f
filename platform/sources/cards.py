"""Numbers of payment cards, found in any column and text within the limits below, masked before anything is written.

A table that may be sent such data says so (``card_data=True``); then whatever its sources bring goes through here, in
every column, known or not, and so does what cannot be read. A card number is 13 to 19 digits, with blanks, dots or
dashes between them or none, that begin as card networks number theirs (ISO/IEC 7812), are as long as theirs and pass
the check of Luhn. At most the first six and the last four digits stay (PCI DSS 3.4.1). Verification codes, PINs and
tracks are refused: such a column comes in empty (PCI DSS 3.3.1), and so does what such a key or element of JSON or XML
holds. Other texts (CSV, forms) lose them only when they are read: of a page of an API that is kept until then, not.

Not found are a number with other digits glued to it, as those of a code, where all together are 19 or fewer, and one
whose digits are parted by other signs than blanks, dots, dashes and underscores, as slashes, or by more than three.

One in ten numbers passes Luhn, so an id of 13 to 19 digits may look like a card's. Columns of which the owner of a
source knows that they hold none are named in its ``card_free``; a note names the columns of which values were masked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise

import polars as pl

from customer360.platform import tables
from customer360.platform.settings import SourceSettings
from customer360.platform.sources.casting import Fitted
from customer360.platform.sources.formats.records import POSITION, Records

SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)  # hold no number of 13 digits
FIRST, LAST, MASK = 6, 4, "*"
SHORTEST, LONGEST = 13, 19
APART = r"[\s\x00._\-\u2010-\u2015]{0,3}"  # what people, and texts of two bytes a character, put between digits
LIKELY = r"\d(?:[\s\x00._\-\x{2010}-\x{2015}]{0,3}\d){12}"
RUN = re.compile(rf"\d(?:{APART}\d){{12,}}")
TELEPHONE = 14  # digits after a "+" that may be a telephone number; E.164 allows 15, no country uses them all
DIGEST = re.compile(r"(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128})")  # MD5, SHA-1, SHA-2
SURE = (
    r"(?:(?:card[_\- ]?)?(?:cvv2?|cvc2?|cvn2?|csc|cav2|cvd2?|cid2|track[_\- ]?(?:1|2|data)|magstripe"
    r"|security[_\- ]?code|verification[_\- ]?(?:value|code|number))(?:[_\- ]?(?:code|number|value))?"
    r"|card[_\- ]?(?:cid|pin)(?:[_\- ]?(?:code|number|value))?|cid[_\- ]?(?:code|value)|pin(?:[_\- ]?(?:block|value))?)"
)
# Ids of customers and postal codes of India are called so as well: a code is what has three or four digits
DOUBTFUL = r"(?:cid(?:[_\- ]?number)?|pin[_\- ]?(?:code|number))"
FEW_DIGITS = re.compile(r"\s*\d{3,4}(?:\.0+)?\s*")
CODE_COLUMN = re.compile(rf"(?i)(?:^|.*[.:/\[])(?:{SURE}(?:[.:/\[\]].*)?|(?P<doubt>{DOUBTFUL})\]?)$")
CODE_KEY = re.compile(rf'(?i)"(?P<name>{SURE}|(?P<doubt>{DOUBTFUL}))\\*+"\s*+:\s*+')
CODE_TAG = re.compile(rf"(?i)<(?:[\w.\-]+:)?(?P<name>{SURE}|(?P<doubt>{DOUBTFUL}))(?:\s[^<>]*)?(?<!/)>")
CODE_TAG_END = re.compile(rf"(?i)</(?:[\w.\-]+:)?(?:{SURE}|{DOUBTFUL})\s*>")
CODE_ATTRIBUTE = re.compile(rf"""(?i)(\s{SURE}\s*=\s*)(?:"[^"]*+"?|'[^']*+'?)""")
CODE_NAMED = re.compile(
    rf"(?i)(?<![A-Za-z0-9])(?:{SURE}(?![A-Za-z0-9_])|{DOUBTFUL}[\"'\\]*+\s*+[:=>]\s*+[\"'\\]*+\d{{3,4}}(?!\d))"
)
LIKELY_CODE = rf"""(?i)(?:["<:](?:{SURE}|{DOUBTFUL})[\\"\s>]|\s{SURE}\s*=)"""
STRING = re.compile(r'(?s)"(?:[^"\\]++|\\.?)*+"?')  # of JSON; one that does not end goes to the end
SCALAR = re.compile(rf'{STRING.pattern.replace("(?s)", "(?s:")})|\\++"[^"]*+"?|-?[\d.]++')
NESTED = re.compile(rf"{STRING.pattern.replace('(?s)', '(?s:')})|[\[\]{{}}]")
CONTENT = re.compile(r"[^<]*+")
COLON = re.compile(r"\s{0,99}:\s{0,99}")
AFTER_NUMBER = re.compile(r"(?:[eE][+-]?\d{1,3})?")
NOT_KEPT = "; nothing of it is kept here, as it may hold card data: have it delivered again"


def may_bring_cards(source: SourceSettings) -> bool:
    """Whether a source fills a table that may be sent card data."""
    return source.table in tables.TABLES and tables.spec(tables.by_name(source.table)).card_data


def cleared(source: SourceSettings, pieces: Iterable[Records]) -> Iterator[Records]:
    """What a source brings, without card data where it may bring such."""
    if not may_bring_cards(source):
        yield from pieces
        return
    for records in pieces:
        yield without_cards(records, source.card_free)


def cleared_rows(source: SourceSettings, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that a mapping made, where expressions may have put a card number together."""
    if not may_bring_cards(source):
        return rows
    return masked_rows(rows, _free_columns(source))


def _free_columns(source: SourceSettings) -> set[str]:
    """Columns of the contract that hold what a source's columns without card numbers do."""
    taken = {column for column, said in source.mapping.items() if said.strip().strip('"') in source.card_free}
    return taken | {column for column in source.card_free if column not in source.mapping}


def cleared_fit(source: SourceSettings, fitted: Fitted) -> Fitted:
    """What records became by their mapping, as `cleared_rows`; and what is said of them."""
    notes = tuple(cleared_text(source, note) for note in fitted.notes)
    return replace(fitted, frame=cleared_rows(source, fitted.frame), notes=notes)


def cleared_text(source: SourceSettings, text: str) -> str:
    """What is said of an input, which may quote it."""
    return masked(text) if may_bring_cards(source) else text


def cleared_bytes(source: SourceSettings, content: bytes) -> bytes:
    """A message or page that is kept before it is read."""
    return masked_bytes(content, {*source.card_free, *_free_columns(source)}) if may_bring_cards(source) else content


@cache
def _lengths(digits: str) -> Collection[int]:
    """How long the numbers are of the networks whose numbers begin with four digits; none: no network's do."""
    two, four = int(digits[:2]), int(digits[:4])
    if two in (34, 37):
        return (15,)
    if digits[0] == "4":
        return (13, 16, 19)
    if 51 <= two <= 55 or 2200 <= four <= 2204 or 2221 <= four <= 2720:
        return (16,) if four > 2204 else range(16, 20)
    if two == 50 or two == 30 or two in (36, 38, 39) or 56 <= two <= 69:
        return range(13, 20)
    if two == 35 or two in (81, 82):
        return range(16, 20)
    return (16,) if four == 9792 else (15,) if digits[0] == "1" else ()


def masked(text: str, free: Collection[str] = ()) -> str:
    """A text without card numbers and, where it is JSON or XML, without verification codes; ``free``: keys whose values
    stay. Bare numbers of JSON become strings. Its time grows with the length of the text, whatever stands in it."""
    if DIGEST.fullmatch(text) and not text.isdigit():
        return text
    begin = text.lstrip()[:1]
    cleared = _without_codes(text, free, is_xml=begin == "<")
    out, end = [], 0
    for run, is_free, is_bare in _runs(cleared, free, is_json=begin in ("{", "[")):
        hidden = (
            set() if is_free else _hidden(run[0], is_telephone=cleared[max(run.start() - 1, 0) : run.start()] == "+")
        )
        if not hidden:
            continue
        shown = "".join(MASK if at in hidden else c for at, c in enumerate(run[0]))
        start, stop = run.span()
        if is_bare:
            start -= cleared[start - 1] == "-"
            stop = _end_of(AFTER_NUMBER, cleared, stop)
            shown = f'"{cleared[start : run.start()]}{shown}{cleared[run.end() : stop]}"'
        out += [cleared[end:start], shown]
        end = stop
    return "".join([*out, cleared[end:]])


def _runs(text: str, free: Collection[str], *, is_json: bool) -> Iterator[tuple[re.Match[str], bool, bool]]:
    """Digits with little between them, as many as a card number has or more; whether they are, or stand in, the value
    of a ``free`` key; and whether they are a number of JSON, not within a string."""
    runs = RUN.finditer(text)
    if not free and not is_json:
        yield from ((run, False, False) for run in runs)
        return
    strings = STRING.finditer(text)
    before, string = None, next(strings, None)
    for run in runs:
        while string is not None and string.end() <= run.start():
            before, string = string, next(strings, None)
        if string is not None and string.start() < run.start():
            start, is_bare = string.start(), False
        else:
            start = run.start() - (text[max(run.start() - 1, 0) : run.start()] == "-")
            is_bare = is_json and _is_bare(text, start, run.end())
        is_value = before is not None and COLON.fullmatch(text, before.end(), start)
        yield run, before is not None and bool(is_value) and before[0][1:-1] in free, is_bare


def _is_bare(text: str, start: int, stop: int) -> bool:
    """Whether a number stands in JSON as a value."""
    stop = _end_of(AFTER_NUMBER, text, stop)
    before, after = text[max(start - 99, 0) : start].rstrip()[-1:], text[stop : stop + 99].lstrip()[:1]
    return before in (":", "[", ",") and after in (",", "]", "}")


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where what a pattern finds at a place ends; the place itself where it finds nothing."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _hidden(run: str, *, is_telephone: bool) -> set[int]:
    """Where digits of card numbers are to be hidden: of all spans that may be one, those between the first and last."""
    places = [at for at, c in enumerate(run) if c.isdecimal()]
    digits = "".join(str(int(run[at])) for at in places)
    sums: tuple[list[int], list[int]] = ([0], [0])  # of Luhn up to a digit, with those at even and odd places doubled
    for place, digit in enumerate(map(int, digits)):
        sums[place % 2].append(sums[place % 2][-1] + 2 * digit - 9 * (digit > 4))
        sums[1 - place % 2].append(sums[1 - place % 2][-1] + digit)
    hidden: set[int] = set()
    for first, last in _spans(digits, places, is_telephone=is_telephone):
        if (sums[last % 2][last] - sums[last % 2][first]) % 10 == 0:
            hidden.update(places[first + FIRST : last - LAST])
    return hidden


def _spans(digits: str, places: list[int], *, is_telephone: bool) -> Iterator[tuple[int, int]]:
    """What begins, and is as long, as a card number: whole groups of digits that stand together, without zeros in
    front, or a part of a group that is longer than any card number."""
    bounds = [n for n, at in enumerate(places) if n == 0 or at > places[n - 1] + 1] + [len(places)]
    for group, (start, stop) in enumerate(pairwise(bounds)):
        first = start
        while first < stop and digits[first] == "0":
            first += 1
        lengths = _lengths(digits[first : first + 4]) if len(digits) - first >= SHORTEST else ()
        for end in bounds[group + 1 : group + 1 + LONGEST] if lengths else ():
            if end - first in lengths and not (is_telephone and start == 0 and end - first <= TELEPHONE):
                yield first, end
        for begin in range(start, stop - 14) if stop - start > LONGEST else ():
            for length in _lengths(digits[begin : begin + 4]):
                if length in (15, 16) and begin + length <= stop:
                    yield begin, begin + length


def _without_codes(text: str, free: Collection[str], *, is_xml: bool) -> str:
    """A text without what is named as a verification code: null in JSON, nothing in XML."""
    if is_xml:
        text = CODE_ATTRIBUTE.sub(r'\1""', text)
    out, end, at = [], 0, 0
    while name := (CODE_TAG if is_xml else CODE_KEY).search(text, at):
        start = at = name.end()
        if name["name"] in free:
            continue
        if name["doubt"]:
            stop = _end_of(CONTENT if is_xml else SCALAR, text, start)
            if not FEW_DIGITS.fullmatch(text[start : min(stop, start + 99)].strip('\\"')):
                continue
        else:
            stop = _end_of_element(text, start) if is_xml else _end_of_value(text, start)
        if stop > start:
            out += [text[end:start], "" if is_xml else "null"]
            end = at = stop
    return "".join([*out, text[end:]])


def _end_of_element(text: str, at: int) -> int:
    """Where the content of an element ends; of one that is not closed, with the text."""
    close = CODE_TAG_END.search(text, at)
    return close.start() if close else len(text)


def _end_of_value(text: str, at: int) -> int:
    """Where a text, number, object or list of JSON ends; of one that is not closed, with the text. Of others, `at`."""
    if text[at : at + 1] not in ("{", "["):
        return _end_of(SCALAR, text, at)
    depth = 0
    for token in NESTED.finditer(text, at):
        depth += (token[0] in ("{", "[")) - (token[0] in ("}", "]"))
        if depth == 0:
            return token.end()
    return len(text)


def masked_bytes(raw: bytes, free: Collection[str] = ()) -> bytes:
    """Bytes of a text, masked as `masked` does; those that are no UTF-8 byte for byte."""
    try:
        return masked(raw.decode(), free).encode()
    except UnicodeDecodeError:
        return masked(raw.decode("latin-1"), free).encode("latin-1")


def masked_rows(frame: pl.DataFrame, free: Collection[str] = ()) -> pl.DataFrame:
    """Rows without card numbers in any column that is not ``free``."""
    changed = [_masked_column(frame[c], free) for c in frame.columns if c != POSITION and c not in free]
    return frame.with_columns(column for column in changed if column is not None)


def _masked_column(values: pl.Series, free: Collection[str]) -> pl.Series | None:
    """A column as text without card numbers; None where it has none."""
    kind = values.dtype
    if kind.is_float():  # 4.2E15 of a spreadsheet
        whole = (values.abs() >= 10.0**12) & (values.abs() < 10.0**19) & (values % 1 == 0)
        if not whole.fill_null(value=False).any():
            return None
        text = pl.select(
            pl.when(whole).then(values.cast(pl.Decimal(38, 0), strict=False).cast(pl.String)).otherwise(
                values.cast(pl.String)
            )
        ).to_series()  # fmt: skip
    elif kind in SMALL:
        return None
    elif kind.is_integer() or kind.is_decimal():
        if not (values >= 10**12).fill_null(value=False).any():
            return None
        text = values.cast(pl.String)
    elif kind == pl.String:
        text = values
    elif kind == pl.Binary:
        text = pl.Series([None if v is None else v.decode("utf-8", "replace") for v in values], dtype=pl.String)
    else:
        return None
    likely = (text.str.contains(LIKELY) | text.str.contains(LIKELY_CODE)).fill_null(value=False)
    places = likely.arg_true()
    said = [masked(t, free) for t in text.gather(places)]
    if said == text.gather(places).to_list():
        return None
    return text.scatter(places, said).alias(values.name)


def without_cards(records: Records, free: Collection[str] = ()) -> Records:
    """Records of an input without card numbers, verification codes, and bytes that may hold codes: those of records
    that cannot be read, where the input has such a column, and of a file that is no text. Columns may be named by card
    numbers, too, where a file has no header.
    """
    frame = masked_rows(records.frame, free)
    codes = [c for c in frame.columns if c != POSITION and c not in free and _holds_codes(frame[c])]
    held = [c for c in codes if frame[c].null_count() < frame.height]
    frame = frame.with_columns(pl.lit(None, pl.String).alias(c) for c in codes)
    names = {c: _named_apart(masked(c), frame.columns) for c in frame.columns if masked(c) != c}
    notes = tuple(masked(note) for note in records.notes)
    if held:
        notes += (f"{', '.join(held)}: verification codes of cards are left out; stop sending them",)
    for column in (masked(c) for c in frame.columns if c not in codes and _is_changed(records.frame[c], frame[c])):
        notes += (f"{column}: what looks like card numbers is masked; if it holds none, name it in `card_free`",)
    dead = _without_cards(records.dead, free, has_codes=bool(codes))
    return replace(records, frame=frame.rename(names), dead=dead, notes=notes)


def _holds_codes(values: pl.Series) -> bool:
    """Whether a column is named as one of verification codes, and holds nothing else where its name is that of others,
    too."""
    named = CODE_COLUMN.match(values.name)
    if named is None or named["doubt"] is None:
        return named is not None
    return all(FEW_DIGITS.fullmatch(str(value)) for value in values.drop_nulls() if value != "")


def _is_changed(before: pl.Series, after: pl.Series) -> bool:
    """Whether values of a column were masked."""
    return after.dtype == pl.String and (before.dtype != pl.String or not before.equals(after, null_equal=True))


def _named_apart(name: str, taken: list[str]) -> str:
    while name in taken:
        name += MASK
    return name


def _without_cards(dead: pl.DataFrame, free: Collection[str], *, has_codes: bool) -> pl.DataFrame:
    kept, reasons = [], []
    for reason, raw in dead.select("reason", "raw").iter_rows():
        body = masked_bytes(raw or b"", free)
        text = body.replace(b"\x00", b"")
        drop = has_codes or not _is_text(text) or CODE_NAMED.search(text.decode("latin-1"))
        kept.append(b"" if drop else body)
        reasons.append(masked(reason) + (NOT_KEPT if drop and raw else ""))
    return dead.with_columns(
        pl.Series("reason", reasons, dead.schema["reason"]), pl.Series("raw", kept, dead.schema["raw"])
    )


def _is_text(raw: bytes) -> bool:
    """Whether bytes are those of a text in any usual encoding: compressed and binary files hold control characters."""
    return not any(b < 9 or 13 < b < 32 for b in raw[:4096])
