"""The catalogue: products and stock as they are and as they were, and what texts about products mean."""

from customer360.pipelines.vocabulary import Activity

ACTIVITY: Activity = "standardization"
