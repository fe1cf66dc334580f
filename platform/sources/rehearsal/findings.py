"""What a rehearsal found: one line each, with the source, the place, what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from customer360.platform import tables
from customer360.platform.tables import Table

Severity = Literal["error", "warning", "note"]
ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
SHOWN, LONGEST = 3, 40  # examples of a finding, and characters of one
_SIGN = re.compile(r"[^\W_]")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


@dataclass(frozen=True)
class Finding:
    """``error``: rows or files would be lost beyond the stated share; ``warning``: figures may be wrong; ``note``: it
    is as the settings say, and may be meant.
    """

    severity: Severity
    source: str
    where: str  # a file, a column or a key of the settings
    what: str
    do: str = ""
    share: float = 1.0  # of the rows looked at that it is about, by which findings of one severity are ordered

    @property
    def text(self) -> str:
        """The finding as one line."""
        place = f"{self.source}: {self.where}: " if self.where else f"{self.source}: "
        return place + self.what + (f"; {self.do}" if self.do else "")


def ordered(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then what is about most rows, otherwise in the order in which they were found; none twice."""
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: (ORDER[finding.severity], -finding.share)))


def part(count: int, of: int, what: str = "rows") -> str:
    """A count with its share: ``3 of 100 rows (3.0 %)``."""
    return f"{count:,} of {of:,} {what} ({100 * count / max(of, 1):.1f} %)"


def examples(values: Iterable[str | None], table: type[Table], column: str) -> str:
    """Up to three different values; personal ones keep their first sign and their form alone."""
    is_personal = column in tables.pii_columns(table)
    shown = dict.fromkeys(covered(value) if is_personal else value[:LONGEST] for value in values if value)
    return ", ".join(repr(value) for value in list(shown)[:SHOWN])


def covered(value: str) -> str:
    """A personal value with its first sign and its form: ``a••@•••••••.•••``; of one sign alone nothing."""
    value = value.strip()
    first = value[:1] if len(value) > 1 else ""
    return first + _SIGN.sub("•", value[len(first) : LONGEST])


def without_values(text: str) -> str:
    """A sentence about values of a personal column, without those that it quotes."""
    return _QUOTED.sub("'•••'", text)


def listed(names: Iterable[str], limit: int = SHOWN) -> str:
    """Names in quotes, those beyond the limit counted."""
    every = list(names)
    more = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(repr(name) for name in every[:limit]) + more
