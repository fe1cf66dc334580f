"""Which records verified numbers link, and which of these links fall for what reason."""

import polars as pl

from customer360.models.identity.rules import Identifier, Stitching
from customer360.models.identity.stitching import around, different, hubs, number_columns, stitch, with_own

LOGIN, CARD = Identifier(column="login_id"), Identifier(column="loyalty_id", max_records=3, blocked={"000"})
RULES = Stitching(identifiers=(LOGIN, CARD))


def frame(*rows: tuple[str | None, str | None, str | None]) -> pl.DataFrame:
    """Records "0", "1", … from (login, card, given name)."""
    told = pl.DataFrame(
        rows, schema={"login_id": pl.String, "loyalty_id": pl.String, "nickname": pl.String}, orient="row"
    )
    told = told.with_row_index("record").with_columns(pl.col("record").cast(pl.Int64))
    return told.with_columns(
        pl.col("record").cast(pl.String).alias("record_id"),
        rid=pl.int_range(pl.len()),
        **number_columns(told.columns, RULES),
    )


def links(table: pl.DataFrame, rules: Stitching = RULES) -> tuple[list[tuple], list[tuple]]:
    tier = stitch(table, rules)
    return sorted(tier.linked.rows()), sorted(tier.dropped.rows())


def test_one_number_however_it_is_written_links():
    assert links(frame((None, "AB-12 3", "ann"), (None, "ab123", None), (None, None, "ann"))) == (
        [(0, 1, "same loyalty_id")],
        [],
    )


def test_the_more_telling_number_gives_the_reason():
    assert links(frame(("l", "c", None), ("l", "c", None)))[0] == [(0, 1, "same login_id")]


def test_blocked_and_empty_values_link_nothing():
    assert links(frame((None, "0-00", "a"), (None, "000", "a"), (None, " - ", "b"), (None, "", "b"))) == ([], [])


def test_a_number_of_too_many_records_links_nothing():
    linked, dropped = links(frame(*[(None, "shop", "ann")] * 4))
    assert linked == []
    assert dropped == [(n, n + 1, "loyalty_id of more than 3 records") for n in range(3)]
    assert len(links(frame(*[(None, "shop", "ann")] * 3))[0]) == 3, "all pairs below the limit"


def test_a_number_of_too_many_given_names_links_nothing():
    few = Stitching(identifiers=(LOGIN.model_copy(update={"max_names": 1}), CARD))
    linked, dropped = links(frame(("l", None, "ann"), ("l", None, "bob"), ("l", None, None)), few)
    assert linked == [] and {reason for *_, reason in dropped} == {"login_id of more than 1 given names"}


def test_a_card_of_two_logins_says_nothing_about_whose_it_is():
    linked, dropped = links(frame(("l1", "c", None), ("l2", "c", None), (None, "c", None)))
    assert linked == [] and {reason for *_, reason in dropped} == {"loyalty_id of more than 1 login_id"}


def test_numbers_join_through_one_another_until_the_limit():
    # 0 and 1 are one login, so that card a and card b lead to it; card b leads to login m as well and falls.
    linked, dropped = links(frame(("l", "a", None), ("l", "b", None), ("m", "b", None), (None, "a", None)))
    assert linked == [(0, 1, "same login_id"), (0, 3, "same loyalty_id")]
    assert dropped == [(1, 2, "loyalty_id of more than 1 login_id")]


def test_a_login_may_have_several_cards():
    table = frame(("l", "a", None), ("l", "b", None), (None, "a", None), (None, "b", None))
    told = ["same login_id", "same loyalty_id", "same loyalty_id"]
    assert links(table) == ([(0, 1, told[0]), (0, 2, told[1]), (1, 3, told[2])], [])


def test_two_numbers_of_one_column_are_two_people_unless_they_are_hubs():
    table = frame(*[(None, "shop", "a")] * 4, (None, "x", "a"), (None, "y", "a"), (None, None, "a"))
    told = with_own(table, hubs(table, RULES), RULES)
    pairs = pl.DataFrame({"rid_l": [0, 4, 4], "rid_r": [4, 5, 6]})
    assert different(pairs, told).rows() == [(4, 5, "different loyalty_id")]
    assert different(pairs, with_own(table, hubs(table, RULES).clear(), RULES)).height == 2


def test_who_is_near_shares_a_number_or_shares_one_with_who_does():
    table = frame(("l", "a", None), ("l", None, None), (None, "a", None), ("m", "b", None), (None, None, None))
    changing = frame(("l", None, None)).with_columns(record=pl.lit(9, pl.Int64))
    assert sorted(around(table, changing, RULES)["record"]) == [0, 1, 2]
    assert around(table, changing.clear(), RULES).is_empty() and around(table.clear(), changing, RULES).is_empty()


def test_without_identifiers_nothing_is_linked():
    assert stitch(frame(("l", "c", "a"), ("l", "c", "a")), Stitching()).linked.is_empty()
