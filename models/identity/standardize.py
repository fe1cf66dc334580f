"""Standardized forms of the identifying columns of customer records.

Grain: one row per source account, in and out, in the same order. Raw columns stay; the columns of
`STANDARD_COLUMNS` are added (or replaced), null where the raw value is missing, unusable or listed as junk.
Parsers work on distinct values, so a bulk run pays for the vocabulary and not for the rows.
"""

import re

import phonenumbers
import polars as pl
from email_validator import EmailNotValidError, validate_email

from customer360.models.identity.dates import iso_dates
from customer360.models.identity.domains import misspelled_domains
from customer360.models.identity.names import nickname_groups
from customer360.models.identity.rules import IdentityRules, Standardization

STANDARD_COLUMNS = (
    "given_name_std", "family_name_std", "nickname_group", "email_std", "email_user", "phone_std", "street_std",
    "city_std", "zip_std", "dob_std", "gender_std",
    "name_parts",
)  # fmt: skip
RAW_COLUMNS = (
    "first_name", "last_name", "full_name", "email_address", "phone_number", "date_of_birth", "address_line_1", "city", "state_code",
    "zip_code", "country_code", "gender",
)  # fmt: skip

# Letters that Unicode does not decompose into a base letter and an accent.
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
# Addresses of this shape are valid by construction; only the others are parsed one by one.
_PLAIN_EMAIL = (
    r"^[a-z0-9_]+(?:[.\-][a-z0-9_]+)*@"
    r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*\.(?:com|net|org|edu|gov|info|io|[a-z]{2})$"
)
# Ten digits of the North American plan: their length alone makes the number possible.
_PLAIN_PHONE = r"^(?:\+?1)?([2-9][0-9]{9})$"
_PLAIN_REGIONS = ("US", "CA")
_FEW = 64  # rows below which looking for distinct values costs more than it saves


def standardize(records: pl.DataFrame, rules: IdentityRules | None = None) -> pl.DataFrame:
    """Add `STANDARD_COLUMNS` to customer records; any raw column may be missing.

    A missing first or last name is taken from `full_name`. `date_of_birth` may be a Date or text of any usual form
    (`dates.iso_dates`); `dob_std` is ISO text and may be partial. `zip_code` is cut to five digits in the US.
    """
    std = (rules or IdentityRules()).standardization
    frame = records.drop(STANDARD_COLUMNS, strict=False)
    missing = [pl.lit(None, pl.String).alias(name) for name in RAW_COLUMNS if name not in frame.columns]
    work = frame.with_columns(missing).select(RAW_COLUMNS)
    work = work.with_columns(_region(std))
    work = _split_full_names(work, std)
    work = _names(work, std)
    work = _emails(work, std)
    work = _phones(work, std)
    work = _places(work, std)
    work = work.with_columns(_birth_date(work["date_of_birth"], std))
    gender = pl.col("gender").cast(pl.String).str.to_lowercase().str.strip_chars()
    work = work.with_columns(gender_std=gender.replace_strict(std.genders, default=None, return_dtype=pl.String))
    work = _without_hubs(work, "email_std", std.max_names_per_email)
    work = _without_hubs(work, "phone_std", std.max_names_per_phone)
    work = work.with_columns(email_user=pl.when(pl.col("email_std").is_not_null()).then("email_user"))
    return frame.hstack(work.select(STANDARD_COLUMNS))


def plain_text(value: pl.Expr) -> pl.Expr:
    """Lower case, accents folded to ASCII, punctuation to spaces; null when nothing is left. Text of other scripts,
    which folding would erase, is kept in lower case."""
    lower = value.cast(pl.String).str.to_lowercase()
    folded = lower.str.replace_many(_LETTERS).str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    words = folded.str.replace_all(r"['’`.]", "").str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return pl.when(words != "").then(words)


