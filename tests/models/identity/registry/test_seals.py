"""Digests and roots are those of before: a registry that was sealed once verifies for ever."""

import hashlib
from datetime import UTC, datetime

import polars as pl
import pytest

from customer360.models.identity.registry import seals
from customer360.models.identity.registry.contracts import IdentityMembers

SECRET = b"key"
COMMIT = {
    "commit": 1, "previous_root": "0", "event_count": 3, "record_count": 3, "person_count": 2,
    "committed_at": datetime(2026, 1, 2, tzinfo=UTC),
}  # fmt: skip


def _members(*rows: tuple[int, str, int]) -> pl.DataFrame:
    named = pl.DataFrame(rows, schema=["record", "record_id", "person"], orient="row")
    return named.with_columns(commit=pl.lit(1, pl.Int64), person_id=pl.format("p{}", "person"))


def _digest(*parts: str) -> str:
    text = "\x1f".join(f"{name}={len(value.encode())}:{value}" for name, value in (p.split("=", 1) for p in parts))
    return hashlib.sha256(SECRET + b"silver.identity_members" + text.encode()).hexdigest()[:32]


def test_a_digest_is_the_hash_of_its_row_whatever_the_others_hold() -> None:
    rows = _members((0, "A/0", 5), (1, "Å/1", 5), (2, "A/2", 6))
    wanted = [
        _digest("commit=1", f"person={p}", f"person_id=p{p}", f"record={r}", f"record_id={name}")
        for r, name, p in ((0, "A/0", 5), (1, "Å/1", 5), (2, "A/2", 6))
    ]
    for height in (1, 2, 3):
        assert seals.digests(IdentityMembers, rows.head(height), "s", SECRET)["digest"].to_list() == wanted[:height]
    twice = pl.concat([rows.head(1), rows.head(1)])
    assert seals.digests(IdentityMembers, twice, "s", SECRET)["digest"].to_list() == [wanted[0]] * 2


def test_more_rows_than_a_piece_have_the_same_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _members(*((n, f"A/{n}", n // 2) for n in range(50)))
    whole = seals.digests(IdentityMembers, rows, "s", SECRET)
    root = seals.root_of(COMMIT, whole)
    monkeypatch.setattr(seals, "_PIECE", 7)
    assert seals.digests(IdentityMembers, rows, "s", SECRET).equals(whole)
    assert (
        seals.root_of(COMMIT, whole) == root == seals.root_of(COMMIT, whole.sample(fraction=1.0, shuffle=True, seed=1))
    )


def test_rows_in_order_are_left_and_others_sorted() -> None:
    rows = pl.DataFrame({"a": [1, 1, 2], "b": ["x", "y", "a"]})
    for frame in (rows, rows.reverse(), rows.clear(), rows.with_columns(a=pl.lit(None, pl.Int64))):
        assert seals.in_order(frame, ["a", "b"]).equals(frame.sort("a", "b"))
