"""A draft: the sources of a folder, put together from what each file is about and how files hang together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from customer360.platform import systems
from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import varies
from customer360.platform.sources.profiling.survey import Delivery, Skipped, Survey
from customer360.serve.drafting import accounts, consents, countries, guests, keys, moments, sales, sql, totals
from customer360.serve.drafting.entries import Entry, Guess, plain_entry, take_full_name
from customer360.serve.drafting.meaning import Meaning, amounts_of, meaning_of, read_as
from customer360.serve.drafting.names import Vocabulary

CUSTOMERS, PRODUCTS = "bronze.customers", "bronze.products"
NOT_TAKEN = {
    "": "no table was recognized",
    "payments": "payments: no file of orders meets them",
    "reviews": "reviews have no table yet",
    "suppliers": "suppliers have no table",
    "employees": "employees have no table",
    "shipments": "shipments have no table",
    "categories": "categories: names are taken where products hold them",
    "addresses": "addresses are taken where customers hold them",
    "returns": "returns: how they relate to sales is for a person to say",
}
SOLD_AS = ("PRODUCT_NAME", "CATEGORY", "SUBCATEGORY", "BRAND")
OF_A_CUSTOMER = (
    "FIRST_NAME", "LAST_NAME", "EMAIL_ADDRESS", "PHONE_NUMBER", "DATE_OF_BIRTH", "GENDER", "ADDRESS_LINE_1", "CITY",
    "STATE_CODE", "ZIP_CODE", "COUNTRY_CODE", "LOYALTY_ID", "CUSTOMER_SEGMENT",
)  # fmt: skip


@dataclass(frozen=True)
class NotUsed:
    """A file that no source reads, and why."""

    path: str
    reason: str


@dataclass
class Draft:
    """Sources of a folder; ``not_used`` and ``skipped`` are the files that give nothing. ``zone`` is that of the one
    country, ``zone_of``, that the folder is of; empty where it is not told.
    """

    entries: list[Entry]
    not_used: list[NotUsed] = field(default_factory=list)
    skipped: tuple[Skipped, ...] = ()
    zone: str = ""
    zone_of: str = ""

    def moments(self) -> list[tuple[Entry, Column]]:
        """Columns of dates and times that the sources use."""
        return [(entry, c) for entry in self.entries for c in _of(entry).values() if c.is_moment]


def _of(entry: Entry) -> dict[str, Column]:
    return entry.used or (entry.delivery.columns if entry.recipe else {})


def draft_of(found: Survey, folder: str, vocabulary: Vocabulary) -> Draft:
    """The draft of a surveyed folder, whose name is the system's where nothing else names it."""
    result = Draft([], [], found.skipped)
    unknown = []
    known: set[tuple[str, str]] = set()
    for delivery in found.deliveries:
        if delivery.explode and (delivery.path, delivery.place.name) in known:
            continue  # the recipe takes the list apart
        recipes = systems.recognized(list(delivery.columns))
        if recipes:
            known.add((delivery.path, delivery.place.name))
            result.entries.append(_recognized(delivery, recipes[0]))
        else:
            unknown.append(meaning_of(moments.together(delivery, vocabulary), vocabulary))
    settled = keys.settled(sales.with_heads(unknown, vocabulary), vocabulary)
    meanings, refers = accounts.linked(settled, vocabulary)
    meanings = guests.told(meanings, refers, vocabulary)
    names = keys.systems_of(meanings, refers, keys.identifier(folder) or "SHOP")
    for meaning, system in zip(meanings, names, strict=True):
        made = _entries(meaning, meanings, vocabulary)
        for entry in made:
            entry.system = system
        if made:
            made[0].asks += meaning.asks
        result.entries += made
    _say_references(result.entries, meanings)
    _name(result.entries)
    countries.settle(result.entries, vocabulary)
    result.zone, result.zone_of = countries.zone_of(result.entries, vocabulary)
    read = {entry.delivery.label for entry in result.entries}
    joined = {str(part["path"]) for entry in result.entries for part in entry.join.values()}
    for meaning in meanings:
        label = meaning.delivery.label
        if label not in read and label not in joined:
            result.not_used.append(NotUsed(label, _why_not(meaning)))
    return result


