"""Builds by what is new: the keys that a batch touches, found by a directory, and how their rows are renewed."""
