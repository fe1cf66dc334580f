"""Standardized forms of the identifying columns of customer records.

Grain: one row per source account, in and out, in the same order. Raw columns stay; the columns of
`STANDARD_COLUMNS` are added (or replaced), null where the raw value is missing, unusable or listed as junk.
Stages work on distinct values, so a bulk run pays for the vocabulary and not for the rows.
"""

import re
from functools import lru_cache

import phonenumbers
import polars as pl
from email_validator import EmailNotValidError, validate_email

from customer360.models.identity.evidence.addresses import whole_addresses
from customer360.models.identity.evidence.dates import date_steps
from customer360.models.identity.evidence.domains import misspelled_domains
from customer360.models.identity.evidence.names import nickname_groups, stated
from customer360.models.identity.evidence.scripts import NOT_ASCII, folded, romanized
from customer360.models.identity.evidence.steps import Listed, Parsed, Stage, distinct, each, over
from customer360.models.identity.rules import IdentityRules, Standardization
from customer360.models.identity.spill import kept
from customer360.models.identity.threads import by_rows
from customer360.platform.sources.values import iso

STANDARD_COLUMNS = (
    "given_name_std", "family_name_std", "nickname_group", "email_std", "email_user", "phone_std", "street_std",
    "number_std", "city_std", "zip_std", "dob_std", "gender_std", "name_parts",
)  # fmt: skip
_TYPES = {"name_parts": pl.List(pl.String)}  # of those that are no texts
RAW_COLUMNS = (
    "first_name", "last_name", "full_name", "email_address", "phone_number", "date_of_birth", "address_line_1", "city",
    "state_code", "zip_code", "country_code", "gender",
)  # fmt: skip

# Addresses of this shape are valid by construction; only the others are parsed one by one.
_PLAIN_EMAIL = (
    r"^[a-z0-9_]+(?:[.\-][a-z0-9_]+)*@"
    r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9]+(?:-[a-z0-9]+)*)*\.(?:com|net|org|edu|gov|info|io|[a-z]{2})$"
)
# "ann lee <ann@post.org>", and "ann@post.org; lee@post.org".
_LONGEST_EMAIL = 320  # of an address, and what is looked at of a text
_EMAIL_IN_TEXT = re.compile(r"<\s*([^<>\s]+@[^<>\s]+)\s*>|^([^<>\s,;|/]+@[^<>\s,;|/]+)(?:\s*[,;|/].*|\?.*)?$")
# Ten digits of the North American plan: their length alone makes the number possible.
_PLAIN_PHONE = r"^(?:\+?1)?([2-9][0-9]{9})$"
# No national number has more digits: what is longer has lost the plus before its country code.
_NATIONAL_DIGITS = 11
_PLAIN_REGIONS = ("US", "CA")
# Surname and given name of languages that write them in this order, mostly without a space between them.
_SURNAME_FIRST = (
    r"^(남궁|황보|제갈|사공|선우|독고|\p{Hangul})\s*(\p{Hangul}{1,3})$",
    r"^(欧阳|歐陽|司马|司馬|诸葛|諸葛|上官|司徒|皇甫|慕容|令狐|\p{Han})(\p{Han}{1,2})$",
    r"^(\p{Han}{2})(\p{Han}{2})$",
    r"^([\p{Han}\p{Hiragana}]+)\s+([\p{Han}\p{Hiragana}]+)$",
)

# Short words that are names without their point or with a capital (Amartya Sen, Min Jun.), and letters that are
# initials (Ann D. J.). In a whole name two others stand before them.
_POINTED_SUFFIXES = (
    (r"(\S)[\s,]+d\.\s?[äÄæÆ]\.\s*$", "$1 senior"),
    (r"(\S)[\s,]+d\.\s?[jJyY]\.\s*$", "$1 junior"),
)
_BEHIND_ONE = ((r"(\S)[\s,]+sen\.\s*$", "$1 senior"), (r"(\S)[\s,]+jun\.\s*$", "$1 junior"))
_BEHIND_TWO = tuple((pattern.replace(r"(\S)", r"([^\s,][\s,]+[^\s,]+)"), word) for pattern, word in _BEHIND_ONE)


