"""What names of tracked events and of consent mean in the words that batch and real time share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import Counter

from customer360.pipelines.consents import WHOLES
from customer360.pipelines.vocabulary import EVENT_TYPES
from customer360.platform import telemetry
from customer360.platform.connections.collector import Collector
from customer360.platform.errors import ConfigError
from customer360.platform.purposes import PURPOSES

# Segment's e-commerce specification, version 2. The vocabulary has no word for a cart that is looked at: it is a page.
ECOMMERCE: Mapping[str, str] = MappingProxyType(
    {
        "products searched": "SEARCH",
        "product list viewed": "CATEGORY_VIEW",
        "product list filtered": "CATEGORY_VIEW",
        "promotion clicked": "CLICK",
        "product clicked": "CLICK",
        "product viewed": "PRODUCT_VIEW",
        "product added": "CART_ADD",
        "product removed": "CART_REMOVE",
        "cart viewed": "PAGE_VIEW",
        "checkout started": "CHECKOUT_START",
        "order completed": "PURCHASE",
        "product added to wishlist": "WISHLIST_ADD",
        "wishlist product added to cart": "CART_ADD",
        "signed in": "LOGIN",
    }
)
UNKNOWN = "unmapped"  # in `consent:` of a collector: what a no to any other category refuses
UNMAPPED = Counter("customer360_unmapped_consents_total", "Answers of events on consent to categories nobody mapped")
MOST_TOLD = 100  # categories
LONGEST_CATEGORY = 60  # characters of one in the log
TELLS_CART = frozenset({"cart viewed", "checkout started"})  # their products are all that lies in the cart
CONSENT_EVENTS = frozenset({"segment consent preference", "segment consent preference updated"})


def event_types(collector: Collector) -> dict[str, str]:
    """The type of each track event that has one, by its name in small letters.

    Raises:
        ConfigError: the settings name a type that there is not.
    """
    own = {kind.lower(): kind for kind in EVENT_TYPES}
    further = {name.strip().lower(): kind.upper() for name, kind in collector.events.items()}
    if unknown := sorted(set(further.values()) - set(EVENT_TYPES)):
        raise ConfigError(f"a collector's events: {', '.join(unknown)} is none of {', '.join(EVENT_TYPES)}")
    return {**own, **ECOMMERCE, **further}


class Purposes:
    """The purposes that a category of consent is about."""

    def __init__(self, known: Mapping[str, frozenset[str]], unmapped: frozenset[str]) -> None:
        self._known, self._unmapped = known, unmapped
        self._told: set[str] = set()

    def about(self, category: str, *, is_allowed: bool) -> frozenset[str]:
        """Purposes of a category. One that nobody mapped is told of, once; a yes to it is about nothing, and a no is
        about what `unmapped` of the settings says.
        """
        name = category.strip().lower()
        if (found := self._known.get(name)) is not None:
            return found
        UNMAPPED.inc()
        if name not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(name)
            telemetry.log.warning(
                f"events answer on consent to {name[:LONGEST_CATEGORY]!r}, which `consent:` of the collector does not "
                f"map: a no to it refuses {', '.join(sorted(self._unmapped)) or 'nothing'}"
            )
        return frozenset() if is_allowed else self._unmapped


def purposes(collector: Collector) -> Purposes:
    """The purposes that each category of consent is about, by its name in small letters. Names of purposes, and those
    that stand for several, are categories by themselves.

    Raises:
        ConfigError: the settings name a purpose that there is not.
    """
    own = {name.lower(): frozenset(held) for name, held in WHOLES.items()}
    own |= {purpose.lower(): frozenset({str(purpose)}) for purpose in PURPOSES}

    def named(category: str, given: list[str]) -> frozenset[str]:
        if unknown := sorted(name for name in given if name.lower() not in own):
            known = ", ".join((*PURPOSES, *WHOLES))
            raise ConfigError(f"a collector's consent.{category}: {', '.join(unknown)} is none of {known}")
        return frozenset().union(*(own[name.lower()] for name in given))

    mapped = {category.strip().lower(): named(category, given) for category, given in collector.consent.items()}
    unmapped = mapped.pop(UNKNOWN, own["all"])
    return Purposes(own | mapped, unmapped)
