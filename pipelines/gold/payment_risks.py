"""Signs of fraud in how people pay, each judged against how often it happens to everybody else.

Signs are counts: so many of so many attempts declined, cards that never worked, attempts soon after another, countries
that differ, payments taken back by the bank, sales given back, strangers who use the same card. Each has the chance of
as many or more if a payer were like the others: the tail of a beta-binomial, whose rate is that of all others and whose
spread is that of the payers without the most extreme hundredth (people differ, and that alone is no sign); of strangers
the tail of a Poisson, whose mean is that of all others. A sign that fewer than a hundredth of the payers have shows no
spread, and is judged as if all had one rate. A payer's p-value is the smallest, times the number of signs (Bonferroni);
alerts hold the false discovery rate over all payers (Benjamini and Hochberg, 1995).
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import pdtrc

from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.inference.tails import beta_binomial_sf, binomial_sf
from customer360.pipelines.inference.verdicts import NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EnrichmentRules, PaymentRiskRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, List, OneOf, String, Struct, Table, Timestamp, personal

COUNTED = ("declined", "cards_never_accepted", "in_quick_succession", "foreign", "charged_back", "returned")
STRANGERS = "strangers_on_card"
SIGNS = (*COUNTED, STRANGERS)
TRIMMED = 0.01  # of the payers, the most extreme, that say nothing of how far honest ones differ
LOST_BY_TRIMMING = 2.0  # part of what is left out is honest spread; found by trial on honest shops
UNLIKELY = 0.05  # p-value of a sign that is a reason
WIDEST = 0.5  # correlation within a payer, at most
Array = NDArray[np.float64]


class PaymentRisks(Table, table="gold.payment_risks", partition_by=("as_of",), sort_by=("rank",), serves="OPERATION"):
    """One row per payer with an attempt in the window and as_of date: how unusual the payer's signs of fraud are.

    An alert is a reason to look, not a verdict. Payers with fewer attempts than the rule file's ``least_attempts`` are
    not judged.
    """

    payer_id = String(
        primary_key=True,
        metadata=personal("device"),
        description="The person; of unknown ones `device:`, else `ip:` and the hash, else the subject",
    )
    as_of = Date(primary_key=True)
    person_id = String(nullable=True)
    rank = Integer(min=1, description="1: the most unusual; payers that are not judged come last")
    attempt_count = Integer(description="Attempts in the window")
    instrument_count = Integer(description="Different cards, wallets and accounts")
    risk_status = OneOf(
        "ALERT",
        "WATCH",
        "CLEAR",
        NOT_ENOUGH_EVIDENCE,
        description="ALERT: q_value at most the false_discovery_rate of the rule file; WATCH: p_value at most"
        " watch_below; NOT_ENOUGH_EVIDENCE: fewer attempts than least_attempts",
    )
    risk_score = Float(
        nullable=True,
        min=0,
        max=1,
        description="1 - p_value; null where not judged. Of payments"
        " alone: risk_score of gold.customer_360 adds up signs of other trouble, too",
    )
    p_value = Float(nullable=True, min=0, max=1, description="Chance of signs as strong in a payer like the others")
    q_value = Float(nullable=True, min=0, max=1, description="p_value adjusted for all payers judged")
    risk_reasons = List(
        Struct({"sign": String(), "count": Integer(), "of": Integer(), "expected": Float(), "p_value": Float()}),
        description="Signs with a p_value of at most 0.05, the least likely first: ``count`` of ``of`` attempts, cards"
        " or sales, where ``expected`` would be usual. strangers_on_card counts people: the most others on one of its"
        " cards, of which it has ``of``",
    )
    last_attempt_at = Timestamp(description="Latest attempt in the window")


PAID = ("attempt_id", "source_system", "subject_id", "person_id", "attempted_at", "attempted_on", "declined_at",
        "captured_by_at", "charged_back_at", "captured_amount", "instrument_id", "device_hash", "ip_hash",
        "bin_country", "billing_country", "shipping_country")  # fmt: skip


@builds(
    PaymentRisks,
    rules="enrichment",
    reads={
        "silver.payments": PAID,
        "silver.transactions": ("person_id", "occurred_on", "is_sale", "is_return", "refunded_amount", "returned_on"),
    },
    past={"silver.payments": "attempted_on", "silver.transactions": "occurred_on"},
)
def payment_risks(
    silver_payments: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    gold_households: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Payers of the window before ``as_of``; what became of an attempt since then is not known yet."""
    rules = params.payment_risk
    start = as_of - timedelta(days=rules.window_days)
    device, ip = pl.lit("device:") + pl.col("device_hash"), pl.lit("ip:") + pl.col("ip_hash")
    past = silver_payments.filter(pl.col("attempted_on").is_between(start, as_of, closed="left")).with_columns(
        payer_id=pl.coalesce("person_id", device, ip, "subject_id")
    )
    counts = _counted(past, as_of, rules)
    strangers = _strangers(past, gold_households)
    returned = _returned(silver_transactions, start, as_of)
    known = (
        counts.join(strangers, on="payer_id", how="left")
        .join(returned, on="person_id", how="left")
        .with_columns(pl.col("returned", "returned_of", STRANGERS, f"{STRANGERS}_of").fill_null(0))
        .sort("payer_id")
        .collect()
    )
    return _judged(known, rules).lazy().with_columns(as_of=pl.lit(as_of)).select(list(PaymentRisks.columns()))


