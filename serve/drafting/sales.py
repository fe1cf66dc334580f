"""Sales of a draft: transactions and their lines, of headers, lines, payments, or lists of lines with both in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import JOINS, depends, overlap, varies
from customer360.serve.drafting import sql, totals
from customer360.serve.drafting.entries import IN_PART, RETURNED, Entry, Guess, channel, complete, take_as_known
from customer360.serve.drafting.meaning import Match, Meaning, read_as
from customer360.serve.drafting.names import Vocabulary, plain_words

TRANSACTIONS, ITEMS = "bronze.transactions", "bronze.transaction_items"
CLEAR = 0.9  # score of a name that leaves no doubt
FEW_LINES = 5  # of orders with several lines, below which a common value says nothing


@dataclass(frozen=True)
class Amount:
    """What a line comes to: an expression of the file's columns, and why."""

    expression: str
    why: str
    is_assumed: bool = False
    columns: tuple[Column, ...] = ()


def with_heads(meanings: list[Meaning], vocabulary: Vocabulary) -> list[Meaning]:
    """The meanings; lines that carry the facts of their orders, which no other file lists, with these as their head."""
    headers = [m for m in meanings if m.table == TRANSACTIONS]
    found = []
    for meaning in meanings:
        if meaning.table == ITEMS and not any(_are_parts_of(meaning, other) for other in headers):
            head = headers_of(meaning, vocabulary)
            meaning = replace(meaning, head=head) if is_list(meaning, head) else meaning
        found.append(meaning)
    return found


def lines_of(headers: Meaning, meanings: list[Meaning]) -> Meaning | None:
    """The lines of the orders of a file; None where none or several files hold them."""
    found = [m for m in meanings if m.table == ITEMS and not m.head and _are_parts_of(m, headers)]
    return found[0] if len(found) == 1 else None


def _are_parts_of(lines: Meaning, headers: Meaning) -> bool:
    order, key = lines.column("TRANSACTION_ID"), headers.column("TRANSACTION_ID")
    return order is not None and key is not None and max(overlap(order, key), overlap(key, order)) >= JOINS


def is_list(lines: Meaning, headers: Meaning) -> bool:
    """Whether lines carry the facts of their order: a date, and who bought."""
    date = headers.column("TRANSACTION_DATE")
    order = lines.column("TRANSACTION_ID")
    return date is not None and order is not None and not varies(lines.delivery.frame, date.name, order.name)


def from_header(meaning: Meaning, name: str, vocabulary: Vocabulary) -> Entry:
    """Transactions of a file with one row an order."""
    entry = Entry(name, TRANSACTIONS, meaning.delivery, meaning.why)
    for column, match in meaning.matches.items():
        if column not in ("TRANSACTION_STATUS", "TRANSACTION_TYPE", "CHANNEL"):
            take_as_known(entry, column, match, vocabulary)
    _repeated(entry, meaning)
    _states(entry, meaning, vocabulary, grouped=False)
    channel(entry, meaning, vocabulary, grouped=False)
    complete(entry, meaning)
    return entry


def _repeated(entry: Entry, meaning: Meaning) -> None:
    """Say where numbers of orders come again. Returns under the number of their sale are what they are."""
    order, amount = meaning.column("TRANSACTION_ID"), meaning.column("TOTAL_AMOUNT")
    if order is None or len(order.texts) == len(order.distinct):
        return
    share = 1 - len(order.distinct) / len(order.texts)
    if amount is None or not amount.has_negatives:
        entry.asks.append(
            f"TRANSACTION_ID: {share:.0%} of the rows have a number that comes again; the last of them counts"
        )


def from_list(lines: Meaning, headers: Meaning, name: str, vocabulary: Vocabulary) -> Entry:
    """Transactions of a file with one row a line: one a group of lines of the same order."""
    order = lines.matches["TRANSACTION_ID"]
    if order.column.is_unique:  # each order has one line
        entry = from_header(_with_order(headers, order), name, vocabulary)
        amount = line_amount(lines)
        if "TOTAL_AMOUNT" not in headers.matches or (amount and len(amount.columns) > 1):
            _take_amount(entry, amount, "{}")
        return entry
    entry = Entry(name, TRANSACTIONS, lines.delivery, f"{order.column.name} comes again on each line of an order")
    entry.group_by = [order.column.name]
    entry.take("TRANSACTION_ID", order)
    for column in ("CUSTOMER_ID", "TRANSACTION_DATE", "STORE_ID", "CURRENCY_CODE", "COUPON_CODE", "CASHIER_ID"):
        if match := headers.matches.get(column):
            entry.take(column, match, f"MIN({sql.name(match.column)})")
    if match := headers.matches.get("PAYMENT_METHOD"):
        take_as_known(entry, "PAYMENT_METHOD", match, vocabulary)
        if guess := entry.mapping.get("PAYMENT_METHOD"):
            entry.take("PAYMENT_METHOD", match, f"MIN({guess.expression})")
    total = lines.matches.get("TOTAL_PRICE")
    if total is not None and is_of_the_order(lines, total.column):
        amount = Amount(
            sql.name(total.column), f"{total.column.name} stands on each line of an order", columns=(total.column,)
        )
        _take_amount(entry, amount, "MAX({})")
    else:
        _take_amount(entry, line_amount(lines), "ROUND(SUM({}), 2)")
    totals.take_parts(entry, lines, headers)
    _states(entry, headers, vocabulary, grouped=True)
    channel(entry, headers, vocabulary, grouped=True)
    return entry


