"""Changes of a database as it writes them down: what a log of changes says, as records in their order."""
