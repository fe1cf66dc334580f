"""Automatic repairs as rule files switch them: each may be left out, for all records or for some."""

from __future__ import annotations

import polars as pl

from customer360.platform.settings import Frozen


class Repair(Frozen):
    """Whether a repair is made, and the records that it leaves as they were delivered."""

    apply: bool = True
    spare: list[str] = []

    def leaves(self, key: pl.Expr) -> pl.Expr:
        """Whether a record, by the text of its key, stays as it was delivered. Blanks around it, which nobody sees, do
        not count."""
        spared = [key.strip() for key in self.spare]
        return key.str.strip_chars().is_in(spared).fill_null(False) if self.apply else pl.lit(True)


class StandardizationRepairs(Frozen):
    """Repairs of sales and of the catalogue."""

    sale_duplicate: Repair = Repair()  # spare: SYSTEM/number of either sale
    brand_spelling: Repair = Repair()  # spare: spellings as they are written
    category_from_text: Repair = Repair()  # spare: product numbers


class VoiceRepairs(Frozen):
    """Repairs of what customers say."""

    copied_statement: Repair = Repair()  # spare: SYSTEM/number of the review, post or answer
    repeated_statement: Repair = Repair()
