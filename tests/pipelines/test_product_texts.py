"""Sizes, packs, colours, barcodes and words of products, as shops of several countries write them."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.pipelines.rules import COLORS
from customer360.pipelines.texts.products import brand_key, color, color_of_name, gtin, measures, tokens


@pytest.mark.parametrize(
    ("text", "amount", "unit", "pack"),
    [
        ("Olive Oil 2 x 500 ml", 500, "ml", 2),
        ("Cola 12 fl. oz (pack of 6)", 354.882355, "ml", 6),
        ("Kaffee 1,5 kg", 1500, "g", None),
        ("Flour 1,000 g", 1000, "g", None),
        ("Lager 330ml x 24", 330, "ml", 24),
        ("2 in 1 shampoo 250ml", 250, "ml", None),
        ('14" laptop sleeve', 355.6, "mm", None),
        ("USB-C cable 2m", 2000, "mm", None),
        ("Milk 1 gal", 3785.41178, "ml", None),
        ("6-pack socks", None, None, 6),
        ("Rasierklingen 8 Stück", None, None, 8),
        ("Vitamin C 0 mg", None, None, None),
        ("Tee 100% cotton, size M", None, None, None),
        ("iPhone 15 Pro", None, None, None),
        (None, None, None, None),
    ],
)
def test_sizes_are_read_in_base_units(
    text: str | None, amount: float | None, unit: str | None, pack: int | None
) -> None:
    found = pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(**measures(pl.col("text"))).row(0)
    assert found == (pytest.approx(amount) if amount else None, unit, pack)


def test_colors_have_one_name_and_are_not_seen_in_tastes() -> None:
    said = pl.DataFrame({"c": ["Navy", "NAVY BLUE/white", "heather grey", "Weiß", "zebra", None]})
    assert said.select(color(pl.col("c"), COLORS))["c"].to_list() == ["BLUE", "BLUE", "GREY", "WHITE", None, None]
    names = pl.DataFrame({"n": ["Tee - Navy / M", "Sock (grey)", "Tee, olive", "Orange juice", "Rose serum", "Red"]})
    assert names.select(color_of_name(pl.col("n"), COLORS))["n"].to_list() == [
        "BLUE",
        "GREY",
        "GREEN",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("7610050000009", "07610050000009"),
        ("036000291452", "00036000291452"),
        ("96385074", "00000096385074"),
        ("7610-0500-00009", "07610050000009"),
        ("7610050000008", None),  # check digit
        ("2000000000008", None),  # a shop's own number
        ("0000000000000", None),
        ("SKU-1", None),
        (None, None),
    ],
)
def test_only_sound_barcodes_between_companies_count(code: str | None, expected: str | None) -> None:
    assert pl.DataFrame({"c": [code]}, schema={"c": pl.String}).select(gtin(pl.col("c"))).item() == expected


def test_spellings_of_a_brand_share_a_key() -> None:
    for spellings in (
        ["Juno & Co", "JUNO AND CO.", "Juno"],
        ["L'Oréal", "LOREAL", "L’Oreal"],
        ["Casa-Nova", "Casa Nova GmbH"],
    ):
        keys = pl.DataFrame({"b": spellings}).select(brand_key(pl.col("b")))["b"]
        assert keys.n_unique() == 1, spellings
    apart = pl.DataFrame({"b": ["The Co", "&", "Nike", "Nice", "Co-op", "Op", "Ferdinand", "Ferdin"]}).select(
        brand_key(pl.col("b"))
    )["b"]
    assert apart.n_unique() == 8 and "" not in apart.to_list()


def test_words_leave_out_sizes_packs_and_plurals() -> None:
    found = pl.DataFrame({"t": ["Olive Oils 2 x 500 ml (pack of 2)", "OIL, olive"]}).select(tokens(pl.col("t")))["t"]
    assert [sorted(row) for row in found.to_list()] == [["oil", "olive"], ["oil", "olive"]]