def _why_not(meaning: Meaning) -> str:
    why = NOT_TAKEN.get(meaning.table, f"{meaning.table} was thought of, but what it needs is not in the folder")
    return f"{why} (columns {', '.join(list(meaning.delivery.columns)[:12])})"


def _recognized(delivery: Delivery, recipe: str) -> Entry:
    export = systems.export_of(recipe)
    entry = Entry(
        recipe.split("/")[0], ", ".join(export.tables), delivery, f"{export.title}, known by its header", recipe=recipe
    )
    entry.system = systems.systems()[recipe.partition("/")[0]].system
    return entry


def _entries(meaning: Meaning, meanings: list[Meaning], vocabulary: Vocabulary) -> list[Entry]:
    """The sources that a delivery gives."""
    makers: dict[str, Callable[[Meaning, list[Meaning], Vocabulary], list[Entry]]] = {
        sales.TRANSACTIONS: _of_headers,
        sales.ITEMS: _of_lines,
    }
    if meaning.table in makers:
        return makers[meaning.table](meaning, meanings, vocabulary)
    if meaning.table in vocabulary.tables and vocabulary.tables[meaning.table].is_table:
        made = [plain_entry(meaning, _named(meaning), vocabulary)]
        if meaning.table == CUSTOMERS and not meaning.named:
            made[0].asks += consents.unread(meaning, vocabulary)
            made += consents.consents(meaning, _stem(meaning.delivery), vocabulary)
        return made
    return []


def _of_headers(headers: Meaning, meanings: list[Meaning], vocabulary: Vocabulary) -> list[Entry]:
    made = []
    if "TOTAL_AMOUNT" in headers.matches and "TRANSACTION_DATE" in headers.matches:
        made = [sales.from_header(headers, _stem(headers.delivery), vocabulary)]
        if lines := sales.lines_of(headers, meanings):
            totals.settle(made[0], headers, lines, amounts_of(headers, vocabulary))
    else:
        parts = [m for table in ("payments", sales.ITEMS) for m in meanings if m.table == table]
        made = _joined(headers, parts, meanings, vocabulary)
    return made + _people_of(headers, meanings, vocabulary)


def _joined(headers: Meaning, parts: list[Meaning], meanings: list[Meaning], vocabulary: Vocabulary) -> list[Entry]:
    """Transactions of headers without amounts, from the first of the parts that meets them."""
    for part in parts:
        priced, join = sales.with_prices(part, meanings)
        entry = sales.joined_headers(headers, priced, _stem(headers.delivery), vocabulary)
        if entry is not None:
            entry.join |= join
            return [entry]
    return []


def _of_lines(lines: Meaning, meanings: list[Meaning], vocabulary: Vocabulary) -> list[Entry]:
    lines, join = sales.with_prices(lines, meanings)
    headers = lines.head or sales.headers_of(lines, vocabulary)
    stem = _stem(lines.delivery)
    made = []
    if lines.head:
        buyers = replace(lines.head, refers=lines.refers)
        made = [sales.from_list(lines, lines.head, stem, vocabulary), *_people_of(buyers, meanings, vocabulary)]
    made.append(sales.from_lines(lines, headers, f"{stem}_lines" if made else stem, vocabulary))
    for entry in made:
        entry.join |= join if entry.table != CUSTOMERS else {}
    if not any(m.table == PRODUCTS for m in meanings):
        made += _articles_of(lines)
    return made


