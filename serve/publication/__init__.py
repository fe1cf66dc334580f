"""What a run gives to readers: documents of the online store, look-up indexes, freshness, the quality page."""
