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
# Spelled as what they stand for in names, and not as a catch in the throat, which leaves no letter.
_VOWELS = str.maketrans({"ا": "a", "ع": "a", "א": "a", "ע": "a"})
_SYLLABLES = re.compile("([\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]) ?")
# The hook, the dot below and the horn are of Vietnamese alone; so is a tone above a letter that has a mark already.
_VIETNAMESE = re.compile(r"[\u0309\u0323\u031b]|[\u0302\u0306][\u0300\u0301\u0303]")
_VIETNAMESE_SURNAMES = frozenset("lê hoàng vũ võ bùi ngô lý lâm hà phùng tô châu thái tăng mạc".split())
_TONES = re.compile(r"[\u0300\u0301\u0303\u0309\u0323]")
_LONG = {"a": "あ", "i": "い", "u": "う", "e": "い", "o": "う"}


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
        long = _with_vowels(word)
        plain = re.sub(r"[^a-z0-9]+", "", anyascii(long.translate(_VOWELS)).lower())
        words.append(plain or word)
    return " ".join(words)


def spelled(text: str) -> str:
    """As `romanized`, the syllables of a Korean and the characters of a Chinese or Japanese name as words: such a name,
    a surname too, is made of them as others are of names, and is mistaken by them."""
    return romanized(_SYLLABLES.sub(r"\1 ", text).strip())


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
