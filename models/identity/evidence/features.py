"""What the model compares: one row per record, and the keys that say which records meet.

Grain: one row per record_id, sorted by it, so that every later step is independent of the order of the input.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl

from customer360.models.identity.evidence.kinds import Kind
from customer360.models.identity.evidence.names import (
    listed_names,
    masculine_forms,
    nickname_roots,
    roots_by_word,
    stated,
)
from customer360.models.identity.evidence.scripts import HAN, NOT_ASCII, SIGNS, signed, spelled, spellings, toned
from customer360.models.identity.evidence.standardize import STANDARD_COLUMNS, name_suffix, plain_text, standardize
from customer360.models.identity.evidence.steps import Listed, Parsed, Stage, distinct, each, over
from customer360.models.identity.rules import Blocking, IdentityRules, Standardization
from customer360.models.identity.spill import current, kept
from customer360.models.identity.stitching import number_columns
from customer360.models.identity.threads import at_once, by_rows

Code = TypeVar("Code", pl.Expr, int)

KEY_PREFIX = "key_"
IDENTIFIER_PREFIX = "identifier_"
_PARTS = ("email", "phone", "dob", "given", "family", "nickname", "street", "zip", "city", "year", "area")
_STRONG: dict[str, tuple[str, ...]] = {
    "email": ("email",), "phone": ("phone",), "email_user": ("user",),
    "dob_family": ("dob", "last"), "dob_given": ("dob", "given"), "street_given": ("street", "nickname"),
    "names_zip": ("names", "zip"), "prefixes_zip": ("prefixes", "zip"), "names_city": ("names", "city"),
    "family_zip_nickname": ("family", "zip", "nickname"), "names_dob_month": ("names", "month"),
    "given_zip_number": ("given", "zip", "number"), "family_zip_initial": ("family", "zip", "given_initial"),
    "given_zip_initial": ("given", "zip", "family_initial"), "dob_zip": ("dob", "zip"),
}  # fmt: skip
# Keys that tell a person only where few records share the value, which depends on how many records there are.
_WEAK: dict[str, tuple[str, ...]] = {
    "given_zip": ("given", "zip"), "family_zip": ("last", "zip"), "dob": ("dob",), "names": ("names",),
    "sounds_year": ("sounds", "year"), "sounds_area": ("sounds", "area"), "prefixes_year": ("prefixes", "year"),
    "sounds": ("sounds",), "street_word_zip": ("word", "zip"), "street": ("street",), "family_city": ("family", "city"),
    "family_area": ("last", "area"), "given_area": ("nickname", "area", "family_initial"), "dob_area": ("dob", "area"),
    "zip_year": ("zip", "year"), "city_number": ("city", "number", "initial"), "street_city": ("word", "city"),
    "zip_number": ("zip", "number"), "family_street": ("last", "word"), "given_street": ("given", "word"),
    "digits_initials": ("digits", "given_initial", "family_initial"), "digits_family": ("digits", "family_initial"),
    "digits_given": ("digits", "given_initial"),
    "given_city": ("given", "city"), "family_year": ("last", "year"), "given_year": ("given", "year"), "zip": ("zip",),
}  # fmt: skip
WEAK_KEYS = tuple(_WEAK)
_MULTIPLIER = 0x1E3779B97F4A7C15  # odd, so that no part of a hash is lost
# Beyond so many records the budget of a weak key falls as they grow: the strong keys find what weak ones would.
_FEW_RECORDS = 400_000
_SOUNDS = ("given_sound", "family_sound")
_OWN = ("given_own", "family_own", "parts_own", "given_raw", "family_raw")
_EVIDENCE = {
    "given_own": "given_name_std", "family_own": "family_name_std", "nickname": "nickname_group", "email": "email_std",
    "email_user": "email_user", "phone": "phone_std", "street": "street_std", "city": "city_std", "zip": "zip_std",
    "gender": "gender_std", "number": "number_std",
}  # fmt: skip


class IdentityInputError(ValueError):
    """Records that identity resolution cannot take: no record_id, or one that is null or repeated."""


@dataclass(frozen=True)
class Features:
    """`frame`: rid (Int64, 0..n-1), record_id, evidence columns, key_* columns (hashes of what they hold: whole
    numbers are counted and joined in a third of the time and memory of texts). `keys`: key columns in the order in
    which they block. `kind`: what is compared, where it is not people."""

    frame: pl.DataFrame
    keys: tuple[str, ...]
    kind: Kind | None = None

    @property
    def identifiers(self) -> tuple[str, ...]:
        return tuple(name for name in self.frame.columns if name.startswith(IDENTIFIER_PREFIX))


def build_features(records: pl.DataFrame, rules: IdentityRules) -> Features:
    """Evidence and block keys of customer records. A record's keys do not depend on the other records: which of them
    propose pairs is asked when the records meet (`key_caps`).

    Raises IdentityInputError for bad record ids.
    """
    records = standardized(records, rules)
    given = [name for name in rules.blocking.identifiers if name in records.columns]
    keys = block_keys([IDENTIFIER_PREFIX + name for name in given])
    frame = (
        _by_id_in_pieces(_read(records, rules), rules.engine.threads)
        .with_row_index("rid")
        .with_columns(pl.col("rid").cast(pl.Int64))
    )
    frame = by_rows(lambda rows: _row_by_row(rows, keys, rules), frame, rules.engine.threads)
    own = _own_domain(frame, rules.standardization).alias("email_own")
    frame = frame.with_columns(kept(own.to_frame()).to_series())
    return Features(frame, tuple(keys))


def standardized(records: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """The records with their standard columns, made where they are absent. Raises IdentityInputError for bad record
    ids."""
    _check(records)
    return records if set(STANDARD_COLUMNS) <= set(records.columns) else standardize(records, rules)


def by_id(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in order of `record_id`, as they mostly are."""
    return rows if rows["record_id"].is_sorted() else rows.sort("record_id")


