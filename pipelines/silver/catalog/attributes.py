"""Products in one form: brands with one spelling, sizes in base units, colours, barcodes, categories as a tree."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.texts.products import brand_key, color, color_of_name, gtin, measures, plain
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, List, OneOf, String, Table

LEAST_LETTERS = 6  # brands of fewer letters that differ by one are two brands (Asics, Asice; Nike, Nice)
RARER_BY = 10  # a slip of the pen is seldom: the right spelling has so many times more products
PATH_SIGNS = r"\s*[>|»]\s*|\s+/\s+"


class Brands(Table, table="silver.brands", sort_by=("brand", "spelling")):
    """One row per spelling of a brand in the catalogue: which brand it is."""

    spelling = String(primary_key=True)
    brand = String(description="The rule file's, else the spelling of most products among those of one key")
    brand_key = String(description="Letters and digits without signs, accents and legal forms")
    product_count = Integer(description="Products with this spelling")
    reason = OneOf("AS_WRITTEN", "RULE", "SIGNS", "ONE_LETTER", description="Why it is that brand")


@builds(Brands, rules="standardization", reads={"silver.products": ("product_id", "brand")})
def brands(silver_products: pl.LazyFrame, params: StandardizationRules) -> pl.LazyFrame:
    """Spellings that share a key are one brand. A seldom key of one wrong, missing, added or swapped letter is a slip
    of the frequent one (Damerau's distance 1), where that is one only. Spellings that the rule file spares stay."""
    spelled = pl.col("brand").str.strip_chars()
    counted = (
        silver_products.filter(spelled.str.len_chars() > 0)
        .group_by(spelling="brand").agg(product_count=pl.len().cast(pl.Int64))
        .with_columns(brand_key=brand_key(pl.col("spelling")))
        .sort("product_count", "spelling", descending=[True, False])
        .collect()
    )  # fmt: skip
    keys = counted.group_by("brand_key", maintain_order=True).agg(
        pl.col("product_count").sum(), brand=pl.col("spelling").first().str.strip_chars()
    )
    ruled = [(name, spelling) for name, others in params.brands.items() for spelling in [name, *others]]
    rules = pl.DataFrame(ruled, schema={"ruled": pl.String, "said": pl.String}, orient="row").select(
        "ruled", brand_key=brand_key(pl.col("said"))
    ).unique("brand_key", keep="first", maintain_order=True)  # fmt: skip
    found = (
        counted.join(_slips(keys), on="brand_key", how="left")
        .join(keys.select("brand_key", "brand"), on="brand_key", how="left")
        .join(rules, on="brand_key", how="left")
        .join(rules.rename({"brand_key": "meant_key", "ruled": "meant_ruled"}), on="meant_key", how="left")
    )
    is_same = pl.col("brand") == pl.col("spelling")
    is_left = params.repairs.brand_spelling.leaves(pl.col("spelling"))
    return found.lazy().select(
        "spelling", "brand_key", "product_count",
        brand=pl.when(is_left).then(pl.coalesce("ruled", pl.col("spelling").str.strip_chars()))
        .otherwise(pl.coalesce("ruled", "meant_ruled", "meant", "brand")),
        reason=pl.when(pl.col("ruled").is_not_null()).then(pl.lit("RULE"))
        .when(is_left).then(pl.lit("AS_WRITTEN"))
        .when(pl.col("meant").is_not_null()).then(pl.lit("ONE_LETTER"))
        .when(is_same).then(pl.lit("AS_WRITTEN")).otherwise(pl.lit("SIGNS")),
    )  # fmt: skip


def _slips(keys: pl.DataFrame) -> pl.DataFrame:
    """brand_key, meant, meant_key: seldom keys next to one frequent one. Keys one letter apart are equal once a letter
    is taken out of one or both (the neighbourhoods of deletions of SymSpell), so only those are compared."""
    long = keys.filter(pl.col("brand_key").str.len_chars() >= LEAST_LETTERS)
    parts = [
        (key, key[:at] + key[at + 1 :]) for key in long["brand_key"] for at in range(len(key))
    ] + [(key, key) for key in long["brand_key"]]  # fmt: skip
    near = pl.DataFrame(parts, schema={"brand_key": pl.String, "part": pl.String}, orient="row").unique()
    pairs = near.join(near, on="part", suffix="_other").filter(pl.col("brand_key") != pl.col("brand_key_other"))
    counted = keys.select("brand_key", "product_count", "brand")
    compared = (
        pairs.select("brand_key", "brand_key_other").unique()
        .join(counted.drop("brand"), on="brand_key")
        .join(counted.rename({"brand_key": "brand_key_other", "product_count": "others"}), on="brand_key_other")
        .filter(pl.col("others") >= RARER_BY * pl.col("product_count"))
    )  # fmt: skip
    is_near = [_one_apart(a, b) for a, b in compared.select("brand_key", "brand_key_other").iter_rows()]
    right = compared.filter(pl.Series(is_near, dtype=pl.Boolean))
    return (
        right.group_by("brand_key")
        .agg(meant=pl.col("brand").first(), meant_key=pl.col("brand_key_other").first(), n=pl.len())
        .filter(n=1)
        .drop("n")
    )


def _one_apart(one: str, other: str) -> bool:
    """Whether one edit makes one text of the other: a letter changed, added, left out, or two neighbours swapped. The
    first letter is never wrong, and digits are never a slip (Roastery 8, Roastery 9)."""
    if one[0] != other[0] or "".join(filter(str.isdigit, one)) != "".join(filter(str.isdigit, other)):
        return False
    short, long = sorted((one, other), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    return swapped or short[at + 1 :] == long[at + 1 :]


class Categories(Table, table="silver.categories", sort_by=("path",)):
    """One row per node of the tree of categories: its name, level and parent, and how many products lie in it."""

    path = String(primary_key=True, description="Names from the top, parted by ` > `")
    parent_path = String(nullable=True, description="Null at the top")
    name = String(description="The spelling of most products")
    level = Integer(min=1, description="1 at the top")
    product_count = Integer(description="In the node and below it")
    own_product_count = Integer(description="In the node itself")
    child_count = Integer()


def category_levels() -> pl.Expr:
    """The category path of a product of silver.products as it is written: List(String), empty without a category: a
    subcategory alone says nothing of the place. A category or subcategory may be a path (``Home > Kitchen``,
    ``Home / Kitchen``); a subcategory that repeats its category's path adds what it has beyond it."""
    parts = [
        pl.col(column).str.replace_all(PATH_SIGNS, "\x1f").str.split("\x1f")
        .list.eval(pl.element().str.replace_all(r"\s+", " ").str.strip_chars())
        for column in ("category", "subcategory")
    ]  # fmt: skip
    top, below = (part.fill_null([]).list.eval(pl.element().filter(pl.element() != "")) for part in parts)
    known, said = (part.list.eval(plain(pl.element())) for part in (top, below))
    repeats = said.list.head(top.list.len()) == known
    is_placed = top.list.len() > 0
    return pl.when(~is_placed).then(top).when(repeats).then(below).otherwise(pl.concat_list(top, below))


def _nodes(products: pl.LazyFrame) -> pl.LazyFrame:
    """One row per product and node on its path: product_id, key (plain path), parent_key, name as written, level,
    depth of the path."""
    said = products.select("product_id", names=category_levels()).filter(pl.col("names").list.len() > 0)
    rows = said.with_columns(depth=pl.col("names").list.len()).with_columns(
        level=pl.int_ranges(1, pl.col("depth").cast(pl.Int64) + 1)
    ).explode("level", empty_as_null=False, keep_nulls=False)  # fmt: skip
    keys = pl.col("names").list.eval(plain(pl.element()))
    level = pl.col("level")
    return rows.select(
        "product_id", "level",
        depth=pl.col("depth").cast(pl.Int64),
        name=pl.col("names").list.get(level - 1),
        key=keys.list.head(level).list.join(" > "),
        parent_key=keys.list.head(level - 1).list.join(" > "),
    )  # fmt: skip


def _named(nodes: pl.LazyFrame) -> pl.LazyFrame:
    """key, name: of each node the spelling of most products, the first in the alphabet among equals."""
    return (
        nodes.group_by("key", "name").len().sort("len", "name", descending=[True, False])
        .group_by("key").agg(pl.col("name").first())
    )  # fmt: skip


def _paths(nodes: pl.LazyFrame) -> pl.DataFrame:
    """key, path: the names from the top of each node."""
    names = dict(_named(nodes).collect().rows())
    rows = [
        (key, " > ".join(names[" > ".join(parts[: n + 1])] for n in range(len(parts))))
        for key, parts in ((key, key.split(" > ")) for key in sorted(names))
    ]
    return pl.DataFrame(rows, schema={"key": pl.String, "path": pl.String}, orient="row")


@builds(Categories, reads={"silver.products": ("product_id", "category", "subcategory")})
def categories(silver_products: pl.LazyFrame) -> pl.LazyFrame:
    """Nodes whose names differ in case, accents and blanks alone are one."""
    nodes = _nodes(silver_products).collect().lazy()
    paths = _paths(nodes).lazy()
    counted = nodes.group_by("key", "parent_key", "level").agg(
        product_count=pl.col("product_id").n_unique().cast(pl.Int64),
        own_product_count=(pl.col("level") == pl.col("depth")).sum().cast(pl.Int64),
    )
    children = counted.group_by(key="parent_key").agg(child_count=pl.len().cast(pl.Int64))
    parents = paths.rename({"key": "parent_key", "path": "parent_path"})
    return (
        counted.join(paths, on="key")
        .join(_named(nodes), on="key")
        .join(parents, on="parent_key", how="left")
        .join(children, on="key", how="left")
        .with_columns(pl.col("child_count").fill_null(0))
        .select(list(Categories.columns()))
    )


class ProductCodes(Table, table="silver.product_codes", per="product_id", sort_by=("product_id", "code")):
    """One row per code that a product is known by outside."""

    product_id = String(primary_key=True)
    code = String(primary_key=True)
    source_system = String(primary_key=True)
    code_type = String(nullable=True)
    gtin = String(nullable=True, description="GTIN-14 of a sound barcode that is no shop's own number")


@builds(ProductCodes)
def product_codes(bronze_product_codes: pl.LazyFrame) -> pl.LazyFrame:
    """What a code is decides its check digit, not what its source calls it."""
    return bronze_product_codes.select(
        product_id="PRODUCT_ID", code="CODE", source_system="_source_system", code_type="CODE_TYPE",
        gtin=gtin(pl.col("CODE")),
    )  # fmt: skip


class ProductAttributes(Table, table="silver.product_attributes", per="product_id", sort_by=("product_id",)):
    """One row per product of the catalogue: its brand, size, colour and barcode in one form."""

    product_id = String(primary_key=True)
    brand = String(nullable=True, description="In one spelling, see silver.brands")
    gtin = String(nullable=True, description="GTIN-14 of a sound barcode that is no shop's own number")
    size_value = Float(nullable=True, description="Of one piece, in size_unit")
    size_unit = OneOf("g", "ml", "mm", nullable=True, description="Base unit: gram, millilitre, millimetre")
    pack_count = Integer(nullable=True, description="Pieces in the pack, where the texts say")
    total_size = Float(nullable=True, description="size_value x pack_count (1 where the texts say none)")
    size_from = OneOf("NAME", "ATTRIBUTES", nullable=True)
    size_label = String(nullable=True, description="A size that is no measure: S, M, 42, as the attributes write it")
    color = String(nullable=True, description="Standard colour")
    color_name = String(nullable=True, description="As written")
    category_levels = List(String(), description="As written, from the top; empty without a category")


SIZE_KEYS = ("size", "volume", "net_weight", "net_content", "weight", "contents")
WEIGHTS = {"weight_kg": "kg", "weight_g": "g", "weight_lb": "lb", "weight_oz": "oz", "volume_ml": "ml", "volume_l": "l"}


@builds(
    ProductAttributes,
    rules="standardization",
    reads={"silver.products": ("product_id", "product_name", "category", "subcategory", "brand", "sku", "attributes")},
)
def product_attributes(
    silver_products: pl.LazyFrame,
    silver_brands: pl.LazyFrame,
    silver_product_codes: pl.LazyFrame,
    params: StandardizationRules,
) -> pl.LazyFrame:
    """What the name says of a size counts before the attributes, whose weight may be that of the parcel. The barcode is
    a code of the product, else of its attributes, else its SKU; of several the smallest."""
    codes = silver_product_codes.filter(pl.col("gtin").is_not_null()).group_by("product_id").agg(
        coded=pl.col("gtin").min()
    )  # fmt: skip
    said = silver_products.join(codes, on="product_id", how="left").join(
        silver_brands.select(brand="spelling", meant="brand"), on="brand", how="left"
    )
    name, listed = measures(pl.col("product_name")), measures(_listed_size())
    by_name = name["size_value"].is_not_null()
    size = {c: pl.when(by_name).then(name[c]).otherwise(listed[c]) for c in ("size_value", "size_unit")}
    pack = pl.coalesce(name["pack_count"], listed["pack_count"])
    color_name = pl.coalesce(_listed("color"), _listed("colour"), _listed("Color"))
    bars = [gtin(_listed(key)) for key in ("gtin", "ean", "upc", "barcode", "GTIN", "EAN")]
    return said.select(
        "product_id", **size,
        brand="meant",
        gtin=pl.coalesce("coded", *bars, pl.when(pl.col("sku").str.len_chars() >= 12).then(gtin(pl.col("sku")))),
        pack_count=pack,
        total_size=size["size_value"] * pack.fill_null(1),
        size_from=pl.when(by_name).then(pl.lit("NAME"))
        .when(listed["size_value"].is_not_null()).then(pl.lit("ATTRIBUTES")),
        size_label=pl.when(measures(_listed("size"))["size_value"].is_null()).then(_listed("size")),
        color=pl.coalesce(color(color_name, params.colors), color_of_name(pl.col("product_name"), params.colors)),
        color_name=color_name,
        category_levels=category_levels(),
    )  # fmt: skip


def _listed(key: str) -> pl.Expr:
    """A text of the attributes; null where they are no JSON object or have no such key."""
    is_object = pl.col("attributes").str.contains(r"^\s*\{")
    said = pl.when(is_object).then(pl.col("attributes")).str.json_path_match(f"$.{key}").str.strip_chars()
    return pl.when(~said.is_in(["", "null"]) & ~said.str.contains(r"^[\[{]")).then(said)


def _listed_size() -> pl.Expr:
    united = [pl.format("{} {}", _listed(key), pl.lit(unit)) for key, unit in WEIGHTS.items()]
    return pl.coalesce(*(_listed(key) for key in SIZE_KEYS), *united)