def _counted(past: pl.LazyFrame, as_of: date, rules: PaymentRiskRules) -> pl.LazyFrame:
    """Signs of each payer's attempts: how many, and ``_of`` how many they could have been."""
    cut = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    declined, captured = pl.col("declined_at") < cut, pl.col("captured_by_at") < cut
    countries = [pl.col(c) for c in ("bin_country", "billing_country", "shipping_country")]
    known = pl.sum_horizontal(c.is_not_null() for c in countries)
    differ = pl.any_horizontal((one != other).fill_null(False) for one, other in combinations(countries, 2))
    # Of attempts at one moment it does not matter which is the second.
    gap = (pl.col("attempted_at") - pl.col("attempted_at").shift()).over("payer_id", order_by="attempted_at")
    marked = past.with_columns(
        declined__=declined.fill_null(False),
        quick__=(gap <= timedelta(minutes=rules.quick_minutes)).fill_null(False),
        comparable__=known > 1,
        foreign__=differ,
        back__=(pl.col("charged_back_at") < cut).fill_null(False),
    )
    cards = (
        marked.filter(pl.col("instrument_id").is_not_null())
        .group_by("payer_id", "instrument_id")
        .agg(never=pl.col("declined__").all())
        .group_by("payer_id")
        .agg(cards_never_accepted=pl.col("never").sum().cast(pl.Int64), instrument_count=pl.len().cast(pl.Int64))
    )
    sums = marked.group_by("payer_id").agg(
        # A payer is one person or nobody: of which of its attempts that is asked must not matter.
        person_id=pl.when(pl.col("person_id").is_not_null().any()).then(pl.col("payer_id").first()),
        attempt_count=pl.len().cast(pl.Int64),
        last_attempt_at=pl.col("attempted_at").max(),
        declined=pl.col("declined__").sum().cast(pl.Int64),
        in_quick_succession=pl.col("quick__").sum().cast(pl.Int64),
        in_quick_succession_of=(pl.len() - 1).cast(pl.Int64),
        foreign=pl.col("foreign__").sum().cast(pl.Int64),
        foreign_of=pl.col("comparable__").sum().cast(pl.Int64),
        charged_back=pl.col("back__").sum().cast(pl.Int64),
        charged_back_of=(captured.fill_null(False) | pl.col("back__")).sum().cast(pl.Int64),
    )
    return sums.join(cards, on="payer_id", how="left").with_columns(
        pl.col("cards_never_accepted", "instrument_count").fill_null(0),
        declined_of="attempt_count",
        cards_never_accepted_of=pl.col("instrument_count").fill_null(0),
    )


