"""What texts about products mean: sizes in base units, packs, colours, barcodes, and the words that tell one product
from another. Our own products and those of competitors are read by the same expressions.
"""

from __future__ import annotations

import re

import polars as pl

# What one of a unit is in its base unit: gram, millilitre, millimetre. Ounces are of weight unless they are called
# fluid; the customary units are those of the United States (NIST Handbook 44, appendix C).
UNITS: dict[str, dict[str, float]] = {
    "g": {"mg": 0.001, "g": 1, "gr": 1, "gram": 1, "grams": 1, "gramm": 1, "kg": 1000, "kgs": 1000, "kilo": 1000,
          "oz": 28.349523125, "ounce": 28.349523125, "ounces": 28.349523125, "lb": 453.59237, "lbs": 453.59237,
          "pound": 453.59237, "pounds": 453.59237},
    "ml": {"ml": 1, "cl": 10, "dl": 100, "l": 1000, "lt": 1000, "ltr": 1000, "liter": 1000, "litre": 1000,
           "liters": 1000, "litres": 1000, "floz": 29.5735295625, "pint": 473.176473, "pints": 473.176473,
           "qt": 946.352946, "quart": 946.352946, "gal": 3785.411784, "gallon": 3785.411784},
    "mm": {"mm": 1, "cm": 10, "m": 1000, "meter": 1000, "metre": 1000, "in": 25.4, "inch": 25.4, "inches": 25.4,
           "ft": 304.8, "foot": 304.8, "feet": 304.8},
}  # fmt: skip
BASE_OF = {word: base for base, words in UNITS.items() for word in words}
FACTOR_OF = {word: factor for words in UNITS.values() for word, factor in words.items()}
_NUMBER = r"(\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)"
_UNIT = "(" + "|".join(sorted(BASE_OF, key=len, reverse=True)) + r")\b"
_SIZE = rf"(?:^|[^\w.,])(?:(\d+)\s*[x×]\s*)?{_NUMBER}\s*{_UNIT}(?:\s*[x×]\s*(\d+)\b)?"
_PIECES = r"pack|packs|pk|ct|count|pcs|pc|piece|pieces|stuck|stk|units"
_PACK = rf"\b(\d+)[\s-]*(?:{_PIECES})\b"
_PACK_OF = r"\b(?:pack|set|box|case|bundle) of (\d+)\b"
_LEGAL = (
    r"(?:\s+(?:gmbh|ag|kg|inc|llc|ltd|limited|corp|corporation|co|company|sa|srl|spa|bv|plc))+$|^the\s+"  # of words
)
GTIN_LENGTHS = (8, 12, 13, 14)  # the GS1 General Specifications know no others


def plain(text: pl.Expr) -> pl.Expr:
    """Small letters without accents, blanks at the ends and double blanks."""
    bare = text.str.to_lowercase().str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    return bare.str.replace_all("ß", "ss", literal=True).str.replace_all(r"\s+", " ").str.strip_chars()


def measures(text: pl.Expr) -> dict[str, pl.Expr]:
    """The first size that a text names, in its base unit, and how many pieces are in the pack.

    ``size_value`` (Float64, one piece), ``size_unit`` (g, ml or mm) and ``pack_count`` (Int64); null where the text
    names none. A comma before exactly three digits parts thousands, any other is a decimal one.
    """
    said = _unified(text)
    found = said.str.extract_groups(_SIZE)
    number, unit = found.struct.field("2"), found.struct.field("3")
    whole = number.str.replace_all(r",(\d{3})", "${1}").str.replace(",", ".", literal=True)
    packs = [found.struct.field("1"), found.struct.field("4"), said.str.extract(_PACK_OF), said.str.extract(_PACK)]
    factor = unit.replace_strict(FACTOR_OF, default=None, return_dtype=pl.Float64)
    pack = pl.coalesce(packs).cast(pl.Int64, strict=False)
    amount = whole.cast(pl.Float64, strict=False) * factor
    return {
        "size_value": pl.when(amount > 0).then(amount.round_sig_figs(9)),
        "size_unit": pl.when(amount > 0).then(unit.replace_strict(BASE_OF, default=None, return_dtype=pl.String)),
        "pack_count": pl.when(pack > 0).then(pack),
    }


