"""The country of national telephone numbers: told from what else a folder shows of it, or asked of a person.

Evidence is added up: prefixes of numbers that have one, national ends of mail addresses, forms of postal codes,
currencies, the language of headers. What does not fit (codes of another form, numbers that cannot be) rules a country
out. Nothing is taken that another country has about as much evidence for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import phonenumbers

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.values import iso
from customer360.serve.drafting.entries import Entry
from customer360.serve.drafting.names import Country, Vocabulary, plain

CUSTOMERS, PHONE, COUNTRY = "bronze.customers", "PHONE_NUMBER", "COUNTRY_CODE"
INTERNATIONAL = r"^\s*(\+|00[1-9])"
TOP = r"\.([a-z]{2})$"  # the national end of a mail address
LOOKED_AT = 200  # numbers that are tried in each country
MOST, HALF, SEEN = 0.8, 0.5, 3  # shares that speak for and against a country, and values that say something
ENOUGH, LEAD = 3.0, 1.5  # weight of the evidence that is taken, and how much more it is than another country's
STRONG, ONE, WEAK = 3.0, 2.0, 1.0


@dataclass
class Evidence:
    """What speaks for a country."""

    weight: float
    reasons: list[str]


def lacking(entries: Sequence[Entry]) -> list[Entry]:
    """Sources of customers with national telephone numbers and no country, which nothing has told so far."""
    return [
        e for e in entries if e.table == CUSTOMERS and _is_national(e) and COUNTRY not in e.mapping and not e.country
    ]


def settle(entries: Sequence[Entry], vocabulary: Vocabulary) -> None:
    """Write to sources with national numbers the country that the evidence is for, and why; leave the others."""
    for entry in lacking(entries):
        found = _evidence(entry, entries, vocabulary)
        ranked = sorted(found.items(), key=lambda item: -item[1].weight)
        second = ranked[1][1].weight if len(ranked) > 1 else 0.0
        if ranked and ranked[0][1].weight >= ENOUGH and ranked[0][1].weight - second >= LEAD:
            code, evidence = ranked[0]
            entry.country, entry.country_why = code, ", ".join(evidence.reasons)


def zone_of(entries: Sequence[Entry], vocabulary: Vocabulary) -> tuple[str, str]:
    """The time zone of the one country that a folder is of, and that country; empty where it is not told."""
    codes = {entry.country for entry in entries if entry.country}
    zone = next((c.zone for c in vocabulary.countries if c.code in codes), "") if len(codes) == 1 else ""
    return (zone, codes.pop()) if zone else ("", "")


def _is_national(entry: Entry) -> bool:
    column = entry.used.get(PHONE)
    return column is not None and len(column.distinct) > 0 and column.share(INTERNATIONAL) < 1 - (1 - MOST) / 2


def _evidence(entry: Entry, entries: Sequence[Entry], vocabulary: Vocabulary) -> dict[str, Evidence]:
    """Countries that nothing rules out, with what speaks for each."""
    prefixes, ends = _prefixes(entries), _ends(entry)
    currencies = {code for e in entries for code in _currencies(e)}
    language = _language(entry, vocabulary)
    states = entry.used.get("STATE_CODE")
    found = {}
    for country in vocabulary.countries:
        possible, valid = _numbers(entry.used[PHONE], country.code)
        codes = entry.used.get("ZIP_CODE")
        if possible < HALF or (codes is not None and len(codes.distinct) and codes.share(_whole(country.zip)) < HALF):
            continue
        said: list[tuple[float, str]] = []
        if prefixes.get(country.code, 0.0) >= MOST:
            said.append((STRONG, f"numbers with +{phonenumbers.country_code_for_region(country.code)}"))
        if ends.get(country.code, 0.0) >= MOST:
            said.append((STRONG, f"mail addresses that end in {_end(country.code)}"))
        if country.own and codes is not None and codes.share(_whole(country.own)) >= MOST:
            said.append((STRONG, "the form of its postal codes"))
        if country.code == "US" and states is not None and _are_states(states):
            said.append((STRONG, "American states"))
        if country.currency in currencies:
            said.append((ONE if _is_of_one(country, vocabulary) else WEAK / 2, f"amounts in {country.currency}"))
        if language == country.language:
            said.append((WEAK, "the language of its columns"))
        if valid >= MOST:
            said.append((WEAK, "numbers that are valid there"))
        found[country.code] = Evidence(sum(weight for weight, _ in said), [reason for _, reason in said])
    return found


def _whole(form: str) -> str:
    flags, _, rest = form.rpartition("(?i)")
    return f"{'(?i)' if flags or form.startswith('(?i)') else ''}^({rest or form})$"


def _end(code: str) -> str:
    return ".uk" if code == "GB" else f".{code.lower()}"


def _prefixes(entries: Sequence[Entry]) -> dict[str, float]:
    """By country the share of the folder's international numbers that are its own."""
    counts: dict[str, int] = {}
    for entry in entries:
        column = entry.used.get(PHONE)
        for text in column.looked_at.head(LOOKED_AT) if column is not None and entry.table == CUSTOMERS else ():
            if code := _region(text):
                counts[code] = counts.get(code, 0) + 1
    total = sum(counts.values())
    return {code: count / total for code, count in counts.items()} if total >= SEEN else {}