def _returned(transactions: pl.LazyFrame, start: date, as_of: date) -> pl.LazyFrame:
    """Of each person's sales how many were given back, at least: by their headers, or by receipts of returns where
    these are more. Such a receipt does not say of which sale it is, so that both may tell of one.
    """
    window = pl.col("occurred_on").is_between(start, as_of, closed="left")
    later = pl.col("is_sale") & (pl.col("refunded_amount") > 0) & (pl.col("returned_on") < as_of)
    sold = pl.col("is_sale").sum().cast(pl.Int64)
    told = (pl.col("is_return").sum(), later.fill_null(False).sum())
    back = pl.max_horizontal(told).cast(pl.Int64)
    found = transactions.filter(window, pl.col("person_id").is_not_null())
    return found.group_by("person_id").agg(returned=pl.min_horizontal(back, sold), returned_of=sold)


def _strangers(past: pl.LazyFrame, households: pl.LazyFrame) -> pl.LazyFrame:
    """Of each person the most others on one of its cards who are of no household with it, and its number of cards. Who
    pays as a guest may be one of them, and is nobody's stranger.
    """
    homes = households.select("person_id", "household_id").unique("person_id", keep="any")
    users = (
        past.filter(pl.col("instrument_id").is_not_null(), pl.col("person_id").is_not_null())
        .select("instrument_id", "payer_id", "person_id")
        .unique(["instrument_id", "payer_id"])
        .join(homes, on="person_id", how="left")
        .with_columns(home__=pl.coalesce("household_id", "payer_id"))
    )
    others = pl.col("home__").n_unique().over("instrument_id") - 1
    return (
        users.with_columns(others=others)
        .group_by("payer_id")
        .agg(
            pl.col("others").max().cast(pl.Int64).alias(STRANGERS),
            pl.len().cast(pl.Int64).alias(f"{STRANGERS}_of"),
        )
    )


def _judged(known: pl.DataFrame, rules: PaymentRiskRules) -> pl.DataFrame:
    """Payers with p-values, reasons, rank and status."""
    enough = known["attempt_count"].to_numpy() >= rules.least_attempts
    tails = {name: _tail(known[name].to_numpy(), known[f"{name}_of"].to_numpy()) for name in COUNTED}
    tails[STRANGERS] = _tail_of_strangers(known[STRANGERS].to_numpy(), known[f"{STRANGERS}_of"].to_numpy())
    chances = np.column_stack([tails[name][0] for name in SIGNS]) if known.height else np.empty((0, len(SIGNS)))
    p_value = np.minimum(chances.min(axis=1, initial=1.0) * len(SIGNS), 1.0)
    q_value = np.full(known.height, np.nan)
    q_value[enough] = adjusted(p_value[enough], int(enough.sum()))
    judged = known.with_columns(
        *(pl.Series(f"p_{name}", tails[name][0]) for name in SIGNS),
        *(pl.Series(f"expected_{name}", tails[name][1]) for name in SIGNS),
        enough__=pl.Series(enough),
        evidence__=pl.Series(-np.log10(np.maximum(chances, 1e-300)).sum(axis=1)).round(6),
        p_value=pl.Series(p_value),
        q_value=pl.Series(q_value).fill_nan(None),
    )
    return _described(judged, rules)


