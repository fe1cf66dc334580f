"""The catalogue: ten categories, forty subcategories, about 1,200 products with Zipf popularity, and how a shopper
picks one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from customer360.pipelines.sample.names import rank_weights
from customer360.pipelines.sample.streams import Streams

PRODUCT_COUNT = 1200
POPULARITY_EXPONENT = 0.85
LATE_LAUNCH_SHARE = 0.12  # products that appear while the story runs
TIERS = 3  # price levels within a subcategory: budget, middle, premium

# category | subcategory: nouns: lowest and highest price in dollars; `|` parts the subcategories
_SHELVES: dict[str, str] = {
    "Apparel": (
        "Sweaters:crew sweater,cardigan,turtleneck,hoodie:25:140|"
        "Shirts:oxford shirt,tee,polo,linen shirt:12:90|"
        "Trousers:chinos,jeans,joggers,corduroys:25:130|"
        "Outerwear:rain jacket,parka,vest,down coat:50:320"
    ),
    "Footwear": (
        "Sneakers:runner,trainer,court shoe,slip-on:40:180|"
        "Boots:chelsea boot,hiking boot,ankle boot,rain boot:60:260|"
        "Sandals:slide,strap sandal,clog,flip-flop:15:95|"
        "Dress shoes:loafer,derby,pump,ballet flat:50:240"
    ),
    "Home": (
        "Bedding:sheet set,duvet cover,pillow,quilt:20:210|"
        "Decor:table lamp,wall mirror,vase,throw:15:180|"
        "Storage:basket,shelf unit,drawer box,hanger set:10:140|"
        "Bath:bath towel,bath mat,shower curtain,robe:10:85"
    ),
    "Kitchen": (
        "Cookware:skillet,dutch oven,saucepan,wok:22:330|"
        "Appliances:blender,toaster,kettle,stand mixer:25:420|"
        "Tableware:dinner set,mug,wine glass,bowl set:8:120|"
        "Knives:chef knife,paring knife,knife block,cutting board:12:220"
    ),
    "Electronics": (
        "Audio:earbuds,headphones,speaker,soundbar:25:400|"
        "Wearables:smart watch,fitness band,sleep ring,sport strap:20:380|"
        "Accessories:charger,power bank,phone case,usb hub:8:90|"
        "Smart home:smart bulb,camera,thermostat,door sensor:15:250"
    ),
    "Beauty": (
        "Skin care:face cream,cleanser,serum,sunscreen:8:95|"
        "Hair care:shampoo,conditioner,hair mask,hair oil:6:48|"
        "Make-up:lipstick,mascara,foundation,eyeliner:7:55|"
        "Fragrance:eau de parfum,cologne,body mist,candle:15:160"
    ),
    "Grocery": (
        "Coffee:espresso beans,ground coffee,cold brew,decaf beans:7:32|"
        "Snacks:trail mix,granola,dark chocolate,crackers:3:18|"
        "Pantry:olive oil,pasta,honey,tomato sauce:3:28|"
        "Drinks:herbal tea,sparkling water,kombucha,juice:2:22"
    ),
    "Toys": (
        "Building:brick set,magnet tiles,marble run,train set:15:190|"
        "Games:board game,card game,puzzle,dice set:9:70|"
        "Plush:teddy bear,plush rabbit,plush dino,hand puppet:9:60|"
        "Outdoor play:scooter,kite,water blaster,bubble set:8:140"
    ),
    "Sports": (
        "Fitness:yoga mat,dumbbell,resistance band,kettlebell:9:150|"
        "Camping:tent,sleeping bag,headlamp,camp stove:18:380|"
        "Cycling:helmet,bike light,floor pump,bike bag:12:160|"
        "Team sports:soccer ball,basketball,glove,shin guard:9:90"
    ),
    "Garden": (
        "Plants:fern,succulent,herb pot,orchid:6:60|"
        "Tools:pruner,trowel,rake,garden hose:8:95|"
        "Furniture:lounge chair,bistro table,bench,parasol:45:450|"
        "Grilling:charcoal grill,grill tongs,smoker box,grill cover:12:390"
    ),
}  # fmt: skip
_ADJECTIVES = {
    "Apparel": "Merino,Cotton,Linen,Alpine,Classic,Relaxed,Slim,Organic,Striped,Everyday",
    "Footwear": "Suede,Canvas,Leather,Trail,City,Light,Classic,Coastal,Retro,Padded",
    "Home": "Woven,Linen,Oak,Velvet,Nordic,Cloud,Marble,Rustic,Modern,Soft",
    "Kitchen": "Cast-iron,Copper,Ceramic,Steel,Glass,Compact,Professional,Bamboo,Enamel,Classic",
    "Electronics": "Wireless,Compact,Pro,Ultra,Solar,Travel,Studio,Mini,Smart,Fast",
    "Beauty": "Gentle,Hydrating,Rose,Botanical,Matte,Mineral,Velvet,Daily,Radiant,Sensitive",
    "Grocery": "Organic,Roasted,Wild,Single-origin,Spiced,Smoked,Mountain,Golden,Artisan,Unsweetened",
    "Toys": "Giant,Classic,Rainbow,Junior,Wooden,Magnetic,Mini,Space,Jungle,Deluxe",
    "Sports": "Trail,Pro,Ultralight,Grip,Endurance,Foldable,All-weather,Summit,Active,Junior",
    "Garden": "Cedar,Solar,Teak,Folding,Heritage,Compact,Evergreen,Rustproof,Terracotta,Balcony",
}
_BRANDS = {
    "Apparel": "Harlow,Northfield,Ostrea,Pemberton,Juno & Co",
    "Footwear": "Strada,Kestrel,Hollis,Oakhurst,Velo",
    "Home": "Lumen,Haven,Birchline,Casa Nova,Northfield",
    "Kitchen": "Ironleaf,Saveur,Brightpan,Kitano,Casa Nova",
    "Electronics": "Voltix,Auralis,Nimbus,Pixelon,Kitano",
    "Beauty": "Fleur,Calla,Pure Tide,Sonder,Juno & Co",
    "Grocery": "Green Acre,Roastery 9,Harvest Lane,Tamarind,Sunfield",
    "Toys": "Tinkerbox,Brambly,Playforge,Owl & Fox,Sunfield",
    "Sports": "Summitline,Kestrel,Torque,Pace,Velo",
    "Garden": "Fernwood,Green Acre,Terralis,Birchline,Ironleaf",
}
BRANDS_PER_CATEGORY = 5
CATEGORIES = tuple(_SHELVES)
# What is often bought with it: the category of the next line of a basket.
COMPANION = np.array([CATEGORIES.index(name) for name in (
    "Footwear", "Apparel", "Kitchen", "Grocery", "Sports", "Apparel", "Kitchen", "Beauty", "Footwear", "Home",
)])  # fmt: skip
_COLORS = ("Black", "White", "Navy", "Grey", "Green", "Red", "Sand")
_SIZES = ("XS", "S", "M", "L", "XL")
# Demand by month (January first) relative to the year, for the categories that have a season.
_SEASONS = {
    "Toys": (0.6, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9, 0.8, 0.8, 1.1, 2.0, 2.6),
    "Garden": (0.4, 0.5, 1.2, 1.9, 2.1, 1.8, 1.3, 1.0, 0.8, 0.6, 0.4, 0.4),
    "Electronics": (0.8, 0.8, 0.8, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.8, 1.7),
    "Sports": (1.3, 1.0, 1.0, 1.1, 1.2, 1.2, 1.2, 1.0, 0.9, 0.8, 0.8, 0.9),
}


def season_table() -> np.ndarray:
    """Relative demand of each category by month: Float64 [12, categories]."""
    flat = (1.0,) * 12
    return np.array([_SEASONS.get(name, flat) for name in CATEGORIES]).T


def brand_names() -> np.ndarray:
    """Names of the brands: text [categories, BRANDS_PER_CATEGORY]."""
    return np.array([_BRANDS[name].split(",") for name in CATEGORIES])


def products(streams: Streams, start_on: date, end_on: date) -> pl.DataFrame:
    """PRODUCTS, one row per product, in row order of the product numbers that the other modules use."""
    rng = streams.stream("products")
    shelf = [(c, *part.split(":")) for c, text in _SHELVES.items() for part in text.split("|")]
    index = np.arange(PRODUCT_COUNT)
    aisle = index % len(shelf)
    round_ = index // len(shelf)
    nouns = [shelf[a][2].split(",")[r % 4] for a, r in zip(aisle, round_, strict=True)]
    adjectives = [
        _ADJECTIVES[shelf[a][0]].split(",")[(r * 3 + r // 10) % 10] for a, r in zip(aisle, round_, strict=True)
    ]
    low, high = (np.array([float(part[at]) for part in shelf])[aisle] for at in (3, 4))
    brand_at = rng.integers(0, BRANDS_PER_CATEGORY, PRODUCT_COUNT)
    # Prices are log-uniform between the shelf's limits and end in 99 cents.
    price = np.floor(np.exp(np.log(low) + rng.random(PRODUCT_COUNT) * (np.log(high) - np.log(low)))) + 0.99
    launch = np.where(
        rng.random(PRODUCT_COUNT) < LATE_LAUNCH_SHARE,
        rng.integers(0, max((end_on - start_on).days, 1), PRODUCT_COUNT),
        -rng.integers(30, 2000, PRODUCT_COUNT),
    )
    colors = rng.choice(_COLORS, PRODUCT_COUNT)
    frame = pl.DataFrame(
        {
            "PRODUCT_ID": [f"PR{i + 1:05d}" for i in index],
            "PRODUCT_NAME": [f"{a} {n}" for a, n in zip(adjectives, nouns, strict=True)],
            "CATEGORY": [shelf[a][0] for a in aisle],
            "SUBCATEGORY": [shelf[a][1] for a in aisle],
            "BRAND": [_BRANDS[shelf[a][0]].split(",")[b] for a, b in zip(aisle, brand_at, strict=True)],
            "SKU": [
                f"{shelf[a][0][:3].upper()}-{shelf[a][1][:3].upper()}-{i + 1:05d}"
                for a, i in zip(aisle, index, strict=True)
            ],
            "cents": np.round(price * 100).astype(np.int64),
            "margin": rng.uniform(0.35, 0.7, PRODUCT_COUNT),
            "launch": launch,
            "color": colors,
            "grams": rng.lognormal(6, 0.8, PRODUCT_COUNT).round(),
            "status": rng.choice(
                ["ACTIVE", "ACTIVE", "ACTIVE", "SEASONAL", "DISCONTINUED"],
                PRODUCT_COUNT,
                p=[0.5, 0.25, 0.16, 0.06, 0.03],
            ),
        }
    )
    attributes = [
        json.dumps({"color": c, "weight_kg": g / 1000, "sizes": list(_SIZES) if n in ("Apparel", "Footwear") else []})
        for c, g, n in frame.select("color", "grams", "CATEGORY").iter_rows()
    ]
    money, shelf_name = pl.Decimal(10, 2), pl.col("SUBCATEGORY").str.to_lowercase()
    return frame.select(
        "PRODUCT_ID", "PRODUCT_NAME", "CATEGORY", "SUBCATEGORY", "BRAND", "SKU",
        PRICE=(pl.col("cents").cast(money) / 100).cast(money),
        COST=(((pl.col("cents") * (1 - pl.col("margin"))).round().cast(pl.Int64)).cast(money) / 100).cast(money),
        CURRENCY_CODE=pl.lit("USD"),
        DESCRIPTION=pl.format("{} by {}, from our {} range.", "PRODUCT_NAME", "BRAND", shelf_name),
        ATTRIBUTES=pl.Series(attributes),
        LAUNCH_DATE=pl.lit(start_on) + pl.duration(days=pl.col("launch")),
        PRODUCT_STATUS="status",
    )  # fmt: skip


@dataclass(frozen=True)
class Shelf:
    """Products grouped for drawing; arrays are indexed by product number unless said otherwise.

    category, brand (0..4 in the category), tier: Int64. cents: price. launch: day number of the launch, negative
    before the start. elder: the product that stands in until the launch. Orders by (category, tier), (category, brand)
    and the category alone, with their cumulative popularity, serve `pick`.
    """

    category: np.ndarray
    brand: np.ndarray
    tier: np.ndarray
    cents: np.ndarray
    launch: np.ndarray
    elder: np.ndarray
    orders: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

    def pick(self, by: str, group: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Draw a product of each group by popularity. by: "tier", "brand" or "category"; group Int64 [m]; draws [m] in
        [0, 1)."""
        order, cumulative, edges = self.orders[by]
        floor, ceiling = edges[group], edges[group + 1]
        at = np.searchsorted(cumulative, floor + draws * (ceiling - floor), side="right")
        product: np.ndarray = order[np.minimum(at, len(order) - 1)]
        return product

    def launched(self, product: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Replace products that are not on sale yet on that day by their elder."""
        return np.where(self.launch[product] > day, self.elder[product], product)


def _ordered(group: np.ndarray, popularity: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.lexsort((np.arange(len(group)), group))
    cumulative = np.cumsum(popularity[order])
    ends = np.searchsorted(group[order], np.arange(groups), side="right")
    edges = np.concatenate([[0.0], np.where(ends > 0, cumulative[np.maximum(ends, 1) - 1], 0.0)])
    return order, cumulative, edges


def shelf_of(streams: Streams, product_table: pl.DataFrame, start_on: date) -> Shelf:
    """Index PRODUCTS for drawing: popularity is Zipf over a random ranking, tiers are thirds of a subcategory's
    prices."""
    rng = streams.stream("popularity")
    popularity = rank_weights(len(product_table), POPULARITY_EXPONENT)[rng.permutation(len(product_table))]
    category = (
        product_table["CATEGORY"]
        .replace_strict({name: i for i, name in enumerate(CATEGORIES)})
        .to_numpy()
        .astype(np.int64)
    )
    names = {(c, b): i for c, text in _BRANDS.items() for i, b in enumerate(text.split(","))}
    brand = np.array([names[pair] for pair in product_table.select("CATEGORY", "BRAND").iter_rows()])
    rank = pl.col("PRICE").rank("ordinal").over("CATEGORY", "SUBCATEGORY")
    tier = (
        product_table.select((rank - 1) * TIERS // pl.len().over("CATEGORY", "SUBCATEGORY"))
        .to_series()
        .to_numpy()
        .astype(np.int64)
    )
    launch = product_table.select((pl.col("LAUNCH_DATE") - pl.lit(start_on)).dt.total_days()).to_series().to_numpy()
    # The stand-in is the most popular old product of the same category.
    old = np.where(launch < 0, popularity, 0.0)
    best = np.array([np.argmax(np.where(category == c, old, -1.0)) for c in range(len(CATEGORIES))])
    count = len(CATEGORIES)
    return Shelf(
        category=category,
        brand=brand,
        tier=tier,
        cents=(product_table["PRICE"].cast(pl.Float64) * 100).round().cast(pl.Int64).to_numpy(),
        launch=launch,
        elder=best[category],
        orders={
            "tier": _ordered(category * TIERS + tier, popularity, count * TIERS),
            "brand": _ordered(category * BRANDS_PER_CATEGORY + brand, popularity, count * BRANDS_PER_CATEGORY),
            "category": _ordered(category, popularity, count),
        },
    )
