"""Builds by what is new: what standing rows were made from, which keys a batch touches, how they are renewed."""
