"""Texts of strangers must not hold up a run or a server: no regular expression of ours takes more than linear time."""

from __future__ import annotations

import importlib
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LENGTH, SECONDS = 10_000, 0.3  # a quadratic one takes a second of CPU and more, a linear one a hundredth
RUNS = (" ", "\n", "a", "A1", "a ", "1-", "<a ", '"', "\\", '"a":', ", ", "'", "a@", "but ",
        "/**/", "/*")  # fmt: skip
END = "!"  # so that none fits to the end
# Asked at one place of a text alone, so that they need not be fast from every place.
FULL = {"platform.connections.SECRET_NAME", "platform.sources.formats.layout.MAIL", "platform.sources.cards.FEW_DIGITS",
        "platform.sources.formats.layout.TOTAL", "platform.connections.servicebus._HOST",
        "platform.lineage.reach._BATCH", "platform.formulas._NUMBER"}  # fmt: skip
BEGINS = {"pipelines.agents.PRODUCT", "platform.sources.cards.CODE_COLUMN",
          "platform.formulas._FORMULA", "platform.sources.protocols.changes.binlog._EMPTIED",
          "platform.sources.protocols.changes.binlog._WITHIN"}  # fmt: skip
ROOMS = ("platform", "pipelines", "models", "serve")


class TooSlow(Exception):
    """Used up its CPU time."""


@contextmanager
def limited() -> Iterator[None]:
    """Raises TooSlow within the block after `SECONDS` of CPU, however busy the machine is."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def expressions() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    """Every compiled regular expression of a module, by its place."""
    import customer360

    root = Path(customer360.__path__[0])
    for path in sorted(f for room in ROOMS for f in (root / room).rglob("*.py") if f.stem != "__main__"):
        # All of them, so that what other tests happened to import makes no difference.
        importlib.import_module(
            ".".join(("customer360", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        )
    found, seen = {}, set()
    for name, module in sorted(sys.modules.items()):
        for attribute, value in vars(module).items() if name.startswith("customer360.") else ():
            if isinstance(value, re.Pattern) and (value.pattern, value.flags) not in seen:
                seen.add((value.pattern, value.flags))
                found[f"{name.removeprefix('customer360.')}.{attribute}"] = value
    return found


def built() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    """Those that are made when they are needed, of what strangers do not choose, and asked of what they do."""
    from customer360.platform.sources.formats import quotes
    from customer360.platform.traces import Value

    found = {}
    for escape in ("", "\\"):
        made = quotes.readings(",", escape)
        for name, reading in (("first", made.first), ("spaced", made.spaced), ("literal", made.literal),
                              *((f"other{n}", other) for n, other in enumerate(made.others))):  # fmt: skip
            parts = {"quoted": reading.quoted, "bare": reading.bare}
            found |= {f"quotes.{escape}{name}.{part}": e for part, e in parts.items() if e is not None}
    for kind, text in (("name", ("Ann", "Lee")), ("phone", ("+31 6 12345678",)), ("e-mail", ("ann@x.test",)),
                       ("address", ("Long Street 12 a",)), ("account", ("S/A1",))):  # fmt: skip
        found[f"traces.{kind}"] = Value(kind, text).whole
    return found


def slow_texts(place: str, expression: re.Pattern[str] | re.Pattern[bytes]) -> list[str]:
    """Runs on which an expression is slow, asked as its module asks it."""
    found = []
    for run in RUNS:
        first = '"' if place.startswith("quotes.") else "" if place in BEGINS else "x"
        text = first + run * (LENGTH // len(run)) + END
        given = text.encode() if isinstance(expression.pattern, bytes) else text
        try:
            with limited():
                if place in FULL:
                    expression.fullmatch(given)  # type: ignore[arg-type]
                elif place in BEGINS or place.startswith("quotes."):
                    expression.match(given)  # type: ignore[arg-type]
                else:
                    for _ in expression.finditer(given):  # type: ignore[arg-type]
                        pass
        except TooSlow:
            found.append(run)
    return found


@pytest.mark.slow
def test_no_regular_expression_takes_more_than_linear_time() -> None:
    places = expressions() | built()
    assert len(places) > 50 and places.keys() >= FULL | BEGINS
    assert {p: slow for p, e in places.items() if (slow := slow_texts(p, e))} == {}


@pytest.mark.parametrize("text", [" " * 100_000, "bad " + "\n" * 100_000 + "but good", "bad but good " * 10_000,
                                  "a, " * 50_000, "gut aber " * 20_000], ids=["blanks", "lines", "but", "commas", "aber"])  # fmt: skip  # noqa: E501
def test_a_customers_endless_text_is_read_in_a_moment(text: str) -> None:
    from customer360.pipelines.texts.statements import read

    before = time.process_time()
    read(text, {"price": ["expensive", "good"]})
    assert time.process_time() - before < 2.0
