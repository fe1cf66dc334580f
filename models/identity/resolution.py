"""Persons of a file of customer records: a batch into nobody, resolved as a lake's batches are (`batch.incremental`).
Records of organisations are told from theirs and resolved among themselves (`organisations`): no firm is a person.

Deterministic: the same records, rules and links give the same persons and edges bit for bit, in any row order.
"""

from dataclasses import dataclass, field

import polars as pl

from customer360.models.identity.batch.incremental import Resolved, resolve_batch
from customer360.models.identity.batch.pins import pinned
from customer360.models.identity.batch.state import EDGES, State, key_columns
from customer360.models.identity.evidence.features import IdentityInputError, proposed_pairs
from customer360.models.identity.organisations.resolution import Organisations, resolve_organisations
from customer360.models.identity.organisations.telling import ENTITY, NAME, PERSON, SITE, with_entities
from customer360.models.identity.phases import timed
from customer360.models.identity.registry.decisions import Links, must_links
from customer360.models.identity.registry.ids import ids_without_registry
from customer360.models.identity.registry.seals import in_order
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.spill import spilling
from customer360.models.identity.threads import by_rows
from customer360.models.identity.weighing.model import IdentityModel, IdentityModelError
from customer360.platform.run.executor import Executor


@dataclass(frozen=True)
class Resolution:
    """`assignments`: per record (record_id, cluster_key, person_id), sorted by record_id. `edges`: per scored or
    linked pair (record_id_l, record_id_r, match_weight, match_probability, match_key, decision, reason, evidence),
    sorted; weight and probability are null for a linked pair that was not scored. `seconds`: per phase. `dropped`: per
    block key the values that too many records share. `organisations`: where records name any, (record_id,
    organisation_id) of these records, of a person the organisation that the record has beside the name. Ids of
    organisations start with o, and are the `person_id` of a record that is one itself; of a file of sites that is the
    site's, which starts with s."""

    assignments: pl.DataFrame
    edges: pl.DataFrame
    model: IdentityModel
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    dropped: dict[str, int] = field(default_factory=dict)
    organisations: pl.DataFrame | None = None


def resolve(
    records: pl.DataFrame,
    rules: IdentityRules,
    *,
    model: IdentityModel | None = None,
    links: pl.DataFrame | None = None,
    executor: Executor | None = None,
) -> Resolution:
    """Resolve customer records (per source account, unique `record_id`) to persons.

    Trains on the records unless a `model` is given. Numbers that sources verified (`rules.stitching`) link before
    scores do. `links`: pairs (record_id_l, record_id_r) that are one person by other proof, such as a login; they hold
    against score and rules. Pairs that name unknown records are ignored. `executor`: runs the scoring of more pairs
    than `engine.max_local_pairs`.
    Raises IdentityInputError for bad record ids, IdentityModelError when training or blocking fails.
    """
    with spilling(records.height, rules.engine):
        return _told_apart(records, rules, model, links, executor)


def _told_apart(
    records: pl.DataFrame,
    rules: IdentityRules,
    model: IdentityModel | None,
    links: pl.DataFrame | None,
    executor: Executor | None,
) -> Resolution:
    told = with_entities(records)
    named = told.filter(pl.col(NAME).is_not_null())
    if named.is_empty():
        del told  # two columns of everybody
        return _of_people(records, rules, model, links, executor)
    is_person = pl.col(ENTITY) == PERSON
    people = by_rows(lambda rows: rows.filter(is_person), told, rules.engine.threads).select(records.columns)
    others = told.filter(~is_person).select("record_id")
    del told
    seconds: dict[str, float] = {}
    with timed(seconds, "organisations"):
        of_places = ENTITY in records.columns and bool((records[ENTITY] == SITE).all())
        firms = resolve_organisations(named, rules, sites=of_places)
    if people.is_empty():
        return _with_firms(None, firms, others, seconds)
    return _with_firms(_of_people(people, rules, model, links, executor), firms, others, seconds)


def _of_people(
    records: pl.DataFrame,
    rules: IdentityRules,
    model: IdentityModel | None,
    links: pl.DataFrame | None,
    executor: Executor | None,
) -> Resolution:
    seconds: dict[str, float] = {}
    with timed(seconds, "features+train"):
        pins, evidence = pinned(records, rules, model=model)
        # Sorted by record_id, so that a record's number is its place in that order.
        numbered = evidence.with_row_index("record").cast({"record": pl.Int64})
        _check_pairs(numbered, pins.caps, rules)
    held = _links(links, numbered)
    made = resolve_batch(State.empty(evidence), numbered, (), pins, rules, held, executor=executor)
    ids = numbered["record_id"]
    assignments = _assignments(records, ids, made.clusters)
    return Resolution(assignments, _named(made, ids), pins.model, seconds | made.seconds, _crowded(made.state))


