"""A relation of PostgreSQL whose changes are followed: what its log tells of old rows, and its rows as they are now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from customer360.platform.connections.databases import Rows, Session
from customer360.platform.errors import SourceError
from customer360.platform.sources.protocols.changes.pgoutput import Change

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
ASKED = 1_000  # rows that one statement looks up
_PARTS = re.compile(r'"([^"]+)"|([^."]+)')


@dataclass(frozen=True)
class Shape:
    """Columns of a relation with their types, in its order. ``key`` are those that tell its rows apart: the primary
    key, else what the log tells of an old row. ``identity`` is its replica identity, ``told`` the columns of that.
    """

    columns: dict[str, str]
    key: tuple[str, ...] = ()
    identity: str = "d"
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """A relation by its schema and name, as they are spelt in the database."""

    schema: str
    table: str

    @classmethod
    def named(cls, text: str) -> Relation:
        """``name`` or ``schema.name``; a part in double quotes may hold dots."""
        *schema, table = (quoted or plain for quoted, plain in _PARTS.findall(text))
        return cls(".".join(schema) or "public", table)

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def quoted(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.table)}"

    @property
    def plain(self) -> str:
        """As a person writes it in SQL: in quotes only where it needs them."""
        return ".".join(p if _PLAIN.fullmatch(p) else identifier(p) for p in (self.schema, self.table))

    @property
    def rows(self) -> Rows:
        return Rows(f'"{self.schema}"."{self.table}"')

    def shape(self, session: Session) -> Shape:
        """Its columns and what tells its rows apart; no columns where there is no such relation."""
        of = "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY(i.indkey) AND i.{})"
        query = (
            "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS kind, "
            f"c.relreplident::text AS identity, {of.format('indisprimary')} AS of_key, "
            f"{of.format('indisreplident')} AS of_identity FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid "
            f"WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname = {literal(self.schema)} "
            f"AND c.relname = {literal(self.table)} ORDER BY a.attnum"
        )
        found = session.answer(Rows(query=query).select())
        columns = {name: kind for name, kind, *_ in found}
        primary = tuple(name for name, _, _, is_key, _ in found if is_key)
        identity = found[0][2] if found else "d"
        by_index = tuple(name for name, *_, is_told in found if is_told)
        told = {"f": tuple(columns), "i": by_index, "n": ()}.get(identity, primary)
        return Shape(columns, primary or told, identity, told)

    def check(self, shape: Shape) -> None:
        """Raises SourceError where an update or a deletion does not tell of which row it is."""
        if not shape.key:
            raise SourceError(
                f"{self.name} has no primary key, so that its updates and deletions do not tell their row: "
                f"ALTER TABLE {self.plain} ADD PRIMARY KEY (…)"
            )
        if missing := [name for name in shape.key if name not in shape.told]:
            raise SourceError(
                f"the replica identity of {self.name} does not tell {', '.join(missing)} of its primary key: "
                f"ALTER TABLE {self.plain} REPLICA IDENTITY DEFAULT"
            )

    def filled(self, session: Session, shape: Shape, changes: Sequence[Change]) -> list[Change]:
        """Changes with the values that were not sent, as the rows of their keys hold them now; null where a row or a
        column is gone since, of which a later change tells.
        """
        done = list(changes)
        lacking = [place for place, change in enumerate(changes) if change.unsent]
        for start in range(0, len(lacking), ASKED):
            places = lacking[start : start + ASKED]
            wanted = list(dict.fromkeys(name for place in places for name in changes[place].unsent))
            held = self._now(session, shape, {place: changes[place] for place in places}, wanted)
            for place in places:
                values = dict(zip(wanted, held.get(place, [None] * len(wanted)), strict=True))
                change = changes[place]
                new = {**(change.new or {}), **{name: values[name] for name in change.unsent}}
                done[place] = replace(change, new=new)
        return done

    def _now(
        self, session: Session, shape: Shape, changes: dict[int, Change], wanted: list[str]
    ) -> dict[int, list[str | None]]:
        """Columns of the rows with the keys of some changes, by their places."""
        keys = [f"k{number}" for number in range(len(shape.key))]
        values = ", ".join(
            f"({place}, {', '.join(literal((change.new or {}).get(name)) for name in shape.key)})"
            for place, change in changes.items()
        )
        columns = ", ".join(
            f"r.{identifier(name)}::text AS c{number}" if name in shape.columns else f"NULL::text AS c{number}"
            for number, name in enumerate(wanted)
        )
        same = " AND ".join(
            f"r.{identifier(name)} = CAST(v.{key} AS {shape.columns[name]})"
            for key, name in zip(keys, shape.key, strict=True)
        )
        query = (
            f"SELECT v.place, {columns} FROM (VALUES {values}) AS v(place, {', '.join(keys)}) "
            f"JOIN {self.quoted} r ON {same}"
        )
        return {place: list(found) for place, *found in session.answer(Rows(query=query).select())}


def literal(text: str | None) -> str:
    """A text as SQL, whatever signs are in it."""
    return "NULL::text" if text is None else f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