def name_suffix(last_name: pl.Expr, std: Standardization) -> pl.Expr:
    """Generational suffix at the end of a name (jr, sr, ii, iii, iv), null when there is none."""
    last = plain_text(last_name).str.split(" ").list.last()
    return last.replace_strict(std.name_suffixes, default=None, return_dtype=pl.String)


def _by_distinct(work: pl.DataFrame, columns: list[str], **computed: pl.Expr) -> pl.DataFrame:
    """`work` with `computed` expressions of `columns`, evaluated once per distinct combination."""
    if work.height < _FEW:
        return work.with_columns(**computed)
    distinct = work.select(columns).unique().with_columns(**computed)
    return work.join(distinct, on=columns, how="left", nulls_equal=True, maintain_order="left")


def _region(std: Standardization) -> pl.Expr:
    code = pl.col("country_code").cast(pl.String).str.strip_chars().str.to_uppercase()
    code = code.replace(std.countries) if std.countries else code
    return pl.when(code.str.len_chars() == 2).then(code).otherwise(pl.lit(std.default_country)).alias("region")


def _names(work: pl.DataFrame, std: Standardization) -> pl.DataFrame:
    junk = list(std.junk_names)
    title = rf"^(?:{_any_of(std.name_titles)})\s+(\S)"
    suffix = rf"(\S)\s+(?:{_any_of(std.name_suffixes)})$"
    given = plain_text(pl.col("first_name")).str.replace(title, "$1").str.replace(suffix, "$1")
    # A single trailing letter is a middle initial ("mary q"), which most sources do not have.
    given = given.str.replace(r"^(\S{2,})\s+\S$", "$1")
    family = plain_text(pl.col("last_name")).str.replace(suffix, "$1")
    work = _by_distinct(work, ["first_name"], given_name_std=_usable(given, junk))
    work = _by_distinct(work, ["last_name"], family_name_std=_usable(family, junk))
    work = work.with_columns(_name_parts(work))
    groups = nickname_groups(std.max_nickname_group).rename({"name": "given_name_std"})
    work = work.join(groups, on="given_name_std", how="left", maintain_order="left")
    return work.with_columns(nickname_group=pl.coalesce("nickname_group", "given_name_std"))


def _name_parts(work: pl.DataFrame) -> pl.Series:
    """Every word of two letters and more of a record's names; null without any."""
    used = [
        name for name in ("given_name_std", "family_name_std", "full_name") if work[name].null_count() < work.height
    ]
    words = []
    for name in used:
        told = plain_text(pl.col(name)).str.extract_all(r"\p{L}{2,}").fill_null(pl.lit([], pl.List(pl.String)))
        words.append(_by_distinct(work.select(name), [name], words=told)["words"].alias(name))
    if not words:
        return pl.Series("name_parts", [None] * work.height, dtype=pl.List(pl.String))
    parts = pl.DataFrame(words).select(name_parts=pl.concat_list(used))
    return parts.select(pl.when(pl.col("name_parts").list.len() > 0).then("name_parts")).to_series()


def _split_full_names(work: pl.DataFrame, std: Standardization) -> pl.DataFrame:
    """First and last name from `full_name` where they are missing: "Ann van der Berg", "Berg, Ann", "Dr Ann Lee jr"."""
    if not work["full_name"].null_count() < work.height:
        return work
    title = rf"^(?:{_any_of(std.name_titles)})\.?\s+"
    suffix = rf",?\s+(?:{_any_of(std.name_suffixes)})\.?$"
    whole = pl.col("full_name").cast(pl.String).str.to_lowercase().str.strip_chars().str.replace(title, "")
    tail = whole.str.extract(rf"({suffix})", 1).fill_null("")
    whole = whole.str.replace(suffix, "")
    turned = whole.str.extract_groups(r"^(?<family>[^,]+),\s*(?<given>[^,\d\s]+)(?:\s[^,\d\s]+)*$")
    # After another comma stands a title or a place: "thomas clifford, 1st baron of chudleigh".
    plain = whole.str.replace(r",.*$", "")
    given = plain.str.extract(r"^(\S+)", 1)
    particles = rf"\s((?:(?:{_any_of(std.name_particles)})\s+)+\S+)$"
    family = pl.coalesce(plain.str.extract(particles, 1), plain.str.extract(r"\s(\S+)$", 1))
    family = pl.coalesce(turned.struct.field("family"), family)
    distinct = (
        work.select("full_name")
        .unique()
        .with_columns(full_given=pl.coalesce(turned.struct.field("given"), given), full_family=family + tail)
    )
    work = work.join(distinct, on="full_name", how="left", nulls_equal=True, maintain_order="left")
    both_missing = pl.col("first_name").is_null() | pl.col("last_name").is_null()
    return work.with_columns(
        first_name=pl.coalesce("first_name", pl.when(both_missing).then("full_given")),
        last_name=pl.coalesce("last_name", pl.when(both_missing).then("full_family")),
    )