def _with_firms(
    people: Resolution | None, firms: Organisations, own: pl.DataFrame, seconds: dict[str, float]
) -> Resolution:
    """Organisations beside the people, and who is at which. `own`: (record_id) of records that are one themselves."""
    ids = _with_ids(firms.assignments, "o")
    held = ids if firms.sites is None else _with_ids(firms.sites, "s")
    assignments = held.join(own, on="record_id", how="semi").select("record_id", "cluster_key", "person_id")
    edges = firms.edges
    if people is not None:
        assignments = pl.concat([people.assignments, assignments])
        edges = pl.concat([people.edges, edges.select(people.edges.columns)], how="vertical_relaxed")
    return Resolution(
        assignments.sort("record_id"),
        edges.sort("record_id_l", "record_id_r", maintain_order=True),
        people.model if people else firms.model,
        seconds | (people.seconds if people else {}),
        (people.dropped if people else {}) | {f"organisation {key}": many for key, many in firms.dropped.items()},
        ids.select("record_id", organisation_id="person_id"),
    )


def _with_ids(clusters: pl.DataFrame, prefix: str) -> pl.DataFrame:
    digests = ids_without_registry(clusters["cluster_key"]).str.slice(1)
    return clusters.with_columns(person_id=pl.concat_str(pl.lit(prefix), digests))


def _check_pairs(frame: pl.DataFrame, caps: dict[str, int], rules: IdentityRules) -> None:
    """Raises IdentityModelError when the block keys propose more pairs than `blocking.max_pairs`."""
    proposed = proposed_pairs(frame, caps, rules.engine.threads)
    if proposed > rules.blocking.max_pairs:
        raise IdentityModelError(
            f"block keys propose {proposed:,} pairs, more than blocking.max_pairs = {rules.blocking.max_pairs:,}; "
            "lower blocking.max_records_per_key"
        )


def _links(links: pl.DataFrame | None, numbered: pl.DataFrame) -> Links:
    """The links by record numbers, the lower on the left, once each."""
    if links is None:
        return must_links(pl.DataFrame(schema={"record_l": pl.Int64, "record_r": pl.Int64}))
    if absent := {"record_id_l", "record_id_r"} - set(links.columns):
        raise IdentityInputError(f"links lack the columns {sorted(absent)}")
    ids = numbered.select("record", "record_id")
    pairs = links.select("record_id_l", "record_id_r").join(ids, left_on="record_id_l", right_on="record_id")
    pairs = pairs.join(ids, left_on="record_id_r", right_on="record_id", suffix="_r")
    low, high = pl.min_horizontal("record", "record_r"), pl.max_horizontal("record", "record_r")
    ordered = pairs.select(record_l=low, record_r=high).filter(pl.col("record_l") < pl.col("record_r"))
    return must_links(ordered.unique().sort("record_l", "record_r"))


def _assignments(records: pl.DataFrame, ids: pl.Series, clusters: pl.DataFrame) -> pl.DataFrame:
    """A cluster is named by its first record; its person by the one that registered first, where that is known."""
    labels = clusters.sort("record")["cluster"]
    members = pl.DataFrame({"record_id": ids, "label": labels}).with_row_index("record")
    anchors = members
    if "registered_on" in records.columns:
        since = records.select("record_id", since=pl.col("registered_on").cast(pl.Date))
        anchors = members.join(since, on="record_id").sort("since", "record", nulls_last=True)
    people = anchors.unique("label", keep="first", maintain_order=True)
    people = people.select("label", person_id=ids_without_registry(people["record_id"]))
    named = members.with_columns(cluster_key=ids.gather(labels))
    return named.join(people, on="label", maintain_order="left").select("record_id", "cluster_key", "person_id")


def _named(made: Resolved, ids: pl.Series) -> pl.DataFrame:
    """The edges by record ids."""
    edges = in_order(made.state.edges, ("record_l", "record_r"))
    said = [name for name in EDGES if name not in ("record_l", "record_r", "evidence")]
    return edges.select(
        ids.gather(edges["record_l"]).alias("record_id_l"),
        ids.gather(edges["record_r"]).alias("record_id_r"),
        *said,
        "evidence",
    )


def _crowded(state: State) -> dict[str, int]:
    """Per block key how many values too many records share, where there are any."""
    counts = dict(state.crowded["key"].value_counts().iter_rows())
    return {key: counts[place] for place, key in enumerate(key_columns(state.frame)) if place in counts}
