"""What customers allow and prefer, as the CRM records it."""

from __future__ import annotations

from customer360.pipelines.consents import answers_of_who_refuses, undated_refusals_last
from customer360.platform.tables import Date, Float, Identifier, OneOf, String, Table, personal


class Preferences(
    Table,
    table="bronze.preferences",
    key=("PREFERENCE_ID",),
    version="PREFERENCE_DATE",
    settle=undated_refusals_last,
    lasting=answers_of_who_refuses,
):
    """One row per delivered version of a preference of a customer."""

    PREFERENCE_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    PREFERENCE_TYPE = OneOf("COMMUNICATION", "PRODUCT", "BRAND", "CATEGORY")
    PREFERENCE_VALUE = String(
        max_length=500,
        description="For COMMUNICATION: PURPOSE:YES or PURPOSE:NO, of EMAIL, SMS, PHONE, PUSH, PERSONALIZATION,"
        " PROFILING, TRAINING, SALE;"
        " ALL:NO refuses all of them, MARKETING:NO (a suppression list) the channels",
    )
    PREFERENCE_STRENGTH = Float(nullable=True, min=0, max=1)
    PREFERENCE_SOURCE = OneOf("EXPLICIT", "IMPLICIT", "INFERRED", nullable=True)
    PREFERENCE_DATE = Date(
        nullable=True,
        description="Day of the answer: the latest of a contact point holds, one without a date only if it refuses",
    )
    PREFERENCE_STATUS = OneOf("ACTIVE", "INACTIVE", "OVERRIDDEN", nullable=True)
