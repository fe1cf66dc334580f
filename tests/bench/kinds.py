"""Homes, names and contacts of which it is plain to people who is one person and who is two, as groups of records with
truth, by kind; all names and numbers are invented.

A group is a list of (person, record): records of one `person` (a number within the group) are one person. They are
planted among the records of a generated town, so that a model is trained on what surrounds them.
"""

import random
import zlib
from collections.abc import Callable, Iterator

import polars as pl
from people import households

Record = dict[str, str | None]
Group = list[tuple[int, Record]]
Kind = Callable[[random.Random], Iterator[Group]]

EITHER = -1  # a record of which nobody knows whose it is
COLUMNS = ("first_name", "surname", "full_name", "email", "phone", "dob", "gender", "address", "city", "state", "zip")
MEN = "james robert john michael david william richard joseph thomas daniel matthew mark steven paul kevin".split()
WOMEN = "mary patricia jennifer linda barbara susan jessica sarah karen nancy lisa betty margaret sandra donna".split()
COUPLES = (
    "carl/carla daniel/danielle patrick/patricia alexander/alexandra rene/renee mario/maria paul/paula "
    "michel/michelle stefan/stefanie julio/julia simon/simone christian/christiane gabriel/gabriela joe/jo "
    "claudio/claudia george/georgia robert/roberta victor/victoria francis/frances"
).split()
TWINS = (
    "mason/logan jonas/emil lea/mia ethan/evan jayden/hayden madison/addison taylor/tyler ella/emma anna/hanna "
    "tim/tom jack/jake lily/lucy marlon/marvin sara/lara brenton/felicia opal/ruth"
).split()
NICKNAMES = (
    "robert/bob william/bill elizabeth/liz margaret/peggy richard/dick james/jim katherine/kate thomas/tom"
).split()
GENERATIONS = ("Sr./Jr.", "II/III", "Senior/Junior", "pere/fils", "Jr/III")
MISTYPED = "jennifer/jenifer steven/stevn patricia/patrcia michael/micheal susan/sussan daniel/danile".split()
LONGER = "juan carlos/carlos|anne marie/marie|mary ann/mary|hans-peter/peter|jean-luc/luc|j. edgar/edgar".split("|")
PARTICLES = "van der {}|de la {}|o'{}|von {}|mac{}|di {}".split("|")
ALIKE = "anna/anne john/johnny maria/marie carl/karl eric/erik christina/christine marc/marco julia/julie".split()
BRIDGED = "jane/john mary/mark paul/peter susan/steven karen/kevin robert/rachel".split()
SIBLINGS = "jonas/emil mary/karen kevin/susan paul/linda olga/irina tom/anna".split()
DESKS = "info office sales kontakt accounts admin".split()
COMMON = ("most common", "second", "third", "fourth")  # of the town's surnames
DEFAULTS = "1900-01-01 1970-01-01 1899-12-31 1753-01-01 1111-11-11 1980-01-01 2000-01-01 9999-12-31".split()
PLACEHOLDERS = "unknown/unknown test/test guest/customer na/na noname/noname walkin/customer".split()


def surname(rng: random.Random) -> str:
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 3, 3, 4))))


def day(rng: random.Random, first: int, last: int) -> str:
    return f"{rng.randint(first, last)}-{rng.randint(1, 12):02}-{rng.randint(2, 28):02}"


def phone(rng: random.Random) -> str:
    return f"512{rng.randint(200, 999)}{rng.randint(1000, 9999)}"


def home(rng: random.Random, **known: str | None) -> Record:
    """A record of a home: surname, mail, landline and place."""
    name, place = surname(rng), rng.randint(10000, 99999)
    return {
        "first_name": rng.choice(MEN), "surname": name,
        "email": f"{name}{rng.randint(10, 99)}@post.org", "phone": phone(rng),
        "dob": None, "gender": None, "address": f"{rng.randint(1, 400)} {surname(rng)} road", "city": surname(rng),
        "state": str(place % 50), "zip": str(place),
    } | known  # fmt: skip


def _apart(names: list[str], **known: str | None) -> Kind:
    """Two people of one home by another given name alone."""

    def made(rng: random.Random) -> Iterator[Group]:
        for pair in names:
            shared = home(rng, **known)
            yield [(at, shared | {"first_name": name}) for at, name in enumerate(pair.split("/"))]

    return made


def _same(names: list[str], **known: str | None) -> Kind:
    """One person by two forms of the given name."""

    def made(rng: random.Random) -> Iterator[Group]:
        for pair in names:
            shared = home(rng, **known)
            yield [(0, shared | {"first_name": name}) for name in pair.split("/")]

    return made


def twins(rng: random.Random) -> Iterator[Group]:
    for pair in TWINS:
        shared = home(rng, dob=day(rng, 1950, 2008))
        yield [(at, shared | {"first_name": name}) for at, name in enumerate(pair.split("/"))]


