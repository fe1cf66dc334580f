"""Invented lists of a shop with planted effects, as tables that a model is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

CUT = date(2026, 5, 1)
PRODUCTS = [(f"P{n:02}", "ABCD"[n % 4], 5.0 + 3 * n) for n in range(40)]
SHOWN, DAYS = 6, 60


def tables(
    lists: int = 1200, seed: int = 3, position: float = 0.6,
    order: Callable[[pl.Series, np.ndarray], np.ndarray] | None = None, **effects: float,
) -> dict[str, pl.LazyFrame]:  # fmt: skip
    """Lists over `DAYS` before and 30 days after `CUT`, in the order of an uninformed score, or in that of a ranker
    (``order``: of products and the shares of their scores). Logits: `taste`: of A, and against D; `device`: of A on
    a mobile, against it elsewhere; `hour`: of B in the morning; `region`: of C in the north; `activity`: of the
    category just seen; `depth`: of cheap products early in a session; `affinity`: of the category bought before."""
    rng, want = np.random.default_rng(seed), {"device": 0.0, "hour": 0.0, "region": 0.0, "activity": 0.0, "depth": 0.0,
                                              "affinity": 0.0, "taste": 0.0} | effects  # fmt: skip
    category, price = np.array([c for _, c, _ in PRODUCTS]), np.log([p for *_, p in PRODUCTS])
    scaled = (price - price.mean()) / price.std()
    rows, bought = [], []
    for n in range(lists):
        at = datetime.combine(CUT, datetime.min.time(), UTC) + timedelta(
            days=int(rng.integers(-DAYS, 30)), hours=int(rng.integers(0, 24))
        )
        device, region = ("mobile", "desktop")[rng.integers(2)], ("north", "south")[rng.integers(2)]
        seen = [PRODUCTS[i][0] for i in rng.choice(40, int(rng.integers(0, 8)), replace=False)]
        likes = "ABCD"[n % 4] if n % 2 else None
        if likes:
            bought.append((f"u{n}", PRODUCTS[n % 4][0], CUT - timedelta(days=DAYS + 5), "purchase"))
        shown = rng.choice(40, SHOWN, replace=False)
        place, score = np.arange(1, SHOWN + 1), np.sort(rng.exponential(1, SHOWN))[::-1]
        if order:
            best = np.argsort(-order(pl.Series([PRODUCTS[i][0] for i in shown]), score / score[0]), kind="stable")
            shown, score = shown[best], score[best]
        about = np.array([sum(category[int(s[1:])] == c for s in seen) / max(len(seen), 1) for c in category[shown]])
        logit = -1.2 - position * np.log(place)
        logit += want["taste"] * ((category[shown] == "A") * 1.0 - (category[shown] == "D"))
        logit += want["device"] * (category[shown] == "A") * (1 if device == "mobile" else -1)
        logit += want["hour"] * (category[shown] == "B") * (1 if at.hour < 12 else -1)
        logit += want["region"] * (category[shown] == "C") * (1 if region == "north" else -1)
        logit += want["activity"] * about
        logit += want["depth"] * scaled[shown] * (-1 if len(seen) < 3 else 1)
        logit += want["affinity"] * (category[shown] == likes)
        clicked = rng.random(SHOWN) < 1 / (1 + np.exp(-logit))
        for p, product, is_clicked in zip(place, shown, clicked, strict=True):
            is_bought = bool(is_clicked and rng.random() < 0.2)
            rows.append({
                "impression_id": f"i{n}-{p}", "source_system": "S", "list_id": f"l{n}", "subject_id": f"u{n}",
                "person_id": f"u{n}", "shown_at": at, "on": at.date(), "placement": "home",
                "product_id": PRODUCTS[product][0], "position": int(p), "score": float(score[p - 1]), "store_id": None,
                "region": region, "device": device, "seen_product_ids": seen, "is_clicked": bool(is_clicked),
                "is_bought": is_bought, "clicked_at": at if is_clicked else None,
                "bought_at": at if is_bought else None,
            })  # fmt: skip
    moments = dict.fromkeys(("shown_at", "clicked_at", "bought_at"), pl.Datetime("us", "UTC"))
    impressions = pl.DataFrame(
        rows, schema_overrides={"store_id": pl.String, "seen_product_ids": pl.List(pl.String), **moments}
    )
    products = pl.DataFrame(PRODUCTS, schema=["product_id", "category", "price"], orient="row").with_columns(
        cost=pl.col("price") * 0.6, currency=pl.lit("EUR"), launched_on=pl.lit(date(2025, 1, 1))
    )
    interactions = pl.DataFrame(bought, schema={"person_id": pl.String, "product_id": pl.String, "on": pl.Date,
                                                "kind": pl.String}, orient="row")  # fmt: skip
    return {"silver.impressions": impressions.lazy(), "silver.products": products.lazy(),
            "gold.interactions": interactions.lazy()}  # fmt: skip
