"""Two generators of people with truth: a retailer's records, and households of another make.

`households` was written without a look at what the model assumes: flats shared by strangers, couples with two surnames,
three generations under one roof, children named after a parent, shared and recycled numbers, office addresses, double
surnames, records that hold little. Both are vectorised, so that millions of records take seconds.
"""

import numpy as np
import polars as pl

_SYLLABLES = ("ba", "ne", "lo", "ri", "ka", "mu", "ste", "vo", "dan", "fel", "gor", "hal", "jen", "kol", "mar", "nor",
              "pel", "ros", "san", "tor", "ul", "ven", "wes", "yar", "zim", "bre", "cho", "dri", "eli", "fa")  # fmt: skip  # noqa: E501
_GIVEN = ("james mary robert patricia john jennifer michael linda david elizabeth william barbara richard susan joseph "
          "jessica thomas sarah charles karen daniel nancy matthew lisa anthony betty mark margaret donald sandra steven "  # noqa: E501
          "ashley paul kimberly andrew emily joshua donna kenneth michelle kevin carol brian amanda george melissa edward "  # noqa: E501
          "deborah ronald stephanie timothy rebecca jason sharon jeffrey laura ryan cynthia jacob kathleen gary amy "
          "nicholas angela eric shirley jonathan anna stephen brenda larry pamela justin emma scott nicole brandon helen "  # noqa: E501
          "benjamin samantha samuel katherine gregory christine alexander debra patrick rachel frank carolyn raymond janet "  # noqa: E501
          "jack catherine dennis maria jerry heather tyler diane aaron ruth jose julie adam olivia nathan joyce henry "
          "virginia zachary victoria douglas kelly peter lauren kyle christina noah joan ethan evelyn jeremy judith").split()  # fmt: skip  # noqa: E501
_NICK = {"james": "jim", "robert": "bob", "william": "bill", "elizabeth": "liz", "michael": "mike", "jennifer": "jen",
         "thomas": "tom", "daniel": "dan", "margaret": "peggy", "richard": "dick", "joseph": "joe", "katherine": "kate",
         "patricia": "pat", "samuel": "sam", "benjamin": "ben", "nicholas": "nick", "christine": "chris"}  # fmt: skip
_PROVIDERS = ("gmail.com", "yahoo.com", "hotmail.com", "outlook.com", "icloud.com", "aol.com", "mail.example.net")