def twins_twice(rng: random.Random) -> Iterator[Group]:
    """Each of the two has a second record, in which a contact is missing."""
    for pair in TWINS:
        shared = home(rng, dob=day(rng, 1950, 2008))
        gone = [{}, {rng.choice(("email", "phone")): None}]
        yield [(at, shared | {"first_name": name} | more) for at, name in enumerate(pair.split("/")) for more in gone]


def couples_of_two_genders(rng: random.Random) -> Iterator[Group]:
    for pair in COUPLES:
        shared, both = home(rng), zip(pair.split("/"), "MF", strict=True)
        yield [(at, shared | {"first_name": name, "gender": of}) for at, (name, of) in enumerate(both)]


def generations(field: str) -> Kind:
    def made(rng: random.Random) -> Iterator[Group]:
        for pair in GENERATIONS * 3:
            one = home(rng)
            if field == "full_name":
                one |= {"full_name": f"{one['first_name']} {one['surname']}", "first_name": None, "surname": None}
            yield [(at, one | {field: f"{one[field]} {end}"}) for at, end in enumerate(pair.split("/"))]

    return made


def parent_and_child(rng: random.Random) -> Iterator[Group]:
    for _ in range(16):
        shared = home(rng)
        born = rng.randint(1935, 1975)
        days = [day(rng, born, born), day(rng, born + 20, born + 35)]
        yield [(at, shared | {"dob": of}) for at, of in enumerate(days)]


def parent_and_child_alike(rng: random.Random) -> Iterator[Group]:
    for pair in ALIKE * 2:
        group = next(parent_and_child(rng))
        yield [(at, record | {"first_name": name}) for (at, record), name in zip(group, pair.split("/"), strict=True)]


def bridge_by_initial(rng: random.Random) -> Iterator[Group]:
    for pair in BRIDGED * 3:
        shared, (one, other) = home(rng), pair.split("/")
        names = {0: one, 1: other, EITHER: one[0]}
        yield [(of, shared | {"first_name": name}) for of, name in names.items()]


def bridge_without_name(rng: random.Random) -> Iterator[Group]:
    for _ in range(16):
        shared = home(rng)
        names = {0: rng.choice(MEN), 1: rng.choice(WOMEN), EITHER: None}
        yield [(of, shared | {"first_name": name}) for of, name in names.items()]


def bridge_without_birth_date(rng: random.Random) -> Iterator[Group]:
    for group in parent_and_child(rng):
        yield [*group, (EITHER, group[0][1] | {"dob": None})]


def default_birth_dates(rng: random.Random) -> Iterator[Group]:
    """Namesakes of common names with the birth date of a form; a quarter of them in one town."""
    for at, born in enumerate(DEFAULTS * 2):
        one = home(rng, dob=born, email=None, phone=None, surname=rng.choice(COMMON))
        other = {
            name: home(rng)[name] for name in (("address",) if at % 4 == 0 else ("address", "city", "state", "zip"))
        }
        yield [(0, one), (1, one | other)]


def desks(rng: random.Random) -> Iterator[Group]:
    for desk in DESKS * 3:
        one = home(rng)
        one["email"] = f"{desk}@{one['surname']}.com"
        yield [(0, one), (1, one | {"surname": surname(rng)})]


def call_centres(rng: random.Random) -> Iterator[Group]:
    """The number of a desk beside people of one given name."""
    for _ in range(4):
        number = phone(rng)
        for _ in range(4):
            one, other = home(rng, phone=number), home(rng, phone=number)
            yield [(0, one), (1, other | {"first_name": one["first_name"]})]


def placeholders(rng: random.Random) -> Iterator[Group]:
    for pair in PLACEHOLDERS * 3:
        given, family = pair.split("/")
        one = home(rng, first_name=given, surname=family, email=None, phone=None)
        yield [(0, one), (1, one | {"address": home(rng)["address"]})]


def married(rng: random.Random) -> Iterator[Group]:
    """A woman of one mail and birth date before and after."""
    for _ in range(16):
        one = home(rng, first_name=rng.choice(WOMEN), dob=day(rng, 1950, 2000))
        new = surname(rng)
        yield [(0, one), (0, one | {"surname": rng.choice((new, f"{one['surname']}-{new}"))})]


def double_names(rng: random.Random) -> Iterator[Group]:
    for _ in range(16):
        one = home(rng, first_name=rng.choice(WOMEN))
        yield [(0, one | {"surname": f"{one['surname']}{rng.choice('- ')}{surname(rng)}"}), (0, one | {"email": None})]


def particles(rng: random.Random) -> Iterator[Group]:
    for form in PARTICLES * 3:
        one = home(rng)
        whole = form.format(one["surname"])
        other = rng.choice((whole.replace(" ", "").replace("'", ""), whole.title()))
        yield [(0, one | {"surname": whole}), (0, one | {"surname": other, "email": None})]


def swapped(rng: random.Random) -> Iterator[Group]:
    for _ in range(16):
        one = home(rng, dob=day(rng, 1950, 2000))
        yield [(0, one), (0, one | {"first_name": one["surname"], "surname": one["first_name"], "email": None})]


