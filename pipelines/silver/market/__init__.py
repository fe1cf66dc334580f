"""The market: weather and economy in standard units, competitors' products matched to ours, their prices."""

from customer360.pipelines.vocabulary import Activity

ACTIVITY: Activity = "enrichment"
