"""What a run tells beside its sums: what was refused and why, what does not join, who was never asked, what is lacking.

Counts are of the whole lake as it stands after the run. Personal values are masked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from customer360.pipelines.gold.customers.consent import PURPOSES
from customer360.pipelines.gold.references import JUDGED
from customer360.platform import graph, ledger, privacy, tables
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_edition
from customer360.platform.ledger import Run
from customer360.platform.quality import ahead
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.cli.nobody import without_people
from customer360.serve.compose import enrichment_rules

SHOWN = 5  # of each kind: the largest
EXAMPLES = 3
COMPARED = 50_000  # distinct keys without a parent that are compared with the parents' keys
REFERENCES, VIEW, DAYS = "gold.reference_counts", "gold.customer_360", "silver.subject_days"
# What rows of a bronze table add, where no source gives them.
ADDS = {
    "bronze.customers": "people: names, contacts, one profile across systems (a file of orders holds them, too: map its"
    " customer columns in a second source)",
    "bronze.transactions": "purchases: value, recency, churn, recommendations",
    "bronze.transaction_items": "what was bought: affinity, baskets, lists of products",
    "bronze.events": "visits: interests and intent",
    "bronze.products": "names, categories and prices of what is bought and seen",
    "bronze.preferences": "consent: who was never asked is not contacted",
}


def of(settings: Settings, record: Run) -> list[str]:
    """Remarks on a run that built something, a line each; empty where there is nothing to say."""
    lake, built = lake_of(settings), {node.node for node in record.nodes if node.state == "built"}
    lines = list(refused(lake))
    if REFERENCES in built:
        lines += unjoined(lake)
    if VIEW in built:
        lines += [*known_people(lake), *without_people(lake, settings), *not_asked(lake, settings), *lacking(settings)]
    return lines


def refused(lake: Lake) -> Iterator[str]:
    """The rules that keep most rows in quarantine, by table and column; first what had not happened when it came."""
    if not lake.exists("quality.quarantine"):
        return
    rules = lake.scan("quality.quarantine").group_by("table_name", "column_name", "rule").len()
    order = [pl.col("rule") != ahead.RULE, pl.col("len"), "table_name", "rule"]
    found = rules.sort(order, descending=[False, True, False, False]).collect()
    for row in found.head(SHOWN).to_dicts():
        what = f"{row['column_name']} {row['rule']}" if row["column_name"] else row["rule"]
        whole = " (all of them)" if row["len"] >= _bronze_rows(lake, row["table_name"]) else ""
        yield f"in quarantine: {row['len']:,} rows of {row['table_name']}{whole}: {what}; `customer360 quarantine list`"


def _bronze_rows(lake: Lake, name: str) -> int:
    node = next((n for n in graph.NODES.values() if n.records == name), None)
    facts = ledger.last_facts(lake, node.name, f"node:{node.name}") if node else {}
    return int(facts.get("bronze", 0)) or sum(f.rows for f in lake.files(name))


def unjoined(lake: Lake) -> Iterator[str]:
    """The relations of which most rows name a parent that is not there, with examples and what may be the cause."""
    counts = lake.scan(REFERENCES).filter(pl.col("orphan_count") > 0)
    worst = counts.sort("orphan_count", "child", descending=[True, False]).collect()
    for row in worst.head(SHOWN).to_dicts():
        rows, share = f"{row['orphan_count']:,} of {row['row_count']:,} rows", f"{row['orphan_rate']:.1%}"
        relation = _Relation(
            lake, row["child"], row["foreign_key"], row["parent"], row["parent_key"], row["is_within_system"]
        )
        examples = f", such as {', '.join(found)}" if (found := relation.examples()) else ""
        hint = f": {said}" if (said := relation.hint()) else ""
        yield (
            f"does not join: {rows} of {row['child']} ({share} of those with a {row['foreign_key']}) name a "
            f"{row['foreign_key']} that {row['parent']} lacks{examples}{hint}"
        )


# How two systems may write one key, by the words that say so.
SPELLINGS: dict[str, pl.Expr] = {
    "case": pl.col("key").str.to_lowercase(),
    "leading zeros": pl.col("key").str.replace(r"^0+(\w)", "$1"),
    "a decimal point": pl.col("key").str.replace(r"\.0+$", ""),
    "spaces or punctuation": pl.col("key").str.replace_all(r"[^\p{L}\p{N}]", ""),
    "a prefix of letters": pl.col("key").str.replace(r"^\p{L}+[-_ :/]*(\p{N})", "$1"),
}


@dataclass(frozen=True)
class _Relation:
    lake: Lake
    child: str
    key: str
    parent: str
    parent_key: str
    is_within_system: bool

    @cached_property
    def missing(self) -> pl.DataFrame:
        """Distinct (system, key) of the child that the parent lacks, the most frequent first; system is empty where
        systems share their keys."""
        rows = self._keys(self.child, counted=True)
        found = rows.join(self._keys(self.parent), on=["system", "key"], how="anti")
        return found.sort("rows", "system", "key", descending=[True, False, False]).head(COMPARED).collect()

    def _keys(self, table: str, *, counted: bool = False) -> pl.LazyFrame:
        own = "source_system" in tables.by_name(table).columns()
        system = pl.col("source_system") if self.is_within_system and own else pl.lit("")
        column = self.key if counted else self.parent_key
        rows = self.lake.scan(table)
        if counted and JUDGED.get(table, ("",))[0] == self.key:  # its row says whether it found what it names
            rows = rows.filter("is_orphan")
        rows = rows.select(system=system, key=pl.col(column).cast(pl.String)).drop_nulls("key")
        return rows.group_by("system", "key").agg(rows=pl.len()) if counted else rows.unique()

    def examples(self) -> list[str]:
        named = self.missing.head(EXAMPLES).rename({"key": self.key})
        return privacy.masked(tables.by_name(self.child), named)[self.key].to_list()

    def hint(self) -> str:
        """What may be the cause, from the keys on both sides; empty where they have nothing in common."""
        missing = self.missing
        if not sum(f.rows for f in self.lake.files(self.parent)):
            return f"{self.parent} has no row at all"
        parents = self._keys(self.parent).collect()
        elsewhere = missing.join(parents.rename({"system": "other"}), on="key")
        if self.is_within_system and elsewhere.height and (n := elsewhere["key"].n_unique()):
            pairs = elsewhere.group_by("system", "other").len().sort("len", "system", "other", descending=True)
            mine, other, _ = pairs.row(0)
            return f"{n:,} of {missing.height:,} keys are those of system {other}: give its sources and those of {mine} one `system:`"  # fmt: skip  # noqa: E501
        for words, spelled in SPELLINGS.items():
            alike = missing.with_columns(key=spelled).join(parents.with_columns(key=spelled), on=["system", "key"])
            if n := alike.unique(["system", "key"]).height:
                return f"{n:,} of {missing.height:,} keys differ in {words} alone: write them alike in the `mapping:` of one source"  # fmt: skip  # noqa: E501
        return ""


def known_people(lake: Lake) -> Iterator[str]:
    """How much of what happened belongs to a person of the customer view."""
    is_known = pl.col("person_id").is_not_null()
    purchases, events = pl.col("order_count") + pl.col("return_count"), pl.col("event_count")
    sums = lake.scan(DAYS).select(
        bought=purchases.sum(), bought_known=purchases.filter(is_known).sum(),
        seen=events.sum(), seen_known=events.filter(is_known).sum(),
    )  # fmt: skip
    row = sums.collect().to_dicts()[0]
    said = [
        f"{row[f'{what}_known']:,} of {row[what]:,} {words}"
        for what, words in (("bought", "purchases and returns"), ("seen", "events"))
        if row[what]
    ]
    if said:
        yield f"of known people: {', '.join(said)}; the others are guests, visitors or accounts without a record"


def not_asked(lake: Lake, settings: Settings) -> Iterator[str]:
    """The rule for purposes that nobody answered, and for how many people it decides."""
    rules, current = enrichment_rules(settings), current_edition(lake, VIEW, lake.files(VIEW))
    if current is None:
        return
    unanswered = pl.col("unanswered_purposes").list
    rows = lake.scan(VIEW, current.files).select(
        pl.len().alias("people"), *(unanswered.contains(p).sum().alias(p) for p in PURPOSES.values())
    )
    counts = rows.collect().to_dicts()[0]
    if any(counts[p] for p in PURPOSES.values()):
        said = ", ".join(
            f"{p} {'allow' if rules.allows_unasked(p) else 'deny'} ({counts[p]:,})" for p in PURPOSES.values()
        )
        yield (
            f"not asked, of {counts['people']:,} people: {said}; the rule is consent.when_not_asked of "
            f"{settings.rules.get('enrichment', 'the rule file enrichment')}"
        )


def lacking(settings: Settings) -> Iterator[str]:
    """Tables that no source fills, and what they would add."""
    filled = {source.table for source in settings.sources.values()}
    for table, adds in ADDS.items():
        if table not in filled:
            yield f"no source fills {table}, which would add {adds}"