def _with_order(headers: Meaning, order: Match) -> Meaning:
    return replace(headers, matches={**headers.matches, "TRANSACTION_ID": order})


def _take_amount(entry: Entry, amount: Amount | None, form: str) -> None:
    if amount is None:
        entry.asks.append("TOTAL_AMOUNT: no column holds a price or an amount; where is it?")
        return
    for column in amount.columns:
        entry.used[f"TOTAL_AMOUNT {column.name}"] = column
    entry.assume("TOTAL_AMOUNT", form.format(amount.expression), amount.why)


def line_amount(lines: Meaning) -> Amount | None:
    """What a line comes to: its total; else price by quantity, less its discount."""
    total, price, quantity = (lines.column(n) for n in ("TOTAL_PRICE", "UNIT_PRICE", "QUANTITY"))
    discount = lines.column("DISCOUNT_PERCENTAGE") or lines.column("DISCOUNT_AMOUNT")
    if total is not None and not is_of_the_order(lines, total):
        return Amount(sql.name(total), f"sum of {total.name}", columns=(total,))
    if price is None:
        return None
    parts, columns, why = [sql.name(price)], [price], price.name
    if quantity is not None:
        parts, columns, why = [sql.name(quantity), *parts], [quantity, price], f"{quantity.name} by {price.name}"
    if discount is not None and is_rate(discount):
        parts.append(f"(1 - COALESCE({sql.name(discount)}, 0))")
        return Amount(
            " * ".join(parts),
            f"{why}, less {discount.name} (a share: its values lie below 1)",
            True,
            (*columns, discount),
        )
    return Amount(" * ".join(parts), why, columns=tuple(columns))


def is_of_the_order(lines: Meaning, total: Column) -> bool:
    """Whether an amount is that of the whole order and stands on each of its lines, which differ in their prices."""
    order, price = lines.column("TRANSACTION_ID"), lines.column("UNIT_PRICE")
    frame = lines.delivery.frame
    if order is None or price is None or len(order.texts) - len(order.distinct) < FEW_LINES:
        return False
    several = frame.filter(pl.col(order.name).is_duplicated())
    return depends(several, total.name, order.name) > 0.98 and depends(several, price.name, order.name) < 0.9


def is_rate(column: Column) -> bool:
    """Whether a discount is a share of 1: no value is above it."""
    return 0 <= column.largest <= 1


def from_lines(lines: Meaning, headers: Meaning, name: str, vocabulary: Vocabulary) -> Entry:
    """The lines of orders."""
    entry = Entry(name, ITEMS, lines.delivery, lines.why)
    for column, match in lines.matches.items():
        of_order = column == "TOTAL_PRICE" and is_of_the_order(lines, match.column)
        if column not in ("DISCOUNT_AMOUNT", "DISCOUNT_PERCENTAGE", "ITEM_ID") and not of_order:
            take_as_known(entry, column, match, vocabulary)
    _discount(entry, lines)
    if quantity := lines.matches.get("QUANTITY"):
        if not quantity.column.is_whole:
            entry.asks.append(f"QUANTITY: {quantity.column.name} has fractions; only whole numbers are quantities")
    else:
        entry.assume("QUANTITY", "'1'", "no column says how many: a row is one piece")
    if "TOTAL_PRICE" not in entry.mapping:
        amount = line_amount(lines)
        if amount is not None:
            entry.assume("TOTAL_PRICE", amount.expression, amount.why)
        else:
            entry.asks.append("TOTAL_PRICE: no column holds a price; where is it?")
    _line_number(entry, lines)
    negative = lines.column("TOTAL_PRICE") or lines.column("QUANTITY")
    if negative is not None and negative.has_negatives:
        sold = f"CASE WHEN {sql.is_negative(negative)} THEN 'RETURNED' ELSE 'SOLD' END"
        entry.assume("ITEM_STATUS", sold, f"below zero in {negative.name}: given back")
    return entry


