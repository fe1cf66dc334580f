"""The law of incremental runs: after any sequence of batches every table is the one of a full rebuild.

    python tests/bench/incremental_law.py [sequences] [first seed] [folder]

A small retailer is landed once (in the folder, where it is found again). Each sequence then takes a copy of it through
three random batches, each run for itself. A batch is one to three of: new rows, duplicates, updates, rows that are
months late, older versions after newer ones, deletions, refused rows and their corrections, erasures, people who become
one, new products, campaigns and rates, a contract that changed. Then every table but identity's own is built anew, and
all business columns are compared. Of half of the sequences tables of a date are left out, which cost most; in every
other one subjects are made anew beside the others of their bucket, however many they are; in every third with all
tables reports rest until the last batch. Prints each sequence that
breaks the law, with its seed, the tables and some rows, how often a table was built whole, by reason, and the seconds
of CPU. In process, without Ray.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import hashlib
import importlib.util
import json
import logging
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from customer360.pipelines.sample.write import write_sample
from customer360.platform import graph, tables
from customer360.platform.run import bucketed, keyed, replay, reports
from customer360.platform.run.closing import written_at_the_end
from customer360.platform.sources.files import Files

PEOPLE, DAYS, BATCHES = 50, 40, 3
KEEP = {"erp/inventory": 40, "erp/products": 1200, "crm/changes": 0}  # a log of a database: its entries are no records
GONE = "GONE"  # column by which every source says that a record is deleted
KEYS = {  # key columns, version column or time, a number or word that an update changes
    "pos/transactions": (("TRANSACTION_ID",), "LAST_UPDATED_DATE", "TOTAL_AMOUNT", "TRANSACTION_DATE"),
    "shop/transactions": (("TRANSACTION_ID",), "LAST_UPDATED_DATE", "TOTAL_AMOUNT", "TRANSACTION_DATE"),
    "pos/transaction_items": (("ITEM_ID",), None, "UNIT_PRICE", None),
    "shop/transaction_items": (("ITEM_ID",), None, "UNIT_PRICE", None),
    "web/events": (("EVENT_ID",), None, "TIME_ON_PAGE", "EVENT_DATE"),
    "web/sessions": (("SESSION_ID",), None, "PAGE_VIEWS", "SESSION_START"),
    "shop/orders": (("ONLINE_ORDER_ID",), None, "ORDER_TOTAL", "ORDER_DATE"),
    "crm/engagement": (("ENGAGEMENT_ID",), None, "TIME_TO_OPEN", "ENGAGEMENT_DATE"),
    "crm/preferences": (("PREFERENCE_ID",), None, "PREFERENCE_STRENGTH", "PREFERENCE_DATE"),
    "crm/campaign_audiences": (("CUSTOMER_ID",), None, None, None),
    "crm/campaigns": (("CAMPAIGN_ID",), None, "CAMPAIGN_BUDGET", None),
    "support/tickets": (("TICKET_ID",), None, "PRIORITY", "CREATION_DATE"),
    "support/interactions": (("INTERACTION_ID",), None, "DURATION", "INTERACTION_DATE"),
    "erp/products": (("PRODUCT_ID",), None, "PRICE", None),
    "pos/customers": (("CUSTOMER_ID",), "LAST_UPDATED_DATE", "CITY", None),
    "shop/customers": (("CUSTOMER_ID",), "LAST_UPDATED_DATE", "CITY", None),
    "crm/customers": (("CUSTOMER_ID",), "LAST_UPDATED_DATE", "CITY", None),
    "external/profiles": (("PROFILE_ID",), None, None, None),
}  # fmt: skip
FACTS = [f for f in KEYS if f.partition("/")[0] != "erp" and not f.endswith("/customers")]
IDENTITY = ("silver.identities",)
LOGS = ("quality.data_quality_metrics", "quality.alerts")  # one row a measurement, at its version
OF_RUNS = {"gold.data_products": ("version", "size_bytes", "updated_at", "state", "state_at")}  # columns that tell them
MOSTLY, LEAST = bucketed.MOSTLY, keyed.LEAST
Row = dict[str, Any]


def conftest() -> Any:
    """The site of the tests: a landing folder, a lake, and how to run on them."""
    path = Path(__file__).resolve().parents[1] / "conftest.py"
    found = importlib.util.spec_from_file_location("law_conftest", path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def rows_of(folder: Path) -> list[Row]:
    """All records of a feed, values as the source writes them."""
    rows: list[Row] = []
    for file in sorted(folder.iterdir()):
        if file.suffix == ".parquet":
            text = pl.read_parquet(file).write_ndjson()
        elif file.suffix == ".gz":
            text = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
        else:
            frame = pl.read_csv(file, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy")
            text = frame.write_ndjson()
        for line in text.split("\n"):
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


class Retailer:
    """A site whose feeds deliver JSON lines, what each delivered, and what it holds back."""

    def __init__(self, site: Any, delivered: dict[str, list[Row]], held: dict[str, list[Row]], seed: int):
        self.site, self.delivered, self.held = site, delivered, held
        self.random, self.number, self.said = random.Random(seed), 1, list[str]()
        self.is_short = seed % 4 in (1, 2)
        self.rests = not self.is_short and seed % 3 == 0

    def deliver(self, feed: str, rows: list[Row]) -> None:
        if rows:
            self.number += 1
            self.site.deliver(f"{feed}/{self.number:04}.jsonl", [json.dumps({GONE: None, **row}) for row in rows])
            self.delivered[feed] += [row for row in rows if not row.get(GONE)]

    def some(self, rows: list[Row], most: int = 4) -> list[Row]:
        return [dict(r) for r in self.random.sample(rows, min(len(rows), self.random.randint(1, most)))]


def opened(module: Any, root: Path, config: Path | None = None) -> Any:
    """The site below a folder, every source of files of which reads JSON lines and tells deletions."""
    site = module.open_site(root, config)
    sources = {
        name: Files(
            table=source.table, system=source.system, path=f"{str(source.path).rpartition('/')[0]}/*.jsonl",
            format="json", deleted=f"{GONE} = 'yes'",
        )
        for name, source in site.settings.sources.items()
        if isinstance(source, Files)
    }  # fmt: skip
    return type(site)(root, site.settings.model_copy(update={"sources": sources, "loss": 1.0}))


# ---- what may happen in a batch


def new(shop: Retailer, feed: str) -> None:
    held = shop.held[feed]
    taken = [held.pop(shop.random.randrange(len(held))) for _ in range(min(len(held), shop.random.randint(1, 6)))]
    shop.deliver(feed, taken)


def duplicate(shop: Retailer, feed: str) -> None:
    shop.deliver(feed, shop.some(shop.delivered[feed]))


def changed(shop: Retailer, feed: str, version: str) -> list[Row]:
    _, versioned, column, _ = KEYS[feed]
    rows = shop.some(shop.delivered[feed])
    for row in rows:
        if column and column in row:
            is_word = column in ("CITY", "PRIORITY")
            words = ["HIGH", "LOW", "MEDIUM"] if column == "PRIORITY" else ["Berlin", "Ulm", "Graz"]
            row[column] = shop.random.choice(words) if is_word else shop.random.randint(1, 90)
        elif shop.random.random() < 0.5 and "CUSTOMER_ID" in row and feed not in ("crm/campaign_audiences",):
            row["CUSTOMER_ID"] = shop.random.choice(shop.delivered[feed]).get("CUSTOMER_ID")
        if versioned:
            row[versioned] = version
    return rows


def update(shop: Retailer, feed: str) -> None:
    shop.deliver(feed, changed(shop, feed, f"2026-06-30T{shop.number % 24:02}:00:00Z"))


def older(shop: Retailer, feed: str) -> None:
    shop.deliver(feed, changed(shop, feed, "2025-01-01T00:00:00Z"))


def late(shop: Retailer, feed: str) -> None:
    keys, versioned, _, when = KEYS[feed]
    rows = shop.some(shop.delivered[feed])
    for row in rows:
        row[keys[-1]] = f"{row[keys[-1]]}L{shop.number}{shop.random.randint(0, 9)}"
        if when and row.get(when):
            row[when] = f"2025-{shop.random.randint(1, 12):02}-{shop.random.randint(1, 28):02}" + str(row[when])[10:]
        if versioned and when:
            row[versioned] = row[when]
    if when:
        shop.deliver(feed, rows)


def moved(shop: Retailer, feed: str) -> None:
    """Rows that somebody else has now, lines of another receipt."""
    rows = shop.some(shop.delivered[feed], 2)
    for row in rows:
        other = shop.random.choice(shop.delivered[feed])
        for column in ("TRANSACTION_ID",) if feed.endswith("_items") else ("CUSTOMER_ID", "VISITOR_ID"):
            if column in row:
                row[column] = other.get(column)
        if KEYS[feed][1]:
            row[KEYS[feed][1] or ""] = f"2026-06-30T{shop.number % 24:02}:30:00Z"
    shop.deliver(feed, rows)


def deleted(shop: Retailer, feed: str) -> None:
    """Rows of which nothing but the key and perhaps a version is told any more."""
    keys, versioned, *_ = KEYS[feed]
    rows = shop.some(shop.delivered[feed], 3)
    kept = [*keys, *([versioned] if versioned and shop.random.random() < 0.5 else [])]
    shop.deliver(feed, [{**{k: row.get(k) if k in kept else None for k in row}, GONE: "yes"} for row in rows])


def refused(shop: Retailer, feed: str) -> None:
    """Rows without their time, or without another required value, under old keys and new ones."""
    keys, _, column, when = KEYS[feed]
    rows = shop.some(shop.delivered[feed], 3)
    for row in rows:
        if shop.random.random() < 0.6:
            row[keys[-1]] = f"{row[keys[-1]]}R{shop.number}"
        if when or column:
            row[when or column or ""] = "never"
    shop.deliver(feed, rows)


def corrected(shop: Retailer, feed: str) -> None:
    refused(shop, shop.random.choice(["pos/transactions", "shop/transactions", "web/events", "crm/engagement", feed]))
    run(shop, "to be corrected", only=undated())
    out = Path(shop.site.root, f"open-{shop.number}.jsonl")
    replay.export(shop.site.lake, out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        about = "".join(line["_reasons"])
        for column in re.findall(r"[A-Z][A-Z_]+", about):
            if column in line or column.endswith("_DATE"):
                line[column] = "2026-06-20T10:00:00Z" if column.endswith(("_DATE", "_START")) else 7
    picked = [line for line in lines if "_raw" not in line]
    shop.random.shuffle(picked)
    out.write_text("".join(json.dumps(line) + "\n" for line in picked[:3]))
    with contextlib.suppress(replay.SourceError):
        replay.replay(shop.site.lake, shop.site.settings, out)


def erased(shop: Retailer, feed: str) -> None:
    from customer360.models.identity.erasure import forget, identifiers_of
    from customer360.platform import privacy
    from customer360.serve.compose import identity_rules

    people = shop.site.lake.scan("silver.people").select("person_id").collect().to_series().sort().to_list()
    if people:
        who = identifiers_of(shop.site.lake, shop.random.choice(people))
        privacy.erase_rows(shop.site.lake, who)
        forget(shop.site.lake, who, identity_rules(shop.site.settings))


def joined(shop: Retailer, feed: str) -> None:
    """An account says of itself what another does; or a visitor logs in as somebody else."""
    if shop.random.random() < 0.5 and shop.delivered["web/events"]:
        rows = shop.some(shop.delivered["web/events"], 2)
        for row in rows:
            row["EVENT_ID"] = f"{row['EVENT_ID'][:-4]}{shop.number:04}"
            row["CUSTOMER_ID"] = shop.random.choice(shop.delivered["shop/customers"])["CUSTOMER_ID"]
        shop.deliver("web/events", rows)
        return
    feed = shop.random.choice(["pos/customers", "shop/customers", "crm/customers"])
    (row,) = shop.some(shop.delivered[feed], 1)
    other = shop.random.choice(shop.delivered[shop.random.choice(["pos/customers", "shop/customers"])])
    told = ("FIRST_NAME", "LAST_NAME", "EMAIL_ADDRESS", "PHONE_NUMBER", "DATE_OF_BIRTH", "ZIP_CODE", "GENDER")
    row |= {column: other.get(column) for column in told}
    row["LAST_UPDATED_DATE"] = f"2026-06-30T{shop.number % 24:02}:45:00Z"
    shop.deliver(feed, [row])


def merged(shop: Retailer, feed: str) -> None:
    """A steward makes two people one."""
    from customer360.models.identity.registry import stewardship
    from customer360.serve.compose import identity_rules

    people = shop.site.lake.scan("silver.people").select("person_id").collect().to_series().sort().to_list()
    one, other = shop.random.sample(people, 2)
    seed = identity_rules(shop.site.settings).ids.seed
    with contextlib.suppress(Exception):  # not every pair may be merged
        stewardship.merge(shop.site.lake, seed, one, other, actor="law", reason="law")


def widened(shop: Retailer, feed: str) -> None:
    """The code of a contract is another one: here by its digest alone."""
    module = shop.random.choice(["sales", "behavior", "customers", "engagement"])
    digests[f"customer360.pipelines.bronze.{module}"] = str(shop.number)


ACTS: list[tuple[int, Callable[[Retailer, str], None]]] = [
    (6, new), (3, duplicate), (5, update), (3, older), (4, late), (3, moved), (4, deleted), (3, refused),
    (3, corrected), (2, erased), (3, joined), (2, merged), (1, widened),
]  # fmt: skip
digests: dict[str, str] = {}


def run(shop: Retailer, what: str, **options: Any) -> None:
    shop.said.append(f"run ({what})")
    shop.site.run(**options)


def undated() -> frozenset[str]:
    """All tables but those of a date."""
    return frozenset(n.name for n in graph.NODES.values() if not n.needs_date)


def batch(shop: Retailer, *, is_last: bool) -> None:
    """A batch and its run; where reports rest in between, the last run makes them."""
    for _ in range(shop.random.randint(1, 3)):
        act = shop.random.choices([a for _, a in ACTS], [w for w, _ in ACTS])[0]
        feed = shop.random.choice(list(KEYS) if act in (new, duplicate, update, deleted, refused) else FACTS)
        if shop.delivered[feed]:
            shop.said.append(f"{act.__name__} {feed}")
            act(shop, feed)
    if shop.rests and not is_last:
        made = {"at": datetime.now(UTC).isoformat()}
        shop.site.lake.put(reports.MARK, json.dumps(made).encode())
        run(shop, "batch of what is due", due=True)
    else:
        run(shop, "batch", only=undated() if shop.is_short else None)


def business(module: Any, site: Any) -> dict[str, pl.Series]:
    """The rows of every table but logs and what tells of runs, as text, without moments and numbers of commits; of what
    the end of a run writes, tables of `OF_RUNS`."""
    told = {*LOGS, *written_at_the_end()} - OF_RUNS.keys()
    names = [n for n in sorted(tables.TABLES) if n not in told and site.lake.exists(n)]
    of_runs = {n: ("table_version", *OF_RUNS.get(n, ())) for n in names}
    frames = {n: site.lake.scan(n).collect().drop(of_runs[n], strict=False) for n in names}
    return {n: module.business_rows(frame) for n, frame in frames.items()}


def differences(before: dict[str, pl.Series], after: dict[str, pl.Series]) -> list[str]:
    """Tables whose rows differ, with the first of them."""
    found = []
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or not one.equals(other):
            mine = collections.Counter([] if one is None else one.to_list())
            theirs = collections.Counter([] if other is None else other.to_list())
            gone, new_ = list((mine - theirs).elements()), list((theirs - mine).elements())
            found.append(f"  {name}: {len(gone)} rows only after batches, {len(new_)} only after a rebuild")
            found += [f"    batches {row[:700]}" for row in gone[:2]] + [f"    rebuild {row[:700]}" for row in new_[:2]]
    return found


@contextlib.contextmanager
def watched(reasons: collections.Counter[str]) -> Iterator[None]:
    """Count what a run says of tables that were built whole."""

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if (text.startswith("whole ") or "built whole" in text) and "asked for" not in text:
                reasons[" ".join(text.split())] += 1

    log, handler = logging.getLogger("customer360"), Counting()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)


def landed(module: Any, root: Path) -> tuple[Any, dict[str, list[Row]], dict[str, list[Row]]]:
    """A retailer whose first delivery is in; what it delivered, and what it holds back."""
    is_known = (root / "made").exists()
    if not is_known:
        write_sample(root / "made", customers=PEOPLE, days=DAYS, seed=3)
    site, chance = opened(module, root / "first"), random.Random(1)
    delivered: dict[str, list[Row]] = collections.defaultdict(list)
    held: dict[str, list[Row]] = collections.defaultdict(list)
    for folder in sorted((root / "made/landing").glob("*/*")):
        feed = str(folder.relative_to(root / "made/landing"))
        rows = rows_of(folder)[: KEEP.get(feed)]
        for row in rows:
            is_held = feed in KEYS and chance.random() < 0.2
            (held if is_held else delivered)[feed].append(row)
        if delivered[feed] and not is_known:
            site.deliver(f"{feed}/0001.jsonl", [json.dumps({GONE: None, **row}) for row in delivered[feed]])
    site.run()
    return site, delivered, held


def all_builds() -> tuple[str, ...]:
    """Every table but what identity makes: its own law has a bench of its own."""
    return tuple(n.name for n in graph.NODES.values() if tables.spec(n.table).name not in IDENTITY and not n.part)


def holds(module: Any, first: Any, rows: tuple[dict[str, list[Row]], dict[str, list[Row]]], seed: int) -> bool:
    """Whether the law holds for the sequence of a seed."""
    digests.clear()
    bucketed.MOSTLY = keyed.MOSTLY = float("inf") if seed % 2 else MOSTLY
    keyed.LEAST = 0 if seed % 2 else LEAST
    with tempfile.TemporaryDirectory() as folder:
        site = first.copy(Path(folder) / "site")
        copies = [collections.defaultdict(list, {k: list(v) for k, v in each.items()}) for each in rows]
        shop = Retailer(site, *copies, seed)
        fault, start = [], time.process_time()
        try:
            for number in range(BATCHES):
                batch(shop, is_last=number == BATCHES - 1)
            before = business(module, site)
            shop.site.run(refresh=all_builds(), only=undated() if shop.is_short else None)
            fault = differences(before, business(module, site))
        except Exception as failed:  # noqa: BLE001 - a run that fails breaks the law, too
            fault = [f"  {type(failed).__name__}: {str(failed)[:1500]}"]
        word = "BROKEN" if fault else "holds"
        print(f"{seed}: {word} in {time.process_time() - start:.1f} s: {'; '.join(shop.said)}", flush=True)
        if fault:
            print("\n".join(fault), flush=True)
    return not fault


def main(count: int, first_seed: int, folder: Path | None = None) -> int:
    from customer360.serve.compose import rules_kept

    module, reasons, broken = conftest(), collections.Counter[str](), []
    digest = graph._source_digest
    graph._source_digest = lambda name: hashlib.sha256((digest(name) + digests.get(name, "")).encode()).hexdigest()
    with tempfile.TemporaryDirectory() as root, watched(reasons):
        site, *rows = landed(module, folder or Path(root))
        with rules_kept(site.settings):
            for seed in range(first_seed, first_seed + count):
                if not holds(module, site, tuple(rows), seed):
                    broken.append(seed)
    print(f"{count - len(broken)} of {count} sequences hold" + (f"; broken: {broken}" if broken else ""))
    for reason, times in reasons.most_common(40):
        print(f"{times:5} {reason}")
    return 1 if broken else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    numbers = [int(given[n]) if len(given) > n else default for n, default in enumerate((200, 0))]
    sys.exit(main(*numbers, Path(given[2]) if len(given) > 2 else None))
