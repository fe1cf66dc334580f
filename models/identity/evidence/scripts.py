"""Text of every script in one comparable form: folded where writers differ in habit, kept where a sound would go.

`folded` takes away what carries no sound of its own (case, accents of Latin, Greek and Cyrillic, points of Hebrew and
Arabic, width, the choice between hiragana and katakana) and keeps vowels and tones that other scripts write as marks.
`romanized` spells what is left in ASCII letters, so that a distance counts letters, jamo and kana rather than bytes and
a name meets itself in another script. `toned` holds what folding loses where it tells names apart.
"""

import re
import unicodedata
from functools import lru_cache

import polars as pl
from anyascii import anyascii

# Letters that Unicode does not decompose, and letters that two keyboards have for one.
_ONE_FOR_ANOTHER = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i",
    "ة": "ه", "ى": "ي", "ی": "ي", "ک": "ك", "ہ": "ه", "ە": "ه",
}  # fmt: skip
_HIRAGANA = {chr(point): chr(point - 0x60) for point in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}
# Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic; tatweel; joiners and other signs without a width.
_POINTS = "\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640"
_SILENT = f"[\u0300-\u036f{_POINTS}\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]"
NOT_ASCII = "[^ -~]"
# Syllables and characters, of which a name has few.
SIGNS = "[\u3041-\u309f\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]"
# Characters whose letters say how they may be read, and not what they are made of.
HAN = "[\u3400-\u9fff\U00020000-\U0003ffff]"
# Spelled as what they stand for in names, and not as a catch in the throat, which leaves no letter.
_VOWELS = str.maketrans({"ا": "a", "ع": "a", "א": "a", "ע": "a"})
_SYLLABLES = re.compile("([\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]) ?")
# The hook, the dot below and the horn are of Vietnamese alone; so is a tone above a letter that has a mark already.
_VIETNAMESE = re.compile(r"[\u0309\u0323\u031b]|[\u0302\u0306][\u0300\u0301\u0303]")
_VIETNAMESE_SURNAMES = frozenset("lê hoàng vũ võ bùi ngô lý lâm hà phùng tô châu thái tăng mạc".split())
_TONES = re.compile(r"[\u0300\u0301\u0303\u0309\u0323]")
_LONG = {"a": "あ", "i": "い", "u": "う", "e": "い", "o": "う"}
# What two letters of Greek and two kana say together, in letters of their own script that say the same.
_GREEK = (
    ("ου", "ou"), (r"([αε])υ(?=[αεηιουωβγδζλμνρ])", r"\1β"), (r"([αε])υ", r"\1φ"), (r"\bμπ", "b"), (r"\bντ", "d"),
    ("γ(?=[γξχ])", "ν"),
)  # fmt: skip
# Consonants of Devanagari and the scripts of its kind, which stand in Unicode as they do, and the next sign where the
# vowel between is heard but not written; at the end of a name it is mostly silent.
_INDIC = tuple(range(0x0900, 0x0D80, 0x80))
_CONSONANTS = "".join(f"{chr(base + 0x15)}-{chr(base + 0x39)}" for base in _INDIC)
_MODIFIERS = "".join(f"{chr(base + 1)}-{chr(base + 3)}" for base in _INDIC)
_NUKTAS = "".join(chr(base + 0x3C) for base in _INDIC)
_UNWRITTEN = re.compile(f"([{_CONSONANTS}][{_NUKTAS}]?)(?=[{_CONSONANTS}{_MODIFIERS}])")
_GLIDES = {"ゃ": "a", "ゅ": "u", "ょ": "o"}
# How others spell in Latin letters what is spelled here, by script: each part may be written in each of these ways.
_IN_OTHER_WAYS = (
    ("[\u0400-\u04ff]", (
        ("iy(?=[aeu])", ("i", "ii", "ij")), (r"\by(?=[aeu])", ("i", "j")), ("(?<=[lnrst])y(?=[aeu])", ("i",)),
        (r"ii\b", ("iy", "y", "i", "ij")), (r"(?<=[aeou])i\b", ("y", "j")), (r"yy\b", ("y", "iy")), ("ks", ("x",)),
        ("kh", ("h", "ch")), ("(?<!t)ts", ("c", "tz")), (r"\bch", ("tch",)), ("v", ("w",)), (r"\be", ("ye", "je")),
    )),
    ("[\u0370-\u03ff]", (
        ("g(?=[ei])", ("y",)), ("ch", ("h",)), ("y", ("i",)), ("f", ("ph",)), ("ks", ("x",)), ("k", ("c",)),
        ("mp", ("b",)), ("nt", ("d",)),
    )),
    ("[\u3041-\u3096]", (
        ("o[uo]", ("o", "oh")), ("uu", ("u",)), (r"shi", ("si",)), ("sh(?!i)", ("sy",)), ("chi", ("ti",)),
        ("ch(?!i)", ("ty",)), ("tsu", ("tu",)), ("fu", ("hu",)), ("ji", ("zi",)), ("j(?!i)", ("zy", "jy")),
    )),
    ("[\u0900-\u0d7f]", (("s(?!h)", ("sh",)), ("c(?!h)", ("ch",)), ("v", ("w",)), ("m(?=[bcdgjkt])", ("n",)))),
    ("[\u3400-\u9fff\uac00-\ud7a3]", ((" ", ("",)),)),
)  # fmt: skip
_FIRST_LETTER, _LETTERS = ord("!"), 94
# More spellings of one name are not made.
_MOST_SPELLINGS = 64