def _discount(entry: Entry, lines: Meaning) -> None:
    match = lines.matches.get("DISCOUNT_PERCENTAGE") or lines.matches.get("DISCOUNT_AMOUNT")
    if match is None:
        return
    if is_rate(match.column):
        entry.take("DISCOUNT_PERCENTAGE", match, f"{sql.name(match.column)} * 100")
    else:
        entry.take("DISCOUNT_PERCENTAGE" if "DISCOUNT_PERCENTAGE" in lines.matches else "DISCOUNT_AMOUNT", match)


def _line_number(entry: Entry, lines: Meaning) -> None:
    """What tells the lines of an order apart: a number that does, else what the line is about. Where nothing does,
    a run numbers them in the order of the file, so that equal lines stay two.
    """
    order = lines.matches["TRANSACTION_ID"].column
    frame = lines.delivery.frame
    number = lines.matches.get("ITEM_ID")
    if number and _tells_apart(frame, order.name, [number.column.name]):
        entry.take("ITEM_ID", number)
        return
    tried: list[Column] = []
    for column in ("PRODUCT_ID", "SKU", "PRODUCT_NAME", "QUANTITY", "UNIT_PRICE", "TOTAL_PRICE", "SIZE", "COLOR"):
        if (found := lines.column(column)) is None:
            continue
        tried.append(found)
        if column in ("PRODUCT_ID", "SKU", "PRODUCT_NAME") and _tells_apart(frame, order.name, [c.name for c in tried]):
            break
    if not _tells_apart(frame, order.name, [c.name for c in tried]) and not lines.delivery.explode:
        return
    if len(tried) == 1:
        entry.take("ITEM_ID", Match(tried[0], 0.8, "tells the lines of an order apart"))
    else:
        entry.assume(
            "ITEM_ID", sql.joined(tried), "no column numbers the lines of an order: equal lines of one count once"
        )


def _tells_apart(frame: object, order: str, columns: list[str]) -> bool:
    """Whether no two rows of an order are equal in these columns."""
    rows = frame.select(order, *(c for c in columns if c != order)).drop_nulls(order)  # type: ignore[attr-defined]
    return bool(rows.n_unique() == rows.height)


def _states(entry: Entry, headers: Meaning, vocabulary: Vocabulary, *, grouped: bool) -> None:
    """Status and type of transactions: of their columns' words, of the sign of the amount, else assumed."""
    amount = entry.used.get("TOTAL_AMOUNT") or next(
        (c for n, c in entry.used.items() if n.startswith("TOTAL_AMOUNT ") and c.has_negatives), None
    )
    form = "MIN({})" if grouped else "{}"
    status, type_ = headers.matches.get("TRANSACTION_STATUS"), headers.matches.get("TRANSACTION_TYPE")
    known = vocabulary.values["TRANSACTION_STATUS"]
    if status and any(plain_words(word) in known for word in status.column.words):
        expression = sql.words(status.column, known, {RETURNED: "COMPLETED", IN_PART: "COMPLETED"})
        entry.take("TRANSACTION_STATUS", status, form.format(expression))
        unknown = [word for word in status.column.words if plain_words(word) not in known]
        _refunds(entry, headers, status.column, known, form)
        if unknown:
            entry.asks.append(
                f"TRANSACTION_STATUS: what do {', '.join(map(repr, unknown[:6]))} mean? "
                "Until it is written here, rows with them are refused"
            )
    else:
        entry.assume("TRANSACTION_STATUS", "'COMPLETED'", "no column says that a sale did not take place")
        if status and status.column.is_word and status.score >= CLEAR:
            shown = ", ".join(map(repr, status.column.words[:6]))
            entry.asks.append(
                f"TRANSACTION_STATUS: what do {shown} of {status.column.name} mean? All count as COMPLETED"
            )
    kinds = vocabulary.values["TRANSACTION_TYPE"]
    if type_ and all(plain_words(word) in kinds for word in type_.column.words):
        entry.take("TRANSACTION_TYPE", type_, form.format(sql.words(type_.column, kinds, {})))
    elif amount is not None and amount.has_negatives:
        negative = f"SUM({sql.name(amount)}) < 0" if grouped else sql.is_negative(amount)
        entry.assume(
            "TRANSACTION_TYPE",
            f"CASE WHEN {negative} THEN 'RETURN' ELSE 'PURCHASE' END",
            f"below zero in {amount.name}: given back",
        )
    else:
        entry.assume("TRANSACTION_TYPE", "'PURCHASE'", "no amount is below zero")


