"""XML files as records: one element a record, its attributes and children the columns, nested ones JSON text."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from customer360.platform.sources.formats import typed
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Records, Unreadable

HEAD = 1 << 20  # bytes that the record element is found in
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
FAULTS = (ParseError, DefusedXmlException, LookupError, ValueError, UnicodeError)


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """The elements called ``options.records``, else those that repeat, as records.

    Raises:
        Unreadable: no XML or damaged (what stands before the damage was given), or no element repeats.
    """
    head = stream.peek(HEAD)  # type: ignore[attr-defined]
    if head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<html", b"<!doctype html", b"<table")):
        raise Unreadable("xml: the file is a web page; export it as CSV or as a workbook")
    element = options.records or _repeated(head)
    fault_of: list[str] = []
    given = False
    for piece in typed.pieces_of(_rows(stream, element, fault_of)):
        given = True
        yield piece
    if fault_of:
        raise Unreadable(fault_of[0])
    if not given and options.records:
        raise Unreadable(f"xml: there is no element {options.records!r}")


def _rows(stream: IO[bytes], element: str, fault_of: list[str]) -> Iterator[dict[str, Any]]:
    """Records until the damage, which is noted. Elements that were read are forgotten."""
    stack: list[Element] = []
    within = 0
    try:
        for event, node in iterparse(stream, ("start", "end")):
            if event == "start":
                stack.append(node)
                within += _name(node.tag) == element
                continue
            stack.pop()
            if _name(node.tag) == element:
                within -= 1
                if not within:
                    yield _record(node)
            if not within:
                node.clear()
                if stack:
                    stack[-1].remove(node)
    except FAULTS as fault:
        fault_of.append(_reason(fault))
    except RecursionError:
        fault_of.append("xml: an element is nested too deep; export records with fewer levels")


def _reason(fault: Exception) -> str:
    if isinstance(fault, DefusedXmlException):
        return (
            "xml: it declares entities, which may reach out of the file and are not read; export it without a DOCTYPE"
        )
    return f"xml: {str(fault) or type(fault).__name__}"


def _repeated(head: bytes) -> str:
    """The name of the elements that are records: the first below the root that repeat, or the only one of a list."""
    root = None
    try:
        for event, node in iterparse(io.BytesIO(head), ("start", "end")):
            root = node if root is None and event == "start" else root
    except FAULTS as fault:
        if root is None:
            raise Unreadable(_reason(fault)) from None
    node = root
    while node is not None and len(node):
        counts = Counter(_name(child.tag) for child in node)
        name, times = counts.most_common(1)[0]
        only = node[0] if len(node) == 1 else None
        if times > 1 or (only is not None and _is_list(_name(node.tag), name)) or only is None:
            return name if times > 1 or only is not None else _name(node.tag)
        if not any(len(child) for child in only):
            return name
        node = only
    raise Unreadable("xml: no element repeats; say which one is a record: `records: NAME`")


def _is_list(parent: str, child: str) -> bool:
    """Whether a name is the other's plural or list: orders of order, CustomerList of customer."""
    return len(child) > 2 and parent.lower().startswith(child.lower()[:-1])


def _record(node: Element) -> dict[str, Any]:
    value = _value(node)
    return value if isinstance(value, dict) else {_name(node.tag): value}


def _value(node: Element) -> Any:
    """An element as a value: its text, or a mapping of its attributes and children, repeated children as a list."""
    if node.get(NIL) in ("true", "1"):
        return None
    parts = (part.strip() for part in (node.text, *(child.tail for child in node)) if part)
    text = " ".join(filter(None, parts))
    if not len(node) and not node.attrib:
        return text or None
    found: dict[str, Any] = {_name(key): held for key, held in node.attrib.items() if key != NIL}
    children: dict[str, list[Any]] = {}
    for child in node:
        children.setdefault(_name(child.tag), []).append(_value(child))
    for name, values in children.items():
        key = f"{name}_element" if name in found else name
        found[key] = values[0] if len(values) == 1 else values
    if text:
        found["text" if "text" not in found else "#text"] = text
    return found


def _name(tag: Any) -> str:
    """A tag without its namespace."""
    return str(tag).rpartition("}")[2]
