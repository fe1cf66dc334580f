"""A file of a retailer without a lake: read in any usual dialect, then resolved, scored or recommended from."""
