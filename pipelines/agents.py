"""What a browser or app says of itself: user agents parsed by ua-parser's published patterns (uap-core).

An agent is a claim, not a fact: whoever lies is found by what it does (`pipelines.sessions`), not by what it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import polars as pl
from ua_parser import parse

FIELDS = ("browser", "browser_version", "operating_system", "operating_system_version", "brand", "model")
PARSED = pl.Struct({**dict.fromkeys(FIELDS, pl.String), "is_spider": pl.Boolean})
SPIDER = "Spider"  # device family of crawlers, monitors and previews
GENERIC = ("Generic", "Generic_Android", "Generic_Android_Tablet", "Generic_Feature_Phone", SPIDER)  # says no brand

# Words of user agents. An Android device that does not say Mobile is a tablet; an iPad may call itself a Macintosh,
# then only the tracker knows better.
TABLET_AGENT, MOBILE_AGENT = r"\b(?:iPad|Tablet|PlayBook|Kindle|Silk)\b", r"\b(?:iPhone|iPod|Mobile|Windows Phone)\b"
DESKTOP_AGENT = r"\b(?:Windows NT|Macintosh|X11|CrOS)\b"
PRODUCT = re.compile(r"([A-Za-z][\w.-]*)/(\d+)(?:\.(\d+))?")  # what an agent without a known browser begins with
TELEVISION_AGENT = r"(?i)\b(?:smart-?tv|appletv|googletv|android tv|hbbtv|crkey|bravia|roku|aft[a-z]{1,4})\b"


def device_type(agent: pl.Expr, declared: pl.Expr) -> pl.Expr:
    """DESKTOP, MOBILE or TABLET from user agent and tracker; tablet wins, null where both are silent and of a
    television. Asked once of each different pair of them."""
    words = pl.struct(agent=agent, declared=declared)
    return words.map_batches(_device_types, return_dtype=pl.String, is_elementwise=True)


def _device_types(words: pl.Series) -> pl.Series:
    rows = words.struct.unnest().select(pl.col("agent", "declared").cast(pl.String))
    told = rows.unique().with_columns(told=_device_type(pl.col("agent"), pl.col("declared")))
    both = rows.join(told, on=["agent", "declared"], how="left", maintain_order="left", nulls_equal=True)
    return both["told"].alias(words.name)


def _device_type(agent: pl.Expr, declared: pl.Expr) -> pl.Expr:
    television = agent.str.contains(TELEVISION_AGENT).fill_null(False)
    android_tablet = agent.str.contains(r"\bAndroid\b") & ~agent.str.contains(r"\bMobile\b")
    tablet = agent.str.contains(TABLET_AGENT) | android_tablet | (declared == "TABLET")
    return (
        pl.when(television).then(declared)
        .when(tablet).then(pl.lit("TABLET"))
        .when(agent.str.contains(MOBILE_AGENT)).then(pl.lit("MOBILE"))
        .when(declared.is_null() & agent.str.contains(DESKTOP_AGENT)).then(pl.lit("DESKTOP"))
        .otherwise(declared)
    )  # fmt: skip


def whether(agent: pl.Expr, tell: Callable[[pl.Series], pl.Series]) -> pl.Expr:
    """What ``tell`` says of user agents, true or false; asked once of each different one, of millions of rows a few
    thousand. Null where the agent is."""

    def told(agents: pl.Series) -> pl.Series:
        different = agents.cast(pl.String).drop_nulls().unique().alias("agent")
        said = pl.DataFrame([different, tell(different).alias("told")])
        rows = agents.cast(pl.String).alias("agent").to_frame()
        return rows.join(said, on="agent", how="left", maintain_order="left")["told"].alias(agents.name)

    return agent.map_batches(told, return_dtype=pl.Boolean, is_elementwise=True)


def parsed(agent: pl.Expr) -> pl.Expr:
    """The `PARSED` struct of a user agent: families of browser and operating system with their versions (as far as the
    minor one), brand and model of the device, and whether it declares itself a spider. Null where nothing is said or
    known; each different agent is parsed once.
    """
    return agent.map_batches(_parsed, return_dtype=PARSED, is_elementwise=True)


def _parsed(agents: pl.Series) -> pl.Series:
    different = agents.drop_nulls().unique()
    told = pl.DataFrame(
        {"agent": different, "told": pl.Series([_told(a) for a in different], dtype=PARSED)},
        schema={"agent": pl.String, "told": PARSED},
    )
    rows = pl.DataFrame({"agent": agents.cast(pl.String)})
    return rows.join(told, on="agent", how="left", maintain_order="left")["told"].alias(agents.name)


@lru_cache(maxsize=2**15)
def _told(agent: str) -> dict[str, str | bool | None]:
    said = parse(agent)
    browser, system, device = said.user_agent, said.os, said.device
    family = browser.family if browser and browser.family != "Other" else None
    version = _version(browser.major, browser.minor) if browser and family else None
    if family is None and (product := PRODUCT.match(agent)) and product[1] != "Mozilla":
        family, version = product[1], _version(product[2], product[3])
    brand = device.brand if device and device.brand not in GENERIC else None
    return {
        "browser": family,
        "browser_version": version,
        "operating_system": system.family if system and system.family != "Other" else None,
        "operating_system_version": _version(system.major, system.minor) if system else None,
        "brand": brand,
        "model": device.model if device and brand else None,
        "is_spider": bool(device and device.family == SPIDER),
    }


def _version(major: str | None, minor: str | None) -> str | None:
    return ".".join(part for part in (major, minor) if part) or None
