"""Purchases over time, from which churn and value start: BG/NBD, the season clock, starting points."""