def _region(text: str) -> str:
    written = text.strip().replace("00", "+", 1) if text.strip().startswith("00") else text.strip()
    number = _parsed(written, "ZZ") if written.startswith("+") else None
    return phonenumbers.region_code_for_number(number) or "" if number else ""


def _ends(entry: Entry) -> dict[str, float]:
    """By country the share of the mail addresses with a national end that are its own."""
    column = entry.used.get("EMAIL_ADDRESS")
    if column is None:
        return {}
    ends = column.looked_at.str.to_lowercase().str.extract(TOP).drop_nulls()
    known = ends.filter(ends.is_in([_end(code)[1:] for code in _codes()]))
    if len(known) < max(SEEN, 0.05 * len(column.looked_at)):
        return {}
    counts = known.value_counts()
    codes = {_end(code)[1:]: code for code in _codes()}
    return {codes[end]: count / len(known) for end, count in counts.iter_rows()}


def _codes() -> list[str]:
    """Two-letter codes of countries; of ends that everybody takes (.co, .io, .me, .tv, .ai) none."""
    return [code for code in phonenumbers.SUPPORTED_REGIONS if code not in ("CO", "IO", "ME", "TV", "AI")]


def _currencies(entry: Entry) -> Iterator[str]:
    for name, column in entry.used.items():
        yield from column.currency_signs
        if name == "CURRENCY_CODE":
            yield from (code for text in column.looked_at if (code := iso.currencies().get(iso.plain(text))))


def _is_of_one(country: Country, vocabulary: Vocabulary) -> bool:
    return sum(other.currency == country.currency for other in vocabulary.countries) == 1


def _language(entry: Entry, vocabulary: Vocabulary) -> str:
    """The language that most words of a header are of; empty where two have as many, or hardly any are known."""
    words = {plain(word) for name in entry.delivery.columns for word in name.replace("_", " ").split()}
    counts = sorted(((len(words & known), language) for language, known in vocabulary.languages.items()), reverse=True)
    (first, language), second = counts[0], counts[1][0] if len(counts) > 1 else 0
    return language if first >= 2 and first > second else ""


def _are_states(column: Column) -> bool:
    known = iso.states()
    found = [iso.plain(text) in known for text in column.looked_at]
    return len(found) >= SEEN and sum(found) >= MOST * len(found)


def _numbers(column: Column, code: str) -> tuple[float, float]:
    """Shares of the national numbers that are possible in a country by their length, and that are valid there."""
    national = column.looked_at.filter(~column.looked_at.str.contains(INTERNATIONAL)).head(LOOKED_AT)
    parsed = [number for text in national if (number := _parsed(text, code))]
    possible, valid = (
        sum(map(test, parsed)) / max(len(national), 1)
        for test in (phonenumbers.is_possible_number, phonenumbers.is_valid_number)
    )
    return possible, valid


def _parsed(text: str, code: str) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, code)
    except phonenumbers.NumberParseException:
        return None
