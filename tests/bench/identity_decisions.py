"""Random scripts of stewards on a small registry: merges, splits, moves, confirms, rejects, golden values, undos,
erasures, and batches in which records come, go and come back. Persons are named by current ids and by former ones.

    python tests/bench/identity_decisions.py [--scripts 1000] [--seed 0] [--steps 12] [--minutes 120]

After every step: each decision in force holds, what is refused changes nothing, no id leads to somebody else's data
and no change by a former id falls to one of several heirs, a merge parted gives ids back, a value taken back is gone.
After every script: the log verifies, is loaded as it stands, and of one table one row that is changed, dropped, cut
off, or has a value of another, is found by `verify` with an anchor. Prints counts; ends with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import polars as pl

from customer360.models.identity import producer, registry
from customer360.models.identity.registry import RegistryError, core, decisions, stewardship, succession
from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityCommits,
    IdentityEvents,
    IdentityMembers,
    IdentitySeals,
    StewardDecisions,
)
from customer360.models.identity.registry.ids import person_ids
from customer360.models.identity.registry.stewardship import Contradiction
from customer360.platform import tables
from customer360.platform.lake import Lake

SEED = "bench"
KINDS = ("merge", "split", "move", "confirm", "reject", "set", "undo", "withdraw", "batch", "erase")
OFTEN = (4, 4, 2, 5, 4, 3, 4, 2, 3, 1)
LOGS = (IdentityEvents, IdentityMembers, IdentityAliases, IdentityCommits, StewardDecisions, IdentitySeals)


class Script:
    """One registry of a few records in an own lake, and what was done to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng, self.counts, self.folder = random.Random(seed), Counter[str](), folder
        self.lake, self.kept = Lake(str(folder), {}, 4), None
        self.lake.ensure(producer.IdentityEdges)
        self.next = self.rng.randint(3, 6)
        self.records = [f"S/{n}" for n in range(self.next)]
        self.away: list[str] = []  # records that their source delivers no more, and may deliver again
        self.asked: list[str] = []  # ids by which the step named persons
        self.batch()

    @property
    def stored(self) -> registry.Stored:
        name = _name(IdentityCommits)
        version = self.lake.version(name) if self.lake.exists(name) else -1
        if self.kept is None or self.kept[0] != version:
            self.kept = version, registry.load(self.lake, SEED)
        return self.kept[1]

    def play(self, steps: int) -> Counter[str]:
        for _ in range(steps):
            (kind,) = self.rng.choices(KINDS, OFTEN)
            before, self.asked = self.stored, []
            try:
                self.step(kind)
            except RegistryError as refused:
                self.counts[f"{kind} contradicted" if isinstance(refused, Contradiction) else f"{kind} refused"] += 1
                after = self.stored
                assert after.assignments.equals(before.assignments) and after.root == before.root, (
                    "refused, yet changed"
                )
            else:
                self.counts[kind] += 1
                for asked in self.asked:
                    assert len(before.heirs(asked)) == 1, f"{kind} by {asked}, which leads to several persons"
            self.check()
        checked = registry.verify(self.lake, SEED)
        assert checked.commits == self.stored.registry.commit and not checked.unsealed
        self.tamper()
        return self.counts

    # ---- steps ----------------------------------------------------------------------------------------------------

    def step(self, kind: str) -> None:
        held = self.stored.assignments
        people = held["person_id"].unique().sort().to_list()
        said = {"actor": self.rng.choice(("ann", "bob")), "reason": f"r{self.rng.randint(0, 99)}"}
        two = self.rng.choices(held["record_id"].to_list(), k=2)
        if kind == "merge":
            stewardship.merge(self.lake, SEED, self.named(people), self.named(people), **said)
        elif kind in ("split", "move"):
            person = self.rng.choice(people)
            mine = held.filter(person_id=person)["record_id"].to_list()
            part = self.rng.sample(mine, self.rng.randint(1, len(mine)))
            if kind == "split":
                stewardship.split(self.lake, SEED, person, part, **said)
            else:
                stewardship.move(self.lake, SEED, part, self.named(people), **said)
        elif kind == "set":
            value = f"{self.rng.randint(0, 99)}@example.org"
            stewardship.override(self.lake, SEED, self.named(people), "email_address", value, **said)
        elif kind == "confirm":
            stewardship.confirm(self.lake, SEED, *two, **said)
        elif kind == "reject":
            stewardship.reject(self.lake, SEED, *two, 60, **said)
        elif kind == "undo":
            self.undo(self.rng.randrange(self.stored.registry.next_event), said)
        elif kind == "withdraw":
            made = decisions.decisions(self.lake)
            stewardship.withdraw(self.lake, SEED, self.rng.randrange(made.height + 1), **said)
        elif kind == "erase":
            self.erase(held, self.rng.choice(people))
        else:
            going = self.rng.sample(self.records, self.rng.randint(0, min(2, len(self.records) - 1)))
            back = self.rng.sample(self.away, self.rng.randint(0, len(self.away)))
            new = [f"S/{self.next + n}" for n in range(self.rng.randint(0, 2))]
            self.next += len(new)
            self.records = [r for r in self.records if r not in going] + back + new
            self.away = [r for r in self.away if r not in back] + going
            self.batch()

    def named(self, people: list[str]) -> str:
        """A person by its id, or by a former one that leads to it."""
        former = person_ids(self.stored.registry.aliases["alias"], SEED).to_list()
        self.asked.append(self.rng.choice(former if former and self.rng.random() < 0.3 else people))
        return self.asked[-1]

    def undo(self, event: int, said: dict[str, str]) -> None:
        past = registry.event_of(self.stored, event)
        stewardship.undo(self.lake, SEED, event, **said)
        if past["kind"] == core.OVERRIDE:
            left = decisions.overrides(self.lake, self.stored)["decision"]
            assert past["cause"] not in {f"decision {number}" for number in left}, f"the value of event {event} is left"

    def erase(self, held: pl.DataFrame, person: str) -> None:
        mine = held.filter(person_id=person)["record_id"].to_list()
        if len(mine) < held.height:
            registry.forget(self.stored, frozenset(mine), cause="erasure")
            self.records = [record for record in self.records if record not in mine]

    def batch(self) -> None:
        """A resolution that finds a random partition, as far as decisions allow."""
        stored = registry.number_records(self.stored, pl.Series("record_id", self.records, dtype=pl.String))
        mine = stored.names.filter(pl.col("record_id").is_in(self.records))
        links = decisions.links_of(decisions.decisions(self.lake), stored.names)
        group = dict(links.groups.select("record", "group").iter_rows())
        apart = {frozenset(pair) for pair in links.apart.iter_rows()}
        found: list[set[int]] = []
        for block in self.rng.sample(sorted(blocks := _blocks(mine["record"].to_list(), group)), len(blocks)):
            fits = [c for c in found if not any(frozenset((a, b)) in apart for a in c for b in block)]
            if fits and self.rng.random() < 0.4:
                self.rng.choice(fits).update(block)
            else:
                found.append(set(block))
        rows = [(record, number) for number, cluster in enumerate(found) for record in cluster]
        clusters = pl.DataFrame(rows, schema={"record": pl.Int64, "cluster": pl.Int64}, orient="row")
        gone = stored.names.filter(pl.col("record_id").is_in(self.away))["record"]
        registry.commit(stored, succession.advance(stored.registry, clusters, gone, cause="run"))

    # ---- laws -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        stored = self.stored
        holder = dict(stored.registry.members.iter_rows())
        assert sorted(stored.assignments["record_id"]) == sorted(self.records), "a record is lost"
        links = decisions.links_of(decisions.decisions(self.lake), stored.names)
        for left, right, verdict, _ in links.pairs.iter_rows():
            if left in holder and right in holder:
                assert (holder[left] == holder[right]) == (verdict == "accepted"), (
                    f"{left} {right} {verdict} does not hold"
                )
        for (alias,), rows in stored.registry.former.partition_by("alias", as_dict=True).items():
            heirs = set(core.holders(stored.registry.members, rows["record"]).drop_nulls())
            if heirs and alias in stored.registry.aliases["alias"]:
                assert stored.registry.current(alias) in heirs, f"id {alias} leads to somebody else's data"

    def tampered(self, rows: pl.DataFrame, place: int, column: str) -> tuple[str, pl.DataFrame]:
        """The rows with one changed, dropped or cut off at the end, or with a value that changed places with that of
        another row; and which of it."""
        kind = self.rng.choice(("change", "drop", "swap", "truncate"))
        values = rows[column].to_list()
        # Rows that differ in this column alone would be the same rows in another order.
        rest = rows.drop(column).rows()
        others = [n for n, value in enumerate(values) if value != values[place] and rest[n] != rest[place]]
        if kind == "swap" and others:
            other = self.rng.choice(others)
            values[place], values[other] = values[other], values[place]
            return kind, rows.with_columns(pl.Series(column, values, dtype=rows.schema[column]))
        if kind in ("drop", "truncate"):
            return kind, rows.remove(pl.int_range(pl.len()) == (place if kind == "drop" else rows.height - 1))
        return "change", _changed(rows, place, column)

    def tamper(self) -> None:
        anchor = self.folder / "anchor.json"
        registry.write_anchor(self.lake, SEED, anchor)
        registry.verify(self.lake, SEED, anchor)
        logs = [
            table for table in LOGS if self.lake.exists(_name(table)) and self.lake.scan(_name(table)).collect().height
        ]
        table = self.rng.choice(logs)
        rows = self.lake.scan(_name(table)).collect()
        place, column = self.rng.randrange(rows.height), self.rng.choice(list(table.columns()))
        kind, changed = self.tampered(rows, place, column)
        assert not changed.equals(rows), f"{kind} of {_name(table)}.{column} changed nothing"
        self.lake.commit(
            _name(table),
            [self.lake.write_file(_name(table), changed, {}, "tampered")] if changed.height else [],
            self.lake.files(_name(table)),
            app="tamper",
            app_version=1,
        )
        try:
            registry.verify(self.lake, SEED, anchor)
        except RegistryError as found:
            assert _name(table) in str(found), f"{kind} {_name(table)}.{column}: {found}"
            self.counts[f"tampering found: {kind}"] += 1
        else:
            raise AssertionError(f"{kind} of {_name(table)}.{column}, row {place}, was not found")


