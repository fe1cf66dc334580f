"""Words that several layers share: enumerations of the sources, the session rule, currency, identifiers of subjects.

Batch, real time and the collector all take them from here, so that one event means the same everywhere.
"""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

# The activities of the silver pipeline. Each module that makes silver tables states its own as ACTIVITY, which gives
# `run silver --stage` its tables.
Activity = Literal["identity", "enrichment", "standardization", "validation"]

CHANNELS = ("POS", "ECOMMERCE", "MOBILE", "SOCIAL")
TRANSACTION_TYPES = ("PURCHASE", "RETURN", "REFUND", "EXCHANGE")
TRANSACTION_STATUSES = ("COMPLETED", "FAILED", "CANCELLED", "PENDING")
PAYMENT_METHODS = ("CASH", "CARD", "MOBILE", "CRYPTO", "WALLET")
CARD_TYPES = ("VISA", "MASTERCARD", "AMEX", "DISCOVER")
ITEM_STATUSES = ("SOLD", "RETURNED", "EXCHANGED", "VOIDED")
CUSTOMER_SEGMENTS = ("PREMIUM", "STANDARD", "BASIC")
LOYALTY_TIERS = ("BRONZE", "SILVER", "GOLD", "PLATINUM")
CUSTOMER_STATUSES = ("ACTIVE", "INACTIVE", "BLOCKED")
DEVICE_TYPES = ("DESKTOP", "MOBILE", "TABLET")

# The specification lists the five of the first line; its own logic needs the others: docs/specification.md#fault-23
EVENT_TYPES = (
    "PAGE_VIEW", "CLICK", "SCROLL", "SEARCH", "CART_ADD",
    "CATEGORY_VIEW", "PRODUCT_VIEW", "WISHLIST_ADD", "CART_REMOVE", "CHECKOUT_START", "PURCHASE", "LOGIN",
)  # fmt: skip

# In the order of the journey. A visit of the shop goes as far as CONVERSION; the two behind it come after a purchase.
JourneyStage = Literal["DISCOVERY", "AWARENESS", "EVALUATION", "CONSIDERATION", "CONVERSION", "SERVICE", "LOYALTY"]
JOURNEY_STAGES: tuple[JourneyStage, ...] = get_args(JourneyStage)

ONLINE_CHANNELS = ("ECOMMERCE", "SOCIAL")
SESSION_GAP_MINUTES = 30  # a visit ends after this much silence

# What columns of silver and gold are, wherever they have these names and a contract says no more.
MEANINGS = {
    "person_id": "The person, by silver.identities",
    "subject_id": "Whose it is: the person where one is known, else the visitor, else the receipt itself",
    "customer_id": "Account in the source system",
    "visitor_id": "Browser or app, by the id that it sends",
    "source_system": "System that delivered it",
    "product_id": "As in silver.products",
    "store_id": "As in silver.stores",
    "vendor_id": "As in silver.vendors",
    "transaction_id": "Receipt or order, by the number of its system",
    "ticket_id": "Ticket, by the number of its system",
    "occurred_at": "When it happened",
    "occurred_on": "Day of it, UTC",
}

EARLIEST_DATE, LATEST_DATE = pl.date(1990, 1, 1), pl.date(2100, 1, 1)  # outside: a broken clock, not a sale


def record_id(source_system: str, identifier: str) -> pl.Expr:
    """Account of a customer in one source system, ``SYSTEM/id``; null where the identifier is."""
    return pl.concat_str(source_system, identifier, separator="/")


def is_sensible(column: str) -> pl.Expr:
    """Rule: an instant or date that a working clock can have written."""
    return pl.col(column).cast(pl.Date).is_between(EARLIEST_DATE, LATEST_DATE)
