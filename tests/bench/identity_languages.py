"""Identity on names of many languages: people in households, with typing errors, shared and missing contacts, of
whom some have further records; names, streets and towns are those of Faker's locales, or of Mimesis, which has no
Vietnamese, Hindi and Thai, and draws all names alike often.

`python tests/bench/identity_languages.py [--people 1200] [--seed 7] [--only ja_JP] [--mimesis] [--generation .5]`; it
needs `pip install faker mimesis`.
"""

import argparse
import logging
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import yaml
from conditions import conditions

from customer360.models.identity import IdentityRules, pairwise, resolve
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ("de_DE", "es_ES", "fr_FR", "it_IT", "pl_PL", "ru_RU", "ja_JP", "ko_KR", "zh_CN", "ar_SA", "vi_VN", "hi_IN",
           "th_TH", "el_GR", "tr_TR")  # fmt: skip
ABSENT = ("vi_VN", "hi_IN", "th_TH")  # from Mimesis
MAPPING = PeopleMapping.model_validate({
    "unique_id": "unique_id",
    "columns": {
        "first_name": "first_name", "last_name": "last_name", "email_address": "email", "phone_number": "phone",
        "date_of_birth": "dob", "gender": "gender", "address_line_1": "street", "city": "city", "zip_code": "zip",
    },
})  # fmt: skip


class Mimesis:
    """Names and places of Mimesis as Faker gives its own."""

    def __init__(self, locale: str, seed: int) -> None:
        from mimesis import Address, Person
        from mimesis.enums import Gender
        from mimesis.locales import Locale

        language = Locale({"ar_SA": "ar-eg"}.get(locale, locale.split("_", maxsplit=1)[0]))
        person, place = Person(language, seed=seed), Address(language, seed=seed)
        self.first_name, self.last_name = person.first_name, person.last_name
        self.first_name_male = partial(person.first_name, gender=Gender.MALE)
        self.first_name_female = partial(person.first_name, gender=Gender.FEMALE)
        self.street_name, self.city = place.street_name, place.city


def _provider(locale: str, seed: int, mimesis: bool) -> Any:
    if mimesis:
        return Mimesis(locale, seed)
    from faker import Faker

    faker = Faker(locale)
    faker.seed_instance(seed)
    return faker


def population(locale: str, people: int, seed: int, mimesis: bool = False, generation: float = 0.0) -> pl.DataFrame:
    """Records of about so many people: unique_id, entity_id, and the columns of `MAPPING`, all text. `generation`: the
    share of homes of which all given names of two signs and more begin with one sign."""
    faker, random = _provider(locale, seed, mimesis), Random(f"{locale} {seed}")
    letters = sorted({letter for _ in range(200) for letter in faker.first_name() if letter.isalpha()})
    made: list[dict[str, str]] = []
    home = 0
    while len(made) < people:
        home += 1
        made += _household(faker, random, home, len(made), generation > 0 and random.random() < generation)
    rows = [
        _record(random, person, letters) | {"entity_id": str(at), "unique_id": f"{at}#{again}"}
        for at, person in enumerate(made)
        for again in range(random.choice((1, 1, 2, 2, 3)))
    ]
    return pl.DataFrame(rows).with_columns(pl.when(pl.all() != "").then(pl.all()))


def _household(faker: Any, random: Random, home: int, first: int, generation: bool) -> list[dict[str, str]]:
    """One to four people of one surname at one address, no two of one name."""
    shared = {
        "last_name": faker.last_name(), "street": f"{home} {faker.street_name()}", "city": faker.city(),
        "zip": str(10000 + home % 300), "home": _number(random), "family": f"fam{home}@haus.org",
    }  # fmt: skip
    names: dict[str, str] = {}
    for _ in range(random.choice((1, 1, 2, 2, 3, 4))):
        gender = random.choice("MF")
        name = faker.first_name_male() if gender == "M" else faker.first_name_female()
        model = next(iter(names), name)
        names.setdefault(model[0] + name[1:] if generation and min(len(model), len(name)) > 1 else name, gender)
    eldest, members = random.randint(1940, 1985), []
    for place, (name, gender) in enumerate(names.items()):
        year = min(eldest + (random.randint(0, 6) if place < 2 else random.randint(28, 36)), 2010)
        own = f"u{first + place}{random.choice('abc')}@post{random.randint(1, 40)}.net"
        born = f"{year}-{random.randint(1, 12):02}-{random.randint(2, 28):02}"
        members.append(
            shared | {"first_name": name, "gender": gender, "dob": born, "own": own, "cell": _number(random)}
        )
    return members


def _record(random: Random, person: dict[str, str], letters: list[str]) -> dict[str, str]:
    def kept(name: str, share: float) -> str:
        return person[name] if random.random() < share else ""

    def written(name: str, share: float) -> str:
        return _mistyped(person[name], random, letters) if random.random() < share else person[name]

    return {
        "first_name": written("first_name", 0.06), "last_name": written("last_name", 0.04),
        "email": random.choice((person["own"], person["own"], person["family"], "")),
        "phone": random.choice((person["home"], person["cell"], person["cell"], "")),
        "dob": kept("dob", 0.6), "gender": kept("gender", 0.5), "street": kept("street", 0.8),
        "city": person["city"], "zip": person["zip"],
    }  # fmt: skip


def _mistyped(text: str, random: Random, letters: list[str]) -> str:
    if len(text) < 2:
        return text
    at = random.randrange(len(text) - 1)
    return random.choice((
        text[:at] + text[at + 1 :],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        text[:at] + random.choice(letters) + text[at + 1 :],
    ))  # fmt: skip


def _number(random: Random) -> str:
    return f"512-{random.randint(200, 999)}-{random.randint(1000, 9999)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", action="append", help="a locale of Faker; default: fifteen of them")
    parser.add_argument("--mimesis", action="store_true", help="names of Mimesis instead of Faker's")
    parser.add_argument("--generation", type=float, default=0.0, help="share of homes of one first sign")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text("utf-8")))
    own = MAPPING.applied_to(rules)
    print(conditions("polars", "duckdb", "splink"))
    print("| locale | records | P | R | F1 |\n|---|---|---|---|---|")
    absent = ABSENT if options.mimesis else ()
    for locale in options.only or [one for one in LOCALES if one not in absent]:
        rows = population(locale, options.people, options.seed, options.mimesis, options.generation)
        made = resolve(standardize(people_records({"people": rows.drop("entity_id")}, MAPPING), own), own)
        truth = rows.select("entity_id", record_id="unique_id")
        found = pairwise(made.assignments.join(truth, on="record_id"))
        print(f"| {locale} | {rows.height} | {found.precision:.3f} | {found.recall:.3f} | {found.f1:.3f} |", flush=True)


if __name__ == "__main__":
    main()