def folded(value: pl.Expr) -> pl.Expr:
    """Lower case without what carries no sound; text of one script stays in it."""
    lower = value.cast(pl.String).str.to_lowercase()
    bare = lower.str.normalize("NFKD").str.replace_all(_SILENT, "").str.normalize("NFC")
    return bare.str.replace_many(_ONE_FOR_ANOTHER | _HIRAGANA)


@lru_cache(65_536)
def romanized(text: str) -> str:
    """Folded text in ASCII letters; a sign that has none stays."""
    words = []
    for word in text.split(" "):
        long = _as_heard(_with_vowels(word))
        plain = re.sub(r"[^a-z0-9]+", "", anyascii(long.translate(_VOWELS)).lower())
        words.append(plain or word)
    return " ".join(words)


def spelled(text: str) -> str:
    """As `romanized`, the syllables of a Korean and the characters of a Chinese or Japanese name as words: such a name,
    a surname too, is made of them as others are of names, and is mistaken by them."""
    return romanized(_SYLLABLES.sub(r"\1 ", text).strip())


def spellings(text: str) -> str | None:
    """The ways in which others spell folded text of another script in Latin letters, parted by `|`: tsuyoshi is tuyosi,
    yuliya julia, xiao ming xiaoming. Null where there is one. What Arabic, Hebrew and Thai leave out stays out."""
    # The vowel makes Indic names more alike than they are, so that it serves only to meet names in Latin letters.
    found = list(dict.fromkeys((spelled(text), spelled(_UNWRITTEN.sub(r"\1a", text)))))
    for script, parts in _IN_OTHER_WAYS:
        if re.search(script, text):
            for part, ways in parts:
                found += [re.sub(part, way, one) for one in found for way in ways]
                found = list(dict.fromkeys(found))[:_MOST_SPELLINGS]
    return "|".join(found) if len(found) > 1 else None


def signed(text: str) -> str:
    """One ASCII letter for each sign, so that a distance counts signs and not the bytes that they are stored in. Two
    signs in a hundred share one: texts that are equal this way may be two."""
    return "".join(chr(_FIRST_LETTER + ord(sign) % _LETTERS) for sign in text if sign != " ")


def toned(given: str, family: str) -> str | None:
    """A given name with the tones and dots that Vietnamese and Turkish tell names by, where its writer puts them: the
    surname counts, too, since a level tone is no mark. Null for other names, and for those typed without."""
    name = unicodedata.normalize("NFD", f"{given} {family}".lower())
    surname = unicodedata.normalize("NFC", family.lower())
    if _VIETNAMESE.search(name) or "đ" in name or not _VIETNAMESE_SURNAMES.isdisjoint(surname.split()):
        return " ".join(_tone_last(word) for word in unicodedata.normalize("NFD", given.lower()).split())
    if re.search("[ığş]", unicodedata.normalize("NFC", name)) and given != given.upper():
        lower = unicodedata.normalize("NFD", given.replace("I", "ı").lower())
        return re.sub("[\u0300-\u036f]", "", lower)
    return None


def _as_heard(word: str) -> str:
    """Greek and kana with what two signs say together as one; the rest as it is."""
    for two, one in _GREEK if re.search("[\u0370-\u03ff]", word) else ():
        word = re.sub(two, one, word)
    return re.sub("([\u3041-\u3096])([ゃゅょ])", _contracted, re.sub("っ([\u3041-\u3096])", _doubled, word))


def _contracted(kana: re.Match[str]) -> str:
    plain = anyascii(kana[1])
    if not plain.endswith("i") or len(plain) < 2:
        return kana[0]
    glide = "" if plain in ("shi", "chi", "ji") else "y"
    return plain[:-1] + glide + _GLIDES[kana[2]]


def _doubled(kana: re.Match[str]) -> str:
    first = anyascii(kana[1])[0]
    return (first if first not in "aeiou" else "") + kana[1]


def _tone_last(word: str) -> str:
    """Old and new spelling differ in where the tone of a syllable stands."""
    return _TONES.sub("", word) + "".join(sorted(_TONES.findall(word)))


def _with_vowels(word: str) -> str:
    """The long mark of kana as the vowel that it lengthens."""
    while "ー" in word[1:]:
        at = word.index("ー", 1)
        vowel = anyascii(word[at - 1])[-1:].lower()
        word = word[:at] + _LONG.get(vowel, "") + word[at + 1 :]
    return word
