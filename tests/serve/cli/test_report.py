"""What is printed of many batches: the newest, what does not hold, and a sum of the others."""

from __future__ import annotations

from customer360.platform.quality import Balance
from customer360.serve.cli import report


def of(source: str, seq: int, read: int = 2, dead: int = 1) -> tuple[str, Balance]:
    return f"bronze.{source}", Balance(f"{source} #{seq}", read, {"landed": 1, "dead": dead})


def test_older_batches_are_one_line_unless_they_do_not_hold() -> None:
    many = [of("till", seq, dead=5 if seq == 7 else 1) for seq in range(1, 101)]
    found = report._summed([*many, of("web", 1), ("silver.sales", Balance("silver.sales", 9, {"silver": 9}))])
    scopes = [balance.scope for _, balance in found]
    assert scopes[0] == "till #7" and scopes[1] == "till #1 to #80, 79 batches" and scopes[2] == "till #81"
    assert scopes[-3:] == ["till #100", "web #1", "silver.sales"] and len(scopes) == 24
    assert (found[1][1].received, found[1][1].outcomes, found[1][1].holds) == (158, {"landed": 79, "dead": 79}, True)


def test_few_batches_are_shown_each() -> None:
    few = [of("till", seq) for seq in range(1, 22)]
    assert report._summed(few) == few