def _blocks(records: list[int], group: dict[int, int]) -> list[tuple[int, ...]]:
    found: dict[int, list[int]] = {}
    for record in records:
        found.setdefault(group.get(record, -record - 1), []).append(record)
    return [tuple(sorted(block)) for block in found.values()]


def _changed(rows: pl.DataFrame, place: int, column: str) -> pl.DataFrame:
    kind, value = rows.schema[column], pl.col(column)
    other: pl.Expr
    if kind == pl.String:
        other = value.fill_null("") + "x"
    elif kind == pl.Datetime:
        other = value + pl.duration(days=1)
    elif isinstance(kind, pl.List):
        other = pl.concat_list(value.fill_null([]), pl.lit("9").cast(kind.inner))
    else:
        other = value.fill_null(0) + 1
    return rows.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(other.cast(kind)).otherwise(value).alias(column)
    )


def _name(table: type[tables.Table]) -> str:
    return tables.spec(table).name


def played(seed: int, steps: int = 12) -> Counter[str]:
    """The counts of one script."""
    with tempfile.TemporaryDirectory() as folder:
        return Script(Path(folder), seed).play(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=120.0, help="Start no script after so long")
    asked = parser.parse_args()
    counts, failed, played_so_far, start = Counter[str](), 0, 0, time.monotonic()
    for seed in range(asked.seed, asked.seed + asked.scripts):
        if time.monotonic() - start > asked.minutes * 60:
            break
        played_so_far += 1
        try:
            counts += played(seed, asked.steps)
        except KeyboardInterrupt:  # what was played so far is told
            played_so_far -= 1
            break
        except Exception:  # noqa: BLE001 - a script that fails must not end the others
            failed += 1
            print(f"script {seed} failed:\n{traceback.format_exc(limit=-4)}", flush=True)
    for what, count in sorted(counts.items()):
        print(f"{count:>7,} {what}")
    print(f"{played_so_far:,} scripts of {asked.steps} steps, {failed:,} failed")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
