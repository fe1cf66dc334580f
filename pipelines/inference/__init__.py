"""Estimates with intervals, differences and p-values that tables share."""
