"""What names a person in raw data, for erasure."""

from __future__ import annotations

from functools import partial

import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.batch import kept
from customer360.models.identity.organisations.mentions import MENTION, is_mention
from customer360.models.identity.rules import IdentityRules
from customer360.platform import graph, tables
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.privacy import SHORTEST_PHONE, Identifiers, cleaned

MOST_UNNAMED = 10  # rows that name nobody under a handle, for one that names its owner
FEW_UNNAMED = 50  # which one may have however few name it: more may be of many who were given one handle


class UnknownPerson(Customer360Error):
    """No person has this id."""


def person_of(lake: Lake, person_id: str, rules: IdentityRules) -> str:
    """The current id of the person that an id, current or former, leads to.

    Raises:
        UnknownPerson: the registry never gave it, or its person was erased.
        AmbiguousId: its records are several persons' now; they are named.
    """
    stored = registry.load(lake, rules.ids.seed)
    if not stored.registry.commit:
        return person_id
    try:
        return stored.owner(person_id)
    except registry.UnknownId:
        raise UnknownPerson(f"no person {person_id} in {lake.root}; erased already, or never resolved") from None


def is_followed(lake: Lake, person_id: str, rules: IdentityRules) -> bool:
    """Whether the tables hold a current person's records as the registry does: a run has followed every decision."""
    stored = registry.load(lake, rules.ids.seed)
    if not stored.registry.commit:
        return True
    mine = stored.assignments.filter(~is_mention(), pl.col("person_id") == person_id)["record_id"]
    held = lake.scan("silver.identities").select("record_id", "person_id").collect()
    ids = held.filter(pl.col("record_id").is_in(mine.implode()))["person_id"]
    same = held.filter((pl.col("person_id") == person_id) | pl.col("person_id").is_in(ids.implode()))
    return set(same["person_id"]) <= {person_id} and set(same["record_id"]) == set(mine)


def accounts_of(lake: Lake, person_id: str) -> set[str]:
    """Accounts ("SYSTEM/id") of a current person.

    Raises:
        UnknownPerson: the id is in no current identity.
    """
    everyone = lake.scan("silver.identities").select("record_id", "person_id")
    mine = set(everyone.filter(pl.col("person_id") == person_id).collect()["record_id"])
    if not mine:
        raise UnknownPerson(f"no person {person_id} in {lake.root}; erased already, or never resolved")
    return mine


def identifiers_of(lake: Lake, person_id: str) -> Identifiers:
    """Accounts and the firms that they name, devices that no one else used, contact values that no one else has, and
    the facts of the person.

    Raises:
        UnknownPerson: the id is in no current identity.
    """
    mine = accounts_of(lake, person_id)
    links = (
        lake.scan("silver.identity_links")
        .filter(pl.col("kind") == "visitor")
        .select("identifier", "person_id")
        .collect()
    )
    devices = set(links.filter(pl.col("person_id") == person_id)["identifier"])
    devices -= set(links.filter(pl.col("person_id") != person_id)["identifier"])
    # Older editions may hold the person under any id that its accounts ever had and no other's has now.
    held = registry.memberships(lake).select("record_id", "person_id", "valid_to")
    mine |= {record for record in held["record_id"] if record.removesuffix(MENTION) in mine}
    own, others = held.filter(is_own := pl.col("record_id").is_in(list(mine))), held.filter(~is_own)
    persons = {person_id, *own["person_id"]} - set(others.filter(pl.col("valid_to").is_null())["person_id"])
    addresses, common = _addresses_and_common(lake, mine)
    handles, signed, shared = _handles(lake, mine)
    facts = _facts(lake, person_id)
    return Identifiers(
        accounts=frozenset(mine),
        devices=frozenset(devices),
        texts=_contacts(lake, mine),
        facts=facts | {name: facts.get(name, frozenset()) | keys for name, keys in signed.items()},
        persons=frozenset(persons),
        shared=frozenset(persons & set(others["person_id"])),
        names=_names(lake, mine),
        addresses=addresses,
        handles=handles,
        common=common | ({"handle": shared} if shared else {}),
    )


