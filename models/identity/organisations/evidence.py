"""What the model compares of organisations: one row per record, from the name of the firm and its contacts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import polars as pl

from customer360.models.identity.evidence.features import Features, sound
from customer360.models.identity.evidence.standardize import STANDARD_COLUMNS, plain_text, standardize
from customer360.models.identity.organisations.comparisons import NAME_RULES, ORGANISATION
from customer360.models.identity.organisations.names import organisation_name
from customer360.models.identity.rules import IdentityRules

NAME_COLUMN, WEBSITE = "organisation_name", "website"
# Of a phone without its area code, as people of one town write it, so many digits at least.
_LOCAL_PHONE = 6
_BESIDE_NAMES = ("phone", "mail", "domain", "street", "zip", "city")
_TEXTS = ("core", "sorted", "compact", "form", "acronym", "opening")


def organisation_features(records: pl.DataFrame, rules: IdentityRules) -> Features:
    """Evidence of records that name an organisation (`organisation_name`, unique `record_id`), sorted by record_id:
    rid, record_id, the words of the name with their rarity among the names at hand, contacts and place. Identifiers of
    the rules are compared as numbers of the firm."""
    standard = records if set(STANDARD_COLUMNS) <= set(records.columns) else standardize(records, rules)
    own = {f"identifier_{name}": _number(name) for name in rules.blocking.identifiers if name in records.columns}
    frame = standard.sort("record_id").select(
        "record_id",
        name=_usable(rules),
        phone=_phone(standard),
        mail="email_std",
        domain=_domain(standard, rules),
        street=pl.coalesce("street_std", pl.lit(None, pl.String)),
        city="city_std",
        zip="zip_std",
        **own,
    )
    frame = frame.join(_of_names(frame["name"]), on="name", how="left", maintain_order="left", nulls_equal=True)
    frame = frame.with_columns(
        area=pl.col("zip").str.head(3),
        place=pl.concat_str("street", pl.coalesce("zip", "city"), separator="|"),
        number=pl.col("street").str.extract(r"^(\d+)\b", 1),
        word=pl.col("street").str.extract(r"^(?:\d\S*\s+)?(?:[nsew]\s+)?(\p{L}{3,}|\d+)", 1),
    )
    frame = frame.with_columns(site=pl.concat_str("number", "word", separator=" ")).drop("name")
    has_more = any(frame[name].null_count() < frame.height for name in _BESIDE_NAMES)
    kind = ORGANISATION if has_more else replace(ORGANISATION, prior_rules=NAME_RULES)
    return Features(frame.with_row_index("rid").with_columns(pl.col("rid").cast(pl.Int64)), (), kind)


def _usable(rules: IdentityRules) -> pl.Expr:
    """The name where it is one: "n/a" and "unknown" stand for none."""
    text = plain_text(pl.col(NAME_COLUMN))
    return pl.when(~text.is_in(sorted(rules.standardization.junk_names))).then(NAME_COLUMN)


def _of_names(names: pl.Series) -> pl.DataFrame:
    """Per distinct name its parts; the rarity of a word is the bits that its share of all names is worth."""
    texts = names.drop_nulls().unique().sort()
    read = [organisation_name(text) for text in texts]
    # Spellings of one name count once: what a firm is called in twenty ways is no common word.
    counts = Counter(word for words in {frozenset(one.words) for one in read} for word in words)
    distinct = max(len({frozenset(one.words) for one in read}), 2)
    numbers = [sorted({word for word in one.words if word.isdigit()}) for one in read]
    frame = pl.DataFrame(
        {
            "name": texts,
            "core": [" ".join(one.words) for one in read],
            "sorted": [" ".join(sorted(set(one.words))) for one in read],
            "compact": ["".join(one.words) for one in read],
            "form": [one.form for one in read],
            "acronym": [_acronym(one.words) for one in read],
            "opening": [" ".join(one.words[:2]) or None for one in read],
            "words": [list(dict.fromkeys(one.words)) for one in read],
            "rarity": [
                [max(math.log2(distinct / counts[word]), 0.2) for word in dict.fromkeys(one.words)] for one in read
            ],
            "starts": [sorted({word[:3] for word in one.words}) for one in read],
            "numbers": numbers,
        },
        schema={
            "name": pl.String, **dict.fromkeys(_TEXTS, pl.String), "words": pl.List(pl.String),
            "rarity": pl.List(pl.Float64), "starts": pl.List(pl.String), "numbers": pl.List(pl.String),
        },
    )  # fmt: skip
    filled = pl.when(pl.col("core") != "")
    return frame.with_columns(
        *(filled.then(name).alias(name) for name in ("core", "sorted", "compact")),
        numbers=pl.when(pl.col("numbers").list.len() > 0).then("numbers"),
    )


def _acronym(words: tuple[str, ...]) -> str | None:
    return "".join(word[0] for word in words) if len(words) > 2 else None


def _number(name: str) -> pl.Expr:
    """A number of the firm as its letters and digits: "DE 123.456.789" is de123456789."""
    code = pl.col(name).cast(pl.String).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
    return pl.when(code.str.len_chars() > 3).then(code)


def _phone(records: pl.DataFrame) -> pl.Expr:
    """The standard phone; a local number, which standards do not have, as its digits."""
    if "phone_number" not in records.columns:
        return pl.lit(None, pl.String)
    digits = pl.col("phone_number").cast(pl.String).str.replace_all(r"[^0-9]", "")
    is_local = digits.str.len_chars().is_between(_LOCAL_PHONE, 8) & (digits.str.strip_chars(digits.str.head(1)) != "")
    return pl.coalesce("phone_std", pl.when(is_local).then(digits))


def _domain(records: pl.DataFrame, rules: IdentityRules) -> pl.Expr:
    """The firm's own domain, from its website or else its mail; none of a provider that many people use."""
    of_mail = pl.col("email_std").str.split("@").list.last()
    own = of_mail
    if WEBSITE in records.columns:
        site = pl.col(WEBSITE).cast(pl.String).str.to_lowercase().str.strip_chars()
        host = site.str.replace(r"^[a-z]+://", "").str.extract(r"^(?:www\d?\.)?([\p{L}\p{N}.-]+\.\p{L}{2,})", 1)
        own = pl.coalesce(host, of_mail)
    return pl.when(~own.is_in(rules.standardization.mail_providers)).then(own)


