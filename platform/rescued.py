"""The column ``_rescued`` of bronze: a JSON object of what a row's contract columns could not hold.

It holds file columns that no contract column carries over, texts that did not cast under the name of their column, and
values that broke a rule of an optional column. Of the last, ``_rules`` names the rules by column, so that a contract
that was changed can judge them again: ``{"STATE_CODE": "Bavaria", "_rules": {"STATE_CODE": "max_length"}}``. A
contract column that ``_rules`` does not name did not cast.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

RULES = "_rules"
INSTANT = "%Y-%m-%dT%H:%M:%S%.6fZ"


def written(height: int, texts: dict[str, pl.Series], rules: dict[str, pl.Series] | None = None) -> pl.Series:
    """One object a row of texts by key, and of the broken rules by column; null where a row has neither.

    All series are text of ``height`` rows; what is null in a row is no key of its object.
    """
    held = [text for text in (*texts.values(), *(rules or {}).values()) if text.null_count() < height]
    if not held:
        return pl.Series("_rescued", [None], pl.String).new_from_index(0, height)
    which = pl.DataFrame([text.is_not_null().alias(str(place)) for place, text in enumerate(held)])
    rows = which.select(pl.any_horizontal(pl.all())).to_series().arg_true()
    if len(rows) == height:
        return _written(height, texts, rules)
    some, broken = ({key: text.gather(rows) for key, text in of.items()} for of in (texts, rules or {}))
    found = pl.Series("_rescued", [None], pl.String).new_from_index(0, height)
    return found.scatter(rows, _written(len(rows), some, broken))


def _written(height: int, texts: dict[str, pl.Series], rules: dict[str, pl.Series] | None) -> pl.Series:
    parts = _members(height, texts)
    if rules:
        broken = _object(height, _members(height, rules))
        parts.append((f"{json.dumps(RULES)}:" + broken).alias("member"))
    return _object(height, parts).alias("_rescued")


def _members(height: int, texts: dict[str, pl.Series]) -> list[pl.Series]:
    """``"key":"text"`` of every row that has a text. Keys are data here and name no column, so none can collide."""
    found = []
    for key, text in texts.items():
        if text.null_count() < height:
            encoded = pl.struct(v=text).struct.json_encode().str.slice(5).str.head(-1)
            member = pl.when(text.is_not_null()).then(pl.lit(f"{json.dumps(key, ensure_ascii=False)}:") + encoded)
            found.append(pl.select(member=member).to_series())
    return found


def _object(height: int, members: list[pl.Series]) -> pl.Series:
    if not members:
        return pl.Series("object", [None], pl.String).new_from_index(0, height)
    frame = pl.DataFrame([m.alias(str(place)) for place, m in enumerate(members)])
    joined = pl.concat_str(pl.all(), separator=",", ignore_nulls=True)
    filled = pl.when(pl.any_horizontal(pl.all().is_not_null())).then(pl.lit("{") + joined + pl.lit("}"))
    return frame.select(object=filled).to_series()


def texts(rescued: str | None) -> dict[str, Any]:
    """What one row's ``_rescued`` kept, by column, without the rules."""
    return {key: value for key, value in json.loads(rescued or "{}").items() if key != RULES}


def text_of(values: pl.Series) -> pl.Series:
    """Typed values as the text that `value_of` reads back."""
    if isinstance(values.dtype, pl.Datetime):
        return values.dt.strftime(INSTANT)
    return values.cast(pl.String)


def value_of(text: pl.Series, to: pl.DataType) -> pl.Series:
    """Texts that `text_of` wrote as values of a type; null where they are none."""
    if isinstance(to, pl.Datetime):
        return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us").dt.convert_time_zone("UTC")
    if to == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    if to == pl.Boolean:
        return pl.select(pl.when(text.is_in(["true", "false"])).then(text == "true")).to_series()
    return text.cast(to, strict=False)


def put_back(frame: pl.DataFrame, types: dict[str, pl.DataType]) -> pl.DataFrame:
    """A bronze frame with the values that broke a rule back in their columns, to be judged anew."""
    if "_rescued" not in frame.columns or not frame["_rescued"].str.contains(rf'"{RULES}":\s*\{{').any():
        return frame
    found = []
    for column, kind in types.items():
        if not frame[column].null_count():
            continue
        broken = frame["_rescued"].str.json_path_match(f"$['{RULES}']['{column}']")
        if broken.null_count() < frame.height:
            text = frame["_rescued"].str.json_path_match(f"$['{column}']")
            text = pl.select(pl.when(broken.is_not_null()).then(text)).to_series()
            found.append(pl.select(pl.coalesce(frame[column], value_of(text, kind)).alias(column)).to_series())
    return frame.with_columns(found)
