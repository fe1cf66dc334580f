"""Groups of records: aggregates of an expression's parts, and the expression over what they gave."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from customer360.platform import rescued
from customer360.platform.sources.expressions import sql
from customer360.platform.sources.expressions.scope import Read, Scope
from customer360.platform.sources.expressions.sql import Tree


class Groups:
    """Records of a scope by the keys of groups, in the order in which groups first occur.

    A value that cannot be had in one of its records is unknown for the group: a sum without it would be another one.
    """

    def __init__(self, scope: Scope, keys: list[str]) -> None:
        self.records, self.keys = scope, keys
        self.aggregates: dict[str, str] = {}  # name of the column by its text
        self.parts: dict[str, list[str]] = {}  # by name, the aliases that an aggregate takes

    def over(self, tree: Tree) -> Tree:
        """A rewritten tree over keys and aggregates."""
        if sql.is_aggregate(tree):
            return self._aggregate(tree)
        return {k: self._held(v) for k, v in tree.items()}

    def _held(self, held: Any) -> Any:
        if isinstance(held, list):
            return [self._held(each) for each in held]
        return self.over(held) if isinstance(held, dict) else held

    def _aggregate(self, tree: Tree) -> Tree:
        made: Tree = self._of_columns(tree)
        text = sql.written(made)
        name = self.aggregates.setdefault(text, f"g{len(self.aggregates)}")
        self.parts[name] = self.records.used(made)
        return sql.column(name)

    def _of_columns(self, held: Any, *, inside: bool = False) -> Any:
        """The parts of an aggregate as columns, so that one which fails in a record is that record's fault."""
        if isinstance(held, list):
            return [self._of_columns(each, inside=inside) for each in held]
        if not isinstance(held, dict):
            return held
        if inside and "class" in held:
            return held if held["class"] == "CONSTANT" else sql.column(self.records.kept(held))
        return {k: self._of_columns(v, inside=True) for k, v in held.items()}

    def plural(self, tree: Tree) -> bool:
        """Whether a tree over groups names columns of records that are no keys."""
        return any(alias not in self.keys for alias in self.records.used(tree))

    def scope(self) -> Scope:
        """A scope of one row a group: its keys under their aliases, its aggregates, and the first ``row`` of it."""
        records = self.records
        failing = {name: [a for a in parts if records.read[a].failed is not None] for name, parts in self.parts.items()}
        masks = {
            f"f{name}": pl.any_horizontal(*(records.read[a].failed for a in parts))
            for name, parts in failing.items()
            if parts
        }
        frame = records.frame.with_columns(pl.select(mask).to_series().alias(name) for name, mask in masks.items())
        chosen = {
            **{key: key for key in self.keys},
            **{name: text for text, name in self.aggregates.items()},
            **{mask: f"bool_or({mask})" for mask in masks},
            "row": 'min("row")',
        }
        needed = dict.fromkeys([*self.keys, *(a for parts in self.parts.values() for a in parts), *masks, "row"])
        by = ", ".join(self.keys)
        grouped = sql.select(frame.select(list(needed)), chosen, f"GROUP BY {by} ORDER BY min({sql.RECORDS}.row)")
        made = Scope(pl.DataFrame())
        made.height, made.frame, made.texts = grouped.height, grouped, {}
        made.read = {key: Read(None, records.read[key].of) for key in self.keys}
        for name in self.aggregates.values():
            mask = grouped[f"f{name}"] if f"f{name}" in masks else None
            labels = tuple(dict.fromkeys(label for a in self.parts[name] for label in records.read[a].of))
            if mask is not None:
                made.texts[name] = self._texts(frame, f"f{name}", labels, grouped)
            made.read[name] = Read(mask, (name,) if mask is not None else labels)
        return made

    def _texts(self, frame: pl.DataFrame, mask: str, labels: tuple[str, ...], grouped: pl.DataFrame) -> pl.Series:
        """What stood in the columns of an aggregate, in the records of each group where it failed: one text, or a JSON
        list of them."""
        texts = {label: self.records.texts[label].cast(pl.String, strict=False) for label in labels}
        (held,) = texts.values() if len(texts) == 1 else (rescued.written(frame.height, texts),)
        bad = frame.select(*self.keys, mask, held.alias("text")).filter(mask)
        by_group = bad.group_by(self.keys, maintain_order=True).agg(pl.col("text").unique(maintain_order=True))
        joined = [t[0] if len(t) == 1 else json.dumps(t, ensure_ascii=False) for t in by_group["text"].to_list()]
        by_group = by_group.with_columns(pl.Series("text", joined, pl.String))
        there = grouped.select(self.keys).join(
            by_group, on=self.keys, how="left", nulls_equal=True, maintain_order="left"
        )
        return there["text"]
