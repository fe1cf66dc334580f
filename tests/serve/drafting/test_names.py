"""Names as concepts, in the spellings and languages that exports have."""

from __future__ import annotations

import pytest

from customer360.serve.drafting.names import plain_words, vocabulary

WORDS = vocabulary()


@pytest.mark.parametrize(
    ("names", "concepts"),
    [
        (("CustomerID", "CUST_NO", "Kundennummer", "kundennr", "customerid", "Code client"), {"customer", "id"}),
        (("orderDate", "ORDER_DT", "Bestelldatum", "date_commande", "fecha pedido", "data_ordine"), {"order", "date"}),
        (("unitPrice", "UNIT PRICE", "Prix unitaire", "precio_unitario", "unitprice"), {"unit", "price"}),
        (("Qty", "Menge", "Qté", "cantidad", "aantal"), {"quantity"}),
        (("e-mail", "Email", "E-Mail", "courriel"), {"email"}),
        (("Order ID 2", "order_id"), {"order", "id"}),
    ],
)  # fmt: skip
def test_names_of_one_thing_are_the_same_concepts(names: tuple[str, ...], concepts: set[str]) -> None:
    assert {name: set(WORDS.concepts_of(name)) for name in names} == dict.fromkeys(names, concepts)


def test_words_that_nobody_knows_stay_and_say_so() -> None:
    assert WORDS.concepts_of("frobnitz_id") == ("?frobnitz", "id")


def test_values_of_an_enumeration_differ_in_writing_only() -> None:
    assert len({plain_words(word) for word in ("Credit card", "credit_card", "CreditCard", "CREDIT-CARD")}) == 1