def _people_of(sold: Meaning, meanings: list[Meaning], vocabulary: Vocabulary) -> list[Entry]:
    """Customers who are known from their orders alone, with what is a fact of each."""
    account = sold.matches.get("CUSTOMER_ID")
    if account is None or sold.refers:
        return []
    lists = [m.delivery.path for m in meanings if m.table == CUSTOMERS]
    people = read_as(sold.delivery, CUSTOMERS, vocabulary)
    buyers = sold.delivery.frame
    if account.column.form:
        buyers = buyers.with_columns(account.column.data.alias(account.column.name))
    entry = Entry(
        f"{_stem(sold.delivery)}_customers",
        CUSTOMERS,
        sold.delivery,
        f"{', '.join(dict.fromkeys(lists))} does not list these customers: they are known from their orders" if lists
        else "no file lists customers: they are known from their orders",
    )  # fmt: skip
    entry.group_by = [sql.name(account.column) if account.column.form else account.column.name]
    if account.column.filled < 1:
        entry.where = f"{sql.name(account.column)} IS NOT NULL"
    entry.take("CUSTOMER_ID", account)
    for name, match in people.matches.items():
        if match.column.name == account.column.name and name != "EMAIL_ADDRESS":
            continue
        if name not in (*OF_A_CUSTOMER, "FULL_NAME") or varies(buyers, match.column.name, account.column.name):
            continue
        if name == "FULL_NAME":
            take_full_name(entry, match, grouped=True)
        else:
            entry.take(name, match, sql.any_of(sql.name(match.column)))
    if date := sold.matches.get("TRANSACTION_DATE"):
        entry.used["LAST_UPDATED_DATE"] = date.column
        entry.assume(
            "LAST_UPDATED_DATE", f"MAX({sql.name(date.column)})", "the last order: later ones say what is current"
        )
    return [entry]


def _articles_of(lines: Meaning) -> list[Entry]:
    """Products that are known from the lines of orders alone."""
    article = lines.matches.get("PRODUCT_ID")
    known = [lines.matches[name] for name in SOLD_AS if name in lines.matches]
    if article is None or not known:
        return []
    entry = Entry(
        f"{_stem(lines.delivery)}_products",
        PRODUCTS,
        lines.delivery,
        "no file lists products: they are known from what was sold",
    )
    entry.group_by = [article.column.name]
    if article.column.filled < 1:
        entry.where = f"{sql.name(article.column)} IS NOT NULL"
    entry.take("PRODUCT_ID", article)
    for name in SOLD_AS:
        if (match := lines.matches.get(name)) and match.column.name != article.column.name:
            entry.take(name, match, sql.any_of(sql.name(match.column)))
    return [entry]


def _say_references(entries: list[Entry], meanings: list[Meaning]) -> None:
    """Write to the keys of sources how many of their values are found where they refer to."""
    best: dict[tuple[str, str, str], keys.Reference] = {}
    for reference in keys.references(meanings):
        delivery = reference.child.delivery
        place = (delivery.path, delivery.place.name, reference.column)
        if place not in best or best[place].share < reference.share:
            best[place] = reference
    for entry in entries:
        for column, guess in entry.mapping.items():
            found = best.get((entry.delivery.path, entry.delivery.place.name, column))
            if found and entry.table != keys.REFERENCES.get(column) and not entry.join:
                said = f"{guess.why}; {found.share:.0%} of its values are in {found.parent.delivery.path}"
                entry.mapping[column] = Guess(guess.expression, said, guess.is_assumed)


def _named(meaning: Meaning) -> str:
    stem = _stem(meaning.delivery)
    return f"{stem}_{keys.identifier(meaning.named).lower()}" if meaning.named else stem


def _stem(delivery: Delivery) -> str:
    """A name for sources: of the file, the member or the sheet, without what varies."""
    last = delivery.place.name.split("/")[-1].split(".")[0] + (f" {delivery.explode}" if delivery.explode else "")
    name = keys.identifier("".join(" " if sign.isdigit() or sign in "*?[]" else sign for sign in last)).lower()
    return name or "source"


def _name(entries: list[Entry]) -> None:
    """Give each source a name of its own."""
    taken: set[str] = set()
    for entry in entries:
        folder = keys.identifier(entry.delivery.path.rpartition("/")[0].split("/")[0]).lower()
        tried = [entry.name, f"{folder}_{entry.name}" if folder else "", *(f"{entry.name}_{n}" for n in range(2, 1000))]
        entry.name = next(name for name in tried if name and name not in taken)
        taken.add(entry.name)