def _refunds(entry: Entry, headers: Meaning, status: Column, known: dict[str, str], form: str) -> None:
    """What was given back of sales whose status says so and whose amount still is that of the sale."""
    by_word = {word: known.get(plain_words(word)) for word in status.words}
    whole = [word for word, value in by_word.items() if value == RETURNED]
    amount = entry.mapping.get("TOTAL_AMOUNT")
    if "REFUNDED_AMOUNT" in headers.matches or not whole or amount is None:
        in_part = [word for word, value in by_word.items() if value == IN_PART]
        if in_part and "REFUNDED_AMOUNT" not in headers.matches:
            entry.asks.append(f"REFUNDED_AMOUNT: how much was given back where the status is {in_part[0]!r}?")
        return
    case = f"CASE WHEN {sql.is_one_of(status, whole)} THEN {amount.expression} END"
    if form != "{}":
        case = (
            f"CASE WHEN MIN({sql.name(status)}) IN ({', '.join(map(sql.constant, whole))}) THEN {amount.expression} END"
        )
    entry.assume("REFUNDED_AMOUNT", case, f"{', '.join(map(repr, whole))}: all of it was given back")


def joined_headers(headers: Meaning, parts: Meaning, name: str, vocabulary: Vocabulary) -> Entry | None:
    """Transactions whose amounts stand in another file: the parts (lines or payments) summed by order, joined with the
    headers; None where the two do not meet, or the headers are no single file.
    """
    order, key = parts.column("TRANSACTION_ID"), headers.column("TRANSACTION_ID")
    if order is None or key is None or len(headers.delivery.files) > 1 or headers.delivery.explode:
        return None
    if max(overlap(order, key), overlap(key, order)) < JOINS:
        return None
    amount = line_amount(parts)
    if total := parts.matches.get("TOTAL_AMOUNT"):
        amount = Amount(sql.name(total.column), f"sum of {total.column.name}", columns=(total.column,))
    if amount is None:
        return None
    about = f"amounts of {parts.delivery.path}, the rest of {headers.delivery.path}"
    entry = Entry(name, TRANSACTIONS, parts.delivery, about, group_by=[sql.name(order)])
    entry.join = {"head": _join(headers, order, key)}
    entry.take("TRANSACTION_ID", parts.matches["TRANSACTION_ID"])
    there = {column: _beside("head", match) for column, match in headers.matches.items()}
    head = from_header(replace(headers, matches=there), name, vocabulary)
    for column, guess in head.mapping.items():
        if column not in ("TRANSACTION_ID", "TOTAL_AMOUNT"):
            grouped = guess.expression if column not in there else f"MIN({guess.expression})"
            entry.mapping[column] = Guess(grouped, guess.why, guess.is_assumed)
    entry.used |= {column: used for column, used in head.used.items() if column != "TRANSACTION_ID"}
    _take_amount(entry, amount, "ROUND(SUM({}), 2)")
    if status := there.get("TRANSACTION_STATUS"):
        _refunds(entry, headers, status.column, vocabulary.values["TRANSACTION_STATUS"], "MIN({})")
    entry.asks += head.asks
    return entry


def with_prices(lines: Meaning, meanings: list[Meaning]) -> tuple[Meaning, dict[str, dict[str, object]]]:
    """Lines that hold no amount with the prices of the list of products, and the join that this takes."""
    article = lines.column("PRODUCT_ID")
    if article is None or line_amount(lines) is not None:
        return lines, {}
    for goods in meanings:
        price, key = goods.matches.get("PRICE"), goods.column("PRODUCT_ID")
        is_one = goods.table == "bronze.products" and len(goods.delivery.files) == 1
        if is_one and price is not None and key is not None and overlap(article, key) >= JOINS:
            matches = {**lines.matches, "UNIT_PRICE": _beside("goods", price)}
            return replace(lines, matches=matches), {"goods": _join(goods, article, key)}
    return lines, {}


def _beside(name: str, match: Match) -> Match:
    """A column of a joined file."""
    return Match(_rooted(name, match.column), match.score, f"{match.why} in the joined file")


def _rooted(name: str, column: Column) -> Column:
    path = () if column.form else (name, *(column.path or (column.name,)))
    return replace(column, path=path, parts=tuple(_rooted(name, part) for part in column.parts))


def _join(other: Meaning, mine: Column, key: Column) -> dict[str, object]:
    place = other.delivery.place
    found: dict[str, object] = {"path": place.file, "on": {sql.name(mine): key.name}}
    found |= {"members": place.members} if place.members != "*" else {}
    found |= {"sheet": place.sheet} if place.sheet else {}
    return found if key.is_unique else {**found, "first": True}


def headers_of(delivery_meaning: Meaning, vocabulary: Vocabulary) -> Meaning:
    """The columns of a file of lines read as those of orders."""
    return read_as(delivery_meaning.delivery, TRANSACTIONS, vocabulary)
