"""Table: the contract of one lake table, declared once.

A contract is a dataframely schema plus what a lake needs to know: the table's name, its grain, how it is stored and
which columns hold personal data. Everything else is derived from it: Delta schema, casting, validation with reasons,
warehouse DDL, catalogue page, sample rows, masking and erasure.

    class Sessions(Table, table="silver.sessions", per="subject_id"):
        '''One row per visit of one visitor.'''
        session_id = String(primary_key=True)
        started_at = Timestamp()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import dataframely as dy
import polars as pl

from customer360.platform.errors import ContractError
from customer360.platform.evolution import Mode, SchemaContract

String, Integer, Boolean, Float, Date, List, Struct, Binary, Column = (
    dy.String, dy.Int64, dy.Bool, dy.Float64, dy.Date, dy.List, dy.Struct, dy.Binary, dy.Column,
)  # fmt: skip

Erasure = Literal["delete", "anonymize", "none"]
SUBJECT_KEYS = ("subject_id", "person_id")  # co-located: a known subject's id is its person's id
ROW = "row__"
LIVES_ON = "lives_on__"  # column that ``Spec.settle`` gives: whether an older version is part of the current row

# What ingest adds to every bronze row: where it came from and what did not fit the contract.
BRONZE_METADATA: dict[str, pl.DataType] = {
    "_source": pl.String(),  # name of the configured source
    "_source_system": pl.String(),  # namespace of its identifiers, e.g. POS
    "_seq": pl.Int64(),  # batch number within the source
    "_file": pl.String(),
    "_position": pl.Int64(),  # 1-based record number in the file; of an element: that times 1e9, and its number
    "_ingested_at": pl.Datetime("us", "UTC"),
    "_rescued": pl.String(),  # JSON: unknown columns and values that did not cast
    "_replay_of": pl.String(),  # source/seq/file/position of the row that this one corrects
    "_deleted": pl.Boolean(),  # the source says that the key is gone as of this row; null: no
    "_restates": pl.Boolean(),  # stands for all earlier rows of its key and source, whatever their version; null: no
}


LANDED = "_ingested_at"  # when the batch of a row was made


def Money(**options: Any) -> dy.Decimal:
    """An amount of money with two decimals."""
    return dy.Decimal(12, 2, **options)


def Total(**options: Any) -> dy.Decimal:
    """A sum of many amounts of money: a shop's month in a currency of small units has more digits than any receipt."""
    return dy.Decimal(18, 2, **options)


READS = "reads"  # column metadata: how a text is read, beside its type
LONGEST_ID = 1000  # no identifier, but a document that slipped into its column


def Identifier(**options: Any) -> dy.String:
    """Text that joins tables: an id, code or number of something. Systems make them of any length and form."""
    return _read_as("id", LONGEST_ID, **options)


NUMBERED = "numbered_within"  # column metadata, see `numbered_within`


def numbered_within(column: str) -> dict[str, str]:
    """Column metadata: where a source has no such column, rows are numbered by their order within one of ``column``."""
    return {NUMBERED: column}


def Country(**options: Any) -> dy.String:
    """A country by its ISO 3166 code of three letters; files may write any code or English name."""
    return _read_as("country", 3, **options)


def State(**options: Any) -> dy.String:
    """A state or region: of America by its code of two letters, of other countries as the source writes it."""
    return _read_as("state", 100, **options)


def Currency(**options: Any) -> dy.String:
    """A currency by its ISO 4217 code; files may write code, number, English name or sign."""
    return _read_as("currency", 3, **options)


def _read_as(reader: str, longest: int, metadata: dict[str, str] | None = None, **options: Any) -> dy.String:
    return dy.String(max_length=longest, metadata={**(metadata or {}), READS: reader}, **options)


def Timestamp(**options: Any) -> dy.Datetime:
    """A UTC instant with microseconds."""
    return dy.Datetime(time_zone="UTC", time_unit="us", **options)


