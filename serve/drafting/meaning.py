"""What a delivery is about: each table of the vocabulary is tried on its columns; the one that explains most is it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from customer360.platform import tables
from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.survey import Delivery
from customer360.serve.drafting.names import ColumnWords, TableWords, Vocabulary, plain_words

LEAST = 0.45  # score of a column's name and values together, below which it is not taken
LEAST_TABLE = 0.45
MOSTLY_UNIQUE = 0.97
LATER_NAME, OTHER_WORD, OTHER_ENTITY, UNKNOWN_WORD = 0.03, 0.15, 0.65, 0.08  # what makes a name less certain
OTHER_ENTITY_OF_A_MOMENT, OTHER_WORD_OF_A_KEY = 0.4, 0.65
OF_ANYTHING = frozenset(("id", "name", "description", "type", "status"))  # alone they say nothing of the thing
OTHER_AMOUNTS = frozenset(("tax", "discount", "profit", "cost", "percent", "loyalty", "budget", "weight", "shipment"))
MASTERS = {  # the key of tables with one row a thing
    "bronze.customers": "CUSTOMER_ID",
    "bronze.transactions": "TRANSACTION_ID",
    "bronze.products": "PRODUCT_ID",
    "bronze.stores": "STORE_ID",
    "bronze.service_tickets": "TICKET_ID",
    "bronze.sessions": "SESSION_ID",
    "bronze.marketing_campaigns": "CAMPAIGN_ID",
    "categories": "CATEGORY_ID",
    "suppliers": "SUPPLIER_ID",
    "employees": "EMPLOYEE_ID",
}
MANY = 20  # orders, from which on what comes again may be their number
OF_NO_ORDER = ("bronze.products", "bronze.stores", "bronze.inventory")
QUALIFIERS = {"order", "line", "payment", "shipment", "category", "address", "inventory", "review", "refund", "store"}


@dataclass(frozen=True)
class Match:
    """A column of a file for a contract column, how sure that is (0 to 1), and why."""

    column: Column
    score: float
    why: str


@dataclass(frozen=True)
class Meaning:
    """A delivery, the table it is about (empty: none is known), what its columns are, and how sure that is."""

    delivery: Delivery
    table: str
    matches: dict[str, Match]
    score: float
    why: str = ""
    head: Meaning | None = None  # of lines that carry the facts of their order: the columns read as those of orders
    refers: bool = False  # whether its accounts are those of a file of customers
    named: str = ""  # what its source is called, where the file gives several
    asks: tuple[str, ...] = ()

    def column(self, name: str) -> Column | None:
        """The file's column for a contract column."""
        match = self.matches.get(name)
        return match.column if match else None

    @property
    def buyer(self) -> Meaning:
        """What tells whose the rows are: for lists of lines that is their head."""
        return self.head or self

    @property
    def unused(self) -> list[str]:
        taken = {match.column.name for match in self.matches.values()}
        return [name for name in self.delivery.columns if name not in taken]


def meaning_of(delivery: Delivery, vocabulary: Vocabulary) -> Meaning:
    """The table that explains a delivery best."""
    tried = [_tried(delivery, table, vocabulary) for table in vocabulary.tables.values()]
    best = max(tried, key=lambda meaning: meaning.score)
    lines = next((m for m in tried if m.table == "bronze.transaction_items" and m.score > 0), None)
    if lines and best.table == "bronze.transactions" and {"QUANTITY", "UNIT_PRICE"} & set(lines.matches):
        best = replace(lines, score=best.score)  # orders with articles in them: lists of lines
    return best if best.score >= LEAST_TABLE else Meaning(delivery, "", {}, best.score)


def read_as(delivery: Delivery, table: str, vocabulary: Vocabulary) -> Meaning:
    """The columns of a delivery read as those of a table that it may not be about."""
    return Meaning(delivery, table, matches_of(delivery, vocabulary.tables[table], vocabulary), 0.0)


def amounts_of(headers: Meaning, vocabulary: Vocabulary) -> tuple[Match, ...]:
    """Columns of amounts that nothing else is read from and that may be totals: gross, net, subtotal, paid."""
    return tuple(
        Match(column, 0.7, "of several amounts")
        for name in headers.unused
        if (column := headers.delivery.columns[name]).is_number
        and not column.is_whole
        and {"total", "subtotal", "net", "gross"} & set(vocabulary.concepts_of(column.title or name))
    )


def subject_of(delivery: Delivery, vocabulary: Vocabulary) -> list[str]:
    """Things that the names of a delivery speak of, the most telling first: what stands last is the thing, what stands
    before it says whose (order_items, customer_addresses).
    """
    if delivery.explode:
        return [c for c in ("line", *vocabulary.concepts_of(delivery.explode)) if c in vocabulary.entities]
    path = PurePosixPath(delivery.place.name)
    own = [c for c in vocabulary.concepts_of(path.name.split(".")[0]) if c in vocabulary.entities]
    above = [c for part in path.parts[:-1] for c in vocabulary.concepts_of(part) if c in vocabulary.entities]
    if "order" in own and {"product", "line", "item"} & set(own):
        own = ["line", *own]
    elif len(own) > 1 and own[-1] == "order" and own[-2] in QUALIFIERS:  # payment_transactions
        own = own[:-1]
    return [*reversed(own), *above] if own[:1] != ["line"] else own


