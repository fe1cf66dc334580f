"""Whose the rows of each file are: columns whose values are those of a file of customers, whatever the two are called.

A name is a help, no must. What numbers share by chance is told from their forms and does not count; a column that looks
like a customer's number and meets nothing becomes a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import JOINS, Meeting, meeting
from customer360.serve.drafting.meaning import Match, Meaning
from customer360.serve.drafting.names import Vocabulary

CUSTOMERS, KEY, CARD, MAIL = "bronze.customers", "CUSTOMER_ID", "LOYALTY_ID", "EMAIL_ADDRESS"
OF_PEOPLE = frozenset(("customer", "loyalty"))
OF_NOBODY = frozenset(  # what a column is of that is no customer's number, unless its name speaks of people as well
    "product item order line store employee supplier payment shipment refund review campaign event session category "
    "brand city state zip country name first last birth gender quantity price cost total subtotal tax "
    "discount date time status type channel currency size color percent coupon inventory ticket row".split()
)
IN_GROUPS = r"^\d{2,}([ -]\d{2,})+$"  # a number as it stands on a card
FEW, SOME = 10, 3  # common values that say something: of any form, of long values or named columns
TELLING = 0.3  # share that chance does not explain
LONG = 6  # signs of a value that hardly comes about twice
CLEAR = 0.9  # score of a name that leaves no doubt
DOUBT = 0.03  # of confidence between two files, of which neither is the surer one then
UNIQUE = 0.97  # of the filled values of a key
SPELLINGS = {  # how two files may write one number, as SQL of it
    "": "{}",
    "case": "UPPER({})",
    "leading zeros": "LTRIM({}, '0')",
    "a decimal point": "REGEXP_REPLACE({}, '[.]0+$', '')",
    "blanks and signs": "UPPER(REGEXP_REPLACE({}, '[^0-9A-Za-z]', '', 'g'))",
}


@dataclass(frozen=True)
class Link:
    """A column of one file whose values are those of a column of a file of customers."""

    child: int
    mine: Column
    parent: int
    theirs: Column
    met: Meeting
    confidence: float  # 0 to 1
    why: str
    rivals: tuple[str, ...] = ()  # other files of customers that it meets as well


def linked(meanings: Sequence[Meaning], vocabulary: Vocabulary) -> tuple[list[Meaning], dict[int, int]]:
    """The meanings with the columns that name their customers, and by place of a meaning that of the customers it
    refers to. Customers that files know by another number than their own appear once more, keyed by that.
    """
    found = _with_cards(list(meanings), vocabulary)
    parents = [place for place, meaning in enumerate(found) if meaning.table == CUSTOMERS]
    refers: dict[int, int] = {}
    if not parents:
        return found, refers
    children = [p for p, m in enumerate(found) if m.table != CUSTOMERS and _may_refer(m, vocabulary)]
    links = {child: link for child in children if (link := _best(child, parents, found, vocabulary))}
    for parent in parents:
        _key(parent, [link for link in links.values() if link.parent == parent], found, refers)
    for child in children:
        link = links.get(child)
        found[child] = _referring(found[child], link) if link else _asking(found[child], parents, found, vocabulary)
    return found, refers


def _may_refer(meaning: Meaning, vocabulary: Vocabulary) -> bool:
    table = vocabulary.tables.get(meaning.buyer.table)
    return table is not None and KEY in table.columns


def _best(child: int, parents: Sequence[int], found: Sequence[Meaning], vocabulary: Vocabulary) -> Link | None:
    """The surest link of a file; its own key first, then values as they are, then such as differ in writing."""
    own = found[child].buyer.column(KEY)
    others = [c for c in _free(found[child], vocabulary) if own is None or c.name != own.name]
    for columns, spellings in (([own] if own else [], [""]), (others, [""]), ([*([own] if own else []), *others], [s for s in SPELLINGS if s])):  # fmt: skip  # noqa: E501
        links = [
            link
            for column in columns
            for parent in parents
            for theirs in _keys(found[parent])
            for spelling in spellings
            if (link := _link(child, column, parent, theirs, spelling, found, vocabulary))
        ]
        if links:
            best = max(links, key=lambda link: link.confidence)
            alike = (o for o in links if o.parent != best.parent and best.confidence - o.confidence < DOUBT)
            return replace(best, rivals=tuple(dict.fromkeys(found[o.parent].delivery.path for o in alike)))
    return None


def _link(
    child: int, mine: Column, parent: int, theirs: Column, spelling: str, found: Sequence[Meaning], words: Vocabulary
) -> Link | None:
    one, other = _spelled(mine, spelling), _spelled(theirs, spelling)
    met = meeting(one, other)
    if not met.count or met.most < JOINS:
        return None
    by_name = _speaks_of_people(mine, words) and (_speaks_of_people(theirs, words) or _is_key(found[parent], theirs))
    telling = met.surplus >= TELLING and (
        met.count >= FEW or (met.count >= SOME and float(one.distinct.str.len_chars().min() or 0) >= LONG)  # type: ignore[arg-type]
    )
    if not telling and not (by_name and not spelling):
        return None
    confidence = 0.3 + 0.4 * met.most + 0.2 * min(max(met.surplus, 0) / JOINS, 1.0) + 0.1 * by_name
    said = [
        f"{met.share:.0%} of its values are {theirs.name} of {found[parent].delivery.path}, "
        f"{met.back:.0%} the other way round"
    ]
    said += [f"but for {spelling}"] if spelling else []
    said += [] if telling else ["small or few numbers, which meet by chance as well: the names say it"]
    return Link(child, one, parent, other, met, confidence + _nearness(child, mine, parent, theirs, found), "; ".join(said))  # fmt: skip  # noqa: E501


def _nearness(child: int, mine: Column, parent: int, theirs: Column, found: Sequence[Meaning]) -> float:
    """What speaks for one of several files that a column meets: the same folder, the same name, its key, no address."""
    one, other = (PurePosixPath(found[place].delivery.path).parent for place in (child, parent))
    near = 0.05 * (one == other) + 0.05 * (mine.name.lower() == theirs.name.lower())
    return near + 0.02 * _is_key(found[parent], theirs) - 0.1 * (theirs.is_a("email") == 1.0)


def _is_key(meaning: Meaning, column: Column) -> bool:
    key = meaning.column(KEY)
    return key is not None and key.name == column.name


def _speaks_of_people(column: Column, vocabulary: Vocabulary) -> bool:
    return bool(OF_PEOPLE & set(vocabulary.concepts_of(column.title or column.name)))


def _spelled(column: Column, spelling: str) -> Column:
    if not spelling:
        return column
    text = column.data.cast(column.data.dtype if column.is_text else column.texts.dtype, strict=False)
    data = {
        "case": lambda: text.str.to_uppercase(),
        "leading zeros": lambda: text.str.strip_chars_start("0"),
        "a decimal point": lambda: text.str.replace(r"[.]0+$", ""),
        "blanks and signs": lambda: text.str.replace_all("[^0-9A-Za-z]", "").str.to_uppercase(),
    }[spelling]()
    return Column(column.name, data, title=column.title, form=SPELLINGS[spelling], parts=(column,))


def _free(meaning: Meaning, vocabulary: Vocabulary) -> list[Column]:
    """Columns of a file that may name its customers: ids that nothing else is plainly read from."""
    taken = {
        match.column.name
        for each in (meaning, meaning.buyer)
        for name, match in each.matches.items()
        if match.score >= CLEAR and name not in (KEY, CARD, MAIL)
    }
    return [
        column
        for name, column in meaning.delivery.columns.items()
        if name not in taken and _is_number_of_one(column) and _may_be_of_people(column, vocabulary)
    ]


def _is_number_of_one(column: Column) -> bool:
    if len(column.distinct) < SOME or column.is_nested:
        return False
    return column.is_a("id") == 1.0 or (not column.is_moment and column.share(IN_GROUPS) >= CLEAR)


def _may_be_of_people(column: Column, vocabulary: Vocabulary) -> bool:
    concepts = set(vocabulary.concepts_of(column.title or column.name))
    return bool(concepts & OF_PEOPLE) or not concepts & OF_NOBODY


def _keys(meaning: Meaning) -> list[Column]:
    """Columns of a file of customers that tell them apart where they are filled, its own key first."""
    key = meaning.column(KEY)
    others = [
        column
        for column in meaning.delivery.columns.values()
        if (key is None or column.name != key.name)
        and _is_number_of_one(column)
        and len(column.distinct) >= UNIQUE * len(column.texts)
    ]
    return [*([key] if key is not None else []), *others]


def _key(parent: int, links: Sequence[Link], found: list[Meaning], refers: dict[int, int]) -> None:
    """Settle by which numbers customers are known: their own key where a file refers to it or nothing else is whole;
    each other number that files refer to makes a further source of the same customers.
    """
    meaning = found[parent]
    by_column: dict[tuple[str, str], list[Link]] = {}
    for link in links:
        by_column.setdefault((link.theirs.name, link.theirs.form), []).append(link)
    key = meaning.column(KEY)
    own = (key.name, key.form) if key is not None else ("", "")
    if by_column and own not in by_column:
        first = max(by_column, key=lambda name: (len(by_column[name]), by_column[name][0].confidence))
        theirs = by_column[first][0].theirs
        if key is None or theirs.is_unique or key.name == theirs.name:
            found[parent] = meaning = _keyed(meaning, by_column[first][0])
            own = first
    for name, group in by_column.items():
        place = parent
        if name != own:
            place = len(found)
            found.append(_keyed(replace(meaning, named=f"by_{group[0].theirs.name}"), group[0]))
            if _is_card(group[0].theirs):
                found[parent] = _with(found[parent], CARD, group[0].theirs, "the number that other files know", 0.8)
        refers |= {link.child: place for link in group}


def _keyed(meaning: Meaning, link: Link) -> Meaning:
    there = f"{link.met.back:.0%} of its values are {link.mine.name} in other files"
    made = _with(meaning, KEY, link.theirs, there, link.confidence)
    return _with(made, CARD, link.theirs, there, link.confidence) if _is_card(link.theirs) else made


def _is_card(column: Column) -> bool:
    """Whether a number is nobody's address, which people share and change."""
    return column.is_a("email") < 1.0 and not column.name.lower().startswith(("phone", "mobile", "tel"))