class OneOf(dy.String):
    """Text limited to declared values; another value breaks the rule ``one_of``."""

    def __init__(
        self,
        *values: str,
        nullable: bool = False,
        primary_key: bool = False,
        alias: str | None = None,
        metadata: dict[str, Any] | None = None,
        description: str | None = None,
    ) -> None:  # named one by one: dataframely prints and compares a column by the parameters of its constructor
        self.values = list(values)
        own = {**(metadata or {}), "values": self.values}
        super().__init__(nullable=nullable, primary_key=primary_key, alias=alias, metadata=own, description=description)

    def validation_rules(self, expr: pl.Expr) -> dict[str, pl.Expr]:
        return super().validation_rules(expr) | {"one_of": expr.is_in(self.values)}

    def _sample_unchecked(self, generator: dy.random.Generator, n: int) -> pl.Series:
        return generator.sample_choice(n, choices=self.values, null_probability=self._null_probability)


WITHIN = "pii_within"  # column metadata, see `personal`


def personal(kind: str, within: str | None = None) -> dict[str, str]:
    """Column metadata that marks personal data, by kind; ``within`` names the column within whose values it tells one
    from another, as a handle does on its platform.

    Kinds: name, email, phone, address, birth, person (what else is known of one: gender, income, interests), account,
    handle (of an account elsewhere, chosen by its owner), device, agent (what a browser says of itself) and text (free
    text, or raw data that may hold any of these).
    """
    return {"pii": kind} | ({} if within is None else {WITHIN: within})


QUASI = "quasi"  # column metadata, see `quasi`


def quasi(kind: Literal["age", "code", "day", "name"]) -> dict[str, str]:
    """Column metadata of what an outsider may know of somebody beside the name, by how it is generalized for analysts
    (`platform.anonymity`): a birth date to an age, a code to its first characters, a day to its month, a name of few
    kinds to any."""
    return {QUASI: kind}


# What versions of a record mean beyond "the newest counts". Takes all rows of keys that came more than once, in order,
# and the columns of the key; returns the same rows in the same order, where the newest row of each source may have
# other values, and LIVES_ON says which rows gave them.
Settle = Callable[[pl.DataFrame, list[str]], pl.DataFrame]

# Rows of a bronze table that no age takes away, told from all that are stored of it.
Lasting = Callable[[pl.LazyFrame], pl.Expr]


@dataclass(frozen=True)
class Series:
    """Rows of a bronze table each of which holds until the next one of its series begins, in the time of the table's
    own (the first of ``past``, else ``version``)."""

    of: tuple[str, ...]  # columns that rows of one series share, beside the source system
    ends: str | None = None  # column that says when a row is over by itself
    resumes: bool = False  # whether what was before such a row holds again when it is over


@dataclass(frozen=True)
class Spec:
    """What a lake needs to know about a table beside its columns."""

    name: str
    per: str | None  # grain: rows of one value are built together, so that a build may go part by part
    key: tuple[str, ...]  # natural key of a record table, for deduplication
    version: str | None  # column that orders versions of one key
    past: tuple[str, ...]  # columns of a bronze table that say when something happened, the row's own time first
    partition_by: tuple[str, ...]  # Delta partition columns beside `bucket`
    bucketed: bool
    sort_by: tuple[str, ...]
    erasure: Erasure
    settle: Settle | None = None
    serves: str | None = None  # purpose of its rows, or of its columns where some are kept; see `platform.purposes`
    kept: tuple[str, ...] = ()  # columns that stay where the purpose is refused; none: the row goes
    lasting: Lasting | None = None  # see `platform.retention`
    holds: Series | None = None  # of a bronze table whose rows say what holds from a moment on
    schema_contract: SchemaContract = field(
        default_factory=SchemaContract
    )  # of sources that say none themselves, and of its own types
    card_data: bool = False  # its sources may bring numbers of payment cards; see `platform.sources.cards`

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def names_times(self) -> bool:
        """Whether its rows are judged by when they landed."""
        return bool(self.past or self.version)

    @property
    def is_dated(self) -> bool:
        """Whether the table keeps one edition an as_of date."""
        return "as_of" in self.partition_by


