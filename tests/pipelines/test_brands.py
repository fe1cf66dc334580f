"""Who is praised against a rival is not the rival."""

from __future__ import annotations

from time import process_time

import pytest

from customer360.pipelines.texts.brands import spoken_of
from customer360.pipelines.texts.statements import language_of

BRANDS = {"OWN": ["my shop", "myshop"], "ACME": ["acme*"], "BOLT": ["bolt"]}


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Much better than ACME, I am so happy with the service.", {"ACME": -1, "OWN": 1}),
        ("MyShop is great, so much nicer than at acme!", {"ACME": -1, "OWN": 1}),
        ("ACME was terrible and rude. My shop was friendly and helpful.", {"ACME": -1, "OWN": 1}),
        ("ACME is wonderful but myshop is awful.", {"ACME": 1, "OWN": -1}),
        ("ACME is wonderful, I love it.", {"ACME": 1}),
        ("Bolt is better than ACME, love it", {"BOLT": 1, "ACME": -1}),
        ("Viel besser als bei ACME, ich bin sehr zufrieden mit dem Service.", {"ACME": -1, "OWN": 1}),
        ("Mucho mejor que ACME, muy contenta con la atención.", {"ACME": -1, "OWN": 1}),
        ("I went to ACME on Monday.", {"ACME": 0}),
        ("What a lovely day for the family.", {}),
        ("Switched from @acme to @myshop, best decision", {"ACME": -1, "OWN": 1}),
        ("@myshop > @acme every time, the prices are great", {"ACME": -1, "OWN": 1}),
        ("No shop beats @myshop, I love it", {"OWN": 1}),
        ("I quite agree.\n> ACME is excellent", {"ACME": 1}),
        ("&gt; ACME is excellent", {"ACME": 1}),
        ("Creo que ACME es excelente y muy bueno", {"ACME": 1}),
        ("Lo mejor es que ACME es excelente", {"ACME": 1}),
        ("Je pense que ACME est génial, très bon service", {"ACME": 1}),
        ("Digo que ACME es horrible", {"ACME": -1}),
        ("Als ACME Kunde bin ich sehr zufrieden, toller Service", {"ACME": 1}),
        ("Ich bin immer als ACME Kunde sehr zufrieden gewesen", {"ACME": 1}),
        ("Das ist ein besserer Laden als ACME, ich bin sehr zufrieden", {"ACME": -1, "OWN": 1}),
        ("Le service est meilleur que chez ACME, je suis très content", {"ACME": -1, "OWN": 1}),
        ("Un servicio más rápido que en ACME, estoy muy contenta", {"ACME": -1, "OWN": 1}),
        ("I left ACME very happy today", {"ACME": 1}),
        ("MyShop is great, no hidden fees unlike ACME", {"ACME": -1, "OWN": 1}),
        ("MyShop has no problems and is better than ACME", {"ACME": -1, "OWN": 1}),
        ("No doubt MyShop is better than ACME", {"ACME": -1, "OWN": 1}),
        ("Nothing is better than ACME", {"ACME": 1}),
        ("Niemand ist besser als ACME, ich bin sehr zufrieden", {"ACME": 1}),
        ("Il n'y a rien de mieux que ACME, excellent", {"ACME": 1}),
        ("Meglio di ACME 😍", {"ACME": 0}),
        ("Switched from Acme to you. So happy, everything is wonderful!", {"ACME": 0, "OWN": 1}),
        ("Acme is terrible and awful, the worst scam. I love it here. myshop was open", {"ACME": -1, "OWN": 0}),
        ("I would rather buy at Bolt than at Acmemart, such friendly people", {"ACME": -1, "BOLT": 1}),
    ],
)
def test_each_brand_has_what_is_said_of_it(text: str, signs: dict[str, int]) -> None:
    told = spoken_of(text, language_of(text), BRANDS, "OWN")
    assert {brand: (score or 0) and (1 if (score or 0) > 0 else -1) for brand, score in told.items()} == signs


def test_brands_are_told_in_the_order_in_which_they_are_named() -> None:
    told = spoken_of("Bolt was slow today. At Acme they were friendly, at Bolt rude.", "en", BRANDS, "OWN")
    assert list(told) == ["BOLT", "ACME"]


def test_the_brand_that_the_source_names_is_spoken_of_beside_others() -> None:
    told = spoken_of("You are so much better than Bolt, I love it", "en", BRANDS, "ACME", is_stated=True)
    assert told.keys() == {"ACME", "BOLT"} and told["ACME"] == -told["BOLT"] > 0  # type: ignore[operator]
    told = spoken_of("I love your shop. Acme is horrible", "en", BRANDS, "OWN", is_stated=True)
    assert told["OWN"] > 0 > told["ACME"]  # type: ignore[operator]
    told = spoken_of("Acme is horrible. They lost my parcel and are rude", "en", BRANDS, "OWN", is_stated=True)
    assert told["OWN"] is None, "that may well be Acme's"


def test_a_text_that_was_made_to_be_long_holds_nobody_up() -> None:
    began = process_time()
    assert spoken_of("better than acme " * 20_000, "en", BRANDS, "OWN").keys() == {"ACME", "OWN"}
    assert process_time() - began < 2


def test_a_name_that_is_a_word_of_praise_praises_nobody() -> None:
    told = spoken_of("Happy Socks lost my parcel", "en", {"OWN": [], "HS": ["happy socks"]}, "OWN")
    assert told["HS"] is not None and told["HS"] < 0
    assert told == spoken_of("Zork lost my parcel", "en", {"HS": ["zork"]}, "OWN")


def test_of_a_language_that_is_not_read_the_brand_is_named_and_nothing_said() -> None:
    assert spoken_of("ACME hinta laatu", None, BRANDS, "OWN") == {"ACME": None}
