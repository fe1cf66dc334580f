"""Kinds of people who are one or two whatever their home shares, generated, by the stated parameters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models.identity import IdentityRules, resolve

SETTINGS = yaml.safe_load((Path(__file__).parents[3] / "configs/rules/identity.yaml").read_text(encoding="utf-8"))
RULES = IdentityRules.model_validate(SETTINGS | {"training": {"min_records": 10**6}})
LETTERS = "bdfgklmnprstvz"
Case = Iterator[tuple[dict[str, str | None], dict[str, str | None]]]

COUPLES = [
    ("Carl", "Carla"), ("Andrea", "Andreas"), ("Jean", "Jeanne"), ("René", "Renée"), ("Mario", "Maria"), ("Paul",
    "Paula"),
    ("Daniel", "Danielle"), ("Michel", "Michelle"), ("Alexander", "Alexandra"), ("Valentino", "Valentina"),
    ("Stefan", "Stefanie"),
    ("Frédéric", "Frédérique"), ("Julio", "Julia"), ("Simon", "Simone"), ("Patrick", "Patricia"), ("Christian",
    "Christiane"),
    ("Gabriel", "Gabriela"), ("Petr", "Petra"), ("Claudio", "Claudia"), ("Иван", "Ивана"), ("Александр",
    "Александра"),
    ("Giuliano", "Giuliana"), ("Zoran", "Zorana"), ("Joël", "Joëlle"), ("Arun", "Aruna"), ("Валерий", "Валерия"),
    ("Γεώργιος", "Γεωργία"), ("كريم", "كريمة"),
]  # fmt: skip
SIBLINGS = [
    ("Mason", "Logan"), ("Jonas", "Emil"), ("민준", "서연"), ("สมชาย", "สมหญิง"), ("محمد", "محمود"), ("राहुल", "प्रिया"),
    ("太郎", "花子"),
    ("明", "亮"), ("Maria Luisa", "Maria Rosa"), ("Ali Reza", "Ali Akbar"), ("Anna Sofia", "Lena Sofia"),
    ("Thành", "Hương"), ("Lucía", "Mateo"), ("Olga", "Irina"), ("Ольга", "Ирина"), ("Νίκος", "Ελένη"), ("דוד",
    "שרה"), ("伟", "丽"),
]  # fmt: skip
TITLES = (
    "Frau Herr Mme M. Mlle Sig. Sig.ra Sr. Sra. Don Dr. Prof. Prof.Dr. Pan Pani Ing. Dhr. Mevr. Shri Hr. Mgr. Господин "
    "Κος Capt. Rev. Rabbi Hon. Khun Encik Bay"
).split()
LONGER = [
    ("Juan Carlos", "Carlos"), ("Anne Marie", "Marie"), ("María del Carmen", "Carmen"), ("J. Edgar", "Edgar"),
    ("Jean-Luc", "Luc"),
    ("Hans-Peter", "Peter"), ("Giovanni Battista", "Giovanni"), ("Mary Ann", "Ann"),
    ("Abd al-Rahman", "Abdulrahman"), ("Jean P.", "Jean Pierre"), ("Anne Sophie", "Anne Sofie"),
]  # fmt: skip
SHORTER = [("Johannes", "Hans"), ("Francisco", "Paco"), ("Giuseppe", "Peppe"), ("Aleksandr", "Sasha"), ("Małgorzata",
    "Gosia"),
           ("Дмитрий", "Дима"), ("Екатерина", "Катя"), ("José", "Pepe"), ("Elisabeth", "Liesl"), ("Robert",
           "Bob")]  # fmt: skip
GENERATIONS = [("Sr.", "Jr."), ("II", "III"), ("père", "fils"), ("padre", "hijo"), ("st.", "ml."), ("Senior", "Junior"),
    ("d. Ä.", "d.J."), ("sen.", "jun."), ("den eldre", "den yngre"), ("vanhempi", "nuorempi"),
    ("1st", "2nd")]  # fmt: skip
DESKS = (
    "info office sales kontakt contabilidad accounts admin bestellung ventas biuro verkoop myynti muhasebe info.berlin "
    "sales-uk office2 einkauf_2"
).split()
PLACEHOLDERS = [
    ("FNU", "LNU"),
    ("Test", "Test 2"),
    ("Walk-in", "Customer"),
    ("Gast", "Unbekannt"),
    ("n/a", "Unknown"),
    ("ゲスト", "不明"),
]


def home(rng: random.Random) -> dict[str, str | None]:
    name = "".join(rng.choice(LETTERS) + rng.choice("aeiou") for _ in range(4)).title()
    return {
        "last_name": name, "email_address": f"{name.lower()}{rng.randint(10, 99)}@post.org",
        "address_line_1": f"{rng.randint(1, 999)} {name} Rd",
        "phone_number": f"512-{rng.randint(200, 999)}-{rng.randint(1000, 9999)}", "city": "Austin",
        "zip_code": str(rng.randint(70000, 79999)),
    }  # fmt: skip


def named(pairs: list[tuple[str, str]]) -> Callable[[random.Random], Case]:
    def made(rng: random.Random) -> Case:
        for pair in pairs:
            shared = home(rng)
            one, other = ({**shared, "first_name": name} for name in rng.sample(pair, 2))
            yield one, other

    return made


def twins(rng: random.Random) -> Case:
    for one, other in named(SIBLINGS)(rng):
        born = f"{rng.randint(1950, 2005)}-{rng.randint(1, 12):02}-{rng.randint(2, 28):02}"
        yield one | {"date_of_birth": born}, other | {"date_of_birth": born}


def generations(rng: random.Random) -> Case:
    for pair in GENERATIONS:
        for field in ("first_name", "last_name"):
            one = home(rng) | {"first_name": "Clifton"}
            yield tuple(one | {field: f"{one[field]} {suffix}"} for suffix in pair)  # type: ignore[misc]
        one = home(rng)
        full = f"Thaddeus {one.pop('last_name')}"
        yield tuple(one | {"full_name": f"{full}{sep}{s}"} for s, sep in zip(pair, (" ", ", "), strict=True))  # type: ignore[misc]


def titled(rng: random.Random) -> Case:
    for title in TITLES:
        one = home(rng) | {"email_address": None, "first_name": "Ornella"}
        yield one, one | {"first_name": f"{title} Ornella"}
    for ending in ("様", "さん", "先生"):
        one = home(rng) | {"email_address": None, "first_name": "太郎"}
        yield one, one | {"first_name": f"太郎{ending}"}
    one = home(rng) | {"email_address": None, "first_name": "민준"}
    yield one, one | {"first_name": "민준씨"}


def colleagues(rng: random.Random) -> Case:
    for desk in DESKS:
        one = home(rng) | {"first_name": "Sandra"}
        one["email_address"] = f"{desk}@{str(one['last_name']).lower()}.com"
        yield one, one | {"last_name": home(rng)["last_name"]}


def marked(rng: random.Random) -> Case:
    for given, other in (("Thành", "Thanh"), ("Hòa", "Hoa"), ("Dũng", "Dung")):
        one = home(rng) | {"last_name": f"Nguyễn {home(rng)['last_name']}"}
        yield one | {"first_name": given}, one | {"first_name": other}


def unmarked(rng: random.Random) -> Case:
    for given, other in (
        ("Jörg", "Joerg"),
        ("Thành", "Thanh"),
        ("José", "Jose"),
        ("أحمد", "احمد"),
        ("ヤマト", "やまと"),
        ("Hoà", "Hòa"),
    ):
        one = home(rng)
        yield one | {"first_name": given}, one | {"first_name": other}


ONE, TWO = True, False
KINDS: dict[str, tuple[Callable[[random.Random], Case], bool]] = {
    "couples": (named(COUPLES), TWO),
    "twins with everything shared": (twins, TWO),
    "siblings": (named(SIBLINGS), TWO),
    "generations": (generations, TWO),
    "colleagues behind a desk": (colleagues, TWO),
    "tones": (marked, TWO),
    "titles": (titled, ONE),
    "names left out": (named(LONGER), ONE),
    "nicknames": (named(SHORTER), ONE),
    "accents left out": (unmarked, ONE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str) -> None:
    make, one_person = KINDS[kind]
    pairs = [pair for seed in range(2) for pair in make(random.Random(seed))]
    rows = [
        {"record_id": f"{at:04}{side}"} | row
        for at, pair in enumerate(pairs)
        for side, row in zip("ab", pair, strict=True)
    ]
    wrong = [at for at, joined in enumerate(joins(rows, len(pairs))) if joined != one_person]
    assert len(wrong) <= 0.01 * len(pairs), [[row.get("first_name") for row in pairs[at]] for at in wrong]


def joins(rows: list[dict[str, str | None]], pairs: int) -> list[bool]:
    found = dict(
        resolve(pl.DataFrame(rows, infer_schema_length=None), RULES)
        .assignments.select("record_id", "person_id")
        .iter_rows()
    )
    return [found[f"{at:04}a"] == found[f"{at:04}b"] for at in range(pairs)]


BRIDGES = [
    ({"first_name": "Jane"}, {"first_name": "John"}, {"first_name": "J"}),
    ({"first_name": "Ivor"}, {"first_name": "Greta"}, {"first_name": None}),
    ({"first_name": "Juan Miguel"}, {"first_name": "Juan Carlos"}, {"first_name": "Juan"}),
    ({"first_name": "Giacomo", "date_of_birth": "1935-01-20"}, {"first_name": "Giacomo",
    "date_of_birth": "1962-07-13"},
     {"first_name": "Giacomo"}),
    ({"first_name": "Chris", "gender": "M"}, {"first_name": "Christine", "gender": "F"}, {"first_name": "Chris"}),
]  # fmt: skip


def test_nobody_is_joined_by_a_third_record() -> None:
    rows = []
    for at, parts in enumerate(BRIDGES * 2):
        shared = home(random.Random(at)) | ({"email_address": None} if at >= len(BRIDGES) else {})
        rows += [{"record_id": f"{at:04}{side}"} | shared | part for side, part in zip("abc", parts, strict=True)]
    assert not any(joins(rows, 2 * len(BRIDGES)))


def test_placeholders_join_nobody() -> None:
    rows = []
    for at, (given, family) in enumerate(PLACEHOLDERS):
        name = {"first_name": given, "last_name": family, "zip_code": "78701", "city": "Austin"}
        rows += [{"record_id": f"{at:04}{side}"} | name for side in "ab"]
    assert not any(joins(rows, len(PLACEHOLDERS)))


@pytest.mark.parametrize("day", ["1985-07-14", "1980-01-01"])
def test_a_birth_date_of_everybody_is_a_default(day: str) -> None:
    rng = random.Random(day)
    people = [home(rng) | {"first_name": rng.choice(SIBLINGS)[0], "date_of_birth": day} for _ in range(40)]
    ages = [
        home(rng) | {"first_name": "Ruth", "date_of_birth": f"{year}-05-{d:02}"}
        for year in range(1950, 1960)
        for d in (4, 19)
    ]
    same = {"first_name": "James", "last_name": "Okonkwo", "date_of_birth": day}
    rows = [{"record_id": f"p{at:03}"} | row for at, row in enumerate(people + ages)]
    rows += [{"record_id": f"0000{side}"} | home(rng) | same for side in "ab"]
    assert joins(rows, 1) == [False]
