"""Which column is what in a file without a header: by what the first rows hold, said in a line, never in silence."""

from collections.abc import Callable, Sequence

import polars as pl

from customer360.platform.errors import SourceError
from customer360.platform.sources.values import amounts, timestamps

Tell = Callable[[str], None]

SAMPLE_ROWS = 1000
EARLIEST_EPOCH = 1e8  # seconds: numbers from here on (1973) may be epochs, smaller ones count or name things


def transactions(frame: pl.DataFrame, tell: Tell) -> dict[str, str]:
    """`customer` is the first column, `timestamp` the one that reads as a time, `amount` the last other number. Raises
    SourceError where these cannot be recognised.
    """
    time = _time(frame)
    others = [place for place in frame.columns if place != time]
    numbers = [place for place in others[1:] if _numbers(frame[place])]
    if not numbers:
        raise _unrecognised(frame, "no column after the customer holds amounts", ("customer", "timestamp", "amount"))
    return _taken({"customer": others[0], "timestamp": time, "amount": numbers[-1]}, frame, tell)


def interactions(frame: pl.DataFrame, owner: str, tell: Tell) -> dict[str, str]:
    """The owner (`user` or `session`) is the first column, `item` the second, the one that reads as a time left out.
    Raises SourceError where these cannot be recognised.
    """
    time = _time(frame, (owner, "item", "timestamp"))
    others = [place for place in frame.columns if place != time]
    if len(others) < 2:
        raise _unrecognised(frame, "there are fewer than three columns", (owner, "item", "timestamp"))
    return _taken({owner: others[0], "item": others[1], "timestamp": time}, frame, tell)


def _time(frame: pl.DataFrame, names: Sequence[str] = ("customer", "timestamp", "amount")) -> str:
    """Written dates are surer than numbers like 19970131, and these than epochs."""
    sample = frame.head(SAMPLE_ROWS)
    for kind in (_written, _compact, _epochs):
        found = [place for place in sample.columns if kind(sample[place].drop_nulls())]
        if len(found) == 1:
            return found[0]
        if found:
            raise _unrecognised(frame, f"columns {' and '.join(found)} could both be the time", names)
    raise _unrecognised(frame, "no column reads as a time throughout", names)


def _written(values: pl.Series) -> bool:
    return _reads(values) and not values.cast(pl.Float64, strict=False).is_not_null().any()


def _compact(values: pl.Series) -> bool:
    numbers = values.cast(pl.Float64, strict=False)
    return bool(numbers.is_between(*timestamps.COMPACT).fill_null(False).all()) and _reads(values)


def _epochs(values: pl.Series) -> bool:
    numbers = values.cast(pl.Float64, strict=False)
    return bool((numbers >= EARLIEST_EPOCH).fill_null(False).all()) and _reads(values)


def _reads(values: pl.Series) -> bool:
    if values.is_empty():
        return False
    try:
        return timestamps.read(values, "", lambda _: None).null_count() == 0
    except SourceError:
        return False


def _numbers(values: pl.Series) -> bool:
    known = values.head(SAMPLE_ROWS).drop_nulls()
    try:
        return len(known) > 0 and amounts.read(known, "", lambda _: None).null_count() == 0
    except SourceError:
        return False


def _taken(found: dict[str, str], frame: pl.DataFrame, tell: Tell) -> dict[str, str]:
    chosen = ",".join(f"{name}={place}" for name, place in found.items())
    tell(f"no header ({_first(frame)}): read as --columns {chosen}; give your own where this is wrong")
    return found


def _unrecognised(frame: pl.DataFrame, why: str, names: Sequence[str]) -> SourceError:
    example = ",".join(f"{name}={place}" for place, name in enumerate(names, start=1))
    return SourceError(
        f"the file seems to have no header ({_first(frame)}), and {why}: name the columns by place, "
        f"as --columns {example}"
    )


def _first(frame: pl.DataFrame) -> str:
    return "first row " + ", ".join(str(cell) for cell in frame.row(0)) if frame.height else "no rows"
