"""Identity resolution: which customer records are one person, and that person's golden record.

`standardize` makes raw values comparable; `resolve` trains or takes a model, scores pairs, applies the cannot-link
rules and clusters; `golden` picks the surviving values; `pairwise` and `b_cubed` measure against a truth.
All take and return Polars frames and do no I/O.

In the order of a run: `evidence` (what a record says), `stitching` (verified numbers), `weighing` (what a pair weighs),
`verdicts` (what is held of it, and who is one person), `batch` (only what a batch changes), `registry` (ids that last,
and what stewards decide), `golden`, `links`. `resolution` takes a file through them, `producer` a lake; `lookup`
answers for one record within a request.
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
