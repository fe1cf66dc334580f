"""Files that nobody described: which of them are deliveries of one thing, what their columns hold, how they join."""
