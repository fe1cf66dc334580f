"""Payments as providers and terminals tell of them. No card number lands: see ``platform.sources.cards``."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Country, Currency, Identifier, Money, OneOf, String, Table, Timestamp, personal

STATUSES = ("AUTHORIZED", "CAPTURED", "DECLINED", "VOIDED", "REFUNDED", "CHARGEBACK")
UNMASKED = r"^[^*]*(\*[^*]*){0,2}$"  # what is left of a card number has more; many have the same left


class Payments(
    Table,
    table="bronze.payments",
    key=("PAYMENT_ID", "PAYMENT_STATUS"),
    version="LAST_UPDATED_DATE",
    past=("PAYMENT_DATE",),
    erasure="anonymize",
    card_data=True,
):
    """One row per delivered version of a state that an attempt to pay reached.

    A payment that is authorized, then captured, is two rows of one PAYMENT_ID; a refund or chargeback with an id of its
    own names the payment in ORIGINAL_PAYMENT_ID. The specification names the activity and no columns:
    docs/specification.md lists none for it.
    """

    PAYMENT_ID = Identifier(nullable=False)
    PAYMENT_STATUS = OneOf(*STATUSES, nullable=False)
    ORIGINAL_PAYMENT_ID = Identifier(
        nullable=True, regex=UNMASKED, description="Of a capture, refund or chargeback with its own id"
    )
    TRANSACTION_ID = Identifier(
        nullable=True, regex=UNMASKED, description="Receipt or order number that it pays; null: none came of it"
    )
    CUSTOMER_ID = Identifier(
        nullable=True, regex=UNMASKED, metadata=personal("account"), description="Null: guest checkout"
    )
    VISITOR_ID = Identifier(
        nullable=True, regex=UNMASKED, metadata=personal("device"), description="Browser or app that paid"
    )
    PAYMENT_DATE = Timestamp(description="When the state was reached")
    PAYMENT_METHOD = OneOf(*v.PAYMENT_METHODS, nullable=True)
    CARD_BRAND = String(nullable=True, max_length=50)
    CARD_LAST4 = String(nullable=True, regex="^[0-9]{4}$", metadata=personal("person"))
    CARD_BIN = String(nullable=True, regex="^[0-9]{6,8}$", description="First six to eight digits: the issuer")
    CARD_TOKEN = Identifier(
        nullable=True,
        regex=UNMASKED,
        metadata=personal("person"),
        description="What the provider calls the instrument (token, fingerprint); never its number",
    )
    BIN_COUNTRY = Country(nullable=True, description="Of the issuer")
    BILLING_COUNTRY = Country(nullable=True)
    SHIPPING_COUNTRY = Country(nullable=True)
    AMOUNT = Money(min=0)
    CURRENCY_CODE = Currency(nullable=True)
    DECLINE_REASON = String(nullable=True, max_length=100)
    DEVICE_HASH = Identifier(
        nullable=True, regex=UNMASKED, metadata=personal("device"), description="Of the device, by the provider"
    )
    IP_HASH = Identifier(nullable=True, regex=UNMASKED, metadata=personal("device"))
    LAST_UPDATED_DATE = Timestamp(nullable=True)

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("PAYMENT_DATE")

    @dy.rule()
    def names_no_card_as_its_id(cls) -> pl.Expr:
        """Masked numbers tell no two payments apart; ids that only look so stand in the source's ``card_free``. Other
        ids that were masked are null."""
        return ~pl.col("PAYMENT_ID").str.contains("*", literal=True)