def renewed(lake: Lake, person_id: str, begun: Identifiers, rules: IdentityRules) -> Identifiers:
    """What named a person when its erasure began, with what came since: runs land on while one that was cut short, or
    found another run under way, waits. As it was, where the id leads to nobody any more, or to several, or where no run
    has followed a decision on its records; what a decision has given to somebody else since is no longer in it."""
    try:
        current = person_of(lake, person_id, rules)
        if not is_followed(lake, current, rules):
            return begun
        now = identifiers_of(lake, current)
    except (UnknownPerson, registry.AmbiguousId):
        return begun
    owners = registry.load(lake, rules.ids.seed).assignments.filter(~is_mention(), pl.col("person_id") != current)
    is_parted = not begun.accounts.isdisjoint(owners["record_id"])  # what was noted by it is somebody else's now
    return now if is_parted else begun.with_more(now)


def forget(lake: Lake, who: Identifiers, rules: IdentityRules) -> dict[str, int]:
    """Take an erased person's names out of the registry, what stewards wrote about it, and kept evidence; events and
    decisions keep numbers that name nobody. Rows by table."""
    kept.discard(lake)
    stored = registry.load(lake, rules.ids.seed)
    return registry.forget(stored, who.accounts, cause="erasure", clean=partial(cleaned, who=who))


def _contacts(lake: Lake, mine: set[str]) -> frozenset[str]:
    """E-mail addresses and phone numbers of these accounts alone, from every version that was ever delivered."""
    found: set[str] = set()
    for column in ("EMAIL_ADDRESS", "PHONE_NUMBER"):
        own, others = _own_and_alike(lake, mine, column, {"alike": _spelt_alike(column)})
        found |= set(own.join(others, on="alike", how="anti")[column])
    return frozenset(found)


def _spelt_alike(column: str) -> pl.Expr:
    """What all spellings of an e-mail address or a phone number share; of a long number its national part."""
    plain = pl.col(column).str.strip_chars().str.to_lowercase()
    digits = pl.col(column).str.replace_all(r"\D", "")
    is_whole = plain.str.contains("@", literal=True) | (digits.str.len_chars() < SHORTEST_PHONE)
    return pl.when(is_whole).then(plain).otherwise(digits.str.tail(10))


def _names(lake: Lake, mine: set[str]) -> frozenset[tuple[str, str]]:
    """First and last names that stand together in these accounts alone, from every version that was ever delivered."""
    names = {c: pl.col(c).str.strip_chars().str.to_lowercase() for c in ("LAST_NAME", "FIRST_NAME")}
    own, others = _own_and_alike(lake, mine, "LAST_NAME", names)
    found = own.join(others, on=list(names), how="anti").select("FIRST_NAME", "LAST_NAME").rows()
    return frozenset((first, last) for first, last in found if len(first) > 1 and len(last) > 1)


