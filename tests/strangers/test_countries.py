"""A shop outside of America: national numbers, states and postal codes, of the country that its source names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from customer360.platform.errors import ConfigError
from customer360.platform.run import RunRequest
from customer360.platform.settings import load
from customer360.platform.sources.base import configured
from customer360.platform.sources.stated import made_by

COLUMNS = ("CUSTOMER_ID", "FIRST_NAME", "LAST_NAME", "PHONE_NUMBER", "CITY", "STATE_CODE", "ZIP_CODE", "COUNTRY_CODE")
MAPPING = {column: column.lower() for column in COLUMNS}
HEADER = ",".join(MAPPING.values())
TILL = [
    "T1,Liv,Aas,22 55 01 00,Oslo,,0155,",
    "T2,Nils,Berg,,Reno,Nevada,89501,USA",
    "T3,Kari,Lie,,,,,",
    "T4,Per,Dahl,+47 22 55 01 09,,,,Norge og Sverige",
]
SHOP = ["S1,Liv,Aas,+47 22550100,Oslo,,0155,NOR", "S2,Kari,Vik,,,,,"]


def site_of(site: Callable[..., Any], root: Path, **own: Any) -> Any:
    sources = {
        name: {"table": "bronze.customers", "system": name.upper(), "path": f"{name}.csv", "mapping": MAPPING, **more}
        for name, more in {"till": own, "shop": {}}.items()
    }
    made = site(root, SOURCES=json.dumps(sources))
    only = {name: made.settings.sources[name] for name in sources}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("till.csv", [HEADER, *TILL])
    made.deliver("shop.csv", [HEADER, *SHOP])
    return made


def phone_findings(made: Any) -> list[str]:
    from customer360.serve import jobs

    found = jobs.preview_pipeline(made.settings, RunRequest(command="plan")).findings
    return [f.text for f in found if "no country is known" in f.text]


@pytest.mark.parametrize(
    ("own", "countries", "state", "together"),
    [
        ({"country": "Norway"}, ["NOR", "USA", None, None], "NV", True),
        ({}, [None, "USA", None, None], "NV", False),
    ],
    ids=["named", "unknown"],
)
def test_numbers_within_a_country_are_those_of_the_source(
    site: Callable[..., Any], tmp_path: Path, own: dict[str, str], countries: list[Any], state: str, together: bool
) -> None:
    made = site_of(site, tmp_path, **own)
    found = phone_findings(made)
    assert len(found) == (not together) and all("1 of 2 numbers (50.0 %)" in text for text in found), found
    made.run(end="silver")
    records = made.lake.scan("silver.customer_records").collect().sort("record_id")
    assert records.filter(source_system="TILL")["country_code"].to_list() == countries
    assert records.filter(customer_id="T2")["state_code"].item() == state
    people = dict(made.lake.scan("silver.identities").collect().select("record_id", "person_id").rows())
    assert (people["TILL/T1"] == people["SHOP/S1"]) or not together
    assert people["TILL/T3"] != people["SHOP/S2"]
    standing = made.lake.scan("bronze.customers").collect()
    assert "Norge og Sverige" in standing.filter(CUSTOMER_ID="T4")["_rescued"].item()


def test_a_country_is_written_as_people_write_it(tmp_path: Path) -> None:
    def settings(**own: Any) -> Any:
        source = {"table": "bronze.customers", "system": "TILL", "path": "t.csv", "mapping": MAPPING, **own}
        content = {"extends": "base.yaml", "landing": str(tmp_path), "sources": {"till": source}}
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
        return configured(load(tmp_path / "own.yaml", {}), "till")

    assert [settings(country=c).country for c in ("NO", False, "nor", "Norway", "DE")] == ["NOR"] * 4 + ["DEU"]
    with pytest.raises(ConfigError, match=r"sources.till.country: .*'Atlantis' is no country; write its ISO 3166 code"):
        settings(country="Atlantis")
    assert made_by(settings(country=None)) == made_by(settings()), "what landed before there was a country stands"
    assert made_by(settings(country="NO"))["mapping"] != made_by(settings())["mapping"]
