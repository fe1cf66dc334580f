"""What sets a segment apart, in words that a marketer uses."""

import numpy as np
from numpy.typing import NDArray

NOTABLE = 0.35  # robust standard deviations from the typical customer that are worth a word
WORDS = 2  # traits that a persona names, more where two personas would be the same
# Low and high end of a feature.
TRAITS: dict[str, tuple[str, str]] = {
    "recency_days": ("bought lately", "not seen for long"),
    "purchase_day_count_365d": ("buy rarely", "buy often"),
    "gross_amount_365d": ("spend little", "spend much"),
    "mean_order_amount": ("small orders", "large orders"),
    "tenure_days": ("new", "long-standing"),
    "items_per_order": ("few things at a time", "many things at a time"),
    "return_rate": ("return little", "return much"),
    "discount_rate": ("pay full price", "buy at discounts"),
    "store_order_share": ("seldom in stores", "buy in stores"),
    "online_order_share": ("seldom online", "buy online"),
    "mobile_order_share": ("seldom in the app", "buy in the app"),
    "session_count_90d": ("browse little", "browse much"),
    "cart_add_count_90d": ("fill no cart", "fill carts"),
}
TYPICAL = "typical customers"

Array = NDArray[np.float64]


def strongest(deviations: Array, count: int) -> list[int]:
    """Places of the features that deviate most, the strongest first; equals in the order of the features."""
    return [int(at) for at in np.argsort(-np.abs(deviations), kind="stable")[:count]]


def personas(deviations: Array, names: tuple[str, ...]) -> list[str]:
    """One phrase a segment from deviations of shape (segments, features) in robust standard deviations.

    The strongest traits, as many as it takes to tell the segments apart; a number where words do not.
    """
    for count in range(WORDS, len(names) + 1):
        found = [_phrase(row, names, count) for row in deviations]
        if len(set(found)) == len(found):
            return found
    return [f"{phrase} ({number})" for number, phrase in enumerate(found, start=1)]


def _phrase(deviations: Array, names: tuple[str, ...], count: int) -> str:
    said = [
        TRAITS[names[at]][int(deviations[at] > 0)]
        for at in strongest(deviations, count)
        if abs(deviations[at]) >= NOTABLE
    ]
    return ", ".join(said) or TYPICAL
