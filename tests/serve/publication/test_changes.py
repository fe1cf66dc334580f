"""A publication of what differs is, to the byte, the one that makes all documents."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import online, privacy, tables
from customer360.platform.lake import editions
from customer360.platform.online import OnlineStore
from customer360.serve.publication import changes, publishing
from customer360.serve.publication.differing import differing
from customer360.serve.publication.inputs import Inputs
from customer360.serve.publication.publishing import hide_person, publish_gold

AS_OF = date(2026, 3, 1)
PEOPLE = [f"p_{n}" for n in range(12)]
PRODUCTS = ["P1", "P2", "P3", "P4", "P5"]
STORE_SIZE = 20


class Retailer:
    """Rows of the tables of a publication, which chance changes; some persons have no profile, or no account."""

    def __init__(self, shop: Any, seed: int) -> None:
        self.shop, self.chance = shop, random.Random(seed)
        self.profiles = {p: {"city": "Köln"} for p in PEOPLE[:9]}
        self.owners = {f"POS/{n}": self.chance.choice(PEOPLE) for n in range(14)}
        self.lists = [row for p in PEOPLE[:6] for row in shop.ranked(p, PRODUCTS[:3])]
        self.scores = {(p, m): 0.5 for p in PEOPLE[:8] for m in ("churn", "clv")}
        self.bought = {(p, x, AS_OF - timedelta(days=n)) for n, p in enumerate(PEOPLE) for x in PRODUCTS[:2]}
        self.prices = dict.fromkeys(PRODUCTS, 3)
        self.stocked = {(x, "S1"): True for x in PRODUCTS}
        for what in ("profiles", "owners", "lists", "scores", "bought", "catalogue", "tastes"):
            getattr(self, f"_write_{what}")()

    def step(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            change = self.chance.choice([name for name in dir(self) if name.startswith("_do_")])
            getattr(self, change)()

    def _do_profile(self) -> None:
        person = self.chance.choice(PEOPLE)
        if self.chance.random() < 0.3:
            self.profiles.pop(person, None)
        else:
            segment = self.chance.choice(["HIGH", None])
            self.profiles[person] = {"city": self.chance.choice(["Köln", None]), "value_segment": segment,
                                     "clv_reasons": self.chance.choice([[], None, self._reasons()])}  # fmt: skip
        self._write_profiles()

    def _do_account(self) -> None:
        """A new one, one that is gone, one that moves, as in a merge."""
        record = f"POS/{self.chance.randrange(18)}"
        if self.chance.random() < 0.3:
            self.owners.pop(record, None)
        else:
            self.owners[record] = self.chance.choice(PEOPLE)
        self._write_owners()

    def _do_merge(self) -> None:
        one, other = self.chance.sample(PEOPLE, 2)
        self.owners = {record: other if person == one else person for record, person in self.owners.items()}
        self.profiles.pop(one, None)
        self._write_owners()
        self._write_profiles()

    def _do_score(self) -> None:
        key = (self.chance.choice(PEOPLE), self.chance.choice(["churn", "clv"]))
        if self.chance.random() < 0.3:
            self.scores.pop(key, None)
        else:
            self.scores[key] = self.chance.choice([0.0, -0.0, 0.25])
        self._write_scores()

    def _do_list(self) -> None:
        person, mode = self.chance.choice(PEOPLE), self.chance.choice(["new", "all"])
        self.lists = [row for row in self.lists if (row["person_id"], row["mode"]) != (person, mode)]
        as_of = self.chance.choice([AS_OF, AS_OF - timedelta(days=20)])
        model = "item_to_item" if as_of == AS_OF else "two_tower"  # of an edition of its own
        self.lists += self.shop.ranked(person, self.chance.sample(PRODUCTS, 2), mode, as_of, model)
        self._write_lists()

    def _do_purchase(self) -> None:
        day = AS_OF + timedelta(days=self.chance.randrange(-40, 3))
        row = (self.chance.choice(PEOPLE), self.chance.choice(PRODUCTS), day)
        if self.chance.random() < 0.3 and self.bought:
            self.bought.remove(self.chance.choice(sorted(self.bought)))
        else:
            self.bought.add(row)
        self._write_bought()

    def _do_product(self) -> None:
        self.prices[self.chance.choice([*PRODUCTS, "P9"])] = self.chance.randrange(1, 5)
        self.stocked[self.chance.choice(PRODUCTS), self.chance.choice(["S1", "S2"])] = self.chance.random() < 0.5
        self._write_catalogue()

    def _do_nothing(self) -> None:
        pass

    def _reasons(self) -> list[dict[str, Any]]:
        return [{"feature": "a", "value": self.chance.choice([0.0, -0.0]), "contribution": None}]

    def _write_profiles(self) -> None:
        self.shop.write("gold.customer_360", [self.shop.profile(p, **of) for p, of in sorted(self.profiles.items())])

    def _write_owners(self) -> None:
        rows = [{"record_id": record, "source_system": "POS", "customer_id": record[4:], "person_id": person,
                 "resolved_by": "alone"} for record, person in sorted(self.owners.items())]  # fmt: skip
        self.shop.write("silver.identities", rows)

    def _write_lists(self) -> None:
        self.shop.write("gold.recommendations", self.lists)

    def _write_scores(self) -> None:
        rows = [{"person_id": p, "model": m, "version": "1", "target": "t", "score": score, "reasons": [],
                 "scored_at": None, "as_of": AS_OF} for (p, m), score in sorted(self.scores.items())]  # fmt: skip
        self.shop.write("gold.predictions", rows)

    def _write_bought(self) -> None:
        rows = [{"person_id": p, "product_id": x, "on": on, "kind": kind, "count": 1, "quantity": 1}
                for p, x, on in sorted(self.bought) for kind in ("purchase", "view")]  # fmt: skip
        self.shop.write("gold.interactions", rows)

    def _write_catalogue(self) -> None:
        products = [
            {
                "product_id": x,
                "product_name": x,
                "price": price,
                "is_product": True,
                "launched_on": AS_OF - timedelta(days=price),
            }
            for x, price in sorted(self.prices.items())
        ]
        self.shop.write("silver.products", products)
        stock = [{"product_id": x, "store_id": s, "quantity_on_hand": 1, "is_in_stock": there}
                 for (x, s), there in sorted(self.stocked.items())]  # fmt: skip
        self.shop.write("silver.stock", stock)

    def _write_tastes(self) -> None:
        rows = [{"person_id": p, "category": "Toys", "rank": 1, "score": 0.3, "lift": 2.0, "model": "m", "version": "4",
                 "target": "t", "scored_at": None, "as_of": AS_OF} for p in PEOPLE[:10]]  # fmt: skip
        self.shop.write("gold.category_scores", rows)


def same_as_anew(shop: Any, scratch: Path) -> online.Generation:
    """The generation in service, which holds what one in an empty folder would."""
    held, wanted = (OnlineStore(shop.state).view(), None)
    publish_gold(shop.lake, scratch)
    wanted = OnlineStore(scratch).view()
    assert wanted.generation.base is None
    assert dict(held.texts.items()) == dict(wanted.texts.items())
    for what in ("counts", "sources", "as_of"):
        assert getattr(held.generation, what) == getattr(wanted.generation, what)
    return held.generation


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_of_batches_is_published_as_if_all_were_made_anew(
    empty_shop: Any, tmp_path: Path, seed: int
) -> None:
    retailer = Retailer(empty_shop, seed)
    empty_shop.publish()
    changed = 0
    for number in range(10):
        retailer.step()
        empty_shop.publish()
        changed += same_as_anew(empty_shop, tmp_path / f"anew{number}").base is not None
    assert changed >= 9, "where the last list, score or purchase goes, too"


def test_only_documents_that_differ_are_written(own_shop: Any) -> None:
    base = own_shop.publish()
    own_shop.write("gold.customer_360", [own_shop.profile(p, city="Bonn" if p == "p_bob" else "Köln")
                   for p in ("p_ann", "p_bob", "p_cyd", "p_dan")])  # fmt: skip
    generation = own_shop.publish()
    view = OnlineStore(own_shop.state).view()
    assert generation.base == base.id and view.texts.changes is not None
    with view.texts.changes.begin() as transaction:
        written = {place for place, _ in transaction.cursor()}
    assert b"person\0p_bob" in written and b"person\0p_cyd" not in written
    assert not any(place.startswith(b"account") for place in written)


def test_an_edition_of_another_day_and_other_code_are_published_whole(
    own_shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_shop.publish()
    assert own_shop.publish().base is not None
    later = AS_OF + timedelta(days=1)
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", as_of=later)])
    assert own_shop.publish().base is None
    monkeypatch.setattr(publishing, "_code", lambda: 7)
    assert own_shop.publish().base is None
    assert own_shop.publish().base is not None


def test_where_files_of_before_were_deleted_all_is_made(own_shop: Any, tmp_path: Path) -> None:
    own_shop.publish()
    before = {name: own_shop.lake.files(name) for name in ("gold.customer_360", "gold.interactions")}
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", city="Bonn")])
    own_shop.write("gold.interactions", [])
    for file in before["gold.interactions"]:
        Path(own_shop.lake.uri("gold.interactions"), file.path).unlink()
    own_shop.publish()
    assert same_as_anew(own_shop, tmp_path / "anew").base is None


def test_where_many_differ_all_is_made(own_shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "FEW", 1)
    own_shop.publish()
    own_shop.write("gold.customer_360", [own_shop.profile(p, city="Bonn") for p in ("p_ann", "p_bob")])
    own_shop.publish()
    assert same_as_anew(own_shop, tmp_path / "anew").base is None


def test_whom_an_erasure_takes_leaves_no_base_behind(own_shop: Any) -> None:
    """While it is under way, at its end, and at the first publication after it that another installation makes."""
    own_shop.publish()
    own_shop.write("gold.customer_360", [own_shop.profile(p, city="Bonn") for p in ("p_ann", "p_bob")])
    assert own_shop.publish().base is not None
    who = privacy.Identifiers(persons=frozenset({"p_ann"}), accounts=frozenset({"POS/1", "SHOP/9"}))
    privacy.begin_erasure(own_shop.lake, "p_ann", who)
    assert own_shop.publish().base is None, "she is left out of what there is"
    hide_person(own_shop.state, ["p_ann"], ["POS/1", "SHOP/9"])
    assert own_shop.publish().base is None
    assert OnlineStore(own_shop.state).mget("person", ["p_ann", "p_bob"])[0] is None
    for name in ("gold.customer_360", "gold.recommendations", "gold.predictions", "gold.category_scores"):
        own_shop.lake.rewrite(name, lambda rows: rows.filter(pl.col("person_id") != "p_ann"), reason="erasure")
    own_shop.lake.rewrite("silver.identities", lambda r: r.filter(pl.col("person_id") != "p_ann"), reason="erasure")
    ended = publish_gold(own_shop.lake, own_shop.state, keep=1)
    assert ended.base is None and online.generations(own_shop.state) == [ended]
    assert not [f for f in own_shop.state.rglob("*") if f.is_file() and b"p_ann" in f.read_bytes()]
    privacy.end_erasure(own_shop.lake, "p_ann")
    assert own_shop.publish().base is None, "what it changes was written while she was left out"
    assert own_shop.publish().base is not None


def test_another_installation_publishes_whole_after_an_erasure(own_shop: Any, tmp_path: Path) -> None:
    publish_gold(own_shop.lake, tmp_path / "other")
    assert publish_gold(own_shop.lake, tmp_path / "other").base is not None
    privacy.begin_erasure(own_shop.lake, "p_ann", privacy.Identifiers(persons=frozenset({"p_ann"})))
    privacy.end_erasure(own_shop.lake, "p_ann")
    assert publish_gold(own_shop.lake, tmp_path / "other").base is None


def test_what_is_hidden_is_published_whole(own_shop: Any) -> None:
    own_shop.publish()
    hide_person(own_shop.state, ["p_ann"], ["POS/1"])
    assert own_shop.publish().base is None
    hidden = own_shop.state / "online" / online.HIDDEN
    hidden.write_text("{")
    hidden.with_name(online.COPY).write_text("{")
    assert own_shop.publish().base is None, "nobody knows who is being erased"


def rows(*values: tuple[Any, ...]) -> pl.DataFrame:
    reasons = pl.List(pl.Struct({"a": pl.String, "v": pl.Float64}))
    schema = {"person_id": pl.String, "n": pl.Float64, "reasons": reasons}
    return pl.DataFrame(list(values), schema=schema, orient="row")


@pytest.mark.parametrize("before, after", [
    (0.0, -0.0), (None, 0.0), (1.0, None),
])  # fmt: skip
def test_numbers_differ_where_their_texts_do(before: float | None, after: float | None) -> None:
    same = ("p", 1.0, [{"a": "x", "v": before}])
    assert differing(rows(same), rows(same), "person_id").is_empty()
    assert differing(rows(("p", before, [])), rows(("p", after, [])), "person_id").to_list() == ["p"]
    nested = [rows(("q", 1.0, None), ("p", 1.0, [{"a": "x", "v": 2.0}, {"a": "x", "v": v}])) for v in (before, after)]
    assert differing(*nested, "person_id").to_list() == ["p"]


@pytest.mark.parametrize("seed", range(20))
def test_who_differs_is_found_whatever_came_went_or_moved(seed: int) -> None:
    chance = random.Random(seed)
    reasons = [None, [], [{"a": "x", "v": 0.0}], [{"a": "x", "v": 0.0}, {"a": None, "v": float("nan")}], [None]]
    before = [(chance.choice(["p", "q", "r", "s", None]), chance.choice([0.0, 1.0, None]), chance.choice(reasons))
              for _ in range(chance.randrange(12))]  # fmt: skip
    after = [row for row in before if chance.random() < 0.9]
    after += [(chance.choice(["p", "t"]), 2.0, chance.choice(reasons)) for _ in range(chance.randrange(3))]
    of = [{p: str([r for r in own if r[0] == p]) for p, *_ in own if p} for own in (before, after)]
    wanted = {p for p in of[0].keys() | of[1].keys() if of[0].get(p) != of[1].get(p)}
    assert set(differing(rows(*before), rows(*after), "person_id")) == wanted


@pytest.mark.parametrize("column", ["city", "age_range"])
def test_where_a_table_has_other_columns_all_is_made(
    own_shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """A newer version of the library has one more, empty ones included, and the one before it one that is gone."""
    known = tables.schema
    with monkeypatch.context() as patched:
        patched.setattr(tables, "schema", lambda table: {c: t for c, t in known(table).items() if c != column})
        own_shop.publish()
    own_shop.publish()
    assert same_as_anew(own_shop, tmp_path / "more").base is None
    with monkeypatch.context() as patched:
        patched.setattr(tables, "schema", lambda table: {c: t for c, t in known(table).items() if c != column})
        own_shop.publish()
        assert same_as_anew(own_shop, tmp_path / "fewer").base is None


@pytest.mark.parametrize("name", ["gold.customer_360", "silver.identities", "gold.interactions", "gold.predictions"])
def test_where_a_file_of_before_cannot_be_read_all_is_made(own_shop: Any, tmp_path: Path, name: str) -> None:
    """No table needs it any longer: what is damaged there keeps nothing from being published."""
    own_shop.publish()
    before = own_shop.lake.files(name)
    rows = own_shop.lake.scan(name).collect().rows(named=True)
    own_shop.write(name, [row for row in rows if row["person_id"] not in ("p_bob", "buyer0")])
    went = [file for file in before if file not in own_shop.lake.files(name)]
    for file in went:
        at = Path(own_shop.lake.uri(name), file.path)
        at.write_bytes(at.read_bytes()[:20] + b"\xff" * 40)
    own_shop.publish()
    assert went and same_as_anew(own_shop, tmp_path / "anew").base is None


def test_a_file_that_is_needed_and_cannot_be_read_fails_as_it_did(own_shop: Any) -> None:
    stood = own_shop.publish()
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", city="Bonn")])
    for file in own_shop.lake.files("gold.customer_360"):
        Path(own_shop.lake.uri("gold.customer_360"), file.path).write_bytes(b"\xff" * 40)
    with pytest.raises(pl.exceptions.PolarsError):
        own_shop.publish()
    assert online.current(own_shop.state) == stood


@pytest.mark.parametrize("told", ["[]", '{"files": {}}', '{"erasures": 0, "files": {"gold.customer_360": [[1, 2]]}}'])
def test_what_another_version_noted_is_not_gone_by(own_shop: Any, told: str) -> None:
    """The notes are not of the code by which documents are made, and so may change without it."""
    inputs = Inputs.pin(own_shop.lake)
    assert changes.since(told, inputs) is None
    assert changes.since(changes.made_of(inputs), inputs) is not None


def test_an_edition_that_turns_current_while_documents_are_made_is_of_the_next(own_shop: Any, tmp_path: Path) -> None:
    """Else notes and documents were of two editions, and what lies between was published no more."""
    name, later = "gold.predictions", AS_OF + timedelta(days=1)
    rows = [row | {"as_of": later, "score": 0.9} for row in own_shop.lake.scan(name).collect().rows(named=True)]
    own_shop.write(name, [*own_shop.lake.scan(name).collect().rows(named=True), *rows])
    inputs = Inputs.pin(own_shop.lake)
    before = {each: inputs.current(each) for each in changes.PUBLISHED}
    own_shop.lake.commit(name, [], app="again", app_version=1, marks=editions.mark(f"{name}/churn", AS_OF))
    assert {each: inputs.current(each) for each in changes.PUBLISHED} == before
    assert [f.partition["as_of"] for f in Inputs.pin(own_shop.lake).current(name)] == [str(AS_OF)] * len(before[name])


@pytest.mark.parametrize("is_seen", [True, False])
def test_whom_another_installation_erased_is_in_no_older_generation(
    own_shop: Any, tmp_path: Path, *, is_seen: bool
) -> None:
    """Nothing here hides who was erased there, so that a rollback would answer for them: neither while a base serves,
    nor beside the whole one that takes its place. ``is_seen``: this one publishes while that erasure is under way."""
    other = tmp_path / "other"
    publish_gold(own_shop.lake, other)
    own_shop.write("gold.customer_360", [own_shop.profile(p, city="Bonn") for p in ("p_ann", "p_bob")])
    assert publish_gold(own_shop.lake, other).base is not None
    who = privacy.Identifiers(persons=frozenset({"p_ann"}), accounts=frozenset({"POS/1", "SHOP/9"}))
    privacy.begin_erasure(own_shop.lake, "p_ann", who)
    if is_seen:
        publish_gold(own_shop.lake, other)
    for name in ("gold.customer_360", "gold.recommendations", "gold.predictions", "gold.category_scores"):
        own_shop.lake.rewrite(name, lambda rows: rows.filter(pl.col("person_id") != "p_ann"), reason="erasure")
    own_shop.lake.rewrite("silver.identities", lambda r: r.filter(pl.col("person_id") != "p_ann"), reason="erasure")
    privacy.end_erasure(own_shop.lake, "p_ann")
    ended = publish_gold(own_shop.lake, other)
    assert ended.base is None and online.generations(other) == [ended]
    assert not [f for f in other.rglob("*") if f.is_file() and b"p_ann" in f.read_bytes()]
    assert publish_gold(own_shop.lake, other).base == ended.id, "and then as always"
