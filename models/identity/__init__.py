"""Identity resolution: which customer records are one person, and that person's golden record.

`standardize` makes raw values comparable; `resolve` trains or takes a model, scores pairs, applies the cannot-link
rules and clusters; `golden` picks the surviving values; `pairwise` and `b_cubed` measure against a truth.
All take and return Polars frames and do no I/O.
"""

from customer360.models.identity.evaluate import Agreement, b_cubed, pairwise
from customer360.models.identity.evidence.features import IdentityInputError
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.golden import golden
from customer360.models.identity.resolution import Resolution, resolve
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.model import IdentityModel, IdentityModelError

__all__ = [
    "Agreement",
    "IdentityInputError",
    "IdentityModel",
    "IdentityModelError",
    "IdentityRules",
    "Resolution",
    "b_cubed",
    "golden",
    "pairwise",
    "resolve",
    "standardize",
]