def _any_of(words: object) -> str:
    return "|".join(re.escape(word) for word in sorted(words)) or r"\z."  # type: ignore[call-overload]


def _usable(value: pl.Expr, junk: list[str]) -> pl.Expr:
    # One letter several times over ("xxx", "aaaa") is a placeholder in every language of ours.
    repeated = value.str.len_chars().ge(3) & value.str.strip_chars(value.str.head(1)).eq("")
    return pl.when(~value.is_in(junk) & ~repeated & value.str.contains(r"\p{L}")).then(value)


def _emails(work: pl.DataFrame, std: Standardization) -> pl.DataFrame:
    raw = pl.col("email_address").cast(pl.String).str.strip_chars().str.to_lowercase()
    distinct = work.select("email_address").unique().with_columns(clean=raw)
    plain = pl.col("clean").str.contains(_PLAIN_EMAIL) & pl.col("clean").str.len_chars().le(64)
    odd = distinct.filter(~plain & pl.col("clean").str.contains("@", literal=True))["clean"].to_list()
    parsed = pl.DataFrame(
        {"clean": odd, "parsed": [_parse_email(text) for text in odd]}, schema={"clean": pl.String, "parsed": pl.String}
    ).unique("clean")
    distinct = distinct.join(parsed, on="clean", how="left", maintain_order="left")
    distinct = distinct.with_columns(valid=pl.when(plain).then("clean").otherwise("parsed")).with_columns(
        user=pl.col("valid").str.split("@").list.first().str.replace(r"(.)\+.*$", "$1"),
        domain=pl.col("valid").str.split("@").list.last(),
    )
    distinct = distinct.with_columns(domain=pl.col("domain").replace(misspelled_domains(std.mail_providers)))
    dotless = pl.col("domain").is_in(list(std.dotless_email_domains))
    distinct = distinct.with_columns(
        user=pl.when(dotless).then(pl.col("user").str.replace_all(".", "", literal=True)).otherwise("user"),
        domain=pl.col("domain").replace(std.dotless_email_domains) if std.dotless_email_domains else pl.col("domain"),
    )
    junk = pl.col("user").is_in(list(std.junk_email_users)) | pl.col("domain").is_in(list(std.junk_email_domains))
    distinct = distinct.with_columns(
        email_std=pl.when(~junk).then(pl.concat_str("user", pl.lit("@"), "domain")),
        email_user=pl.when(~junk).then("user"),
    ).select("email_address", "email_std", "email_user")
    return work.join(distinct, on="email_address", how="left", nulls_equal=True, maintain_order="left")