def _with(meaning: Meaning, key: str, column: Column, why: str, score: float) -> Meaning:
    return replace(meaning, matches={**meaning.matches, key: Match(column, min(score, 0.99), why)})


def _referring(meaning: Meaning, link: Link) -> Meaning:
    buyer = meaning.buyer
    rest = {name: match for name, match in buyer.matches.items() if match.column.name != link.mine.name}
    made = _with(replace(buyer, matches=rest), KEY, link.mine, link.why, link.confidence)
    if link.rivals:
        text = f"CUSTOMER_ID: {link.mine.name} meets {', '.join(link.rivals)} as well; whose numbers are these?"
        made, meaning = (replace(each, asks=(*each.asks, text)) for each in (made, meaning))
    return replace(meaning, head=made, refers=True) if meaning.head else replace(made, refers=True)


def _asking(meaning: Meaning, parents: Sequence[int], found: Sequence[Meaning], vocabulary: Vocabulary) -> Meaning:
    """A question for a file that meets no file of customers: by its key, else by what looks like one."""
    files = ", ".join(dict.fromkeys(found[place].delivery.path for place in parents))
    own = meaning.buyer.column(KEY)
    if own is not None:
        if not len(own.distinct):
            return meaning
        text = f"CUSTOMER_ID: hardly a value of {own.name} is in {files}; whose numbers are these?"
    elif shown := [c.name for c in _free(meaning, vocabulary) if _looks_like_one(c, vocabulary)][:3]:
        names = ", ".join(shown)
        text = f"CUSTOMER_ID: {names} looks like the number of a customer, and its values are in none of {files}"
    else:
        text = f"CUSTOMER_ID: no column meets {files}: rows are of guests until one is mapped"
    return replace(meaning, asks=(*meaning.asks, text))