def _unified(text: pl.Expr) -> pl.Expr:
    """A plain text whose units are words of their own."""
    return (
        plain(text)
        .str.replace_all(r"(\d)\s*in\s*(\d)", "${1} ${2}")  # "2 in 1 shampoo" is two of nothing
        .str.replace_all(r"\b(?:fl|fluid)\.?\s*(?:oz|ounces?)\b", "floz")
        .str.replace_all(r"(\d)\s*[\"”″]", "${1} inch")
    )


def color(text: pl.Expr, colors: dict[str, list[str]]) -> pl.Expr:
    """The standard colour of a colour's name; of several (``red/white``, ``navy & grey``) the first that is known."""
    words = _color_words(colors)
    parts = plain(text).str.split(" & ").list.eval(
        pl.element().str.split("/").list.explode(empty_as_null=False, keep_nulls=False)
    )  # fmt: skip
    known = parts.list.eval(
        pl.element().str.strip_chars().replace_strict(words, default=None, return_dtype=pl.String).drop_nulls()
    )
    return known.list.first()


def color_of_name(name: pl.Expr, colors: dict[str, list[str]]) -> pl.Expr:
    """The colour that a product's name sets apart at its end: ``Tee - Navy``, ``Tee (navy)``, ``Tee, Navy / M``. A
    colour in the midst of a name may be a taste or a flower."""
    names = "|".join(re.escape(word) for word in sorted(_color_words(colors), key=len, reverse=True))
    said = plain(name).str.extract(rf"(?:\s[-–|/]\s|,\s*|\()({names})\)?(?:\s*[/,].*)?$")
    return said.replace_strict(_color_words(colors), default=None, return_dtype=pl.String)


def _color_words(colors: dict[str, list[str]]) -> dict[str, str]:
    frame = pl.DataFrame(
        [(name, word) for name, words in colors.items() for word in [name.lower(), *words]],
        schema=["name", "word"], orient="row",
    )  # fmt: skip
    return dict(frame.select(plain(pl.col("word")), "name").unique("word", keep="first", maintain_order=True).rows())


def gtin(code: pl.Expr) -> pl.Expr:
    """A barcode as GTIN of fourteen digits; null where the check digit is wrong or the number is one that every shop
    gives out itself (GS1 prefixes 02, 04 and 20 to 29, GTIN-8 from 0 and 2), so that it names no product elsewhere."""
    digits = code.str.replace_all(r"[\s-]", "")
    is_number = digits.str.contains(r"^\d+$") & digits.str.len_chars().is_in(GTIN_LENGTHS)
    full = digits.str.zfill(14)
    total = pl.sum_horizontal(
        full.str.slice(at, 1).cast(pl.Int64, strict=False) * (3 if at % 2 == 0 else 1) for at in range(14)
    )
    own = full.str.contains(r"^0(?:2|02|04)") | (
        (digits.str.len_chars() == 8) & digits.str.contains(r"^[02]")
    ) | full.str.contains(r"^0+$")  # fmt: skip
    return pl.when(is_number & (total % 10 == 0) & ~own).then(full)


def brand_key(brand: pl.Expr) -> pl.Expr:
    """What spellings of a brand have in common: letters and digits without legal forms; the text itself in small
    letters where nothing else is left."""
    words = plain(brand).str.replace_all("&", " and ", literal=True).str.replace_all("+", " and ", literal=True)
    bare = words.str.replace_all(r"['’`.,]", "").str.strip_chars().str.replace_all(_LEGAL, "")
    bare = bare.str.replace(r"\s+and\s*$", "")  # "Juno & Co" without its Co
    key = bare.str.replace_all(r"[^\p{L}\p{N}]+", "")
    return pl.when(key != "").then(key).otherwise(words)


def tokens(text: pl.Expr) -> pl.Expr:
    """The different words of a text, without sizes, packs and signs: List(String), in order."""
    bare = _unified(text).str.replace_all(_SIZE, " ").str.replace_all(_PACK_OF, " ").str.replace_all(_PACK, " ")
    bare = bare.str.replace_all(r"['’`]", "")
    words = bare.str.extract_all(r"[\p{L}\p{N}]+").list.eval(_stem(pl.element()))
    return words.list.unique(maintain_order=True)


def _stem(word: pl.Expr) -> pl.Expr:
    """A word without the s of its plural."""
    plural = word.str.ends_with("s") & ~word.str.ends_with("ss") & (word.str.len_chars() > 3)
    return pl.when(plural).then(word.str.strip_suffix("s")).otherwise(word)