def _own_and_alike(
    lake: Lake, mine: set[str], column: str, said: dict[str, pl.Expr]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What these accounts say in a column, with what is ``said`` by it, and what others say whose first word of that is
    one of theirs: of a million others a few."""
    account = pl.concat_str("_source_system", "CUSTOMER_ID", separator="/")
    rows = lake.scan("bronze.customers").select(**({column: pl.col(column)} | said), account=account).drop_nulls()
    own = rows.filter(pl.col("account").is_in(list(mine))).collect()
    first = next(iter(said))
    alike = pl.col(first).is_in(own[first].unique().implode()) & ~pl.col("account").is_in(list(mine))
    return own, rows.filter(alike).select(list(said)).unique().collect()


def _handles(lake: Lake, mine: set[str]) -> tuple[frozenset[str], dict[str, frozenset[str]], int]:
    """Handles with which these accounts alone sign; the keys of rows without an account that are signed with one, by
    bronze table: they are the person's, too; and how many more handles they sign with that are not theirs alone.

    Of a handle under which far more rows name nobody than name them nobody knows whose those are, as of a name that a
    platform gives to all whom it forgot.
    """
    named = {name: _signed_rows(lake, name, table) for name, table in tables.TABLES.items()}
    signed = {name: rows for name, rows in named.items() if rows is not None}
    is_mine = pl.col("account").is_in(list(mine))
    used = {handle for rows in signed.values() for handle in rows.filter(is_mine).collect()["handle"].unique()}
    if not used:
        return frozenset(), {}, 0
    near = {name: rows.filter(pl.col("handle").is_in(list(used))) for name, rows in signed.items()}
    counts = pl.concat(
        rows.group_by("handle").agg(
            mine=is_mine.sum(), others=(~is_mine).sum(), nobodys=pl.col("account").is_null().sum()
        ) for rows in near.values()
    ).group_by("handle").sum()  # fmt: skip
    is_theirs = (pl.col("others") == 0) & (
        pl.col("nobodys") <= pl.max_horizontal(MOST_UNNAMED * pl.col("mine"), FEW_UNNAMED)
    )
    alone = set(counts.filter(is_theirs).collect()["handle"])
    unnamed = pl.col("account").is_null() & pl.col("handle").is_in(list(alone))
    keys = {name: frozenset(rows.filter(unnamed).collect()["key"].drop_nulls()) for name, rows in near.items()}
    return frozenset(alone), keys, len(used - alone)


def _signed_rows(lake: Lake, name: str, table: type[tables.Table]) -> pl.LazyFrame | None:
    """Account, key and handle of the rows of a bronze table that somebody signed; None where there are none."""
    if tables.spec(table).layer != "bronze" or not (signed := tables.signed(table)) or not lake.exists(name):
        return None
    return lake.scan(name).select(
        account=pl.concat_str("_source_system", "CUSTOMER_ID", separator="/"),
        key=pl.concat_str("_source_system", *tables.spec(table).key, separator="/"),
        handle=pl.concat_str("_source_system", pl.coalesce(*signed.values()), separator="/"),
    ).drop_nulls("handle")  # fmt: skip


def _addresses_and_common(lake: Lake, mine: set[str]) -> tuple[frozenset[str], dict[str, int]]:
    """First lines of addresses of these accounts alone; and how many of their contacts, names, addresses and account
    numbers others have, too."""
    account = pl.concat_str("_source_system", "CUSTOMER_ID", separator="/")
    columns = {"e-mail": ["EMAIL_ADDRESS"], "phone": ["PHONE_NUMBER"], "name": ["FIRST_NAME", "LAST_NAME"],
               "address": ["ADDRESS_LINE_1"], "account": ["CUSTOMER_ID"]}  # fmt: skip
    texts = sorted({c for names in columns.values() for c in names})
    plain = (pl.col(c).str.strip_chars().str.to_lowercase() for c in texts)
    rows = lake.scan("bronze.customers").select(*plain, line="ADDRESS_LINE_1", account=account)
    is_mine = pl.col("account").is_in(list(mine)).fill_null(False)
    own = rows.filter(is_mine).collect()
    is_near = pl.any_horizontal(pl.col(c).is_in(own[c].drop_nulls().unique().implode()) for c in texts)
    others = rows.filter(~is_mine & pl.col("account").is_not_null() & is_near).select(texts).unique().collect()
    shared = {
        kind: own.select(names).drop_nulls().unique().join(others, on=names, how="semi")
        for kind, names in columns.items()
    }
    alone = own.drop_nulls("ADDRESS_LINE_1").join(shared["address"], on="ADDRESS_LINE_1", how="anti")
    return frozenset(alone["line"]), {kind: found.height for kind, found in shared.items() if found.height}


def _facts(lake: Lake, person_id: str) -> dict[str, frozenset[str]]:
    """Keys of the bronze rows that silver attributes to the person, by table.

    On a device that others use too, a fact without login is the person's by its time alone. Were it left, the next
    resolution would give it to one of the others.
    """
    found = {}
    for node in graph.NODES.values():
        if node.records and "person_id" in node.table.columns() and lake.exists(node.name):
            key = [c.lower() for c in tables.spec(tables.by_name(node.records)).key]
            rows = lake.scan(node.name)
            facts = [rows.filter(pl.col("person_id") == person_id)]
            facts += [_of_group(rows, group, lake, person_id) for group in _groups_of(node) if lake.exists(group.name)]
            named = pl.concat(f.select(pl.concat_str("source_system", *key, separator="/")) for f in facts)
            found[node.records] = frozenset(named.collect().to_series())
    return found


def _groups_of(records: graph.Node) -> list[graph.Node]:
    """Tables that put rows of a record node together and may know whose they are where no row says so itself, as a
    payment that names nobody is the buyer's of its receipt."""
    columns = set(records.table.columns())
    return [
        node
        for node in graph.NODES.values()
        if not node.is_producer and not node.records and records.name in node.inputs and node.name.startswith("silver.")
        and "person_id" in node.table.columns() and not {"person_id", "subject_id"} & set(node.table.primary_key())
        and columns.issuperset(node.table.primary_key())
    ]  # fmt: skip


def _of_group(rows: pl.LazyFrame, group: graph.Node, lake: Lake, person_id: str) -> pl.LazyFrame:
    """Rows that are the person's by their group, and by themselves nobody else's."""
    mine = lake.scan(group.name).filter(pl.col("person_id") == person_id)
    nobodys = rows.filter(pl.col("person_id").is_null())
    return nobodys.join(mine, on=group.table.primary_key(), how="semi")