def _described(judged: pl.DataFrame, rules: PaymentRiskRules) -> pl.DataFrame:
    enough, q_value = pl.col("enough__"), pl.col("q_value")
    return (
        judged.join(_reasons(judged), on="payer_id", how="left")
        .with_columns(
            risk_status=pl.when(~enough).then(pl.lit(NOT_ENOUGH_EVIDENCE))
            .when(q_value <= rules.false_discovery_rate).then(pl.lit("ALERT"))
            .when(pl.col("p_value") <= rules.watch_below).then(pl.lit("WATCH"))
            .otherwise(pl.lit("CLEAR")),
            risk_reasons=pl.col("risk_reasons").fill_null([]),
            p_value=pl.when(enough).then("p_value"),
            risk_score=pl.when(enough).then(1 - pl.col("p_value")),
        )
        .sort(~enough, q_value, "p_value", -pl.col("evidence__"), "payer_id", nulls_last=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    )  # fmt: skip


def _reasons(judged: pl.DataFrame) -> pl.DataFrame:
    """By payer who has any the signs that are unlikely, in order. They are few, and lists of all payers' signs would
    take half of the build to sort.
    """
    fields = ("sign", "count", "of", "expected", "p_value")
    told = pl.concat(
        judged.filter(pl.col(f"p_{name}") <= UNLIKELY).select(
            "payer_id", sign=pl.lit(name), count=name, of=f"{name}_of", expected=f"expected_{name}",
            p_value=f"p_{name}",
        )
        for name in SIGNS
    )  # fmt: skip
    return (
        told.sort("payer_id", "p_value", "sign")
        .group_by("payer_id", maintain_order=True)
        .agg(risk_reasons=pl.struct(fields))
    )


def _tail(hits: NDArray[np.int64], trials: NDArray[np.int64]) -> tuple[Array, Array]:
    """Of each payer the chance of at least so many hits, and how many were to be expected; 1 where none was hit."""
    hits = np.minimum(hits, trials)
    if not len(hits):
        return np.empty(0), np.empty(0)
    rate = (hits.sum() - hits + 0.5) / (trials.sum() - trials + 1.0)
    rate = np.minimum(rate, 1 - 1e-9)
    spread = _spread(hits, trials)
    chance = np.ones(len(hits))
    some = hits > 0
    if spread > 0:
        strength = (1 - spread) / spread
        a, b = rate[some] * strength, (1 - rate[some]) * strength
        chance[some] = beta_binomial_sf(hits[some] - 1, trials[some], a, b)
    else:
        chance[some] = binomial_sf(hits[some] - 1, trials[some], rate[some])
    return np.clip(chance, 0.0, 1.0), rate * trials


def _spread(hits: NDArray[np.int64], trials: NDArray[np.int64]) -> float:
    """How far payers differ in their rate: the correlation of two attempts of one payer, by moments, without the most
    extreme payers."""
    many = trials > 1
    n, k = trials[many].astype(float), hits[many].astype(float)
    if len(n) < 10 or not k.sum():
        return 0.0
    rate = k.sum() / n.sum()
    off = (k - n * rate) ** 2 / np.maximum(n * rate * (1 - rate), 1e-12)
    kept = np.argsort(off, kind="stable")[: len(off) - max(1, int(np.ceil(TRIMMED * len(off))))]
    n, k = n[kept], k[kept]
    if not k.sum():
        return 0.0
    rate = k.sum() / n.sum()
    excess = ((k - n * rate) ** 2 - n * rate * (1 - rate)).sum() / (rate * (1 - rate) * n * (n - 1)).sum()
    return float(np.clip(LOST_BY_TRIMMING * excess, 0.0, WIDEST))


def _tail_of_strangers(strangers: NDArray[np.int64], cards: NDArray[np.int64]) -> tuple[Array, Array]:
    """The same of the most strangers on one of a payer's cards, by how many cards of all others have: who shares is too
    rare for its most extreme hundredth to be left out, which would be all of the honest who do."""
    if not len(strangers):
        return np.empty(0), np.empty(0)
    mean = (strangers.sum() - strangers + 0.5) / len(strangers)
    chance = np.where(strangers > 0, pdtrc(np.maximum(strangers - 1, 0), mean) * np.maximum(cards, 1), 1.0)
    return np.clip(chance, 0.0, 1.0), mean