class _Draw:
    """Random values of a given number of rows."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def skewed(self, values: np.ndarray, size: int, power: float = 0.8) -> np.ndarray:
        weight = 1.0 / np.arange(1, len(values) + 1) ** power
        return values[self.random.choice(len(values), size, p=weight / weight.sum())]

    def invented(self, number: int, parts: int) -> np.ndarray:
        pieces = self.random.choice(_SYLLABLES, size=(number, parts))
        return np.array(["".join(row) for row in pieces], dtype=object)

    def digits(self, low: int, high: int, size: int) -> np.ndarray:
        return self.random.integers(low, high, size).astype(str).astype(object)

    def chance(self, share: float, size: int) -> np.ndarray:
        return self.random.random(size) < share

    def dates(self, years: np.ndarray) -> np.ndarray:
        months, days = self.random.integers(1, 13, len(years)), self.random.integers(1, 29, len(years))
        return np.array([f"{y:04d}-{m:02d}-{d:02d}" for y, m, d in zip(years, months, days, strict=True)], dtype=object)

    def mistyped(self, values: np.ndarray, share: float) -> np.ndarray:
        """One letter lost, doubled, changed or exchanged in a share of the values."""
        result = values.copy()
        for at in np.flatnonzero(self.chance(share, len(values))):
            text = values[at]
            if text is None or len(text) < 3:
                continue
            place, kind = int(self.random.integers(0, len(text) - 1)), int(self.random.integers(0, 4))
            other = text[place + 1] + text[place]
            letter = chr(97 + int(self.random.integers(0, 26)))
            changed = ("", text[place] * 2, letter, other)[kind]
            result[at] = text[:place] + changed + text[place + (2 if kind == 3 else 1) :]
        return result

    def without(self, values: np.ndarray, share: float) -> np.ndarray:
        result = values.copy()
        result[self.chance(share, len(values))] = None
        return result


def _records(draw: _Draw, people: dict[str, np.ndarray], records: int, repeat: float) -> dict[str, np.ndarray]:
    """One record of each person and further ones of a share of them, up to `records`; `person` is their place."""
    number = len(people["given"])
    more = draw.random.geometric(1 - repeat, number)
    person = np.repeat(np.arange(number), more)[:records]
    return {name: values[person] for name, values in people.items()} | {"person": person}


def _table(draw: _Draw, rows: dict[str, np.ndarray]) -> pl.DataFrame:
    names = ["first_name", "surname", "email", "phone", "dob", "address", "city", "state", "zip"]
    frame = pl.DataFrame({name: pl.Series(list(rows[name]), dtype=pl.String) for name in names})
    frame = frame.with_columns(entity_id=pl.Series(rows["person"]).cast(pl.String))
    frame = frame.sample(fraction=1.0, shuffle=True, seed=11)
    return frame.with_row_index("n").select(unique_id=pl.format("r-{}", pl.col("n")), **{c: c for c in frame.columns})


def _emails(draw: _Draw, given: np.ndarray, family: np.ndarray) -> np.ndarray:
    size = len(given)
    number = draw.digits(1, 1000, size)
    number[draw.chance(0.25, size)] = ""
    domain = draw.skewed(np.array(_PROVIDERS, dtype=object), size)
    style = draw.random.integers(0, 3, size)
    user = np.where(style == 0, given + "." + family, np.where(style == 1, family + given, given))
    number = np.where((style == 2) & (number == ""), draw.digits(1000, 9999, size), number)
    emails = np.array([u.replace(" ", "") for u in user], dtype=object) + number + "@" + domain
    taken = ~pl.Series(list(emails)).is_first_distinct().to_numpy()  # one mailbox, one owner
    emails[taken] = np.flatnonzero(taken).astype(str).astype(object) + emails[taken]
    return emails


def retail(records: int, seed: int = 23) -> pl.DataFrame:
    """Records of four systems with nicknames, typing errors, moves, changed surnames and families; see `_table`."""
    draw = _Draw(seed)
    homes = int(records / 1.75)
    surnames = draw.invented(max(2000, records // 40), 3)
    zips = draw.digits(10000, 99999, max(300, records // 100))
    cities = draw.invented(len(zips), 3)
    size = draw.random.choice([1, 2, 3, 4], homes, p=[0.68, 0.18, 0.08, 0.06])
    home = np.repeat(np.arange(homes), size)
    family = draw.skewed(surnames, homes, 0.6)[home]
    given = draw.skewed(np.array(_GIVEN, dtype=object), len(home), 0.5)
    area = draw.random.integers(0, len(zips), homes)
    street = draw.digits(1, 9999, homes) + " " + draw.invented(homes, 2) + " street"
    landline = draw.digits(2_000_000_000, 9_999_999_999, homes)
    people = {
        "given": given, "family": family, "home": home,
        "email": _emails(draw, given, family), "phone": draw.digits(2_000_000_000, 9_999_999_999, len(home)),
        "dob": draw.dates(draw.random.integers(1940, 2006, len(home))),
    }  # fmt: skip
    shared = draw.chance(0.12, len(home))
    people["phone"][shared] = landline[home[shared]]
    first = pl.Series(home).arg_unique().to_numpy()
    shared = draw.chance(0.05, len(home))
    people["email"][shared] = people["email"][first][home[shared]]
    rows = _records(draw, people, records, 0.235)
    size_rows = len(rows["person"])
    moved = draw.chance(0.06, size_rows)
    place = np.where(moved, draw.random.integers(0, homes, size_rows), rows["home"])
    nick = np.array([_NICK.get(name, name) for name in rows["given"]], dtype=object)
    first_name = np.where(draw.chance(0.12, size_rows), nick, rows["given"])
    surname = np.where(draw.chance(0.02, size_rows), draw.skewed(surnames, size_rows, 0.6), rows["family"])
    return _table(draw, rows | {
        "first_name": draw.mistyped(first_name, 0.04), "surname": draw.without(draw.mistyped(surname, 0.04), 0.03),
        "email": draw.without(draw.mistyped(rows["email"], 0.02), 0.25), "phone": draw.without(rows["phone"], 0.33),
        "dob": draw.without(rows["dob"], 0.56), "address": draw.without(draw.mistyped(street[place], 0.04), 0.3),
        "city": draw.without(cities[area[place]], 0.3), "state": area[place].astype(str).astype(object),
        "zip": draw.without(zips[area[place]], 0.2),
    })  # fmt: skip


def households(records: int, seed: int = 41) -> pl.DataFrame:
    """Households of another make; the same columns as `retail`."""
    draw = _Draw(seed)
    homes = int(records / 2.9)
    surnames = draw.invented(max(1500, records // 60), 2)
    zips = draw.digits(10000, 99999, max(200, records // 250))
    cities = draw.invented(len(zips), 2)
    kind = draw.random.choice(["alone", "couple", "flat", "family", "three"], homes, p=[0.3, 0.2, 0.1, 0.3, 0.1])
    members = {"alone": 1, "couple": 2, "flat": 3, "family": 4, "three": 5}
    home = np.repeat(np.arange(homes), [members[name] for name in kind])
    place = np.arange(len(home)) - np.searchsorted(home, home)  # 0, 1, … within the home
    kinds, number = kind[home], len(home)
    family = draw.skewed(surnames, homes, 0.7)[home]
    own = draw.skewed(surnames, number, 0.7)
    stranger = (kinds == "flat") | ((kinds == "couple") & (place == 1) & draw.chance(0.5, number))
    family = np.where(stranger, own, family)
    double = (place == 1) & np.isin(kinds, ("family", "three")) & draw.chance(0.15, number)
    family = np.where(double, family + " " + own, family)
    given = draw.skewed(np.array(_GIVEN, dtype=object), number, 0.4)
    after = (place == 2) & np.isin(kinds, ("family", "three")) & draw.chance(0.06, number)
    given[after] = given[np.flatnonzero(after) - 2]  # a child named after a parent
    base = draw.random.integers(1945, 1990, homes)[home]
    year = base + np.select([place >= 4, place >= 2], [-28, 27], draw.random.integers(-4, 5, number))
    birth = draw.dates(np.clip(year + draw.random.integers(-2, 3, number), 1925, 2012))
    twins = (place == 3) & (kinds == "family") & draw.chance(0.05, number)
    birth[twins] = birth[np.flatnonzero(twins) - 1]
    street = draw.invented(max(500, homes // 8), 3)[draw.random.integers(0, max(500, homes // 8), homes)]
    address = draw.digits(1, 400, homes) + " " + street + " road"
    area = draw.random.integers(0, len(zips), homes)
    people = {
        "given": given, "family": family, "home": home, "dob": birth,
        "email": _emails(draw, given, family), "phone": draw.digits(2_000_000_000, 9_999_999_999, number),
    }  # fmt: skip
    head = np.searchsorted(home, np.arange(homes))
    for name, share in (("email", 0.15), ("phone", 0.25)):
        lent = draw.chance(share, number) & (kinds != "flat")
        people[name][lent] = people[name][head[home[lent]]]
    recycled = np.flatnonzero(draw.chance(0.02, number))
    people["phone"][recycled] = people["phone"][draw.random.permutation(recycled)]
    office = draw.chance(0.03, number)
    people["phone"][office] = draw.digits(2_000_000_000, 2_000_000_060, int(office.sum()))
    rows = _records(draw, people, records, 0.3)
    size = len(rows["person"])
    moved = draw.chance(0.1, size)
    where = np.where(moved, draw.random.integers(0, homes, size), rows["home"])
    nick = np.array([_NICK.get(name, name) for name in rows["given"]], dtype=object)
    first_name = np.where(draw.chance(0.15, size), nick, rows["given"])
    first_name = np.where(draw.chance(0.03, size), np.array([n[0] for n in rows["given"]], dtype=object), first_name)
    surname = np.where(draw.chance(0.015, size), draw.skewed(surnames, size, 0.7), rows["family"])
    first_name, surname = draw.mistyped(first_name, 0.05), draw.mistyped(surname, 0.05)
    turned = draw.chance(0.01, size)
    first_name, surname = np.where(turned, surname, first_name), np.where(turned, first_name, surname)
    fresh = _emails(draw, rows["given"], rows["family"])
    email = np.where(draw.chance(0.1, size), fresh, rows["email"])  # a second address of the same person
    return _table(draw, rows | {
        "first_name": draw.without(first_name, 0.02), "surname": draw.without(surname, 0.02),
        "email": draw.without(draw.mistyped(email, 0.03), 0.3), "phone": draw.without(rows["phone"], 0.3),
        "dob": draw.without(draw.mistyped(rows["dob"], 0.03), 0.4),
        "address": draw.without(draw.mistyped(address[where], 0.06), 0.25),
        "city": draw.without(draw.mistyped(cities[area[where]], 0.03), 0.2),
        "state": (area[where] % 50).astype(str).astype(object), "zip": draw.without(zips[area[where]], 0.2),
    })  # fmt: skip