def standardize(records: pl.DataFrame, rules: IdentityRules | None = None) -> pl.DataFrame:
    """Add `STANDARD_COLUMNS` to customer records; any raw column may be missing.

    A missing first or last name is taken from `full_name`. `date_of_birth` may be a Date or text of any usual form
    (`dates.date_steps`); `dob_std` is ISO text and may be partial. `zip_code` is cut to five digits in the US.
    """
    rules = rules or IdentityRules()
    std = rules.standardization
    frame = records.drop(STANDARD_COLUMNS, strict=False)
    if frame.is_empty():  # to ask it of no record takes as long as of a thousand
        return frame.with_columns(pl.lit(None, _TYPES.get(name, pl.String)).alias(name) for name in STANDARD_COLUMNS)
    missing = [pl.lit(None, pl.String).alias(name) for name in RAW_COLUMNS if name not in frame.columns]
    work = frame.with_columns(missing).select(pl.col(RAW_COLUMNS).cast(pl.String))
    work = by_rows(lambda rows: over(rows, stages(std)).select(STANDARD_COLUMNS), work, rules.engine.threads)
    for column, limit in (("email_std", std.max_names_per_email), ("phone_std", std.max_names_per_phone)):
        if (hubs := of_many_names(work, column, limit)).is_empty():
            continue
        work = _changed(work, pl.when(~pl.col(column).is_in(hubs.implode())).then(column).alias(column))
    work = _changed(work, pl.when(pl.col("email_std").is_not_null()).then("email_user").alias("email_user"))
    defaults = default_birth_dates(work, std.max_birth_date_excess)
    if not defaults.is_empty():
        work = _changed(work, pl.when(~pl.col("dob_std").is_in(defaults.implode())).then("dob_std").alias("dob_std"))
    return frame.hstack(work.select(STANDARD_COLUMNS))


def _changed(work: pl.DataFrame, column: pl.Expr) -> pl.DataFrame:
    """The frame with one column made anew, on disk where frames go there."""
    return work.with_columns(kept(work.select(column)).to_series())


def stages(std: Standardization) -> tuple[Stage, ...]:
    """From `RAW_COLUMNS`, all text, to `STANDARD_COLUMNS`; what many records share (hubs) is not looked at."""
    gender = pl.col("gender").str.to_lowercase().str.strip_chars()
    return (
        distinct("country_code", region=_region(std)),
        *_full_names(std),
        *_names(std),
        _emails(std),
        _phones(std),
        whole_addresses(),
        *_places(std),
        _birth_dates(std),
        distinct("gender", gender_std=gender.replace_strict(std.genders, default=None, return_dtype=pl.String)),
    )


def plain_text(value: pl.Expr) -> pl.Expr:
    """`scripts.folded`, punctuation to spaces; null when nothing is left."""
    words = folded(value).str.replace_all(r"['’`.]", "").str.replace_all(r"[^\p{L}\p{N}\p{M}]+", " ").str.strip_chars()
    return pl.when(words != "").then(words)


def name_suffix(name: pl.Expr, std: Standardization, whole: bool = False) -> pl.Expr:
    """Generational suffix at the end of a name (jr, sr, ii, iii, iv), null when there is none, or nothing else.
    `whole`: the name is a full name."""
    behind = rf"\S\s+({_any_of(std.name_suffixes)}){_postnominals(std)}$"
    return (
        plain_text(_in_words(name, whole))
        .str.extract(behind, 1)
        .replace_strict(std.name_suffixes, default=None, return_dtype=pl.String)
    )


def _in_words(name: pl.Expr, whole: bool = False) -> pl.Expr:
    """A name with `sen.`, `jun.`, `d. Ä.` and `d. J.` behind it as senior and junior."""
    for pattern, word in (*_POINTED_SUFFIXES, *(_BEHIND_TWO if whole else _BEHIND_ONE)):
        name = name.str.replace(pattern, word)
    return name


def _region(std: Standardization) -> pl.Expr:
    code = pl.col("country_code").cast(pl.String).str.strip_chars().str.to_uppercase()
    code = code.replace(std.countries) if std.countries else code
    code = code.replace(iso.alpha_2())
    return pl.when(code.str.len_chars() == 2).then(code).otherwise(pl.lit(std.default_country))