def _parse_email(text: str) -> str | None:
    try:
        return validate_email(text, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def _phones(work: pl.DataFrame, std: Standardization) -> pl.DataFrame:
    raw = pl.col("phone_number").cast(pl.String)
    number = raw.str.to_lowercase().str.replace(r"(?:ext|x|#).*$", "").str.replace_all(r"[^0-9+]", "")
    distinct = work.select("phone_number", "region").unique().with_columns(number=number)
    plain = pl.when(pl.col("region").is_in(_PLAIN_REGIONS)).then(pl.col("number").str.extract(_PLAIN_PHONE, 1))
    distinct = distinct.with_columns(plain=plain)
    odd = distinct.filter(pl.col("plain").is_null() & pl.col("number").str.len_chars().ge(5)).select("number", "region")
    odd = odd.unique(maintain_order=True)
    parsed = odd.with_columns(
        parsed=pl.Series([_parse_phone(text, region) for text, region in odd.iter_rows()], dtype=pl.String)
    )
    distinct = distinct.join(parsed, on=["number", "region"], how="left", maintain_order="left")
    digits = pl.coalesce(pl.concat_str(pl.lit("+1"), "plain"), "parsed")
    distinct = distinct.with_columns(phone_std=pl.when(~_is_junk_phone(digits, std)).then(digits))
    distinct = distinct.select("phone_number", "region", "phone_std")
    return work.join(distinct, on=["phone_number", "region"], how="left", nulls_equal=True, maintain_order="left")


def _is_junk_phone(number: pl.Expr, std: Standardization) -> pl.Expr:
    last = number.str.tail(10)
    # Seven equal digits at the end ("555-5555", "000-0000") are a placeholder.
    end = number.str.tail(7)
    same = end.str.strip_chars(end.str.head(1)) == ""
    return last.is_in(list(std.junk_phone_digits)) | same


def _parse_phone(text: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _places(work: pl.DataFrame, std: Standardization) -> pl.DataFrame:
    unit = rf"(?:^|\s)(?:{_any_of(std.unit_words)})\s+(?:[a-z]?\d+[a-z]?|[a-z])(?:\s|$)"
    raw = pl.col("address_line_1").cast(pl.String).str.replace(r"#\s*\w+", " ")
    street = plain_text(raw).str.replace(unit, " ").str.strip_chars()
    words = street.str.split(" ").list.eval(
        pl.element().replace(std.street_words) if std.street_words else pl.element()
    )
    street = words.list.join(" ")
    work = _by_distinct(
        work,
        ["address_line_1"],
        street_std=pl.when(~street.is_in(list(std.junk_streets)) & street.str.contains(r"\p{L}{2}")).then(street),
    )
    work = _by_distinct(work, ["city"], city_std=_usable(plain_text(pl.col("city")), list(std.junk_names)))
    code = pl.col("zip_code").cast(pl.String).str.to_lowercase().str.replace_all(r"[^a-z0-9]", "")
    american = pl.col("region") == "US"
    # A spreadsheet drops the leading zero of a New England zip code.
    five = pl.when(code.str.len_chars() == 4).then(code.str.zfill(5)).otherwise(code.str.head(5))
    code = pl.when(american & code.str.contains(r"^[0-9]+$")).then(five).otherwise(code)
    code = pl.when(code.str.contains(r"[1-9a-z]")).then(code)
    return _by_distinct(work, ["zip_code", "region"], zip_std=code)


def _birth_date(raw: pl.Series, std: Standardization) -> pl.Series:
    iso = iso_dates(raw, month_first=std.default_country == "US")
    frame = iso.to_frame("dob_std")
    usable = (pl.col("dob_std").str.head(4).cast(pl.Int32) >= std.earliest_birth_year) & ~pl.col("dob_std").is_in(
        list(std.junk_birth_dates)
    )
    return frame.select(pl.when(usable).then("dob_std")).to_series()


def _without_hubs(work: pl.DataFrame, column: str, limit: int) -> pl.DataFrame:
    """Null a contact value that is seen with more than `limit` distinct given names."""
    hubs = (
        work.filter(pl.col(column).is_not_null())
        .group_by(column)
        .agg(pl.col("nickname_group").n_unique().alias("names"))
        .filter(pl.col("names") > limit)
    )
    return work.with_columns(pl.when(~pl.col(column).is_in(hubs[column].implode())).then(column).alias(column))