def _tried(delivery: Delivery, table: TableWords, vocabulary: Vocabulary) -> Meaning:
    matches = matches_of(delivery, table, vocabulary)
    _fall_back_to_shape(matches, delivery, table, vocabulary)
    if not all(set(need) & set(matches) for need in table.needs):
        return Meaning(delivery, table.name, matches, 0.0)
    subject = _of_money(delivery, subject_of(delivery, vocabulary), vocabulary)
    if table.name == "bronze.service_tickets" and subject and subject[0] == "order":
        return Meaning(delivery, table.name, matches, 0.0)
    filled = [column for column in delivery.columns.values() if len(column.distinct) and not column.is_nested]
    explained = sum(m.score for m in matches.values()) / max(len(filled), 1)
    named = 0.0
    if subject:
        named = 0.4 if subject[0] in table.about else 0.1 if set(subject) & table.about else -0.15
    score = 0.2 + 0.45 * min(explained, 1.0) + named + _key_fits(table.name, matches)
    titles = {c for m in matches.values() for c in vocabulary.concepts_of(m.column.title or m.column.name)}
    if not table.about & {*subject, *titles}:
        score -= 0.2  # neither files nor columns name the thing
    if not table.is_table and not (subject and subject[0] in table.about) and table.name != "payments":
        score -= 0.3  # of these little is known but the name
    if table.name in OF_NO_ORDER and any(
        {"order", "id"} <= set(vocabulary.concepts_of(name)) for name in delivery.columns
    ):
        score -= 0.4  # rows with the number of an order are parts of orders
    why = f"explains {len(matches)} of {len(filled)} columns" + (", named so" if named > 0.1 else "")
    return Meaning(delivery, table.name, matches, score, why)


def _of_money(delivery: Delivery, subject: list[str], vocabulary: Vocabulary) -> list[str]:
    """Things that a delivery is about; tickets with an amount on them are receipts, not requests for help."""
    is_sold = any(
        column.is_number and {"total", "subtotal", "price"} & set(vocabulary.concepts_of(column.title or name))
        for name, column in delivery.columns.items()
    )
    return ["order" if concept == "ticket" and is_sold else concept for concept in subject]


def _key_fits(table: str, matches: dict[str, Match]) -> float:
    """Whether keys are unique where a row is a thing, and repeated where rows are its parts."""
    key = MASTERS.get(table)
    if key in matches:
        column = matches[key].column
        share = len(column.distinct) / max(len(column.texts), 1)
        return 0.15 if share >= MOSTLY_UNIQUE else -0.25 if share < 0.8 else 0.0
    if table == "bronze.transaction_items":
        column = matches["TRANSACTION_ID"].column
        share = len(column.distinct) / max(len(column.texts), 1)
        parts = {"QUANTITY", "UNIT_PRICE", "TOTAL_PRICE"} & set(matches)
        return (0.2 if share < MOSTLY_UNIQUE else 0.0) + (0.1 if len(parts) > 1 else 0.0)
    return -0.05 if table == "payments" and "PAYMENT_METHOD" not in matches else 0.0


def matches_of(delivery: Delivery, table: TableWords, vocabulary: Vocabulary) -> dict[str, Match]:
    """Columns of a delivery for those of a table, each at most once, the best first."""
    scored = [
        (match.score, place, name, match)
        for place, column in enumerate(delivery.columns.values())
        for name, words in table.columns.items()
        if (name == "TRANSACTION_ID" or _is_of_a_line(delivery, column, table))
        and (match := _match(column, name, words, table, vocabulary)).score >= LEAST
    ]
    found: dict[str, Match] = {}
    taken: set[str] = set()
    for _, _, name, match in sorted(scored, key=lambda s: (-s[0], s[1])):
        if name not in found and match.column.name not in taken:
            found[name] = match
            taken.add(match.column.name)
    if "FULL_NAME" in found and {"FIRST_NAME", "LAST_NAME"} & set(found):
        _settle_names(found)
    if "EMAIL_ADDRESS" in table.columns:
        _fall_back_to_mail(found)
    named = found.get("PRODUCT_NAME")
    if table.name == "bronze.products" and named and "PRODUCT_ID" not in found and named.column.is_unique:
        found["PRODUCT_ID"] = Match(named.column, named.score * 0.8, "no other column tells products apart")
    return found


def _is_of_a_line(delivery: Delivery, column: Column, table: TableWords) -> bool:
    """Whether a column is of what a row is: values beside a list inside of a record are of the record."""
    return not delivery.explode or "line" not in table.about or column.path[:1] == (delivery.explode,)


