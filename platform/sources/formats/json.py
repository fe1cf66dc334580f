"""JSON files as records of text: objects one a line or one after the other, an array of them, or a list inside an
object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sized
from dataclasses import replace
from itertools import chain
from typing import IO, Any

from customer360.platform.sources.formats import elements
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Damaged, LineCount, Records, Unreadable, whole_file_dead
from customer360.platform.sources.formats.text import Text

LINES_LOOKED_AT = 40
DEEPEST = 4  # objects that are looked into for the list of records
MESSAGES = ({"schema", "payload"}, {"op", "source"})  # keys of what Kafka Connect and Debezium write
NUMBERED = re.compile(rb'\s*\{\s*("(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:|"0"\s*:\s*\{)')  # columns, or rows, by number
NO_LIST = "the text is one object that holds {}, and no list of records; export a list, or an object a line"
AS_PANDAS = " (to_json(orient='records'))"
META = ("request", "trace", "page", "correlation", "session", "query", "job")  # ids of an answer, not of a record


def pieces(stream: IO[bytes], options: Options, is_record: bool = False) -> Iterator[Records]:
    """Records of a text of JSON. What is no object is a dead letter; a text whose records are not found is one.
    ``is_record``: an object is known to be one record, whatever it holds.
    """
    text = Text(stream, options.encoding, guess_windows=False)  # what is no text at all says so itself
    try:
        chunks = text.chunks()
        head, last = next(chunks)
        again: Iterator[tuple[bytes, bool]] = chain([(head, last)], chunks)
        if not options.records and _is_lines(head):
            yield from _of_lines(text, again)
            return
        path, note = _path(head, last, options.records, is_record)
        notes = (*text.notes, *((note,) if note else ()))
        found = _of_elements(again, path)
        if last and not path:  # of a text that begins broken, lines may be whole
            held = list(found)
            if not any(piece.frame.height for piece in held):
                by_line = list(_of_lines(text, iter([(head, last)])))
                held = by_line if any(piece.frame.height for piece in by_line) else held
            found = iter(held)
        for number, piece in enumerate(found):
            yield replace(piece, notes=() if number else notes)
    except Damaged:
        raise  # the bytes to keep are those of the file, not what came out of them
    except Unreadable as fault:
        yield whole_file_dead(text.head, f"JSON: {fault}")


def _of_lines(text: Text, chunks: Iterator[tuple[bytes, bool]]) -> Iterator[Records]:
    position = counted = 0
    for block, _ in text.blocks(chunks):
        frame, dead, height = objects.records_of(block, position + 1)
        blank = 0 if height == text.lines - counted else _blank(block)
        lines = LineCount(text.lines - counted, blank=blank)
        yield Records(frame, dead, lines, () if position else text.notes)
        position, counted = position + height, text.lines


def _blank(block: bytes) -> int:
    """Blank lines of a text."""
    lines = block.split(b"\n")
    return sum(not line.strip(b"\r") for line in (lines if lines[-1] else lines[:-1]))


def _of_elements(chunks: Iterator[tuple[bytes, bool]], path: str) -> Iterator[Records]:
    position = 0
    for data in elements.lines_of(chunks, path):
        frame, dead, height = objects.records_of(data, position + 1)
        position += height
        yield Records(frame, dead)


def _is_lines(head: bytes) -> bool:
    """Whether a text has an object a line: the first line is one, or at least half of the next ones look like some."""
    lines = [line for line in head[: 1 << 20].split(b"\n", LINES_LOOKED_AT) if line.strip()][:LINES_LOOKED_AT]
    if not lines:
        return True
    if _holds_several(lines[0]):
        return False
    first = _value(lines[0])
    if len(lines) == 1:
        return not isinstance(first, (dict, list)) and head.lstrip()[:1] not in (b"{", b"[")
    if isinstance(first, (dict, list)):
        return True
    following = [line[:1] == b"{" and line.rstrip()[-1:] not in b",]{[" for line in lines[1:-1] or lines[1:]]
    return sum(following) * 2 >= len(following)


def _holds_several(line: bytes) -> bool:
    """Whether objects follow each other within a line, as streams that write no line ends have it."""
    text = line.decode("utf-8", "replace").lstrip("\ufeff \t")
    try:
        first, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and text[end:].lstrip(", \t").startswith("{")


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _path(head: bytes, last: bool, stated: str, is_record: bool) -> tuple[str, str]:
    """The keys that lead to the list of records, joined by dots, and what a person should know; empty where the text's
    values, or the elements of its array, are the records.

    Raises:
        Unreadable: there are several lists, or not the one that the source states.
    """
    start = head.lstrip()
    if start[:1] != b"{":
        if stated and start[:1] == b"[":
            raise Unreadable(f"the source says `records: {stated}`, but the file is an array; leave `records` out")
        return "", ""
    value = _value(head) if last else None
    if stated:
        if isinstance(value, dict) and not isinstance(_held(value, stated), list):
            raise Unreadable(f"there is no list at `records: {stated}`; the file has {', '.join(list(value)[:20])}")
        return stated, ""
    if not is_record:
        _require_records(head, last, value)
    lists = elements.lists_in(head, DEEPEST) if value is None else _lists(value, DEEPEST)
    if value is not None and _is_record(value):
        return "", ""
    if len(lists) > 1 and value is not None:
        raise Unreadable(f"there are lists at {', '.join(lists)}; say which holds the records: `records: {lists[0]}`")
    return (lists[0], f"the records are the list at {lists[0]!r}") if lists else ("", "")


def _require_records(head: bytes, last: bool, value: Any) -> None:
    """Raises Unreadable where one object holds many records in another shape than a list: it would land as one record
    whose values are those of all. One that stands on one line is a record, as it would be beside others, unless it has
    the numbers that data frames write. ``value``: the object, None where there are several or its end is not known.
    """
    if not value:
        if value is None and not last and NUMBERED.match(head):
            raise Unreadable(NO_LIST.format("columns or rows by their number") + AS_PANDAS)
        return
    held, is_spread = list(value.values()), b"\n" in head.strip()
    if _are_rows_apart(value) and (is_spread or "index" in value):
        raise Unreadable(NO_LIST.format("names of columns and rows without them") + AS_PANDAS)
    if is_spread and len(held) > 1 and _are_columns(held):
        raise Unreadable(NO_LIST.format("columns") + AS_PANDAS)
    if all(isinstance(each, dict) for each in held) and len({frozenset(each) for each in held}) == 1:
        if held[0] and list(held[0]) == _numbers(held[0]):
            raise Unreadable(NO_LIST.format("columns") + AS_PANDAS)
        wide = len(held) > 2 and len(held[0]) > 1  # {"a": {"S": "x"}, "b": {"S": "y"}} is a record of typed values
        if held[0] and ((is_spread and wide) or list(value) == _numbers(held)):
            raise Unreadable(NO_LIST.format("records under keys"))


def _numbers(held: Sized) -> list[str]:
    """The numbers that data frames write for the names of so many rows."""
    return [str(number) for number in range(len(held))]


def _are_rows_apart(value: dict[str, Any]) -> bool:
    """Whether an object holds names of columns, and rows of as many values."""
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not rows:
        return False
    return all(isinstance(row, list) and len(row) == len(names) for row in rows)


def _are_columns(lists: list[Any]) -> bool:
    """Whether values are columns of one table: lists of more values than one, equally long, all of them plain."""
    if not all(isinstance(each, list) for each in lists):
        return False
    plain = not any(isinstance(value, (dict, list)) for each in lists for value in each)
    return plain and len({len(each) for each in lists}) == 1 and len(lists[0]) > 1


def _held(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _lists(value: dict[str, Any], deepest: int) -> list[str]:
    """Paths of the lists of objects inside an object."""
    found = []
    for key, held in value.items():
        if isinstance(held, list) and held and isinstance(held[0], dict):
            found.append(key)
        elif isinstance(held, dict) and deepest > 1:
            found += [f"{key}.{path}" for path in _lists(held, deepest - 1)]
    return found


def _is_record(value: dict[str, Any]) -> bool:
    """Whether an object that holds lists is a record itself: it has an identifier, or is a message of a log."""
    if any(names <= value.keys() for names in MESSAGES):
        return True
    names = [key.lower() for key, held in value.items() if isinstance(held, (str, int)) and held not in ("", None)]
    return any((name == "id" or name.endswith("id")) and not name.startswith(META) for name in names)
