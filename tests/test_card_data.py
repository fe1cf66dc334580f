"""No card number and no verification code reaches lake or state, wherever a source of payments brings it.

The bytes of every file are searched, Parquet files by their values too; what lands is searched, not only what is shown.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.run.replay import replay
from customer360.platform.sources.cards import masked

HEAD = "PAYMENT_ID,PAYMENT_STATUS,PAYMENT_DATE,AMOUNT,CUSTOMER_ID"
GOOD = "2026-05-04T10:00:00Z,5.00"
ISSUED = ("400000", "222100", "371449", "601100", "356600", "500011", "620000")
CODE = "7391"  # a verification code that no other value of the files holds


def card(place: int) -> str:
    """An invented number of a network, each another one, that passes Luhn."""
    issuer = ISSUED[place % len(ISSUED)]
    length = 15 if issuer.startswith("37") else 16
    body = issuer + f"{place * 7919 + 13:0{length - len(issuer) - 1}d}"
    return next(body + str(n) for n in range(10) if masked(body + str(n)) != body + str(n))


NUMBERS = [card(place) for place in range(24)]


def spaced(number: str, by: str = " ") -> str:
    return by.join(number[at : at + 4] for at in range(0, len(number), 4))


def planted(site: Any) -> None:
    """Files of payments with card numbers in every place that a file has."""
    n = iter(NUMBERS)
    site.deliver("pay/columns.csv", [
        f"{HEAD},DECLINE_REASON,NOTE,cvv,Meta",
        f'P1,CAPTURED,{GOOD},C1,paid by {next(n)},"told {spaced(next(n))} by phone",{CODE},"{{""pan"": {next(n)}}}"',
        f"P2,{next(n)},{GOOD},{spaced(next(n), '-')},,,{CODE},",  # a status and an account that are card numbers
        f"{next(n)},CAPTURED,{GOOD},C2,,,{CODE},",  # as the id itself: refused, shown masked
        f"P4,CAPTURED,not a date {next(n)},5.00,C3,,,{CODE},",
        f"P5,CAPTURED,{GOOD},C3,,,{CODE},,too,many,{next(n)}",  # a dead letter
    ])  # fmt: skip
    site.deliver("pay/records.jsonl", [
        json.dumps({"PAYMENT_ID": "J1", "PAYMENT_STATUS": "CAPTURED", "PAYMENT_DATE": "2026-05-04T10:00:00Z",
                    "AMOUNT": 5, "source": {"number": int(next(n)), "cvc": CODE, "cvc_check": "pass"}}),
        '{"PAYMENT_ID": "J2", "number": ' + next(n) + ', "cvc": "' + CODE,  # breaks off
        json.dumps({"PAYMENT_ID": "J3", "PAYMENT_STATUS": "CAPTURED", "PAYMENT_DATE": "2026-05-04T10:00:00Z",
                    "AMOUNT": float(next(n)), next(n): 1}),
    ])  # fmt: skip
    site.deliver("pay/headless.csv", [f"{next(n)},CAPTURED,{GOOD}", f"{next(n)},CAPTURED,{GOOD}"])
    site.deliver("pay/wide.csv", [])
    (site.landing / "pay/wide.csv").write_bytes(f"{HEAD}\nW1,CAPTURED,{GOOD},{next(n)}\n".encode("utf-16"))
    broken = gzip.compress(f"{HEAD}\nG1,CAPTURED,{GOOD},{next(n)}\n".encode())
    (site.landing / "pay/broken.csv.gz").write_bytes(broken[:-12])
    typed = pl.DataFrame({"PAYMENT_ID": ["T1"], "PAYMENT_STATUS": ["CAPTURED"], "AMOUNT": [5.0],
                          "PAYMENT_DATE": ["2026-05-04T10:00:00Z"], "pan": [int(next(n))],
                          "nested": [{"card": [next(n)], "cvv2": CODE}]})  # fmt: skip
    typed.write_parquet(site.landing / "pay/typed.parquet")


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder as text: its bytes, unpacked; of a Parquet file its values and statistics too."""
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        raw = file.read_bytes()
        yield str(file), raw.decode("latin-1")
        if file.suffix == ".parquet":
            frame = pl.read_parquet(io.BytesIO(raw))
            values = frame.with_columns(
                pl.col(pl.Binary).map_elements(lambda b: b.decode("latin-1"), return_dtype=pl.String)
            )
            yield f"{file} (values)", values.write_json()
        if raw[:2] == b"\x1f\x8b":
            yield f"{file} (unpacked)", gzip.decompress(raw).decode("latin-1")


