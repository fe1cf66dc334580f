"""Competitors, weather and economy."""

from __future__ import annotations

from pydantic import Field

from customer360.platform.settings import Frozen


class MarketRules(Frozen):
    """Products of competitors, what their prices say, and from which evidence on."""

    match_precision: float = Field(default=0.9, gt=0, lt=1)  # of matches by text, surely, where barcodes can tell
    match_score_from: float = Field(default=0.8, gt=0, le=1)  # likeness of texts, where they cannot
    price_tolerance: float = Field(default=0.01, ge=0, lt=1)  # prices that differ by less are equal
    compare_days: int = Field(default=7, ge=0)  # between what two sources say of one price
    fresh_days: int = Field(default=45, gt=0)  # a price seen longer ago is not compared
    least_checks: int = Field(default=30, ge=1)  # of a source, before its reliability is stated
    least_products: int = Field(default=5, ge=3)  # of an index
    change_from: float = Field(default=0.03, gt=0)  # a price that moves less has not changed
    reaction_days: int = Field(default=28, gt=0)  # before and after a change
    least_events: int = Field(default=20, ge=3)  # changes of prices, on as many products
    least_days: int = Field(default=180, ge=90)  # of sales, for drivers of demand
    drivers_window_days: int = Field(default=730, gt=0)
    series: list[str] = []  # economic series that may drive demand; none: all
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
