"""Looking up one record among many: `python tests/bench/lookup.py [--records N] [--asked N]`.

Builds the index of N generated people, then asks for existing records with typing errors and gaps, and for strangers,
in process and over HTTP (uvicorn, one process, one client, one connection). Prints wall and CPU milliseconds, what the
answers were, and the largest difference between the compiled scorer and a run on 100,000 pairs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from time import perf_counter, sleep, thread_time
from typing import Any

import numpy as np
import polars as pl
import yaml
from conditions import conditions, measured
from people import households, retail

from customer360.models.identity import IdentityRules
from customer360.models.identity.batch import pins
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.state import State
from customer360.models.identity.lookup import look_up
from customer360.models.identity.lookup.index import IdentityIndex, write_index
from customer360.platform import access, online
from customer360.platform import settings as configuration

ROOT = Path(__file__).resolve().parents[2]
RULES = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
COLUMNS = {
    "record_id": "unique_id", "first_name": "first_name", "last_name": "surname", "email_address": "email",
    "phone_number": "phone", "date_of_birth": "dob", "address_line_1": "address", "city": "city", "zip_code": "zip",
}  # fmt: skip
ACCENTS = str.maketrans({"a": "á", "e": "é", "o": "ö", "u": "ü", "n": "ñ", "c": "ç", "i": "ı", "l": "ł"})
VERSION, WARM, PAIRS = 1, 100, 100_000
Row = dict[str, Any]


def records(people: pl.DataFrame) -> pl.DataFrame:
    return people.select(**COLUMNS)


def perturbed(rows: pl.DataFrame, seed: int) -> list[Row]:
    """What a till would ask: one value mistyped, one in four values not known, some names with accents."""
    draw = np.random.default_rng(seed)
    asked = []
    for row in rows.drop("record_id").to_dicts():
        known = {name: value for name, value in row.items() if value and draw.random() > 0.25}
        name = draw.choice(sorted(known)) if known else None
        if name and len(known[name]) > 3:
            place = int(draw.integers(0, len(known[name]) - 1))
            known[name] = known[name][:place] + known[name][place + 1] + known[name][place] + known[name][place + 2 :]
        if draw.random() < 0.1 and known.get("last_name"):
            known["last_name"] = known["last_name"].translate(ACCENTS)
        asked.append(known)
    return asked


def timed(asked: list[Row], ask: Callable[[Row], str]) -> str:
    """Milliseconds of each call after some to warm up, and the answers."""
    for row in asked[:WARM]:
        ask(row)
    wall, cpu, answers = [], [], Counter()
    for row in asked[WARM:]:
        start, ticks = perf_counter(), thread_time()
        answers[ask(row)] += 1
        wall.append((perf_counter() - start) * 1e3)
        cpu.append((thread_time() - ticks) * 1e3)
    told = ", ".join(f"{kind} {count}" for kind, count in answers.most_common())
    return f"wall {_percentiles(wall)}; cpu of the caller {_percentiles(cpu)}; {told}"


def _percentiles(values: Iterable[float]) -> str:
    p50, p95, p99 = np.percentile(list(values), [50, 95, 99])
    return f"p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} ms"


def against_batch(sample: pl.DataFrame, held: pins.Pins, index: IdentityIndex) -> str:
    """The same pairs, of records that share a block key, scored by the compiled scorer and by a run."""
    draw = np.random.default_rng(5)
    names = [n.translate(ACCENTS) if n and draw.random() < 0.2 else n for n in sample["last_name"]]
    sample = sample.with_columns(last_name=pl.Series(names))
    all_pairs = RULES.model_copy(update={"decision": RULES.decision.model_copy(update={"audit_weight": -200.0})})
    evidence = pins.evidence(sample, held, all_pairs).with_row_index("record").cast({"record": pl.Int64})
    edges = resolve_batch(State.empty(evidence.drop("record")), evidence, [], held, all_pairs).state.edges
    chosen = edges.sample(min(PAIRS, edges.height), seed=7).select("record_l", "record_r", "match_weight")
    raw = {row["record_id"]: row for row in sample.to_dicts()}
    rows = [index.evidence(raw[record]) for record in evidence["record_id"]]
    mine = [index.scorer(rows[one], rows[other]).weight for one, other, _ in chosen.iter_rows()]
    worst = np.abs(chosen["match_weight"].to_numpy() - np.array(mine)).max()
    return f"{chosen.height:,} pairs of {evidence.height:,} records: largest difference to a run {worst:.2e} bits"


def serve(config: dict[str, str], port: int) -> None:
    import uvicorn

    from customer360.serve.app import build_app

    uvicorn.run(build_app(configuration.load(None, config)), port=port, log_level="error")


def over_http(asked: list[Row], others: list[Row], state: Path, persons: pl.Series) -> None:
    # Who is not published is not told.
    known = pl.select(kind=pl.lit("person"), key=persons.cast(pl.String).unique(), document=pl.lit("{}"))
    online.publish(state, [known], as_of=date(2026, 1, 1), sources={"silver.identities": VERSION})
    key = access.issue(state, "till", "service")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {"CUSTOMER360__STATE": str(state), "CUSTOMER360__LAKE__ROOT": str(state / "lake")}
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(config, port), daemon=True)
    server.start()
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(row: Row) -> str:
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        line.request("POST", "/v1/identity/lookup", json.dumps(row), headers)
        answer = json.loads(line.getresponse().read())
        return str(answer["answer"])

    try:
        _wait(port)
        for name, rows in (("existing", asked), ("strangers", others)):
            print(f"HTTP, {name}: {timed(rows, ask)}")
    finally:
        server.terminate()
        server.join()


def _wait(port: int) -> None:
    for _ in range(300):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        sleep(0.2)
    raise TimeoutError("the server did not start within a minute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--asked", type=int, default=2_000)
    given = parser.parse_args()
    print(conditions("polars", "splink", "duckdb", "pyarrow"))
    everybody = retail(given.records)
    people, who = records(everybody), everybody.select(record_id="unique_id", person_id="entity_id")
    with tempfile.TemporaryDirectory() as place:
        state, folder = Path(place), Path(place) / "identity" / str(VERSION)
        pinned = measured(lambda: pins.pinned(people, RULES)[0])
        held = pinned.result
        print(f"{people.height:,} records; model and pins: {pinned.seconds:.1f} s, {pinned.peak:.1f} GiB")
        built = measured(lambda: write_index(folder, people, who, held, RULES))
        size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        print(
            f"index: {built.seconds:.1f} s, cpu {built.cpu:.1f} s, {built.peak:.1f} GiB; {size:.0f} MiB of mapped files"
        )
        start = perf_counter()
        index = IdentityIndex.open(folder)
        look_up(index, {"first_name": "Ann"})
        print(f"opened and compiled in {perf_counter() - start:.1f} s")
        print(against_batch(records(households(60_000, seed=9)), held, index))
        asked = perturbed(people.sample(given.asked + WARM, seed=3), 3)
        others = perturbed(records(households(given.asked + WARM, seed=77)), 4)
        for name, rows in (("existing", asked), ("strangers", others)):
            print(f"in process, {name}: {timed(rows, lambda row: look_up(index, row).kind)}")
        over_http(asked, others, state, who["person_id"])


if __name__ == "__main__":
    main()