def _names(std: Standardization) -> tuple[Stage, ...]:
    junk = _junk_names(std.junk_names)
    given, family = _without_titles(pl.col("first_name"), std), _without_titles(pl.col("last_name"), std)
    # A single trailing letter is a middle initial ("mary q"), which most sources do not have.
    given = given.str.replace(r"^(\S{2,})\s+[a-z]$", "$1")
    more = stated(std.nicknames)
    groups = nickname_groups(std.max_nickname_group, more).rename({"name": "given_latin"})
    latin = {"given_latin": pl.coalesce("given_latin", "given_name_std")}
    return (
        distinct("first_name", given_name_std=_usable(given, junk)),
        distinct("last_name", family_name_std=_usable(family, junk)),
        Stage(
            ("given_name_std",),
            ("nickname_group",),
            (
                Parsed("given_latin", ("given_name_std",), pl.col("given_name_std").str.contains(NOT_ASCII), romanized),
                latin,
                Listed("nickname_group", "given_latin", groups),
                {"nickname_group": pl.coalesce("nickname_group", "given_latin")},
            ),
        ),
        distinct("full_name", full_plain=plain_text(pl.col("full_name"))),
        _name_parts(),
    )


def _without_titles(name: pl.Expr, std: Standardization) -> pl.Expr:
    """A name as it is compared, without titles before it, and degrees and suffixes behind it."""
    plain = plain_text(_in_words(name).str.replace_all(_attached(std), "$1"))
    titles = rf"^(?:(?:{_any_of(std.name_titles)})\s+(?:(?:and|und|et|y|e)\s+)?)+(\S)"
    suffix = rf"(\S)(?:\s+(?:{_any_of(std.name_suffixes)}))?{_postnominals(std)}$"
    return plain.str.replace(titles, "$1").str.replace(suffix, "$1")


def _postnominals(std: Standardization) -> str:
    return rf"(?:\s+(?:{_any_of(std.name_postnominals)}))*"


def _attached(std: Standardization) -> str:
    return rf"([^ -~])\s*(?:{_any_of(std.attached_titles)})(?:\s|$)"


@lru_cache(maxsize=4)
def _junk_names(names: frozenset[str]) -> list[str]:
    """The listed names as names of records are written by here."""
    listed = pl.DataFrame({"name": sorted(names)}, schema={"name": pl.String})
    return sorted(set(listed.select(plain_text(pl.col("name"))).to_series().drop_nulls()))


def _name_parts() -> Stage:
    """Every word of two letters and more of a record's names; null without any."""
    names = ("given_name_std", "family_name_std", "full_plain")
    words = pl.concat_str(names, separator=" ", ignore_nulls=True).str.extract_all(r"[\p{L}\p{M}]{2,}")
    return each(name_parts=pl.when(words.list.len() > 0).then(words))


def _full_names(std: Standardization) -> tuple[Stage, ...]:
    """First and last name from `full_name` where they are missing: "Ann van der Berg", "Berg, Ann", "Dr Ann Lee jr",
    and, where the surname comes first, 김민준 and 山田 太郎."""
    title = rf"^(?:(?:{_any_of(std.name_titles)})\.?\s+(?:(?:&|and|und|et|y|e)\s+)?)+"
    suffix = rf",?\s+(?:{_any_of(std.name_suffixes)})\.?$"
    behind = rf"\S\s+\S+({suffix})"
    degrees = rf"(?:,?\s+(?:{_any_of(std.name_postnominals)})\.?)+$"
    whole = (
        folded(_in_words(pl.col("full_name"), whole=True))
        .str.strip_chars()
        .str.replace(title, "")
        .str.replace(_attached(std), "$1")
    )
    whole = whole.str.replace(degrees, "")
    tail = whole.str.extract(behind, 1).fill_null("")
    whole = whole.str.replace(rf"(\S\s+\S+?){suffix}", "$1")
    turned = r"^([^,]+),\s*([^,\d\s]+)(?:\s[^,\d\s]+)*$"
    # After another comma stands a title or a place: "thomas clifford, 1st baron of chudleigh".
    plain = whole.str.replace(r",.*$", "")
    given = pl.coalesce(
        whole.str.extract(turned, 2),
        *(whole.str.extract(form, 2) for form in _SURNAME_FIRST),
        plain.str.extract(r"^(\S+)", 1),
    )
    particles = rf"\s((?:(?:{_any_of(std.name_particles)})\s+)+\S+)$"
    family = pl.coalesce(
        whole.str.extract(turned, 1),
        *(whole.str.extract(form, 1) for form in _SURNAME_FIRST),
        plain.str.extract(particles, 1),
        plain.str.extract(r"\s(\S+)$", 1),
    )
    both_missing = pl.col("first_name").is_null() | pl.col("last_name").is_null()
    return (
        distinct("full_name", full_given=given, full_family=family + tail),
        each(
            first_name=pl.coalesce("first_name", pl.when(both_missing).then("full_given")),
            last_name=pl.coalesce("last_name", pl.when(both_missing).then("full_family")),
        ),
    )