def written_dates(rng: random.Random) -> Iterator[Group]:
    """19-Feb-91 and 15-Aug-67: two people; the same day in both forms: one."""
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    for _ in range(8):
        one, days = home(rng, email=None), [day(rng, 1930, 1965), day(rng, 1970, 1999)]
        short = [f"{of[8:]}-{months[int(of[5:7]) - 1]}-{of[2:4]}" for of in days]
        yield [(at, one | {"dob": of}) for at, of in enumerate(short)]
        same = home(rng, phone=None)
        yield [(0, same | {"dob": of}) for of in (days[1], short[1])]


def moved(rng: random.Random) -> Iterator[Group]:
    for _ in range(16):
        one, new = home(rng, dob=day(rng, 1950, 2000)), home(rng)
        kept = {name: one[name] for name in ("first_name", "surname", "dob", "email")}
        yield [(0, one), (0, new | kept)]


KINDS: dict[str, Kind] = {
    "twins, all shared": twins,
    "twins of two records each": twins_twice,
    "couples of alike names": _apart(COUPLES),
    "couples of alike names, genders known": couples_of_two_genders,
    "siblings, all shared": _apart(SIBLINGS * 3),
    "parent and child of one name": parent_and_child,
    "parent and child of alike names": parent_and_child_alike,
    "suffix in the given name": generations("first_name"),
    "suffix in the surname": generations("surname"),
    "suffix in the full name": generations("full_name"),
    "bridge: an initial": bridge_by_initial,
    "bridge: no given name": bridge_without_name,
    "bridge: no birth date": bridge_without_birth_date,
    "default birth dates": default_birth_dates,
    "mailbox of a desk": desks,
    "number of a call centre": call_centres,
    "placeholder names": placeholders,
    "name changed": married,
    "double names": double_names,
    "particles": particles,
    "swapped names": swapped,
    "nicknames": _same(NICKNAMES * 2),
    "names left out": _same(LONGER * 3),
    "mistyped names": _same(MISTYPED * 3),
    "dates as 19-Feb-91": written_dates,
    "moved": moved,
}


def planted(seed: int, most: int) -> Iterator[tuple[str, int, str, Record]]:
    """(kind, group, entity, record) of `most` groups of every kind; many of one kind would teach a model their like."""
    rng, group = random.Random(seed), 0
    for kind, made in KINDS.items():
        groups = list(made(rng))
        for records in rng.sample(groups, min(most, len(groups))):
            for person, record in records:
                yield kind, group, "" if person == EITHER else f"{kind} {group} {person}", record
            group += 1


def town(seed: int, people: int, most: int) -> pl.DataFrame:
    """`people` records of `households`, the gender of three in five known, and among them `most` groups of each kind:
    unique_id, entity_id, kind and group (null for the others), `COLUMNS`."""
    rows = households(people, seed)
    first = (
        rows.sort("unique_id").group_by("entity_id", maintain_order=True).agg(pl.col("first_name").drop_nulls().first())
    )
    known = [["M", "F"][zlib.crc32((name or "").encode()) % 2] for name in first["first_name"]]
    genders = first.select("entity_id", gender=pl.Series(known).set(pl.Series(range(len(known))) % 5 > 2, None))
    rows = rows.join(genders, on="entity_id", how="left", maintain_order="left")
    ranked = rows["surname"].drop_nulls().value_counts(name="size").sort("size", "surname", descending=True)["surname"]
    common = dict(zip(COMMON, ranked, strict=False))
    planting = list(planted(seed, most))
    records = [
        {name: record.get(name) for name in COLUMNS}
        | {"unique_id": f"k-{at:05}", "entity_id": entity, "kind": kind, "group": group}
        for at, (kind, group, entity, record) in enumerate(planting)
    ]
    added = pl.DataFrame(records, infer_schema_length=None).with_columns(pl.col("surname").replace(common))
    return pl.concat([rows, added], how="diagonal_relaxed")


def judged(rows: pl.DataFrame, assignments: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """Of each kind how many groups are right, and all: each person of them is one, and has nobody else's record.

    `assignments`: record_id, person_id.
    """
    found = rows.join(
        assignments.select(unique_id="record_id", person_id="person_id"), on="unique_id", maintain_order="left"
    )
    of_whom = pl.col("group").cast(pl.String).fill_null("") + pl.col("entity_id")
    owners = found.filter(pl.col("entity_id") != "").group_by("person_id").agg(owners=of_whom.n_unique())
    known = found.filter(pl.col("group").is_not_null() & (pl.col("entity_id") != "")).join(
        owners, on="person_id", maintain_order="left"
    )
    people = known.group_by("kind", "group", "entity_id", maintain_order=True).agg(
        right=(pl.col("person_id").n_unique() == 1) & (pl.col("owners").max() == 1)
    )
    groups = people.group_by("kind", "group", maintain_order=True).agg(pl.col("right").all())
    counted = groups.group_by("kind", maintain_order=True).agg(pl.col("right").sum(), pl.len())
    return {kind: (right, number) for kind, right, number in counted.iter_rows()}