def _settle_names(found: dict[str, Match]) -> None:
    """A bare name beside a first one is the last name (nom, prenom), and the other way round; beside both neither."""
    full = found.pop("FULL_NAME")
    for part, other in (("LAST_NAME", "first"), ("FIRST_NAME", "last")):
        if part not in found:
            found[part] = Match(full.column, full.score, f"stands beside a {other} name")


def _fall_back_to_mail(found: dict[str, Match]) -> None:
    """Where nothing else names a customer, the e-mail address does; it stays the address as well."""
    account = found.get("CUSTOMER_ID")
    if account and account.column.is_a("email") == 1.0 and "EMAIL_ADDRESS" not in found:
        found["EMAIL_ADDRESS"] = account
    elif "EMAIL_ADDRESS" in found and not account:
        mail = found["EMAIL_ADDRESS"]
        found["CUSTOMER_ID"] = Match(mail.column, mail.score * 0.8, "no other column tells customers apart")


def _fall_back_to_shape(found: dict[str, Match], delivery: Delivery, table: TableWords, vocabulary: Vocabulary) -> None:
    """Where no name tells the number of an order, the first column does that is of its form, beside what sales have:
    no two rows alike beside a date and a total, rows alike beside an article and its quantity or price.
    """
    if "TRANSACTION_ID" not in table.columns or "TRANSACTION_ID" in found or delivery.explode:
        return
    is_header = table.name == "bronze.transactions" and {"TRANSACTION_DATE", "TOTAL_AMOUNT"} <= set(found)
    amounts = {"QUANTITY", "UNIT_PRICE", "TOTAL_PRICE"} & set(found)
    is_lines = (
        table.name == "bronze.transaction_items" and len(amounts) > 1 and {"PRODUCT_ID", "PRODUCT_NAME"} & set(found)
    )
    taken = {match.column.name for match in found.values()}
    first = next(
        (c for name, c in delivery.columns.items() if name not in taken and c.is_a("id") == 1.0 and not c.is_moment),
        None,
    )
    if first is None or first.filled < MOSTLY_UNIQUE or not len(first.texts):
        return
    concepts = set(vocabulary.concepts_of(first.title or first.name))
    if concepts & (vocabulary.entities | {"loyalty", "zip", "city", "quantity"}) - {"order", "line"}:
        return
    share = len(first.distinct) / len(first.texts)
    if is_header and share >= MOSTLY_UNIQUE:
        found["TRANSACTION_ID"] = Match(first, 0.6, "the first column, which tells rows apart")
    elif is_lines and 0.1 < share < MOSTLY_UNIQUE and len(first.distinct) > MANY:
        found["TRANSACTION_ID"] = Match(
            first, 0.6, "the first column, which comes again on rows that follow each other"
        )


def _match(column: Column, name: str, words: ColumnWords, table: TableWords, vocabulary: Vocabulary) -> Match:
    by_name = _by_name(column.title or column.name, words, table, vocabulary)
    fits = column.is_a(words.kind)
    score = by_name * fits
    if words.known and score:
        score *= _known_share(column, vocabulary.values.get(name, {}), table.name, name)
    why = "named so" if by_name > 0.9 else "its name says so in part"
    if score < 0.6 and words.kind in ("email", "currency") and fits == 1.0 and len(column.distinct):
        return Match(column, 0.6, f"its values are {'e-mail addresses' if words.kind == 'email' else 'currencies'}")
    return Match(column, score, why)


def _by_name(name: str, words: ColumnWords, table: TableWords, vocabulary: Vocabulary) -> float:
    concepts = vocabulary.concepts_of(name)
    known = {c for c in concepts if not c.startswith("?")}
    unknown = sum(c.startswith("?") for c in concepts)
    best = 0.0
    for rank, wanted in enumerate(words.names):
        if not wanted <= known:
            continue
        extras = known - wanted - table.about
        if words.kind == "number" and extras & OTHER_AMOUNTS:
            continue
        entities = extras & vocabulary.entities
        entity = OTHER_ENTITY_OF_A_MOMENT if words.kind == "moment" else OTHER_ENTITY
        word = OTHER_WORD_OF_A_KEY if words.kind == "id" or wanted <= OF_ANYTHING else OTHER_WORD
        strange = OTHER_WORD_OF_A_KEY if wanted <= OF_ANYTHING else UNKNOWN_WORD
        cost = entity * len(entities) + word * len(extras - entities) + strange * unknown
        best = max(best, 1.0 - LATER_NAME * rank - cost)
    return best


def _known_share(column: Column, words: dict[str, str], table: str, name: str) -> float:
    """Share of the distinct values that are words of the contract, or of files for them; 0 for less than half."""
    kind = tables.by_name(table).columns()[name]
    known = {*words, *(plain_words(value) for value in getattr(kind, "values", ()))}
    found = column.words
    share = sum(plain_words(word) in known for word in found) / len(found) if found else 0.0
    return share if share >= 0.5 else 0.0
