"""The customer view: one module a group of columns, put together in `view`."""

from customer360.pipelines.gold.customers.features import CustomerFeatures, customer_features
from customer360.pipelines.gold.customers.household import Households, households
from customer360.pipelines.gold.customers.rfm import RfmBounds, RfmScores, rfm_bounds, rfm_scores
from customer360.pipelines.gold.customers.view import GROUPS, REFUSABLE, Customer360, customer_360

__all__ = ["GROUPS", "REFUSABLE", "Customer360", "CustomerFeatures", "Households", "RfmBounds",
           "RfmScores", "customer_360", "customer_features", "households", "rfm_bounds", "rfm_scores"]  # fmt: skip