def key_values(features: Features) -> dict[str, pl.DataFrame]:
    """Per block key (value, rid), the most telling key first: which records may be one firm. A record may hold several
    values of one key."""
    frame = features.frame
    words = frame.select("rid", word="words", rarity="rarity").explode("word", "rarity").drop_nulls()
    rarest = words.sort("rarity", "word", descending=[True, False]).group_by("rid", maintain_order=True).head(5)
    two = rarest.join(rarest, on="rid", suffix="_r").filter(pl.col("word") < pl.col("word_r"))
    texts = {
        **{name: pl.col(name) for name in features.identifiers},
        "mail": pl.col("mail"),
        "phone": pl.col("phone"),
        "sorted": pl.col("sorted"),
        "compact": pl.col("compact").str.head(8),
        "street": pl.col("street"),
        "site": pl.col("site"),
        "domain": pl.col("domain"),
        "initials": pl.coalesce("acronym", pl.when(pl.col("compact").str.len_chars() < 7).then("compact")),
        "opening_zip": pl.concat_str("opening", "zip"),
        "number_zip": pl.concat_str("number", "zip"),
    }
    single = {name: frame.select("rid", text=text).drop_nulls() for name, text in texts.items()}
    several = {
        "two words": two.select("rid", text=pl.concat_str("word", "word_r", separator=" ")),
        "word": rarest.select("rid", text="word"),
        "sound": rarest.select("rid", text=sound(pl.col("word"))),
        "word_city": rarest.join(frame.select("rid", "city"), on="rid").select(
            "rid", text=pl.concat_str("word", "city", separator="|")
        ),
    }
    held = {name: rows.drop_nulls().filter(pl.col("text") != "") for name, rows in (single | several).items()}
    return {name: rows.select("rid", value=pl.col("text").hash(seed=0)).unique() for name, rows in held.items()}
