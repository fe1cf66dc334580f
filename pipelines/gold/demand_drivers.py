"""What moves the sales of a category: weather, prices, promotions and the economy, beside week, season and trend."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.intervals import adjusted, long_run_errors, poisson_fit, t_interval
from customer360.pipelines.inference.verdicts import EFFECT, NO_EFFECT_SHOWN, NO_VARIATION, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EnrichmentRules, MarketRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, schema

TEMPERATURE, PRECIPITATION, PRICE, PROMOTION = "TEMPERATURE", "PRECIPITATION", "PRICE", "PROMOTION"
UNITS = {
    TEMPERATURE: "degree Celsius",
    PRECIPITATION: "10 millimetres",
    PRICE: "logarithm of the price level",
    PROMOTION: "share of lines with a discount",
}
HARMONICS = 2  # of the year
YEAR = 365.25
LEAST_UNITS_PER_DAY = 1.0
LEAST_VARIATION = 1e-3  # of a driver beside the calendar, in its own unit: less is rounding
LEAST_OWN_SHARE = 0.01  # of its variance that the calendar and the other drivers do not explain

Array = NDArray[np.float64]


class DemandDrivers(Table, table="gold.demand_drivers", partition_by=("as_of",), sort_by=("category", "driver")):
    """One row per category, driver and as_of date: how a day's units move with it, all else of the table held fixed.

    A log-linear regression of the units of a day (Poisson, pseudo-likelihood) on all drivers at once, day of the week,
    two harmonics of the year and a trend. Errors are robust against autocorrelation. Weather is the mean of the states
    that have stores, by their stores, and of a state that of its stations; a value of an economic series counts from
    the day after its release, never before. Prices and discounts are set by people who watch demand: their coefficients
    are associations.
    """

    category = String(primary_key=True, description="Of silver.product_categories")
    driver = String(primary_key=True, description="TEMPERATURE, PRECIPITATION, PRICE, PROMOTION, or an economic series")
    as_of = Date(primary_key=True)
    unit = String(description="That the coefficient is for")
    coefficient = Float(nullable=True, description="Change of the logarithm of units for one unit of the driver")
    coefficient_low = Float(nullable=True, description="95 % interval")
    coefficient_high = Float(nullable=True)
    p_value = Float(nullable=True, min=0, max=1, description="Chance of such a coefficient without an effect")
    q_value = Float(nullable=True, min=0, max=1, description="Adjusted for all categories and drivers")
    usual_effect = Float(
        nullable=True,
        description="Change of units, as a share, for a standard deviation of the driver beside the calendar",
    )
    day_count = Integer(description="Days that the regression is of")
    unit_count = Integer(description="Units sold on these days")
    status = OneOf(
        EFFECT, NO_EFFECT_SHOWN, NO_VARIATION, NOT_ENOUGH_EVIDENCE,
        description="EFFECT: q_value at most false_discovery_rate. NO_VARIATION: it hardly moves beside the others",
    )  # fmt: skip


@builds(
    DemandDrivers,
    rules="enrichment",
    reads={
        "silver.transaction_items": ("occurred_on", "is_sale", "is_product", "quantity", "unit_price", "product_id", "discount_amount", "currency"),  # noqa: E501
        "silver.product_categories": ("product_id", "category"),
        "silver.stores": ("store_id", "state_code", "country_code"),
        "silver.weather": ("station_id", "on", "area_code", "country_code", "temperature_mean", "precipitation_mm"),
        "silver.economic_indicators": ("series_id", "period", "released_at", "value", "unit"),
    },
)  # fmt: skip
def demand_drivers(
    silver_transaction_items: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    silver_weather: pl.LazyFrame,
    silver_economic_indicators: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Days from the first sale, or the start of the window, to the day before ``as_of``."""
    rules = params.market
    first = as_of - timedelta(days=rules.drivers_window_days)
    groups = silver_product_categories.select("product_id", "category").filter(pl.col("category").is_not_null())
    every = silver_transaction_items.filter(
        "is_sale", "is_product", pl.col("quantity") > 0, pl.col("occurred_on").is_between(first, as_of, closed="left")
    ).join(groups, on="product_id")  # fmt: skip
    sold = _by_day(every).collect()
    if sold.is_empty():
        return pl.LazyFrame(schema=schema(DemandDrivers))
    since = sold.select(pl.col("occurred_on").min()).item()
    days = pl.DataFrame({"on": pl.date_range(since, as_of, "1d", closed="left", eager=True)})
    weather = days.join(_weather(silver_weather, silver_stores).collect(), on="on", how="left", maintain_order="left")
    economy, units = _economy(days, silver_economic_indicators.collect(), rules)
    outside = pl.concat([weather, economy], how="horizontal")
    calendar = _calendar(days["on"])
    found: list[tuple[object, ...]] = []
    for (category,), lines in sold.group_by("category", maintain_order=True):
        series = outside.join(_own(lines), on="on", how="left", maintain_order="left")
        found += [(category, *row) for row in _regressed(series, calendar, rules)]
    return _told(found, units, as_of, rules)