def held(root: Path) -> list[str]:
    """Where card numbers and codes stand below a folder."""
    found = []
    for place, text in texts(root):
        digits = re.sub(r"(?<=\d)[ .\-\x00]{1,3}(?=\d)", "", text)
        found += [f"{place}: {n}" for n in NUMBERS if n in digits or n in text]
        found += [f"{place}: the code"] if re.search(rf"(?<!\d){CODE}(?!\d)", text) else []
    return found


def sources(**others: Any) -> str:
    kinds = {"csv": "pay/*.csv", "gz": "pay/*.csv.gz", "json": "pay/*.jsonl", "parquet": "pay/*.parquet"}
    found = {f"pay_{k}": {"table": "bronze.payments", "system": "PSP", "path": p, "format": "csv" if k == "gz" else k}
             for k, p in kinds.items()}  # fmt: skip
    return json.dumps({name: source | others for name, source in found.items()})


@pytest.mark.slow
def test_no_card_number_reaches_lake_or_state(site: Callable[..., Any], tmp_path: Path) -> None:
    own = site(tmp_path, SOURCES=sources())
    planted(own)
    rows = "\n".join(f for f in (p.read_text("latin-1") for p in own.landing.rglob("*") if p.suffix == ".csv"))
    assert NUMBERS[0] in rows, "the files hold what is looked for"
    from customer360.platform.errors import RunError

    try:
        own.run(end="silver.payments")
    except RunError as fault:
        assert not any(n in str(fault) for n in NUMBERS)
    assert held(tmp_path / "lake") == [] and held(tmp_path / "state") == []
    kept = own.lake.scan("bronze.payments").collect()
    assert {"P1", "P2", "J1", "T1"} <= set(kept["PAYMENT_ID"]), "the rows themselves are not lost"
    first = kept.row(by_predicate=pl.col("PAYMENT_ID") == "P1", named=True)
    assert first["DECLINE_REASON"] == f"paid by {NUMBERS[0][:6]}{'*' * 6}{NUMBERS[0][-4:]}"
    assert "cvc_check" in kept.row(by_predicate=pl.col("PAYMENT_ID") == "J1", named=True)["_rescued"]
    refused = own.lake.scan("quality.quarantine").collect()
    assert "names_no_card_as_its_id" in set(refused["rule"])
    assert own.lake.scan("quality.dead_letters").collect().height >= 2


@pytest.mark.slow
def test_corrections_bring_no_card_number_either(site: Callable[..., Any], tmp_path: Path) -> None:
    own = site(tmp_path, SOURCES=sources())
    own.deliver("pay/a.csv", [HEAD, "P1,PAID,2026-05-04T10:00:00Z,5.00,C1"])
    own.run(end="silver.payment_events")
    row = own.lake.scan("quality.quarantine").collect().row(0, named=True)
    mended = {"_replay_of": row["row_id"], "_source": "pay_csv", "PAYMENT_ID": "P1", "PAYMENT_STATUS": "CAPTURED",
              "PAYMENT_DATE": "2026-05-04T10:00:00Z", "AMOUNT": "5.00", "NOTE": NUMBERS[0]}  # fmt: skip
    (tmp_path / "mended.jsonl").write_text(json.dumps(mended) + "\n")
    replay(own.lake, own.settings, tmp_path / "mended.jsonl")
    own.run(end="silver.payment_events")
    assert own.lake.scan("silver.payment_events").collect()["payment_id"].to_list() == ["P1"]
    assert held(tmp_path / "lake") == [] and held(tmp_path / "state") == []


@pytest.mark.slow
def test_ids_that_look_like_cards_stay_where_their_owner_says_so(site: Callable[..., Any], tmp_path: Path) -> None:
    own = site(tmp_path, SOURCES=sources(card_free=["PAYMENT_ID"]))
    lines = [f"{NUMBERS[0]},CAPTURED,{GOOD},C1", f"P2,CAPTURED,{GOOD},{NUMBERS[1]}"]
    own.deliver("pay/a.csv", [HEAD, *lines])
    own.run(end="silver.payment_events")
    found = own.lake.scan("silver.payment_events").collect()
    assert dict(found.select("payment_id", "customer_id").iter_rows()) == {NUMBERS[0]: "C1", "P2": None}
