"""Organisations as entities of their own: told from people, standardized, weighed by the same model of evidence."""