def _any_of(words: object) -> str:
    return "|".join(re.escape(word) for word in sorted(words)) or r"\z."  # type: ignore[call-overload]


def _usable(value: pl.Expr, junk: list[str]) -> pl.Expr:
    """Null for what is listed, with numbers or repeated as well ("test 2", "guest guest")."""
    words = "|".join(map(re.escape, junk)) or r"\z."
    # One letter several times over ("xxx", "aaaa") is a placeholder in every language of ours.
    repeated = value.str.len_chars().ge(3) & value.str.strip_chars(value.str.head(1)).eq("")
    return pl.when(
        ~value.str.contains(rf"^(?:(?:{words}|\d+)(?:\s+|$))+$") & ~repeated & value.str.contains(r"\p{L}")
    ).then(value)


def _emails(std: Standardization) -> Stage:
    clean = pl.col("email_address").str.strip_chars().str.to_lowercase()
    plain = pl.col("clean").str.contains(_PLAIN_EMAIL) & pl.col("clean").str.len_chars().le(64)
    odd = ~plain & pl.col("clean").str.contains("@", literal=True)
    valid = pl.when(plain).then("clean").otherwise("parsed")
    domain = valid.str.split("@").list.last().replace(misspelled_domains(std.mail_providers))
    user, dotless = pl.col("user"), pl.col("domain").is_in(sorted(std.dotless_email_domains))
    own = {
        "user": pl.when(dotless).then(user.str.replace_all(".", "", literal=True)).otherwise(user),
        "domain": pl.col("domain").replace(std.dotless_email_domains),
    }
    junk = user.is_in(sorted(std.junk_email_users)) | pl.col("domain").is_in(sorted(std.junk_email_domains))
    return Stage(
        ("email_address",),
        ("email_std", "email_user"),
        (
            {"clean": clean},
            Parsed("parsed", ("clean",), odd, _parse_email),
            {"user": valid.str.split("@").list.first().str.replace(r"(.)\+.*$", "$1"), "domain": domain},
            own,
            {
                "email_std": pl.when(~junk).then(pl.concat_str("user", pl.lit("@"), "domain")),
                "email_user": pl.when(~junk).then("user"),
            },
        ),
    )