def _weather(weather: pl.LazyFrame, stores: pl.LazyFrame) -> pl.LazyFrame:
    """on, TEMPERATURE, PRECIPITATION: areas weigh by their stores, whatever the number of their stations; without any
    that has a store all weigh alike. A country that the stores or the weather do not name is any."""
    area = ["area_code", "area_country"]
    held = stores.group_by(area_code="state_code", country="country_code").agg(store_count=pl.len())
    measured = (
        weather.with_columns(area_country="country_code")
        .group_by("on", *area)
        .agg(sums.mean(pl.col("temperature_mean", "precipitation_mm")))
    )
    same = (
        pl.col("country").is_null() | pl.col("area_country").is_null() | (pl.col("country") == pl.col("area_country"))
    )
    counted = measured.select(area).unique().join(held, on="area_code").filter(same)
    joined = measured.join(
        counted.group_by(area).agg(pl.col("store_count").sum()), on=area, how="left", nulls_equal=True
    ).with_columns(pl.col("store_count").fill_null(0))
    known = pl.when(pl.col("store_count").sum() > 0).then(pl.col("store_count")).otherwise(1)
    weighed = joined.with_columns(weight=known)

    def mean(column: str) -> pl.Expr:
        value, weight = pl.col(column), pl.col("weight")
        total = weight.filter(value.is_not_null()).sum()
        return pl.when(total > 0).then((value * weight).sum() / total)

    # Sums of floats depend on the order of their rows. Polars leaves the sort out where the group_by, or what follows
    # before the collect, keeps no order.
    return (
        weighed.sort("on", *area)
        .group_by("on", maintain_order=True)
        .agg(mean("temperature_mean").alias(TEMPERATURE), (mean("precipitation_mm") / 10).alias(PRECIPITATION))
    )


def _economy(days: pl.DataFrame, released: pl.DataFrame, rules: MarketRules) -> tuple[pl.DataFrame, dict[str, str]]:
    """Columns of the series by day, as known at the end of the day before: the newest period, in its newest release.
    And the unit of each."""
    names = [s for s in sorted(released["series_id"].unique()) if not rules.series or s in rules.series]
    columns, units = [], {}
    for name in names:
        rows = released.filter(series_id=name).drop_nulls("value").sort("released_at", "period")
        newest = rows.with_columns(known=pl.col("period").cum_max()).filter(pl.col("period") == pl.col("known"))
        said = newest.select(pl.col("value").alias(name), at=pl.col("released_at").dt.date() + timedelta(days=1))
        last = said.unique("at", keep="last", maintain_order=True)
        columns.append(days.join_asof(last, left_on="on", right_on="at", check_sortedness=False).select(name))
        units[name] = f"one {u}" if (u := next(iter(rows["unit"].drop_nulls()), None)) else "one"
    return pl.concat(columns, how="horizontal") if columns else pl.DataFrame(), units