def _looks_like_one(column: Column, vocabulary: Vocabulary) -> bool:
    """Named after customers or cards, or long numbers that come again as buyers do."""
    if _speaks_of_people(column, vocabulary):
        return True
    distinct, filled = len(column.distinct), len(column.texts)
    is_long = float(column.distinct.str.len_chars().mean() or 0) >= LONG  # type: ignore[arg-type]
    return is_long and filled >= FEW and 0.02 * filled < distinct < 0.9 * filled


def _with_cards(found: list[Meaning], vocabulary: Vocabulary) -> list[Meaning]:
    """Files of customers of which some hold the number that others know them by, such as that of a loyalty card."""
    places = [place for place, meaning in enumerate(found) if meaning.table == CUSTOMERS]
    for at, one in enumerate(places):
        for other in places[at + 1 :]:
            pairs = [
                (met.most, mine, theirs)
                for mine in _keys(found[one])
                for theirs in _keys(found[other])
                if not (_is_key(found[one], mine) and _is_key(found[other], theirs))
                and _is_card(mine) and _is_card(theirs)
                and (met := meeting(mine, theirs)).most >= TELLING and met.surplus >= TELLING and met.count >= FEW
            ]  # fmt: skip
            if pairs:
                share, mine, theirs = max(pairs, key=lambda pair: pair[0])
                for place, column, there in ((one, mine, other), (other, theirs, one)):
                    why = f"{share:.0%} of the numbers are also in {found[there].delivery.path}"
                    found[place] = _with(found[place], CARD, column, why, 0.5 + share / 2)
    return found
