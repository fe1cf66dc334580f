"""Colours under their names, and when goods are dead or lead to others."""

from __future__ import annotations

from pydantic import Field

from customer360.platform.settings import Frozen

COLORS = {
    "BLACK": ["black", "schwarz", "noir", "negro", "nero", "jet", "onyx", "ebony"],
    "WHITE": ["white", "weiss", "weiß", "blanc", "blanco", "bianco", "ivory", "snow", "off-white"],
    "GREY": ["grey", "gray", "grau", "gris", "grigio", "charcoal", "anthracite", "anthrazit", "slate", "heather grey"],
    "RED": ["red", "rot", "rouge", "rojo", "rosso", "crimson", "scarlet", "burgundy", "maroon", "cherry"],
    "ORANGE": ["orange", "naranja", "arancione", "coral", "rust", "terracotta"],
    "YELLOW": ["yellow", "gelb", "jaune", "amarillo", "giallo", "mustard", "lemon"],
    "GREEN": ["green", "grün", "gruen", "vert", "verde", "olive", "khaki", "mint", "sage", "emerald"],
    "BLUE": ["blue", "blau", "bleu", "azul", "blu", "navy", "navy blue", "royal blue", "sky blue", "light blue",
             "dark blue", "cobalt", "indigo", "teal", "turquoise", "denim"],
    "PURPLE": ["purple", "lila", "violet", "violett", "morado", "viola", "lavender", "plum", "lilac"],
    "PINK": ["pink", "rosa", "rose", "fuchsia", "magenta", "blush"],
    "BROWN": ["brown", "braun", "marron", "marrón", "marrone", "chocolate", "tan", "cognac", "camel", "walnut"],
    "BEIGE": ["beige", "sand", "cream", "ecru", "nude", "natural", "champagne", "taupe", "stone"],
    "GOLD": ["gold", "golden", "gold-tone", "rose gold", "oro", "brass"],
    "SILVER": ["silver", "silber", "argent", "plata", "chrome", "steel", "space grey"],
    "MULTICOLOR": ["multicolor", "multicolour", "multi", "bunt", "mehrfarbig", "multicolore", "assorted", "rainbow"],
}  # fmt: skip


class AssortmentRules(Frozen):
    """When goods are dead or were never wanted, and from which evidence on one product leads to another."""

    window_days: int = Field(default=365, gt=0)  # of sales
    dead_after_days: int = Field(default=180, gt=0)  # in stock and unsold for so long
    ended_statuses: list[str] = [
        "DISCONTINUED",
        "INACTIVE",
        "ARCHIVED",
        "DELISTED",
        "OBSOLETE",
    ]  # of a product: not missed
    new_days: int = Field(default=60, ge=0)  # launched since: too early to call it unsold
    outcome_days: int = Field(default=120, gt=0)  # cross-selling: bought within the last so many of the window
    least_buyers: int = Field(default=30, ge=2)  # with the first, and as many without
    least_switches: int = Field(default=5, ge=2)  # people who went from one product to the other
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    partners: int = Field(default=50, gt=0)  # kept of each product