def _by_day(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Sums of the lines of a category, product, currency and day: all that a driver needs of them. They
    lie by these, as sums of floats depend on the order."""
    log = pl.when(pl.col("unit_price") > 0).then(pl.col("unit_price").cast(pl.Float64).log())
    key = ("category", "product_id", "currency", "occurred_on")
    return lines.group_by(key).agg(
        units=pl.col("quantity").sum(), lines=pl.len().cast(pl.Int64), log=log.sum(), priced=log.count().cast(pl.Int64),
        reduced=(pl.col("discount_amount") > 0).fill_null(False).sum().cast(pl.Int64),
    ).sort(key)  # fmt: skip


def _own(sums: pl.DataFrame) -> pl.DataFrame:
    """on, units, PRICE, PROMOTION of a category. The price level of a day is the mean over its lines of the logarithm
    of the price against the product's own mean in the same currency, so that a change of the mix is none."""
    own = pl.col("log").sum() / pl.col("priced").sum()
    level = pl.when(pl.col("priced") > 0).then(pl.col("log") - pl.col("priced") * own.over("product_id", "currency"))
    priced = pl.col("priced").sum()
    return sums.with_columns(level=level).group_by(on="occurred_on").agg(
        units=pl.col("units").sum().cast(pl.Float64),
        **{PRICE: pl.when(priced > 0).then(pl.col("level").sum() / priced),
           PROMOTION: pl.col("reduced").sum() / pl.col("lines").sum()},
    )  # fmt: skip


def _calendar(on: pl.Series) -> Array:
    """The constant, days of the week, harmonics of the year and a trend: [days, columns]."""
    count, week = len(on), on.dt.weekday().to_numpy()
    year = 2 * np.pi * on.dt.ordinal_day().to_numpy() / YEAR
    waves = [wave(n * year) for n in range(1, HARMONICS + 1) for wave in (np.sin, np.cos)]
    trend = np.linspace(-1, 1, count)
    return np.column_stack([np.ones(count), *[week == d for d in range(2, 8)], *waves, trend]).astype(float)


def _regressed(series: pl.DataFrame, calendar: Array, rules: MarketRules) -> list[tuple[object, ...]]:
    """Rows driver, coefficient, low, high, p_value, usual_effect, days, units, status of one category."""
    units = series["units"].fill_null(0.0).to_numpy()
    names = [c for c in series.columns if c not in ("on", "units")]
    size = (len(units), int(units.sum()))
    enough = len(units) >= rules.least_days and units.mean() >= LEAST_UNITS_PER_DAY
    drivers = {n: v for n in names if (v := series[n].cast(pl.Float64)).count() > len(units) / 2} if enough else {}
    kept, spread = _varied(drivers, calendar)
    said = _fitted(units, calendar, drivers, kept) if kept else {}
    rows: list[tuple[object, ...]] = []
    for name in names:
        if name in said:
            beta = said[name][0]
            rows.append((name, *said[name], float(np.expm1(beta * spread[name])), *size, NO_EFFECT_SHOWN))
        else:
            still = NO_VARIATION if name in drivers and name not in kept else NOT_ENOUGH_EVIDENCE
            rows.append((name, None, None, None, None, None, *size, still))
    return rows


def _filled(values: pl.Series) -> Array:
    """Days without a value have the mean of the others: they say nothing."""
    found: Array = values.fill_null(values.mean()).to_numpy()
    return found


def _varied(drivers: dict[str, pl.Series], calendar: Array) -> tuple[list[str], dict[str, float]]:
    """Drivers that move beside the calendar and those before them, and by how much beside the calendar."""
    kept, spread, columns = [], {}, calendar
    for name, values in drivers.items():
        filled = _filled(values)
        rest = filled - calendar @ np.linalg.lstsq(calendar, filled, rcond=None)[0]
        own = filled - columns @ np.linalg.lstsq(columns, filled, rcond=None)[0]
        spread[name] = float(rest.std())
        if spread[name] >= LEAST_VARIATION and own.var() >= LEAST_OWN_SHARE * filled.var():
            kept.append(name)
            columns = np.column_stack([columns, filled])
    return kept, spread


def _fitted(
    units: Array, calendar: Array, drivers: dict[str, pl.Series], kept: list[str]
) -> dict[str, tuple[float, float, float, float]]:
    """Coefficient, low, high and p-value of each driver; empty where the regression has no solution."""
    values = np.column_stack([_filled(drivers[name]) for name in kept])
    centre, scale = values.mean(axis=0), values.std(axis=0)
    design = np.column_stack([calendar, (values - centre) / scale])
    fit = poisson_fit(design, units)
    if fit is None:
        return {}
    beta, inverse = fit
    first = calendar.shape[1]
    errors, freedom = long_run_errors(design, np.exp(design @ beta), units, inverse, range(first, design.shape[1]))
    low, high, p = t_interval(beta[first:], errors, freedom)
    return {
        name: (beta[first + i] / scale[i], low[i] / scale[i], high[i] / scale[i], float(p[i]))
        for i, name in enumerate(kept)
    }


def _told(found: list[tuple[object, ...]], units: dict[str, str], as_of: date, rules: MarketRules) -> pl.LazyFrame:
    columns = ["category", "driver", "coefficient", "coefficient_low", "coefficient_high", "p_value", "usual_effect",
               "day_count", "unit_count", "status"]  # fmt: skip
    types = schema(DemandDrivers)
    table = pl.DataFrame(found, schema={c: types[c] for c in columns}, orient="row")
    known = table.filter(pl.col("p_value").is_not_null())
    q_values = adjusted(known["p_value"].to_numpy(), known.height)
    q = known.select("category", "driver", q_value=pl.Series(q_values, dtype=pl.Float64))
    is_found = (pl.col("q_value") <= rules.false_discovery_rate).fill_null(False)
    return table.join(q, on=["category", "driver"], how="left").lazy().with_columns(
        as_of=pl.lit(as_of), unit=pl.col("driver").replace_strict(UNITS | units, default="one"),
        status=pl.when(is_found).then(pl.lit(EFFECT)).otherwise("status"),
    )  # fmt: skip
