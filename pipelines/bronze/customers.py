"""Customer master data as it comes from POS, shop and CRM."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Country,
    Date,
    Identifier,
    Integer,
    OneOf,
    State,
    String,
    Table,
    Timestamp,
    personal,
)


class Customers(
    Table,
    table="bronze.customers",
    key=("CUSTOMER_ID",),
    version="LAST_UPDATED_DATE",
    past=("REGISTRATION_DATE", "LAST_LOGIN_DATE"),
):
    """One row per delivered version of a customer account of one source system."""

    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    FIRST_NAME = String(nullable=True, max_length=255, metadata=personal("name"))
    LAST_NAME = String(nullable=True, max_length=255, metadata=personal("name"))
    ORGANISATION_NAME = String(
        nullable=True, max_length=500, description="The firm: of the account itself, or where the person works"
    )
    ENTITY_TYPE = String(
        nullable=True,
        max_length=100,
        description="Person or organisation, in the source's words (company, B2B, individual, true); else names tell",
    )
    WEBSITE = String(nullable=True, max_length=2000)
    ORGANISATION_NUMBER = Identifier(
        nullable=True, description="Of a register of firms: VAT, company or D-U-N-S number; two numbers are two firms"
    )
    # Required by the specification for marketing; a customer whom only a store knows has none, and is kept.
    EMAIL_ADDRESS = String(nullable=True, max_length=500, metadata=personal("email"))
    PHONE_NUMBER = Identifier(nullable=True, metadata=personal("phone"))
    DATE_OF_BIRTH = Date(nullable=True, metadata=personal("birth"))
    GENDER = String(nullable=True, max_length=100, metadata=personal("person"))
    ADDRESS_LINE_1 = String(nullable=True, max_length=500, metadata=personal("address"))
    CITY = String(nullable=True, max_length=255, metadata=personal("address"))
    STATE_CODE = State(nullable=True)
    ZIP_CODE = Identifier(nullable=True, metadata=personal("address"))
    COUNTRY_CODE = Country(nullable=True)
    CUSTOMER_SEGMENT = OneOf(*v.CUSTOMER_SEGMENTS, nullable=True)
    LOYALTY_TIER = OneOf(*v.LOYALTY_TIERS, nullable=True)
    LOYALTY_POINTS = Integer(nullable=True)
    LOYALTY_ID = Identifier(
        nullable=True,
        metadata=personal("person"),
        description="Number of the loyalty card, where the source holds it; accounts of one number are one person",
    )
    REGISTRATION_DATE = Date(nullable=True)
    LAST_LOGIN_DATE = Date(nullable=True)
    CUSTOMER_STATUS = OneOf(*v.CUSTOMER_STATUSES, nullable=True)
    PREFERRED_CHANNEL = String(nullable=True, max_length=100)
    PREFERRED_STORE = Identifier(nullable=True)
    LAST_UPDATED_DATE = Timestamp(nullable=True, description="Update column: orders the versions of an account")

    @dy.rule()
    def registered_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("REGISTRATION_DATE")


CHANGE_TYPES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")


class CustomerChanges(Table, table="bronze.customer_changes", key=("CHANGE_ID",), past=("CDC_TIMESTAMP",)):
    """One row per change of a customer account in the database of one source system, as its log tells it.

    What the changes did to the account is in bronze.customers, which a source of the same log fills. Values are those
    of the system's own columns.
    """

    CHANGE_ID = Identifier(nullable=False, description="Place in the log of the system; the same whenever it is read")
    CUSTOMER_ID = Identifier(
        nullable=True, metadata=personal("account"), description="Null where all accounts were deleted at once"
    )
    CHANGE_TYPE = OneOf(*CHANGE_TYPES, description="TRUNCATE: the table of the accounts was emptied")
    CHANGED_COLUMNS = String(
        nullable=True, description="JSON array of names; null where the log does not hold the values of before"
    )
    OLD_VALUES = String(nullable=True, metadata=personal("text"), description="JSON object; as far as the log has them")
    NEW_VALUES = String(nullable=True, metadata=personal("text"), description="JSON object; null of a deletion")
    CDC_TIMESTAMP = Timestamp(nullable=True, description="When the change was committed")

    @dy.rule()
    def names_its_account(cls) -> pl.Expr:
        return pl.col("CUSTOMER_ID").is_not_null() | (pl.col("CHANGE_TYPE") == "TRUNCATE")