def _parse_email(text: str) -> str | None:
    """An address as it is written by itself, as a link, with its owner's name before it, or as the first of several."""
    text = text.removeprefix("mailto:")[:_LONGEST_EMAIL]  # signs without end would be searched for ever
    bare = _EMAIL_IN_TEXT.search(text)
    try:
        return validate_email(bare[1] or bare[2] if bare else text, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def _phones(std: Standardization) -> Stage:
    number = pl.col("phone_number").str.to_lowercase().str.replace(r"(?:ext|x|#).*$", "")
    plain = pl.when(pl.col("region").is_in(_PLAIN_REGIONS)).then(pl.col("number").str.extract(_PLAIN_PHONE, 1))
    odd = pl.col("plain").is_null() & pl.col("number").str.len_chars().ge(5)
    digits = pl.coalesce(pl.concat_str(pl.lit("+1"), "plain"), "parsed")
    return Stage(
        ("phone_number", "region"),
        ("phone_std",),
        (
            {"number": number.str.replace_all(r"[^0-9+]", "")},
            {"plain": plain},
            Parsed("parsed", ("number", "region"), odd, _parse_phone),
            {"phone_std": pl.when(~_is_junk_phone(digits, std)).then(digits)},
        ),
    )


def _is_junk_phone(number: pl.Expr, std: Standardization) -> pl.Expr:
    last = number.str.tail(10)
    # Seven equal digits at the end ("555-5555", "000-0000") are a placeholder.
    end = number.str.tail(7)
    same = end.str.strip_chars(end.str.head(1)) == ""
    return last.is_in(sorted(std.junk_phone_digits)) | same


def _parse_phone(text: str, region: str) -> str | None:
    return _as_dialled(text, region) or (_as_dialled(f"+{text}", region) if len(text) > _NATIONAL_DIGITS else None)


def _as_dialled(text: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _places(std: Standardization) -> tuple[Stage, ...]:
    unit = rf"(?:^|\s)(?:{_any_of(std.unit_words)})\s+(?:[a-z]?\d+[a-z]?|[a-z])(?:\s|$)"
    raw = pl.col("address_line_1").str.replace(r"#\s*\w+", " ")
    street = plain_text(raw).str.replace(unit, " ").str.strip_chars()
    # Words between two spaces each; word by word in lists took three times as long.
    apart = pl.concat_str(pl.lit(" "), street.str.replace_all(" ", "  ", literal=True), pl.lit(" "))
    usual = {f" {word} ": f" {short} " for word, short in std.street_words.items()}
    street = apart.str.replace_many(usual).str.replace_all("  ", " ", literal=True).str.strip_chars()
    usable = ~street.is_in(sorted(std.junk_streets)) & street.str.contains(r"\p{L}{2}")
    code = pl.col("zip_code").str.to_lowercase().str.replace_all(r"[^a-z0-9]", "")
    american = pl.col("region") == "US"
    # A spreadsheet drops the leading zero of a New England zip code.
    five = pl.when(code.str.len_chars() == 4).then(code.str.zfill(5)).otherwise(code.str.head(5))
    code = pl.when(american & code.str.contains(r"^[0-9]+$")).then(five).otherwise(code)
    return (
        distinct(
            "address_line_1",
            street_std=pl.when(usable).then(street),
            # A house number by itself is no street; beside a postal code it may be all of an address.
            number_std=pl.when(~usable).then(street.str.extract(r"^(\d{1,5})(?: ?[a-z])?$", 1)),
        ),
        distinct("city", city_std=_usable(plain_text(pl.col("city")), _junk_names(std.junk_names))),
        distinct("zip_code", "region", zip_std=pl.when(code.str.contains(r"[1-9a-z]")).then(code)),
    )


def _birth_dates(std: Standardization) -> Stage:
    iso = pl.col("iso")
    usable = (iso.str.head(4).cast(pl.Int32) >= std.earliest_birth_year) & ~iso.is_in(sorted(std.junk_birth_dates))
    steps = date_steps("date_of_birth", month_first=std.default_country == "US")
    return Stage(("date_of_birth",), ("dob_std",), (*steps, {"dob_std": pl.when(usable).then("iso")}))


def of_many_names(work: pl.DataFrame, column: str, limit: int) -> pl.Series:
    """Values of a contact that are seen with more than `limit` distinct given names."""
    if limit >= work.height:
        return pl.Series(column, [], pl.String)
    filled = work.select(column, "nickname_group").filter(pl.col(column).is_not_null())
    # No more names than records: most values need no count of names.
    common = filled[column].value_counts().filter(pl.col("count") > limit)[column]
    names = (
        filled.filter(pl.col(column).is_in(common.implode())).group_by(column).agg(pl.col("nickname_group").n_unique())
    )
    return names.filter(pl.col("nickname_group") > limit)[column]


def default_birth_dates(work: pl.DataFrame, excess: int) -> pl.Series:
    """Days of birth that `excess` times as many names share as common days of the records have: what a form fills in
    where nobody does. Ten names share any day by chance."""
    days = work.select("dob_std", "given_name_std", "family_name_std").filter(pl.col("dob_std").str.len_chars() == 10)
    names = days.unique().group_by("dob_std").len()
    # A first of January stands for a known year in many records of some sources: it is held against its like, where
    # there are enough of them.
    kind, usual = pl.col("dob_std").str.ends_with("-01-01"), pl.col("len").quantile(0.95, "lower")
    usual = pl.when(pl.len().over(kind) >= 20).then(usual.over(kind)).otherwise(usual)
    return names.filter(pl.col("len") > 10 + excess * usual)["dob_std"].sort()