def _by_id_in_pieces(rows: pl.DataFrame, threads: int) -> pl.DataFrame:
    """As `by_id`, on disk where frames go there."""
    if current() is None or rows["record_id"].is_sorted():
        return by_id(rows)
    order = rows["record_id"].arg_sort().to_frame("at")
    return by_rows(lambda places: rows[places["at"]], order, threads)


def _read(records: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """The columns that features are made of: sorting all columns of everybody would be most of a run's memory."""
    made = compared(rules, records.columns) | number_columns(records.columns, rules.stitching)
    read = {root for expression in made.values() for root in expression.meta.root_names()}
    return records.select("record_id", *(name for name in records.columns if name in read | {"full_name"}))


def _row_by_row(records: pl.DataFrame, keys: dict[str, tuple[str, ...]], rules: IdentityRules) -> pl.DataFrame:
    """Evidence and keys of standardized records: all that depends on the record alone."""
    own = [name for name in records.columns if name in rules.blocking.identifiers]
    numbers = number_columns(records.columns, rules.stitching)
    frame = records.lazy().select("rid", "record_id", **compared(rules, records.columns), **numbers).collect()
    frame = over(frame, derived(rules.standardization, "full_name" in records.columns))
    texts = key_parts([IDENTIFIER_PREFIX + name for name in own])
    return _with_hashes(over(frame, sounds()), texts, keys).drop(*_SOUNDS, *_OWN)


def compared(rules: IdentityRules, columns: Collection[str]) -> dict[str, pl.Expr]:
    """Evidence as expressions of a standardized record that has these columns."""
    named = [name for name in ("last_name", "first_name", "full_name") if name in columns]
    std = rules.standardization
    suffixes = [name_suffix(pl.col(name), std, whole=name == "full_name") for name in named] or [pl.lit(None)]
    given, family = (pl.col(name) if name in columns else pl.lit(None) for name in ("first_name", "last_name"))
    own = [name for name in rules.blocking.identifiers if name in columns]
    return {
        **{name: pl.col(column).cast(pl.String) for name, column in _EVIDENCE.items()},
        "dob": pl.col("dob_std").cast(pl.String),
        "suffix": pl.coalesce(suffixes).cast(pl.String),
        "parts_own": pl.col("name_parts").cast(pl.List(pl.String)).list.join(" "),
        "given_raw": pl.when(
            given.cast(pl.String).str.contains(NOT_ASCII) | family.cast(pl.String).str.contains(NOT_ASCII)
        ).then(given.cast(pl.String)),
        "family_raw": family.cast(pl.String),
        **{IDENTIFIER_PREFIX + name: plain_text(pl.col(name)).str.replace_all(" ", "") for name in own},
    }


def derived(std: Standardization, has_full_name: bool) -> tuple[Stage, ...]:
    """Further evidence, from what `compared` gives."""
    user = pl.col("email").str.split("@").list.first()
    # A desk may say where it stands, or which of several it is: info.berlin, sales-uk, office2. At a provider of many
    # people what stands behind a point is a surname: post.malone.
    placed = pl.col("email").str.extract(r"^([^0-9._@-]+)[0-9]*[._-][^@]*@", 1).is_in(sorted(std.role_mailboxes))
    is_own = ~pl.col("email").str.split("@").list.last().is_in(sorted(std.mail_providers))
    desk = user.str.replace(r"[0-9]+$", "").is_in(sorted(std.role_mailboxes)) | placed.fill_null(False) & is_own
    # The first of January is what sources write for a known year.
    is_day = pl.col("dob").str.len_chars().eq(10) & ~pl.col("dob").str.ends_with("-01-01")
    more = stated(std.nicknames)
    roots, word_roots = nickname_roots(more).rename({"name": "given"}), partial(roots_by_word, more=more)
    own_root = pl.coalesce("roots", pl.when(pl.col("given").is_not_null()).then(pl.concat_list("given")))
    none = pl.lit([], pl.List(pl.String))
    of_men = (std.masculine_names, std.masculine_names_unlisted, std.masculine_names_arabic)
    masculine = masculine_forms(*of_men).rename({"name": "given"})
    listed = listed_names(more, std.masculine_names).rename({"name": "given"})
    return (
        *(_in_letters(name) for name in ("given", "family")),
        _parts(),
        _tones(),
        *(_signs(name) for name in ("given", "family")),
        each(
            given_apart=pl.when(pl.col("given_own").is_in(sorted(std.names_apart))).then("given_own"),
            is_han=pl.col("given_own").str.contains(HAN),
        ),
        each(
            email_user=_telling_user(),
            email_digits=user.str.replace_all(r"[^0-9]", ""),
            is_desk=desk,
            year=pl.col("dob").str.head(4),
            day=pl.when(is_day).then("dob"),
            area=_area(),
            middle=_middle(std) if has_full_name else pl.lit(None, pl.List(pl.String)),
            place=pl.concat_str("street", pl.coalesce("zip", "city"), separator="|"),
            number=pl.coalesce("number", pl.col("street").str.extract(r"^(\d+)\b", 1)),
        ),
        Stage(
            ("given", "given_own"),
            ("roots", "spellings", "listed_as", "masculine", "word_roots"),
            (
                Listed("roots", "given", roots),
                Listed("masculine", "given", masculine),
                Listed("listed_as", "given", listed),
                Parsed("word_roots", ("given",), pl.col("given").str.contains(" ", literal=True), word_roots),
                Parsed("spellings", ("given_own",), pl.col("given_own").str.contains(NOT_ASCII), spellings),
                {
                    "roots": pl.concat_list(own_root, pl.col("spellings").str.split("|").fill_null(none)),
                    "word_roots": pl.col("word_roots").str.split(" "),
                },
            ),
        ),
    )


def _in_letters(name: str) -> Stage:
    """A name in ASCII letters, from `{name}_own`."""
    own = f"{name}_own"
    made = Parsed(name, (own,), pl.col(own).str.contains(NOT_ASCII), spelled)
    return Stage((own,), (name,), (made, {name: pl.coalesce(name, own)}))


def _parts() -> Stage:
    """Each word of all names as `_in_letters` has it."""
    foreign = Parsed("parts", ("parts_own",), pl.col("parts_own").str.contains(NOT_ASCII), _each_spelled)
    plain = pl.col("parts_own").str.replace_all(" ", "|", literal=True)
    split = {"parts": pl.coalesce("parts", plain).str.split("|")}
    return Stage(("parts_own",), ("parts",), (foreign, split))


def _each_spelled(words: str) -> str:
    return "|".join(map(spelled, words.split(" ")))


def _signs(name: str) -> Stage:
    """The signs that a name is written in, where each stands for a syllable or a word."""
    own = f"{name}_own"
    made = Parsed(f"{name}_signs", (own,), pl.col(own).str.contains(SIGNS), signed)
    return Stage((own,), (made.name,), (made,))


def _tones() -> Stage:
    """What tells a given name from others that are equal in ASCII letters."""
    both = ("given_raw", "family_raw")
    return Stage(both, ("tones",), (Parsed("tones", both, pl.col("given_raw").is_not_null(), _toned),))


def _toned(given: str, family: str | None) -> str | None:
    return toned(given, family or "")


def sounds() -> tuple[Stage, ...]:
    """How the names sound, which `block_keys` reads."""
    names = zip(("given", "family"), _SOUNDS, strict=True)
    return tuple(distinct(name, **{made: sound(pl.col(name))}) for name, made in names)


def _telling_user() -> pl.Expr:
    """The user part of an email where it holds more than the name: two people called Ann Lee both like to be ann.lee,
    so that equal users at two providers say no more than equal names."""
    rest = pl.col("email_user")
    for name in ("family", "given"):
        letters = pl.col(name).str.replace_all(" ", "", literal=True).fill_null(" ")
        rest = rest.str.split(letters).list.join("")
    more = rest.str.replace_all(r"[^\p{L}\p{N}]", "").str.len_chars() > 1
    return pl.when(more).then("email_user")


def _check(records: pl.DataFrame) -> None:
    if "record_id" not in records.columns:
        raise IdentityInputError(f"records have no column record_id; columns: {', '.join(records.columns)}")
    if empty := records["record_id"].null_count():
        raise IdentityInputError(f"record_id is null in {empty} of {records.height} records")
    if repeated := records.height - _distinct(records["record_id"]):
        raise IdentityInputError(f"record_id is not unique: {repeated} repeated of {records.height} records")


def _distinct(texts: pl.Series) -> int:
    """How many different texts there are. Numbers are compared in a fraction of the memory that texts take, which are
    asked where two numbers are equal."""
    different = len(np.unique(texts.hash(seed=0).to_numpy()))
    return different if different == texts.len() else texts.n_unique()


def _own_domain(frame: pl.DataFrame, std: Standardization) -> pl.Series:
    """The email where its domain is of few people: no known provider, and few distinct given names."""
    domains = frame.select("email", "nickname", domain=pl.col("email").str.split("@").list.last())
    many = (
        domains.group_by("domain")
        .agg(pl.col("nickname").n_unique())
        .filter((pl.col("nickname") > std.max_names_per_email) | pl.col("domain").is_in(std.mail_providers))
    )
    own = ~pl.col("domain").is_in(many["domain"].implode())
    return domains.select(pl.when(own).then("email")).to_series()


def _middle(std: Standardization) -> pl.Expr:
    """Names beside the given and the family name, null without any."""
    none = pl.lit([], pl.List(pl.String))
    orders = (("given", "family"), ("family", "given"))
    known = pl.concat_list(
        *(pl.col(name).str.split(" ").fill_null(none) for name in ("given", "family")),
        # Of syllables or characters, each or both as one word: 김민준 beside 민준 is no further name.
        *(
            pl.concat_str(names, separator=" ").str.split("|").fill_null(none)
            for names in (("given",), ("family",), *orders)
        ),
        pl.lit(sorted(std.name_titles | std.name_particles | set(std.name_suffixes)), pl.List(pl.String)),
    )
    others = pl.col("parts").list.set_difference(known).list.sort()
    return pl.when(others.list.len() > 0).then(others)


def _area() -> pl.Expr:
    """The larger area of a postal code: the outward part of a British or Canadian one, the first three digits else."""
    lettered = pl.col("zip").str.contains(r"[a-z]") & (pl.col("zip").str.len_chars() >= 5)
    return (
        pl.when(lettered)
        .then(pl.col("zip").str.head(pl.col("zip").str.len_chars() - 3))
        .otherwise(pl.col("zip").str.head(3))
    )


def sound(name: pl.Expr) -> pl.Expr:
    """How a name sounds, roughly: its first letter and its next consonants, with those that are heard alike as one."""
    alike = (
        name.str.replace_all(r"[^\p{L}]", "")
        .str.replace_all("ph", "f")
        .str.replace_all(r"c([eiy])", "s$1")
        .str.replace_all(r"ck|[cqg]", "k")
        .str.replace_all("[zx]", "s")
        .str.replace_all("[wf]", "v")
        .str.replace_all("[td]+", "t")
        .str.replace_all("[nm]+", "n")
    )
    rest = alike.str.slice(1).str.replace_all("[aeiouyhj]", "")
    for letter in "bklnprstv":
        rest = rest.str.replace_all(letter + "+", letter)
    return pl.concat_str(alike.str.head(1), rest.str.head(4))


def _either_order(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.min_horizontal(one, other), pl.max_horizontal(one, other), separator=" ")


def _sorted_digits(text: pl.Expr) -> pl.Expr:
    return text.str.extract_all(r"[0-9]").list.sort().list.join("")


def key_parts(identifiers: list[str]) -> dict[str, pl.Expr]:
    """The texts that block keys are made of, by name."""
    both = pl.col("given").is_not_null() & pl.col("family").is_not_null()
    return {
        **{name: pl.col(name) for name in identifiers},
        **{name: pl.col(name) for name in _PARTS},
        "user": pl.when(pl.col("email_user").str.len_chars() >= 6).then("email_user"),
        "month": pl.col("dob").str.head(7),
        # A day of birth whose digits change places (1996, 1969) keeps them.
        "digits": pl.when(pl.col("dob").str.len_chars() == 10).then(_sorted_digits(pl.col("dob"))),
        "number": pl.col("number"),
        "word": pl.col("street").str.extract(r"^(?:\d\S*\s+)?(\p{L}{4,})", 1),
        "names": pl.when(both).then(_either_order(pl.col("given"), pl.col("family"))),
        "prefixes": pl.when(both).then(_either_order(pl.col("given").str.head(3), pl.col("family").str.head(3))),
        "sounds": pl.when(both).then(_either_order(pl.col("given_sound"), pl.col("family_sound"))),
        # Of a single known name nobody knows whether it is the given or the family name.
        "last": pl.coalesce("family", "given"),
        "given_initial": pl.col("given").str.head(1),
        "family_initial": pl.col("family").str.head(1),
        "initial": pl.coalesce("given", "family").str.head(1),
    }


def block_keys(identifiers: list[str]) -> dict[str, tuple[str, ...]]:
    """Block keys by the parts that they are made of, the most telling first (a pair is compared under the first key it
    shares). All parts of a key must be present."""
    parts = {name: (name,) for name in identifiers} | _STRONG | _WEAK
    return {KEY_PREFIX + name: of for name, of in parts.items()}


def joined(codes: Sequence[Code]) -> Code:
    """The hash of a key from those of its parts: whole numbers are joined at a hundredth of the cost of texts. Polars
    drops what passes 64 bits; of plain numbers the caller does (`wrapped`)."""
    made = codes[0]
    # Not a plain sum, under which two records with their parts swapped would share a key.
    for code in codes[1:]:
        made = made * _MULTIPLIER + code
    return made


def wrapped(code: int) -> int:
    """A whole number as the signed 64 bits that Polars keeps of it."""
    return (code + 2**63) % 2**64 - 2**63


def _with_hashes(frame: pl.DataFrame, parts: dict[str, pl.Expr], keys: dict[str, tuple[str, ...]]) -> pl.DataFrame:
    """The frame with each key as the hash of its parts."""
    texts = frame.lazy().select(**parts).collect()
    codes = pl.DataFrame([text_hash(texts[name]) for name in parts])
    return frame.hstack(codes.select(joined([pl.col(part) for part in of]).alias(key) for key, of in keys.items()))


def text_hash(texts: pl.Series) -> pl.Series:
    """Texts as signed 64-bit hashes, null where they are."""
    codes = texts.hash(seed=0).reinterpret(signed=True)
    return codes.set(texts.is_null(), None) if texts.null_count() else codes


def key_caps(frame: pl.DataFrame, keys: Sequence[str], rules: IdentityRules) -> dict[str, int]:
    """Per key the most records that may share a value: what more of them share says nothing about a person."""

    def cap(key: str) -> int:
        _, sizes = shared_by(frame[key])
        crowded = sizes[sizes > max(_limit(key, sizes, frame.height, rules.blocking), 1)]
        fewest = max(rules.blocking.max_records_per_key, int(sizes.max(initial=0)))
        return int(crowded.min()) - 1 if len(crowded) else fewest

    return dict(zip(keys, at_once(cap, keys, rules.engine.threads), strict=True))


def proposed_pairs(frame: pl.DataFrame, caps: Mapping[str, int], threads: int) -> int:
    """Upper bound of the pairs that the block keys propose under their caps: a pair under two keys counts twice."""

    def within(key: str) -> int:
        _, sizes = shared_by(frame[key])
        held = sizes[sizes <= caps[key]].astype(np.int64)
        return int((held * (held - 1) // 2).sum())

    return sum(at_once(within, caps, threads))


def _limit(key: str, sizes: np.ndarray, records: int, rules: Blocking) -> int:
    """The most records that may share a value of a key, by how many share each."""
    if key.removeprefix(KEY_PREFIX) not in WEAK_KEYS:
        return rules.max_records_per_key
    budget = int(rules.max_pairs_per_weak_key * min(1.0, _FEW_RECORDS / max(records, 1)))
    return min(rules.max_records_per_key, _limit_within(sizes, budget))


def shared_by(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of a key, in order, and how many records share each. Sorting numbers is the fastest way to count
    them."""
    values, sizes = np.unique(column.drop_nulls().to_numpy(), return_counts=True)
    return values, sizes


def only(column: pl.Series, values: np.ndarray) -> pl.Series:
    """A key without other values than these."""
    kept = column.is_in(pl.Series(values, dtype=column.dtype).implode())
    return pl.select(pl.when(kept).then(column).alias(column.name)).to_series()


def _limit_within(sizes: np.ndarray, pairs: int) -> int:
    """The largest number of records per value with which the values up to it make no more than `pairs` pairs; 0 without
    any."""
    size, values = np.unique(sizes[sizes > 1], return_counts=True)
    fitting = size[np.cumsum(values * (size * (size - 1) // 2)) <= pairs]
    return int(fitting.max(initial=0))
