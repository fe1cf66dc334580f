"""Scored pairs are Splink's own, pair by pair and level by level."""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from splink import DuckDBAPI, Linker

from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import Pins, pinned
from customer360.models.identity.batch.state import State
from customer360.models.identity.evidence.features import KEY_PREFIX, Features, build_features
from customer360.models.identity.rules import Blocking, Decision, IdentityRules
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.model import IdentityModel

pytestmark = pytest.mark.slow
# Pairs far below what is ever kept, so that every level is compared.
RULES = IdentityRules(blocking=Blocking(max_records_per_key=20), decision=Decision(audit_weight=-40.0))


def people(number: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    given = ["Ann", "Anna", "Robert", "Bob", "José", "Zoë", "Jürgen", "W", "Mary Ann", "Kim"]
    family = ["Miller", "Müller", "Kim", "O'Neil", "van der Berg", "Ortega", "Ortegas", "Lee"]
    rows = []
    for person in range(number // 2):
        full = {
            "first_name": given[rng.integers(10)], "last_name": family[rng.integers(8)],
            "email_address": f"{given[rng.integers(10)][:2].lower()}{person % 90}@{['mail.com', 'home7.example'][person % 2]}",  # noqa: E501
            "phone_number": f"415555{2000 + person % 120}", "address_line_1": f"{person % 60} Oak Street",
            "city": ["Springfield", "Sprigfield", "Paris"][rng.integers(3)], "zip_code": f"{10000 + person % 9}",
            "date_of_birth": date(1950 + person % 30, person % 12 + 1, person % 27 + 1), "gender": "fm"[person % 2],
        }  # fmt: skip
        for copy in range(2):
            kept = {name: value if rng.random() > 0.25 else None for name, value in full.items()}
            if copy and kept["last_name"]:
                kept["last_name"] = kept["last_name"][:3] + kept["last_name"][4:]
            rows.append({"record_id": f"{copy}/{person}"} | kept)
    return pl.DataFrame(rows)


@dataclass(frozen=True)
class Trained:
    """Records, with what a run holds fixed about them."""

    records: pl.DataFrame
    pins: Pins
    evidence: pl.DataFrame

    @classmethod
    def of(cls, records: pl.DataFrame) -> "Trained":
        """Without the class of homes, which Splink does not have."""
        pins, evidence = pinned(records, RULES)
        return cls(records, replace(pins, model=pins.model.model_copy(update={"household": None})), evidence)

    def scored(self, rules: IdentityRules = RULES) -> pl.DataFrame:
        """Edges as a run makes them; records are numbered in order of their ids, as `rid` is."""
        numbered = self.evidence.with_row_index("record").cast({"record": pl.Int64})
        made = resolve_batch(State.empty(self.evidence), numbered, (), self.pins, rules)
        return made.state.edges.rename({"record_l": "rid_l", "record_r": "rid_r"})

    @property
    def features(self) -> Features:
        """The same for Splink, whose block keys say nothing where too many records share a value."""
        built, caps = build_features(self.records, RULES), self.pins.caps
        kept = [pl.when(pl.len().over(key) <= caps[key]).then(key).alias(key) for key in built.keys]
        borne = self.evidence.select(pl.col("^tf_borne_.*$")).get_columns()
        return Features(built.frame.with_columns(*kept, *borne), built.keys)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained.of(people())


def by_splink(features: Features, model: IdentityModel, shares: pl.DataFrame) -> pl.DataFrame:
    with engine(RULES.engine) as con:
        api = DuckDBAPI(con)
        frame = features.frame.drop("record_id").with_columns(names=pl.concat_str("given", "family", separator="|"))
        table = api.register(frame.to_arrow(), dataset_display_name="features")
        linker = Linker(table, model.settings, log_level="ERROR", validate_settings=False)
        if "tf_names" in shares.columns:  # Splink would count the names, of which many are one person's
            rows = frame.select("names").hstack(shares.select("tf_names")).drop_nulls().unique("names")
            joint = api.register(rows.to_arrow(), dataset_display_name="joint")
            linker.table_management.register_term_frequency_lookup(joint, "names")
        scored = linker.inference.predict(threshold_match_weight=RULES.decision.audit_weight)
        return pl.DataFrame(pl.from_arrow(scored.as_pyarrow_table())).sort("rid_l", "rid_r")


def test_pairs_weights_and_keys_are_those_of_splink(trained):
    features = trained.features
    mine, theirs = trained.scored(), by_splink(features, trained.pins.model, trained.evidence)
    assert mine.height > 2000
    assert mine.select("rid_l", "rid_r").equals(theirs.select("rid_l", "rid_r"))
    for column in ("match_weight", "match_probability"):
        assert np.allclose(mine[column], theirs[column].cast(pl.Float64), rtol=0, atol=1e-9)
    names = [key.removeprefix(KEY_PREFIX) for key in features.keys]
    assert mine["match_key"].to_list() == [names[int(key)] for key in theirs["match_key"]]


def test_evidence_is_that_of_splink(trained):
    model = trained.pins.model
    mine, theirs = trained.scored(), by_splink(trained.features, model, trained.evidence)
    for at, comparison in enumerate(model.settings["comparisons"]):
        name = comparison["output_column_name"]
        stated = mine.select(pl.col("evidence").list.get(at)).unnest("evidence")
        labels = [
            level["label_for_charts"] for level in comparison["comparison_levels"] if not level.get("is_null_level")
        ]
        by_gamma = dict(zip(range(len(labels) - 1, -1, -1), labels, strict=True)) | {-1: "null"}
        assert stated["comparison"].unique().to_list() == [name]
        assert stated["level"].to_list() == [by_gamma[gamma] for gamma in theirs[f"gamma_{name}"]]
        adjusted = f"mw_tf_adj_{name}"
        bits = theirs[f"mw_{name}"] + (theirs[adjusted] if adjusted in theirs.columns else 0.0)
        assert np.allclose(stated["weight"], bits, rtol=0, atol=1e-9)


def test_a_pair_is_left_out_when_it_cannot_reach_the_audit_weight(trained):
    high = RULES.model_copy(update={"decision": Decision(audit_weight=2.0)})
    every, kept = trained.scored(), trained.scored(high)
    assert 0 < kept.height < every.height
    assert kept.equals(every.filter(pl.col("match_weight") >= 2.0))


def test_one_column_alone_is_compared():
    alone = Trained.of(people().select("record_id", "email_address"))
    assert len(alone.pins.model.settings["comparisons"]) == 1
    mine, theirs = alone.scored(), by_splink(alone.features, alone.pins.model, alone.evidence)
    assert mine.height and mine.select("rid_l", "rid_r").equals(theirs.select("rid_l", "rid_r"))
    assert np.allclose(mine["match_weight"], theirs["match_weight"].cast(pl.Float64), rtol=0, atol=1e-9)
