"""Which products may be shown at all."""

from typing import Any


def is_offered(product: dict[str, Any] | None) -> bool:
    """Whether a product (a document of kind product) may be shown: sold at all, and in stock in some store where stock
    is known.

    A product that the catalogue does not know is shown: a missing feed must not empty every list.
    """
    return product is None or (product["is_sellable"] is not False and product["is_in_stock"] is not False)