TABLES: dict[str, type[Table]] = {}


class Table(dy.Schema):
    """Base of all contracts; see the module's docstring. ``serves`` names the purpose that its rows or columns serve
    (`platform.purposes`); a base without a name says it for the columns that it lends.
    """

    def __init_subclass__(
        cls,
        *,
        table: str | None = None,
        per: str | None = None,
        key: tuple[str, ...] = (),
        version: str | None = None,
        past: tuple[str, ...] = (),
        partition_by: tuple[str, ...] = (),
        sort_by: tuple[str, ...] = (),
        erasure: Erasure = "delete",
        settle: Settle | None = None,
        bucketed: bool | None = None,
        serves: str | None = None,
        kept: tuple[str, ...] = (),
        lasting: Lasting | None = None,
        holds: Series | None = None,
        schema_contract: Mode | dict[str, Mode] | SchemaContract = "evolve",
        card_data: bool = False,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        cls.__serves__ = serves
        if table is None:
            return
        declared = TABLES.get(table)
        if declared is not None and (declared.__module__, declared.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ContractError(f"{table} is declared twice: {declared.__module__} and {cls.__module__}")
        if bucketed is None:
            bucketed = per in SUBJECT_KEYS or "subject_id" in cls.columns()
        if table.startswith("bronze."):
            partition_by = ("_source", *partition_by)  # ingest writes, replaces and erases by source
        cls.__c360__ = Spec(
            table, per, key, version, past, partition_by, bucketed, sort_by, erasure, settle, serves, kept, lasting,
            holds, SchemaContract.model_validate(schema_contract), card_data,
        )  # fmt: skip
        TABLES[table] = cls

    @classmethod
    def columns(cls) -> dict[str, dy.Column]:
        return _columns_of(cls)  # type: ignore[arg-type]  # a class is hashable


@cache  # dataframely tells each column its name again each time, which a run asks for a thousand times
def _columns_of(table: type[Table]) -> dict[str, dy.Column]:
    return dict(dy.Schema.columns.__func__(table))


def spec(table: type[Table]) -> Spec:
    """The declaration of a table class."""
    return _spec_of(table)  # type: ignore[arg-type]  # a class is hashable


@cache  # to ask a dataframely class for an attribute runs Python, and each run asks ten thousand times
def _spec_of(table: type[Table]) -> Spec:
    declared: Spec | None = getattr(table, "__c360__", None)
    if declared is None:
        raise ContractError(f"{table.__name__} declares no table name: class X(Table, table='layer.name')")
    return declared


def by_name(name: str) -> type[Table]:
    """The contract of ``layer.name``; names the nearest ones when it is unknown."""
    import difflib

    if name in TABLES:
        return TABLES[name]
    near = difflib.get_close_matches(name, TABLES, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    if not TABLES:
        hint = ": no module of tables was imported, `compose()` imports them"
    raise ContractError(f"there is no table {name!r}{hint}")


def schema(table: type[Table]) -> dict[str, pl.DataType]:
    """Column names and Polars types as stored, bronze metadata included."""
    return dict(_schema_of(table))  # type: ignore[arg-type]  # a class is hashable


@cache
def _schema_of(table: type[Table]) -> dict[str, pl.DataType]:
    columns = {name: column.dtype for name, column in table.columns().items()}
    return columns | BRONZE_METADATA if spec(table).layer == "bronze" else columns


def pii_columns(table: type[Table]) -> dict[str, str]:
    """Column name to kind of personal data."""
    return dict(_pii_of(table))  # type: ignore[arg-type]  # a class is hashable


@cache
def _pii_of(table: type[Table]) -> dict[str, str]:
    return {n: c.metadata["pii"] for n, c in table.columns().items() if c.metadata and "pii" in c.metadata}


# Handles that name nobody: no letter or digit at all, or nothing but such words ("[deleted]", "Instagram user").
_NOBODY = r"""(?x)^[\W_]*(?:an?[\W_]+)?(?:(?:n/a|匿名(?:用户|用戶|ユーザー)?|익명|admin|administrator|moderator|test
 |tester|shopper|purchaser|verificado|verificada|verifiziert|verifizierter|vérifié|käufer|käuferin|kundin
 |kund|acheteur|cliente|comprador|compradora|acquirente|klant|koper|аноним|анонимно|гость|пользователь|покупатель|клиент
 |ebay|kindle|tripadvisor|yelp|shopify|etsy|walmart
 |deleted|removed|erased|deactivated|suspended|hidden|private|former|inactive
 |verified|unknown|unnamed|nobody|none|null|nil|na|undefined|anonymous|anonymized|anonymised|anon|anonym|anonyme|anonimo|anónimo
 |anoniem|gelöscht|gelöschter|gast|guest|invité|user|username|customer|buyer|client|visitor|member|reviewer|author|account
 |benutzer|nutzer|kunde|utilisateur|usuario|utente|gebruiker|instagram|facebook|reddit|google|amazon|tiktok|youtube|twitter
 |trustpilot)(?:[\W_]+|$))*$"""


def signed(table: type[Table]) -> dict[str, pl.Expr]:
    """By column of kind handle of a bronze table: the handle with the system and the place where it tells somebody;
    null where there is none, or one that stands for anybody, as of users whom the platform forgot."""
    columns = table.columns()
    found: dict[str, pl.Expr] = {}
    for name in (n for n, kind in pii_columns(table).items() if kind == "handle"):
        within = (columns[name].metadata or {}).get(WITHIN)
        place = pl.lit("") if within is None else pl.col(within).fill_null("").str.to_lowercase()
        handle = pl.col(name).str.strip_chars().str.to_lowercase()
        found[name] = pl.when(tells_somebody(name)).then(pl.concat_str(place, handle, separator="/"))
    return found


def tells_somebody(handle: str) -> pl.Expr:
    """Whether a column's handle is somebody's, and does not stand for anybody ("[deleted]", "Instagram user")."""
    return ~pl.col(handle).str.strip_chars().str.to_lowercase().str.contains(_NOBODY)


def quasi_columns(table: type[Table]) -> dict[str, str]:
    """Column name to kind of quasi-identifier."""
    return {n: c.metadata[QUASI] for n, c in table.columns().items() if c.metadata and QUASI in c.metadata}


def is_ahead(column: str, margin: timedelta) -> pl.Expr:
    """Whether a time of a bronze row lies more than the margin after its landing; false where either is unknown."""
    at = pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return (at > pl.col(LANDED) + margin).fill_null(False)


def summary(table: type[Table]) -> str:
    """First sentences of the contract's docstring, up to a blank line: the grain, in words."""
    return " ".join((table.__doc__ or "").strip().split("\n\n")[0].split())


def conform(table: type[Table], frame: pl.LazyFrame) -> pl.LazyFrame:
    """Order and cast a build's output to its contract.

    Raises:
        ContractError: a column is missing or unknown; both are named.
    """
    have, want = frame.collect_schema(), schema(table)
    missing, unknown = [c for c in want if c not in have], [c for c in have if c not in want]
    if missing or unknown:
        raise ContractError(f"{spec(table).name}: missing columns {missing}, unknown columns {unknown}")
    return frame.select(pl.col(c).cast(t) for c, t in want.items())


def sample(table: type[Table], rows: int, seed: int = 0) -> pl.DataFrame:
    """Random rows that keep the contract's own rules; for tests and documentation."""
    return table.sample(rows, generator=dy.random.Generator(seed))
